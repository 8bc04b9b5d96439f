"""The plans for a control plane: those of any machine, with what its etcd member asks for in between.

The order is Cluster API's and kubeadm's: a member goes before its Node does, since no replacement can join while one is
left; it goes last of what still runs, since its API server ends with it; and one machine joins at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from functions.cluster import quorum
from functions.cluster.assess import Kind, Verdict
from functions.cluster.control_plane import ControlPlane
from functions.cluster.doubt import Repair
from functions.cluster.etcd import Etcd, EtcdMember
from functions.cluster.facts import Facts, Unknown
from functions.cluster.joining import Admission
from functions.cluster.machine import Instance, InstanceState, Node, Role, Transition
from functions.cluster.notice import Cause
from functions.cluster.policy import Policy
from functions.remediate.plan import (
    LATER,
    SOON,
    Admit,
    Approve,
    AwaitDetach,
    AwaitQuorum,
    AwaitReplacement,
    CompleteHook,
    DeleteNode,
    ForgetCertificates,
    GiveUpLaunch,
    JoinLoadBalancers,
    LeaveLoadBalancers,
    LookAgain,
    Mint,
    MoveLeader,
    OpenCase,
    Plan,
    Reboot,
    RemoveMember,
    Replace,
    Revoke,
    Step,
    TakeSnapshot,
    UploadCertificates,
)
from functions.remediate.plans.arriving import arriving, give_up
from functions.remediate.plans.dead import dead
from functions.remediate.plans.doubtful import calm, doubtful
from functions.remediate.plans.hooks import heartbeats
from functions.remediate.plans.leaving import leaving

_NEVER = datetime.max.replace(tzinfo=UTC)
_TURN_COMES_WITHIN = timedelta(minutes=15)
_ELECTED_WITHIN = timedelta(minutes=1)  # etcd's own time-outs are a second or a few
_ENDING = (InstanceState.SHUTTING_DOWN, InstanceState.STOPPING)


def plan_control_plane(
    verdict: Verdict, facts: Facts, seen: ControlPlane, policy: Policy, snapshot_every: timedelta
) -> Plan:
    """Return the steps for one control plane that is dead, leaving, arriving or doubtful; none for any other.

    Without knowledge of etcd nothing is done.
    """
    if seen.unknown and verdict.kind in (Kind.DEAD, Kind.LEAVING, Kind.ARRIVING):
        return Plan((*heartbeats(verdict, facts), LookAgain(LATER, f"unknown: {seen.unknown}")))
    match verdict.kind:
        case Kind.DEAD:
            return Plan(_dead(verdict, facts, seen, snapshot_every))
        case Kind.LEAVING:
            return Plan(_leaving(verdict, facts, seen, policy, snapshot_every))
        case Kind.ARRIVING:
            return Plan(_arriving(verdict, facts, seen, snapshot_every))
        case Kind.DOUBTFUL:
            return Plan(_doubtful(verdict, facts, seen, policy))
        case _:
            return Plan()


def plan_orphan(orphan: EtcdMember, seen: ControlPlane, snapshot_every: timedelta) -> Plan:
    """Take out a member that is nobody's, unless it could be one of a machine that is on its way in."""
    if seen.joining:
        return Plan((LookAgain(LATER, f"{orphan} may be of {', '.join(sorted(seen.joining))}, which is joining"),))
    return Plan(_removal(orphan, seen, "it is nobody's", snapshot_every, of=str(orphan), dead=True))


def urgency(verdict: Verdict, facts: Facts) -> int:
    """What cannot vote any more comes first, then what goes, what comes back, and last what comes; of equals what has
    begun."""
    begun = bool(facts.case or any(join.open for join in facts.joins))
    order = (
        Kind.DEAD, Kind.LEAVING, Kind.HEALTHY, Kind.PARKED, Kind.DOUBTFUL, Kind.ARRIVING, Kind.HELD, Kind.FOREIGN,
    )  # fmt: skip
    return 2 * order.index(verdict.kind) + (not begun)


def needs_pass(facts: Facts, verdict: Verdict, repair: Repair, seen: ControlPlane | None = None) -> bool:
    """Whether anything may be to do about a machine; without etcd having been `seen`, what has ended may be too."""
    if facts.case or any(join.open for join in facts.joins) or verdict.quarantined:
        return True
    if seen and end_of_admission(facts, seen):
        return True
    if verdict.kind is Kind.DEAD:
        rest = isinstance(facts.node, Node) or (verdict.member is not None and verdict.member.held)
        return seen is None or rest or facts.id in seen.member_of
    if verdict.kind is Kind.HEALTHY and calm(facts):
        return True
    if verdict.kind in (Kind.HEALTHY, Kind.PARKED):
        return isinstance(facts.node, Node) and facts.node.marked
    if verdict.kind is Kind.DOUBTFUL:
        return bool(doubtful(verdict, facts, repair))
    return verdict.kind in (Kind.LEAVING, Kind.ARRIVING)


