"""What the witness sees of pods while their machine leaves, and what it says of how they went."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from infra.local.drills.acts import AT_LEAST_READY
from infra.local.drills.findings import WORKLOAD_APP, Finding
from infra.local.drills.witness import Change, SeenPod


@dataclass
class Watcher:
    """What the witness saw of the pods while a machine left."""

    machine: str
    budget_of: str = WORKLOAD_APP
    lost: dict[str, bool] = field(default_factory=dict)
    """Pods that ended on the machine, by name: whether an eviction ended them."""
    least_ready: int | None = None
    first_ended_at: datetime | None = None
    _ready: set[str] = field(default_factory=set)

    def see(self, change: Change) -> None:
        pod = change.of
        if not isinstance(pod, SeenPod):
            return
        after = change.after
        if pod.app == self.budget_of:
            ready = isinstance(after, SeenPod) and after.ready
            (self._ready.add if ready else self._ready.discard)(pod.uid)
            self.least_ready = len(self._ready) if self.least_ready is None else min(self.least_ready, len(self._ready))
        if pod.node == self.machine and pod.app and (after is None or pod.ending or pod.evicted):
            self.first_ended_at = self.first_ended_at or change.at
            self.lost[pod.name] = self.lost.get(pod.name, False) or pod.evicted

    def begin(self, pods: Iterable[SeenPod]) -> None:
        self._ready = {pod.uid for pod in pods if pod.app == self.budget_of and pod.ready}


def judge_evictions(lost: Mapping[str, bool], expected: int, least_ready: int | None) -> tuple[Finding, ...]:
    """Whether all went by evictions, within their budget. Pure."""
    deleted = sorted(name for name, evicted in lost.items() if not evicted)
    evicted = f"{len(lost) - len(deleted)} evicted of {expected}"
    return (
        Finding(
            "every pod of it was evicted, none deleted",
            not deleted and len(lost) >= expected,
            f"{evicted}, deleted: {', '.join(deleted)}" if deleted else evicted,
        ),
        Finding(
            "their disruption budget was kept at every moment",
            least_ready is not None and least_ready >= AT_LEAST_READY,
            f"never fewer than {least_ready} of at least {AT_LEAST_READY} Ready",
        ),
    )


def in_order(promise: str, first: datetime | None, second: datetime | None) -> Finding:
    """Whether both happened, the second not before the first. Pure."""
    if first is None or second is None:
        return Finding(promise, False, "not yet")
    return Finding(promise, first <= second, f"{(second - first).total_seconds():.2f} s between")


def within(promise: str, first: datetime | None, second: datetime | None, at_most_s: float) -> Finding:
    """The same, and so many seconds after it at most. Pure."""
    found = in_order(promise, first, second)
    if first is None or second is None:
        return found
    return Finding(promise, found.kept and (second - first).total_seconds() <= at_most_s, found.seen)
