"""New workers boot and never join, because their user data has a fault: a wrong path, as one writes in a hurry."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from infra.local.cluster import Cluster
from infra.local.drills.acts import configured, template_version
from infra.local.drills.alerts import Alert
from infra.local.drills.findings import Before, Finding
from infra.local.drills.losing import kill_a_worker
from infra.local.drills.news import NOT_LAUNCHED
from infra.local.drills.stage import Played, Stage

JOIN_DEADLINE_S = 60
IN_A_ROW = 3
STAYS_SUSPENDED_S = 15.0
SUSPENDED_UNTIL, SUSPENDED_BECAUSE = "regrow:launch-suspended-until", "regrow:launch-suspended-because"
RIGHT_PATH, WRONG_PATH = "node/boot.py", "node/no-such-boot.py"
TELLS_HOW_TO_RESUME = "resume-processes"
"""What only the alert about a suspended group says."""


@dataclass(frozen=True)
class GivenUp:
    """A launch that did not join, as AWS, Regrow's history and its alerts tell of it."""

    machine: str
    unsuccessful: bool
    history: tuple[dict[str, Any], ...]
    alerts: tuple[Alert, ...]

    @property
    def kept(self) -> bool:
        """Whether reason and boot log are in the history."""
        return any(entry.get("gave_up") and WRONG_PATH in str(entry.get("boot_log")) for entry in self.history)

    @property
    def told(self) -> bool:
        """Whether a person was told of it once, with the boot log."""
        return [alert.says(WRONG_PATH) for alert in self.alerts] == [True]


@dataclass(frozen=True)
class Suspension:
    """The workers' group when launches had been failing for a while."""

    launches: tuple[GivenUp, ...]
    suspended: bool
    tags: dict[str, str]
    alerts: tuple[Alert, ...]
    seen_at: datetime


def judge_suspension(sight: Suspension) -> tuple[Finding, ...]:
    """A finding for every promise about launches that are given up. Pure."""
    count = len(sight.launches)

    def of_each(promise: str, kept: Sequence[bool]) -> Finding:
        return Finding(promise, count == IN_A_ROW and all(kept), f"{sum(kept)} of {count}")

    return (
        of_each("each launch was abandoned", [one.unsuccessful for one in sight.launches]),
        of_each("the history keeps each one's reason and boot log", [one.kept for one in sight.launches]),
        of_each("a person was told once of each, with its boot log", [one.told for one in sight.launches]),
        Finding(
            f"after {IN_A_ROW} in a row the group launches no more",
            sight.suspended and count == IN_A_ROW,
            f"{'suspended' if sight.suspended else 'not suspended'} after {count}",
        ),
        Finding(
            "its tags say why, and until when",
            bool(sight.tags.get(SUSPENDED_BECAUSE)) and _is_ahead(sight.tags.get(SUSPENDED_UNTIL), sight.seen_at),
            f"until {sight.tags.get(SUSPENDED_UNTIL, 'never')}: {sight.tags.get(SUSPENDED_BECAUSE, 'no reason')}",
        ),
        Finding("a person was told once of that", len(sight.alerts) == 1, f"{len(sight.alerts)} alerts"),
    )


def _is_ahead(text: str | None, now: datetime) -> bool:
    try:
        return datetime.strptime(text or "", "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC) > now
    except ValueError:
        return False


def launch_what_never_joins(stage: Stage) -> Played:
    """Until the group is suspended; then mend the fault, resume as the alert says, and see the cluster become whole."""
    cluster = stage.cluster
    deadline = {"REGROW_JOIN_DEADLINE_S": str(JOIN_DEADLINE_S)}
    try:
        with configured(cluster, ("remediate", "mint", "sweep"), deadline), faulty_user_data(cluster):
            before, given_up = _fail(stage)
        resume_launch(cluster)
        stage.show("the fault is mended and the group resumed, as the alert says")
        stage.timeline.add(datetime.now(UTC), "drill", "the group is resumed", milestone="resumed")
        whole = stage.until(lambda: _whole(stage, before), within_s=stage.healed_within_s)
    finally:
        resume(cluster)
    between = stage.timeline.between
    figures = {
        "launched_to_abandoned_s": between("launched", "abandoned"),
        "resumed_to_ready_s": between("resumed", "ready"),
        **stage.approval_figures(),
    }
    return Played(before.victim, (*given_up, *whole), figures)


def _fail(stage: Stage) -> tuple[Before, tuple[Finding, ...]]:
    before = kill_a_worker(stage)
    within_s = IN_A_ROW * (JOIN_DEADLINE_S + 40.0) + stage.healed_within_s
    stage.until(lambda: judge_suspension(see_suspension(stage)), within_s=within_s)
    stage.watch_for(STAYS_SUSPENDED_S)
    return before, judge_suspension(see_suspension(stage))


def _whole(stage: Stage, before: Before) -> tuple[Finding, ...]:
    closed = stage.reached("closed", "its case is closed")
    return (*stage.whole_without(before), *stage.came_by_right(), closed)


def see_suspension(stage: Stage) -> Suspension:
    group, news = stage.cluster.workers(), stage.news
    return Suspension(
        launches=tuple(
            GivenUp(
                machine,
                (machine, NOT_LAUNCHED) in news.moments,
                tuple(news.histories[machine]),
                tuple(stage.alerts.heard(machine)),
            )
            for machine in news.coming
        ),
        suspended="Launch" in {process["ProcessName"] for process in group["SuspendedProcesses"]},
        tags={tag["Key"]: tag["Value"] for tag in group["Tags"]},
        alerts=tuple(stage.alerts.heard(TELLS_HOW_TO_RESUME)),
        seen_at=datetime.now(UTC),
    )


@contextmanager
def faulty_user_data(cluster: Cluster) -> Iterator[None]:
    """Machines launched meanwhile look for their boot file in the wrong place. The template's version stays behind."""
    autoscaling = cluster.client("autoscaling")
    template = cluster.workers()["LaunchTemplate"]
    right = {key: template[key] for key in ("LaunchTemplateId", "Version")}
    wrong = template_version(cluster, lambda text: text.replace(RIGHT_PATH, WRONG_PATH))
    which = {"AutoScalingGroupName": cluster.worker_group}
    autoscaling.update_auto_scaling_group(**which, LaunchTemplate=wrong)
    try:
        yield
    finally:
        autoscaling.update_auto_scaling_group(**which, LaunchTemplate=right)


def resume_launch(cluster: Cluster) -> None:
    """What the alert tells a person to do."""
    cluster.client("autoscaling").resume_processes(
        AutoScalingGroupName=cluster.worker_group, ScalingProcesses=["Launch"]
    )


def resume(cluster: Cluster) -> None:
    """The group launches, and no tag says otherwise."""
    resume_launch(cluster)
    tag = {"ResourceId": cluster.worker_group, "ResourceType": "auto-scaling-group"}
    cluster.client("autoscaling").delete_tags(
        Tags=[{**tag, "Key": key} for key in (SUSPENDED_UNTIL, SUSPENDED_BECAUSE)]
    )