def admitted_until(facts: Facts, admission: Admission | Unknown | None) -> datetime:
    """Return when its launch is given up. Waiting for its turn counts for nothing."""
    launched_at = facts.instance.launched_at if isinstance(facts.instance, Instance) else facts.at
    if isinstance(admission, Admission) and admission.instance == facts.id and admission.written_at >= launched_at:
        return admission.until
    return _NEVER


def end_of_admission(facts: Facts, seen: ControlPlane) -> tuple[Step, ...]:
    """Return what lets the next one in before its time, when a machine was admitted that does not join any more.

    Whether its record is still open says nothing: the minter may have ended that by itself.
    """
    if isinstance(seen.admission, Admission) and seen.admission.instance == facts.id:
        return (ForgetCertificates(facts.id, seen.asked, "it does not join any more"),)
    return ()


def _dead(verdict: Verdict, facts: Facts, seen: ControlPlane, snapshot_every: timedelta) -> tuple[Step, ...]:
    member = seen.member_of.get(facts.id)
    steps = list(dead(verdict, facts).steps)
    if member and verdict.gone_for_good:
        if not facts.case and not any(isinstance(step, OpenCase) for step in steps):
            group = verdict.group.name if verdict.group else None
            steps.insert(0, OpenCase(facts.id, group, member.name or None, verdict.reason))
        since = facts.case.opened_at if facts.case else facts.at
        removal = _removal(member, seen, verdict.reason, snapshot_every, of=facts.id, dead=True, since=since)
        steps = _before(steps, (AwaitDetach, DeleteNode, CompleteHook, AwaitReplacement, LookAgain), removal)
    forget = end_of_admission(facts, seen)
    out = [step for step in steps if isinstance(step, LeaveLoadBalancers)]  # nobody else's calls may end there
    rest = [step for step in steps if not isinstance(step, LeaveLoadBalancers)]
    opening = [replace(step, role=Role.CONTROL_PLANE) for step in rest if isinstance(step, OpenCase)]
    return _cut((*opening, *out, *forget, *(step for step in rest if not isinstance(step, OpenCase))))


def _leaving(
    verdict: Verdict, facts: Facts, seen: ControlPlane, policy: Policy, snapshot_every: timedelta
) -> tuple[Step, ...]:
    """Drained like any machine. Its member is the last that goes: with it ends its API server."""
    steps = list(leaving(verdict, facts, policy))
    member = seen.member_of.get(facts.id)
    if isinstance(facts.instance, Instance) and facts.instance.state in _ENDING:
        kept = tuple(step for step in steps if not isinstance(step, CompleteHook))
        return (*kept, LookAgain(SOON, "it ends by itself, and may still write until then")) if member else tuple(steps)
    if member is None:
        return tuple(steps)
    removal = _removal(member, seen, verdict.reason, snapshot_every, of=facts.id, dead=False)
    if any(isinstance(step, CompleteHook) for step in steps):
        return _cut(tuple(_before(steps, (CompleteHook,), removal)))
    drained = isinstance(facts.node, Node) and facts.node.draining_since(facts.at) is not None
    waits = any(isinstance(step, LookAgain) and step.after == SOON for step in steps)
    taken = verdict.notice is not None and (verdict.notice.cause, verdict.notice.what) == (Cause.SPOT, "terminate")
    if taken and drained and not waits:
        return _cut(tuple(_before(steps, (LookAgain,), removal)))
    return tuple(steps)


