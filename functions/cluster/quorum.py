"""What may be done to etcd's membership without risking its quorum. Pure; every refusal is a reason with its numbers.

etcd commits, a change of its membership too, with more than half of its voters (etcd FAQ, "Why an odd number of cluster
members?"). So a removal needs that many of the present voters, and has to leave that many of those that remain. The
two differ for even numbers of voters.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from functions.cluster.etcd import Etcd, EtcdMember, EtcdPod
from functions.cluster.machine import Instance, InstanceId, InstanceState, Node


def quorum(voters: int) -> int:
    """Return how many of that many voters must agree."""
    return voters // 2 + 1


def may_remove(etcd: Etcd, victim: EtcdMember, *, dead: bool) -> str | None:
    """Return why this voter must not be removed, None when it may.

    A dead victim counts for nothing. One that answers counts among the present voters, never among the remaining.
    """
    if etcd.member(victim.id) is None:
        return f"etcd does not list {victim}"
    if victim.learner:
        return f"{victim} is a learner, no voter"
    if len(etcd.voters) == 1:
        return f"{victim} is etcd's last voter: removing it would end the cluster"
    if reason := _unsettled(etcd):
        return reason
    present = len(etcd.voters)
    staying = sum(voter.healthy for voter in etcd.voters if voter.id != victim.id)
    agreeing = staying + (victim.healthy and not dead)
    if agreeing < quorum(present):
        return f"{agreeing} of {present} voters are healthy, and it takes {quorum(present)} to remove {victim}"
    if staying < quorum(present - 1):
        return (
            f"removing {victim} would leave {staying} healthy voters of {present - 1}, fewer than the "
            f"{quorum(present - 1)} that are their quorum"
        )
    return leaderless(etcd, besides=victim if dead else None)


def may_be_down(etcd: Etcd, member: EtcdMember) -> str | None:
    """Return why this member must not stop for a while, None when the others are a quorum without it. It may lead."""
    if etcd.member(member.id) is None:
        return f"etcd does not list {member}"
    if reason := _unsettled(etcd):
        return reason
    staying, least = sum(voter.healthy for voter in etcd.voters if voter.id != member.id), quorum(len(etcd.voters))
    if staying < least:
        return f"without {member} {staying} of {len(etcd.voters)} voters would be healthy, and etcd needs {least}"
    return leaderless(etcd)


def may_remove_learner(etcd: Etcd, learner: EtcdMember) -> str | None:
    """Return why this learner must not be removed, None when it may. It has no vote, so no quorum is at stake."""
    seen = etcd.member(learner.id)
    if seen is None:
        return f"etcd does not list {learner}"
    if seen.voter:
        return f"{learner} is a voter, no learner"
    return leaderless(etcd)


def may_admit(etcd: Etcd, *, wanted: int) -> str | None:
    """Return why no machine may join etcd now, None when one may. `wanted` is the number of voters with it."""
    silent = [str(member) for member in etcd.members if not member.answers]
    if silent:
        return f"{len(silent)} of {len(etcd.members)} etcd members do not answer: {'; '.join(silent)}"
    if reason := _unsettled(etcd) or _alarmed(etcd):
        return reason
    if len(etcd.voters) != wanted - 1:
        return f"etcd has {len(etcd.voters)} voters, and one more is let in only at {wanted - 1} of {wanted}"
    return leaderless(etcd)


def lost(etcd: Etcd) -> bool:
    """Whether too few voters answer that machine for etcd to change anything, its membership included.

    A list that a quorum has confirmed proves that there is one: a voter that has just joined may not answer yet.
    """
    return not etcd.linearizable and sum(voter.answers for voter in etcd.voters) < quorum(len(etcd.voters))


def leaderless(etcd: Etcd, *, besides: EtcdMember | None = None) -> str | None:
    """Say why nothing can be changed though enough voters answer; after a leader has died that is so for a moment."""
    if not etcd.linearizable:
        return f"no quorum confirms what {etcd.asked} remembers of etcd's membership"
    leader = etcd.leader
    if leader is None or not leader.answers or (besides and leader.id == besides.id):
        return "no voter that answers leads etcd: it is electing one, or cannot"
    return None


def heir(etcd: Etcd, leaving: EtcdMember) -> EtcdMember | None:
    """Return who should lead when this one goes: the healthy voter whose log goes furthest."""
    able = [voter for voter in etcd.voters if voter.healthy and voter.name and voter.id != leaving.id]
    return max(able, key=lambda voter: (voter.raft_index, voter.id), default=None)


def whom_to_ask(
    instances: Iterable[Instance],
    nodes: Collection[Node] = (),
    pods: Iterable[EtcdPod] = (),
    *,
    about: InstanceId | None = None,
    in_service: Collection[InstanceId] = (),
) -> tuple[InstanceId, ...]:
    """Return the running control planes in the order in which to ask them, never the one that it is `about`.

    Those with a Ready Node and etcd on it come first, then those that are in service, and of equals the oldest. Where
    the Kubernetes API says nothing, all that run are worth asking.
    """
    ready = {node.instance for node in nodes if node.ready}
    with_etcd = {pod.node_name for pod in pods}
    has_etcd = {node.instance for node in nodes if node.name in with_etcd}
    running = [one for one in instances if one.state is InstanceState.RUNNING and one.id != about]
    running.sort(
        key=lambda one: (one.id not in has_etcd, one.id not in ready, one.id not in in_service, one.launched_at, one.id)
    )
    return tuple(one.id for one in running)


def _unsettled(etcd: Etcd) -> str | None:
    """Say who is still on its way in: one change of the membership at a time."""
    if etcd.learners:
        return f"a learner is present: {'; '.join(str(learner) for learner in etcd.learners)}"
    if unnamed := [member for member in etcd.members if not member.name]:
        return f"a member has never started: {'; '.join(str(member) for member in unnamed)}"
    return None


def _alarmed(etcd: Etcd) -> str | None:
    alarms = [f"{alarm} of {member}" for member in etcd.members for alarm in member.alarms] + list(etcd.stray_alarms)
    return f"etcd has raised an alarm: {'; '.join(alarms)}" if alarms else None
