"""Control planes are lost: what every such drill watches and asks, and those of which nothing else goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from infra.local.cluster import Cluster
from infra.local.drills.acts import before_kill
from infra.local.drills.etcd_witness import EVERY_S, EtcdSight, EtcdWitness, judge_course, judge_etcd
from infra.local.drills.findings import Before, Finding, Sight, judge_standing
from infra.local.drills.stage import Played, Stage
from infra.local.drills.targets import Targets, api_targets, when_out
from infra.local.drills.timeline import Timeline
from infra.local.drills.watcher import in_order, within
from infra.local.drills.writer import LONGEST_GAP_S, Writer, judge_writing, writing
from infra.local.places import WorldError

MEMBER_REMOVED_WITHIN_S = 15.0
"""From the event that tells of the machine's end."""

REPLACED_WITHIN_S = {"instant": 90.0, "aws": 240.0}
"""From the kill until another one votes and its Node is Ready; with AWS's delays it is launched a minute later."""


@dataclass(frozen=True)
class ControlPlanes:
    """The control planes of a cluster with all who watch them. `wanted`: the size of their group."""

    stage: Stage
    etcd: EtcdWitness
    writer: Writer
    targets: Targets
    wanted: int
    workers: frozenset[str]

    def kill(self, victims: Sequence[str]) -> tuple[Before, ...]:
        """As a dying host kills them, behind the group's back, all at once. The first one is what the news are about.

        The deployed drill function is for workers alone.
        """
        stage = self.stage
        before = tuple(before_kill(stage.witness, victim) for victim in victims)
        self.etcd.victims.extend(victims)
        stage.news.about(before[0])
        said = " and ".join(f"{victim}{', the leader' if victim == self.leader else ''}" for victim in victims)
        stage.show(f"killing {said}, of {self.wanted} control planes")
        kill(stage.cluster, victims)
        return before

    @property
    def leader(self) -> str | None:
        return self.etcd.last.leads if self.etcd.last else None

    def followers(self) -> list[str]:
        """The machines whose members vote and do not lead."""
        sight = self.etcd.last
        return sorted(member.name for member in sight.voters if member.id != sight.leader) if sight else []

    def healed(self, before: Sequence[Before]) -> tuple[Finding, ...]:
        """Whether the cluster is whole without these machines, and how its etcd came there."""
        stage, sight = self.stage, self.stage.sight(self.stage.cluster.control_plane_group)
        workers = stage.cluster.members()[0]
        return (
            judge_gone(before, sight),
            *judge_standing(sight),
            *judge_etcd(self.etcd.last, wanted=self.wanted, machines=sight.members, nodes=sight.nodes),
            *judge_course(self.etcd.sights, wanted=self.wanted),
            judge_targets(self.targets.states(), sight.members),
            judge_workers(self.workers, workers, sight),
            stage.reached("member_removed", "its member was removed"),
            stage.reached("voting", "another one votes"),
            *stage.came_by_right(),
            stage.reached("closed", "its case is closed"),
        )

    def in_time(self, killed_at: datetime) -> tuple[Finding, ...]:
        """Whether it was as quick as is promised. What has taken too long once is not waited for."""
        reached, limit_s = self.stage.timeline.milestones, REPLACED_WITHIN_S[self.stage.cluster.delays]
        return (
            within(
                f"its member was removed within {MEMBER_REMOVED_WITHIN_S:.0f} s of the event",
                reached.get("event"),
                reached.get("member_removed"),
                MEMBER_REMOVED_WITHIN_S,
            ),
            within(
                f"within {limit_s:.0f} s of the kill another one voted and was Ready",
                killed_at,
                later_of(reached.get("voting"), reached.get("ready")),
                limit_s,
            ),
        )

    def written(self, at_most_s: float | None) -> tuple[tuple[Finding, ...], dict[str, float | None]]:
        """End the writing; what is found of it, and its figures."""
        self.writer.end()
        written = self.writer.written()
        return judge_writing(written, at_most_s), written.figures()


@contextmanager
def control_planes(stage: Stage, *, look_every_s: float = EVERY_S) -> Iterator[ControlPlanes]:
    """A cluster with its control planes whole, watched, and written to all along."""
    cluster = stage.cluster
    members, wanted = cluster.members(cluster.control_plane_group)
    workers = frozenset(cluster.members()[0])
    etcd = EtcdWitness(cluster.world, stage.timeline, every_s=look_every_s)
    etcd.start()
    try:
        unmet = judge_etcd(etcd.last, wanted=wanted, machines=members, nodes=stage.witness.nodes)
        if broken := [f"{finding.promise}: {finding.seen}" for finding in unmet if not finding.kept]:
            raise WorldError(f"The control planes are not whole before the drill: {'; '.join(broken)}.")
        with writing(cluster) as writer:
            yield ControlPlanes(stage, etcd, writer, api_targets(cluster), wanted, workers)
    finally:
        etcd.stop()