def _arriving(verdict: Verdict, facts: Facts, seen: ControlPlane, snapshot_every: timedelta) -> tuple[Step, ...]:
    member = seen.member_of.get(facts.id)
    until = admitted_until(facts, seen.admission)
    steps = list(arriving(verdict, facts, until))
    group = verdict.group
    if any(isinstance(step, Mint) for step in steps):
        wait = _not_now(verdict, facts, seen)
        if wait or seen.asked is None:
            return (*heartbeats(verdict, facts), _at_the_gate(facts, wait or "nobody answers for etcd"))
        turn = "etcd is whole, and it is its turn"
        admit = Admit(facts.id, seen.asked, len(seen.joined) + 1, turn, admitted=until != _NEVER)
        certificates = UploadCertificates(facts.id, seen.asked, "it joins with them")
        steps = _before(steps, (Mint,), (admit, certificates))
    lacks = _not_whole(verdict, facts, seen, member) if _joins(steps) else None
    if lacks and facts.at >= until:  # its Node alone is no end: as long as it joins, nobody else may
        steps = [*heartbeats(verdict, facts), *give_up(verdict, facts, lacks)]
    if any(isinstance(step, GiveUpLaunch) for step in steps):
        if isinstance(facts.node, Node) and not _ends(steps):
            return tuple(steps)  # it is in service, and nobody ends it: a person is told, and it keeps what it has
        if group and group.load_balancers:
            steps.insert(0, LeaveLoadBalancers(facts.id, group.load_balancers, "it is given up"))
        if member:
            removal = _removal(member, seen, "its launch is given up", snapshot_every, of=facts.id, dead=False)
            steps = _before(steps, (CompleteHook, LookAgain), removal) if _ends(steps) else [*steps, *removal]
        return _cut((*steps[:-1], _forget(facts, seen), *steps[-1:]))
    if _joins(steps):
        if lacks:
            asks = Approve(facts.id, "it may have asked for its certificates")
            return (*heartbeats(verdict, facts), asks, *_serve(verdict, facts, seen), LookAgain(SOON, lacks))
        return (*steps[:-1], _forget(facts, seen), *steps[-1:])
    if any(isinstance(step, Mint | Approve) for step in steps):
        steps = _before(steps, (LookAgain,), _serve(verdict, facts, seen))
    return tuple(steps)


def _doubtful(verdict: Verdict, facts: Facts, seen: ControlPlane, policy: Policy) -> tuple[Step, ...]:
    """What would take it down for a while is done only while etcd and the API can do without it."""
    steps = doubtful(verdict, facts, policy.repair)
    place = next((n for n, step in enumerate(steps) if isinstance(step, Reboot | Replace)), None)
    if place is None or (reason := _needed(facts, seen)) is None:
        return steps
    return (*steps[:place], AwaitQuorum(facts.id, f"{facts.id} is in trouble and cannot be spared: {reason}"))


def _needed(facts: Facts, seen: ControlPlane) -> str | None:
    """Say why a control plane must not be taken down now, None when the others carry on without it."""
    if isinstance(seen.etcd, Unknown) or seen.unknown:
        return f"unknown: {seen.unknown}"
    if seen.joining:
        return f"{', '.join(sorted(seen.joining))} is joining"
    member = seen.member_of.get(facts.id)
    if member is None:
        return "it is not known which member of etcd is its own"
    if reason := quorum.may_be_down(seen.etcd, member):
        return reason
    if isinstance(seen.serving, Unknown):
        return f"unknown: {seen.serving.reason}"
    return None if seen.serving - {facts.id} else "the API's load balancer has no other healthy target"


def _at_the_gate(facts: Facts, wait: str) -> Step:
    """A turn comes within minutes; who waits for longer waits for a person."""
    launched_at = facts.instance.launched_at if isinstance(facts.instance, Instance) else facts.at
    if facts.at - launched_at < _TURN_COMES_WITHIN:
        return LookAgain(LATER, wait)
    return AwaitQuorum(facts.id, f"{facts.id} was launched {facts.at - launched_at} ago and may not join: {wait}")


def _not_now(verdict: Verdict, facts: Facts, seen: ControlPlane) -> str | None:
    """Say why no machine may join now. kubeadm would fail at a member that is dead, and leave one of its own behind."""
    group = verdict.group
    if isinstance(seen.etcd, Unknown):
        return f"unknown: {seen.etcd.reason}"
    if others := seen.joining - {facts.id}:
        return f"it waits for its turn: {', '.join(sorted(others))} is joining"
    if group is None:
        return "no group lists it"
    if len(seen.joined) >= group.desired:
        return f"{group.name} wants {group.desired} machines, and as many have joined already"
    member = seen.member_of.get(facts.id)
    if member:  # it has joined etcd under an earlier token, and needs a new one for the rest
        return None
    if reason := quorum.may_admit(seen.etcd, wanted=len(seen.joined) + 1):
        return f"it waits until etcd is whole: {reason}"
    if isinstance(seen.serving, Unknown):
        return f"unknown: {seen.serving.reason}"
    if not seen.serving & seen.joined:
        return "the API's load balancer has no healthy target that it could join through"
    return None


