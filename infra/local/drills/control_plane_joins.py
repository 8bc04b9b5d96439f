"""The replacement of a control plane gets stuck half way into etcd, and what it leaves there is found and removed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from infra.local.cluster import Cluster
from infra.local.drills.acts import configured
from infra.local.drills.control_plane import (
    ControlPlanes,
    control_planes,
    kill,
    machine_at,
    voters_without_node,
)
from infra.local.drills.etcd_witness import EtcdSight, gone_at
from infra.local.drills.findings import Finding
from infra.local.drills.holder import forget_abandoned
from infra.local.drills.stage import Played, Stage
from infra.local.drills.watcher import within
from infra.local.drills.writer import LONGEST_GAP_S

ONE_SWEEP_S = 60.0
JOIN_DEADLINE_S = 90
"""Time enough to vote, and not as long as the default."""

_LOOK_EVERY_S = 0.1
"""A learner may be promoted a second after it was added."""

_COMES_WITHIN_S = 180.0


@dataclass
class Assassin:
    """Kills the first machine whose learner the witness sees, at once, on the witness's thread."""

    planes: ControlPlanes
    machine: str | None = None
    learner: str | None = None
    at: datetime | None = None

    def see(self, sight: EtcdSight) -> None:
        if self.machine or not sight.learners:
            return
        (learner, *_) = sight.learners
        machine = machine_at(self.planes.stage.cluster, learner.address)
        if machine is None:
            return
        self.machine, self.learner, self.at = machine, learner.id, datetime.now(UTC)
        kill(self.planes.stage.cluster, [machine])
        what = f"{machine} is killed, whose learner {learner} was just added"
        self.planes.stage.timeline.add(self.at, "drill", what, milestone="join_died")


def kill_the_joining(stage: Stage) -> Played:
    """The replacement dies with its learner just added; what comes after it must get in."""
    with control_planes(stage, look_every_s=_LOOK_EVERY_S) as planes:
        assassin = Assassin(planes)
        planes.etcd.react = assassin.see
        before = planes.kill(planes.followers()[:1])
        struck = stage.comes_true(
            "a replacement died joining", lambda: assassin.at is not None, within_s=_COMES_WITHIN_S
        )
        healed = stage.until(lambda: planes.healed(before), within_s=2 * stage.healed_within_s)
        left = judge_left_behind(planes.etcd.sights, assassin.learner, assassin.at)
        wrote, figures = planes.written(LONGEST_GAP_S)
    forget_abandoned(stage.cluster)
    removed_at = gone_at(planes.etcd.sights, assassin.learner or "")
    took_s = (removed_at - assassin.at).total_seconds() if removed_at and assassin.at else None
    more = {
        "join_died_to_learner_removed_s": took_s,
        "killed_to_closed_s": stage.timeline.milestone_seconds().get("closed"),
    }
    return Played(before[0].victim, (struck, *left, *healed, *wrote), {**more, **figures})


def judge_left_behind(
    sights: tuple[EtcdSight, ...], learner: str | None, died_at: datetime | None
) -> tuple[Finding, ...]:
    """Whether it stayed a learner, and was gone within one sweep. Pure."""
    promoted = [sight for sight in sights if learner in {member.id for member in sight.voters}]
    removed_at = gone_at(sights, learner) if learner else None
    return (
        Finding("it was a learner as long as it was there", learner is not None and not promoted, learner or "none"),
        within(f"it was removed within one sweep, {ONE_SWEEP_S:.0f} s", died_at, removed_at, ONE_SWEEP_S),
    )


def keep_a_voter_from_its_node(stage: Stage) -> Played:
    """The approver may not run: kubeadm has made the replacement's etcd vote before its kubelet gets a certificate."""
    cluster, deadline = stage.cluster, {"REGROW_JOIN_DEADLINE_S": str(JOIN_DEADLINE_S)}
    with configured(cluster, ("remediate", "mint", "sweep"), deadline), control_planes(stage) as planes:
        with throttled(cluster, "approve"):
            stage.show("the approve function is throttled: no certificate is approved")
            before = planes.kill(planes.followers()[:1])
            stuck = _stuck(planes)
        stage.timeline.add(datetime.now(UTC), "drill", "the approve function may run again", milestone="resumed")
        healed = stage.until(lambda: planes.healed(before), within_s=2 * stage.healed_within_s)
        wrote, figures = planes.written(LONGEST_GAP_S)
    forget_abandoned(cluster)
    between = stage.timeline.between
    more = {
        "voting_to_voter_removed_s": between("voting", "voter_removed"),
        "resumed_to_ready_s": between("resumed", "ready"),
    }
    return Played(before[0].victim, (*stuck, *healed, *wrote), {**more, **figures})


def _stuck(planes: ControlPlanes) -> tuple[Finding, ...]:
    """Wait for the voter without a Node, then until it votes no more."""
    stage, etcd = planes.stage, planes.etcd
    known, stuck = {member.id for member in etcd.sights[0].members}, list[str]()

    def there() -> bool:
        """A new one: the member of the machine that was killed is in etcd for a while after its Node has gone."""
        nameless = voters_without_node(etcd.last, stage.witness.nodes)
        fresh = etcd.last.voters if etcd.last else ()
        stuck.extend(member.id for member in fresh if member.name in nameless and member.id not in known)
        return bool(stuck)

    came = stage.comes_true("the replacement voted and had no Node", there, within_s=_COMES_WITHIN_S)
    if not stuck:
        return (came,)

    def gone() -> bool:
        at = gone_at(etcd.sights, stuck[0])
        if at:
            stage.timeline.add(at, "etcd", f"{stuck[0]}, which had no Node, is gone", milestone="voter_removed")
        return at is not None

    within_s = JOIN_DEADLINE_S + 2 * ONE_SWEEP_S
    return came, stage.comes_true("it was found and its member removed", gone, within_s=within_s)


@contextmanager
def throttled(cluster: Cluster, function: str) -> Iterator[None]:
    """A function may not run at all: what the console's Throttle button does."""
    which = {"FunctionName": cluster.function(function)}
    cluster.client("lambda").put_function_concurrency(**which, ReservedConcurrentExecutions=0)
    try:
        yield
    finally:
        cluster.client("lambda").delete_function_concurrency(**which)
