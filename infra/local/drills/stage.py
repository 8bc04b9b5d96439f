"""What every drill plays on, and what it hands back."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from infra.local.cluster import Cluster
from infra.local.drills.alerts import Subscriber
from infra.local.drills.findings import Before, Finding, Sight, judge
from infra.local.drills.news import News
from infra.local.drills.timeline import Timeline
from infra.local.drills.witness import Witness

HEALED_WITHIN_S = {"instant": 180.0, "aws": 480.0}
_LOOK_EVERY_S = 0.2
_BY_RIGHT = {
    "hook": "the new machine was held by its launch hook",
    "minted": "it got a token of its own",
    "approved_client": "its client certificate was approved",
    "ready": "its Node became Ready",
    "approved_serving": "its serving certificate was approved",
    "in_service": "its launch hook was completed",
}


@dataclass(frozen=True)
class Played:
    """What a drill has found. `figures` are what its record says besides the milestones, in seconds."""

    machine: str
    findings: tuple[Finding, ...]
    figures: dict[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Stage:
    """A cluster that is up with its workload, who watches it, and where it is told. `show` takes lines for people."""

    cluster: Cluster
    witness: Witness
    timeline: Timeline
    news: News
    alerts: Subscriber
    show: Callable[[str], None]

    @property
    def healed_within_s(self) -> float:
        return HEALED_WITHIN_S[self.cluster.delays]

    def until(self, findings: Callable[[], tuple[Finding, ...]], *, within_s: float) -> tuple[Finding, ...]:
        """What is found once every promise is kept, or when the time is over."""
        deadline = time.monotonic() + within_s
        while True:
            self.news.read()
            found = findings()
            if all(finding.kept for finding in found) or time.monotonic() > deadline:
                return found
            time.sleep(_LOOK_EVERY_S)

    def comes_true(self, what: str, holds: Callable[[], bool], *, within_s: float) -> Finding:
        """Whether this comes true in that time; meanwhile the news are read."""
        started = time.monotonic()
        (found,) = self.until(lambda: (Finding(what, holds(), ""),), within_s=within_s)
        took = f"after {time.monotonic() - started:.1f} s" if found.kept else f"not within {within_s:.0f} s"
        return Finding(what, found.kept, took)

    def watch_for(self, seconds: float) -> None:
        """Let this much time go by, with open eyes."""
        ends = time.monotonic() + seconds
        self.until(lambda: (Finding("time goes by", time.monotonic() >= ends, ""),), within_s=seconds + 1)

    def sight(self, group: str | None = None) -> Sight:
        """What there is now, with the members of this group, the workers' if none is named."""
        members, desired = self.cluster.members(group)
        cases = tuple(item["sk"]["S"] for item in self.cluster.query("case"))
        return Sight(self.witness.nodes, self.witness.pods, members, desired, cases, self.news.events_delivered)

    def reached(self, milestone: str, promise: str) -> Finding:
        """Whether the timeline has this milestone."""
        at_s = self.timeline.milestone_seconds().get(milestone)
        return Finding(promise, at_s is not None, "not yet" if at_s is None else f"after {at_s:.1f} s")

    def came_by_right(self) -> tuple[Finding, ...]:
        """Whether a new machine joined step by step, each of them seen by the witness or told by AWS."""
        return tuple(self.reached(milestone, promise) for milestone, promise in _BY_RIGHT.items())

    def approval_figures(self) -> dict[str, float | None]:
        """How long requests for certificates waited, from when the witness saw them to when it saw the approval."""
        return {
            "requested_to_approved_client_s": self.timeline.between("requested", "approved_client"),
            "requested_to_approved_serving_s": self.timeline.between("requested_serving", "approved_serving"),
        }

    def whole_without(self, before: Before) -> tuple[Finding, ...]:
        """Whether nothing is left of a machine and the cluster is whole without it."""
        return judge(before, self.sight(), events_allowed=True)