def _not_whole(verdict: Verdict, facts: Facts, seen: ControlPlane, member: EtcdMember | None) -> str | None:
    """Say what a machine whose Node is Ready still lacks to be a control plane."""
    if member is None:
        return "its Node is Ready, and etcd has no member of it"
    if member.learner:
        return "its etcd member is still a learner"
    if not member.healthy:
        return f"its etcd member {'has raised ' + ', '.join(member.alarms) if member.alarms else 'does not answer'}"
    if verdict.group and verdict.group.load_balancers and not isinstance(seen.serving, Unknown):
        return None if facts.id in seen.serving else "its API server is not healthy for the load balancer yet"
    return None


def _removal(
    member: EtcdMember,
    seen: ControlPlane,
    because: str,
    snapshot_every: timedelta,
    *,
    of: str,
    dead: bool,
    since: datetime | None = None,
) -> tuple[Step, ...]:
    """The steps that take a member out, or the one that says why it has to stay. `since`: that was begun then."""
    if isinstance(seen.etcd, Unknown) or seen.asked is None:
        return (AwaitQuorum(of, f"unknown: {seen.unknown}"),)
    reason = may_go(seen.etcd, member, dead=dead or not member.answers)
    if reason is None and not member.learner and (orphan := next(iter(seen.orphans), None)) and orphan.id != member.id:
        reason = f"{orphan}, which is nobody's, has to go first"
    if reason:
        new = since is not None and seen.at - since < _ELECTED_WITHIN
        return (AwaitQuorum(of, reason, tells=not (new and quorum.leaderless(seen.etcd, besides=member))),)
    steps: list[Step] = []
    if snapshot := _snapshot(seen, snapshot_every, "a member of etcd is to be removed"):
        steps.append(snapshot)
    if member.leads and member.answers and not dead and (heir := quorum.heir(seen.etcd, member)):
        steps.append(MoveLeader(seen.asked, heir, f"{member.name} leads, and goes"))
    steps.append(RemoveMember(member, seen.asked, dead or not member.answers, because))
    return tuple(steps)


def may_go(etcd: Etcd, member: EtcdMember, *, dead: bool) -> str | None:
    """Return why a member must stay, None when etcd can do without it."""
    if member.learner:
        return quorum.may_remove_learner(etcd, member)
    return quorum.may_remove(etcd, member, dead=dead)


def plan_snapshot(seen: ControlPlane, snapshot_every: timedelta) -> Plan:
    """What is due when nothing else is."""
    due = _snapshot(seen, snapshot_every, f"there is none that is younger than {snapshot_every}")
    return Plan((replace(due, awaited=True),) if due else ())


def _snapshot(seen: ControlPlane, every: timedelta, why: str) -> TakeSnapshot | None:
    if seen.unknown or seen.asked is None or isinstance(seen.snapshot_at, Unknown):
        return None
    age = seen.at - seen.snapshot_at if seen.snapshot_at else None
    return TakeSnapshot(seen.asked, why, age is None or age >= 2 * every) if age is None or age >= every else None


def _serve(verdict: Verdict, facts: Facts, seen: ControlPlane) -> tuple[Step, ...]:
    """Early, since some of kubeadm's calls go through the load balancer; and again if that was not come to."""
    balancers = verdict.group.load_balancers if verdict.group else ()
    if not balancers or (not isinstance(seen.registered, Unknown) and facts.id in seen.registered):
        return ()
    return (JoinLoadBalancers(facts.id, balancers, "requests come as soon as its API server is healthy"),)


def _forget(facts: Facts, seen: ControlPlane) -> ForgetCertificates:
    return ForgetCertificates(facts.id, seen.asked, "what it could join with goes")


def _ends(steps: Sequence[Step]) -> bool:
    return any(isinstance(step, CompleteHook) for step in steps)


def _joins(steps: Sequence[Step]) -> bool:
    """Whether a plan brings a machine into service, or ends its joining."""
    into = any(isinstance(step, CompleteHook) and step.transition is Transition.LAUNCHING for step in steps)
    return into or any(isinstance(step, Revoke) for step in steps)


def _before(steps: Sequence[Step], kinds: tuple[type, ...], inserted: Sequence[Step]) -> list[Step]:
    """Put steps before the first of these kinds, or at the end."""
    place = next((n for n, step in enumerate(steps) if isinstance(step, kinds)), len(steps))
    return [*steps[:place], *inserted, *steps[place:]]


def _cut(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Nothing that comes after a wait for the quorum may be done."""
    place = next((n for n, step in enumerate(steps) if isinstance(step, AwaitQuorum)), len(steps))
    return steps[: place + 1]