def lose_one(stage: Stage, *, longest_gap_s: float | None = LONGEST_GAP_S) -> Played:
    """One that does not lead."""
    return _lose(stage, lambda planes: planes.followers()[:1], longest_gap_s)


def lose_the_leader(stage: Stage, *, longest_gap_s: float | None = LONGEST_GAP_S) -> Played:
    """The one whose etcd leads: the others elect first."""
    return _lose(stage, lambda planes: [planes.leader] if planes.leader else [], longest_gap_s)


def lose_two_at_once(stage: Stage, *, longest_gap_s: float | None = LONGEST_GAP_S) -> Played:
    """Two of five: etcd goes on, and they are healed one after the other."""
    return _lose(stage, lambda planes: planes.followers()[:2], longest_gap_s)


def _lose(stage: Stage, choose: Callable[[ControlPlanes], list[str]], longest_gap_s: float | None) -> Played:
    with control_planes(stage) as planes:
        victims = choose(planes)
        with when_out(planes.targets, victims) as out_at:
            killed_at = datetime.now(UTC)
            before = planes.kill(victims)
            healed = stage.until(lambda: _one_after_another(planes, before), within_s=_healed_within_s(stage, victims))
        _tell_deregistered(stage.timeline, out_at)
        in_time = planes.in_time(killed_at) if len(victims) == 1 else ()
        wrote, figures = planes.written(longest_gap_s)
    return Played(victims[0], (*healed, *in_time, *wrote), {**_figures(stage), **figures})


def _one_after_another(planes: ControlPlanes, before: Sequence[Before]) -> tuple[Finding, ...]:
    reached, found = planes.stage.timeline.milestones, planes.healed(before)
    if len(before) == 1:
        return found
    removed = in_order("one was removed, then the other", reached.get("member_removed"), reached.get("second_removed"))
    return (*found, removed)


def _healed_within_s(stage: Stage, victims: Sequence[str]) -> float:
    return stage.healed_within_s * len(victims)


def _figures(stage: Stage) -> dict[str, float | None]:
    between, reached = stage.timeline.between, stage.timeline.milestone_seconds()
    return {
        "event_to_deregistered_s": between("event", "deregistered"),
        "event_to_member_removed_s": between("event", "member_removed"),
        "killed_to_voting_s": reached.get("voting"),
        "killed_to_ready_s": reached.get("ready"),
        "killed_to_closed_s": reached.get("closed"),
        **stage.approval_figures(),
    }


def _tell_deregistered(timeline: Timeline, out_at: Mapping[str, datetime]) -> None:
    for machine, at in out_at.items():
        timeline.add(at, "AWS", f"{machine} is out of the API's target group", milestone="deregistered")


def kill(cluster: Cluster, machines: Sequence[str]) -> None:
    """Behind their group's back, with no shutdown."""
    cluster.client("ec2").terminate_instances(InstanceIds=list(machines), SkipOsShutdown=True)


def machine_at(cluster: Cluster, address: str) -> str | None:
    """The instance that has this private address, as EC2 says."""
    here = {"Name": "private-ip-address", "Values": [address]}
    found = cluster.client("ec2").describe_instances(Filters=[here])["Reservations"]
    alive = [
        instance["InstanceId"]
        for reservation in found
        for instance in reservation["Instances"]
        if instance["State"]["Name"] in ("pending", "running")
    ]
    return alive[0] if alive else None


def voters_without_node(sight: EtcdSight | None, nodes: Mapping[str, object]) -> tuple[str, ...]:
    """The names of members that vote while no Node has their name. Pure."""
    return tuple(member.name for member in sight.voters if member.name not in nodes) if sight else ()


def later_of(first: datetime | None, second: datetime | None) -> datetime | None:
    """The later of two moments, None while one of them has not come. Pure."""
    return max(first, second) if first and second else None


def judge_gone(before: Sequence[Before], sight: Sight) -> Finding:
    """Whether none of their Nodes is left. Pure."""
    uids, names = {each.node_uid for each in before}, {each.victim for each in before}
    left = [node.name for node in sight.nodes.values() if node.uid in uids or node.name in names]
    return Finding("the old Node is gone", not left, ", ".join(left) or "gone")


def judge_targets(states: Mapping[str, str], members: Mapping[str, str]) -> Finding:
    """Whether the load balancer has every machine of the group and no other. Pure."""
    wrong = [f"{machine} {state}" for machine, state in states.items() if machine not in members or state != "healthy"]
    wrong += [f"{machine} not registered" for machine in members if machine not in states]
    promise = "the API's target group has every control plane, healthy, and nothing else"
    return Finding(promise, not wrong and bool(members), ", ".join(wrong) or f"{len(states)} healthy")


def judge_workers(before: frozenset[str], now: Mapping[str, str], sight: Sight) -> Finding:
    """Whether the same workers are there, and nothing was done to them. Pure."""
    gone = sorted(before ^ set(now))
    touched = sorted(name for name in before if name in sight.nodes and not sight.nodes[name].untouched)
    return Finding("no worker was touched", not gone and not touched, ", ".join(gone + touched) or "none")
