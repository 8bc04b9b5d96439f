"""Two of three control planes die at once: etcd has no quorum, and nothing automatic would be safe.

There is no way back but a restore from a snapshot, so the world is ended after this drill.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from infra.local.drills.alerts import Alert
from infra.local.drills.control_plane import ControlPlanes, control_planes
from infra.local.drills.etcd_witness import SeenMember
from infra.local.drills.findings import Finding
from infra.local.drills.stage import Played, Stage

TOLD_WITHIN_S = 150.0
"""A minute's sweep, the next one, and what a pass takes that gets no answer."""

WATCHED_S = 90.0
"""After that: one more sweep must change nothing and tell nothing again."""

ABOUT_QUORUM = "quorum"
RUN_BOOK = "docs/runbooks/etcd.md"


@dataclass(frozen=True)
class Lost:
    """What there is some minutes after the quorum was lost. `members` as the survivor has them on its disk.

    `group`: the lifecycle state of every machine of the group, `lost` those that were killed.
    """

    survivor: str
    members_before: tuple[SeenMember, ...]
    members: tuple[SeenMember, ...]
    lost: tuple[str, ...]
    group: Mapping[str, str]
    survivor_is_target: bool
    alerts: tuple[Alert, ...]


def judge_lost(lost: Lost) -> tuple[Finding, ...]:
    """Whether nothing was touched, and one alert told a person. Pure."""
    about = [alert for alert in lost.alerts if alert.says(ABOUT_QUORUM) and alert.says(RUN_BOOK)]
    others = {machine: state for machine, state in lost.group.items() if machine not in (lost.survivor, *lost.lost)}
    survivor = lost.group.get(lost.survivor)
    changed = {member.id for member in lost.members_before} ^ {member.id for member in lost.members}
    return (
        Finding("no member was removed or added", not changed, ", ".join(sorted(changed)) or "none"),
        Finding(
            "the machine that is left was not touched",
            survivor == "InService" and lost.survivor_is_target,
            f"{lost.survivor} is {survivor or 'gone'}, "
            f"{'a' if lost.survivor_is_target else 'no'} target of the load balancer",
        ),
        Finding(
            "no hook was completed",
            {lost.group.get(machine) for machine in lost.lost} == {"Terminating:Wait"}
            and set(others.values()) <= {"Pending:Wait"},
            ", ".join(f"{machine} {state}" for machine, state in sorted(lost.group.items())),
        ),
        Finding(
            "one alert told that the quorum is lost and named the run-book, and there was no other",
            len(about) == len(lost.alerts) == 1,
            "; ".join(alert.subject for alert in lost.alerts) or "no alert",
        ),
    )


def lose_the_quorum(stage: Stage) -> Played:
    """Both that do not lead: the one that leads steps down."""
    with control_planes(stage) as planes:
        sight = planes.etcd.sights[-1]
        victims = planes.followers()[:2]
        (survivor, *_) = (member.name for member in sight.voters if member.name not in victims)
        planes.kill(victims)
        stage.comes_true(
            "etcd answers no more, and a person was told",
            lambda: planes.etcd.last is None and bool(stage.alerts.heard(ABOUT_QUORUM)),
            within_s=TOLD_WITHIN_S,
        )
        stage.watch_for(WATCHED_S)
        findings = judge_lost(_see(planes, survivor, victims, sight.members))
        blind = Finding(
            "etcd had no quorum", planes.etcd.last is None, "no answer" if not planes.etcd.last else "it has"
        )
        _, figures = planes.written(None)
    return Played(victims[0], (blind, *findings), figures)


def _see(planes: ControlPlanes, survivor: str, victims: Sequence[str], before: tuple[SeenMember, ...]) -> Lost:
    cluster = planes.stage.cluster
    return Lost(
        survivor,
        before,
        planes.etcd.as_one_knows(survivor),
        tuple(victims),
        cluster.members(cluster.control_plane_group)[0],
        survivor in planes.targets.machines(),
        tuple(planes.stage.alerts.heard()),
    )
