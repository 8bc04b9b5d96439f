"""The plan for a machine that leaves while its operating system may still run.

It serves and runs what it has until that is elsewhere: no new pods first, then no new requests, then its pods evicted,
and only when they are gone does Auto Scaling hear that it may go on. The Node goes when EC2 says that the instance has
ended, by the plan for a dead machine.

The first pass only cordons it and takes it out of its load balancers: of many machines that are announced at once, each
is closed for new work before any is emptied.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from functions.cluster.assess import Verdict
from functions.cluster.doubt import repair_of
from functions.cluster.draining import DrainPolicy, Overdue
from functions.cluster.facts import Facts, Unknown
from functions.cluster.machine import Instance, InstanceState, Node, Pod, Transition
from functions.cluster.notice import Cause
from functions.cluster.policy import Policy, Rebalance
from functions.cluster.trouble import silent_for
from functions.remediate.plan import (
    AT_ONCE,
    LATER,
    SOON,
    CompleteHook,
    Cordon,
    DeleteOverdue,
    Evict,
    Heartbeat,
    LeaveLoadBalancers,
    LookAgain,
    Release,
    Revoke,
    Step,
)
from functions.remediate.plans.draining import Drain, drain_of

TAKEN_MARGIN = timedelta(seconds=10)  # before AWS takes a machine, so that the last words are not lost
DELETE_TAKES = timedelta(seconds=45)  # pods are given their own grace, mostly 30 s
REQUESTS_END_WITHIN = timedelta(minutes=5)  # what a load balancer waits unless told otherwise, where nothing presses
QUICK_FOR = timedelta(minutes=2)
UNHURRIED = timedelta(minutes=1)
_NAMED = 3


@dataclass(frozen=True)
class Times:
    """The times of one drain, planned backwards from its end; `ends_at` is None where nothing ends it.

    `requests_until`: how long load balancers may take to let requests end; `order_until`: for how long pods of a higher
    priority wait for those of a lower one.
    """

    requests_until: datetime
    ends_at: datetime | None = None
    order_until: datetime | None = None
    deletes_from: datetime | None = None


def leaving(verdict: Verdict, facts: Facts, policy: Policy) -> tuple[Step, ...]:
    """Return the steps for a machine that is on its way out. Our marks on the Node say why, and since when it drains.

    The marks are the Node's own, so whoever has root on the machine can renew them: that only delays the machine's end,
    up to the two days that Auto Scaling lets a hook wait.
    """
    group, notice = verdict.group, verdict.notice
    node = facts.node if isinstance(facts.node, Node) else None
    steps: list[Step] = []
    held = group is not None and verdict.waits(Transition.TERMINATING)
    if group and held:
        steps.append(Heartbeat(facts.id, group.name, Transition.TERMINATING, "it is not drained yet"))
    open_join = any(join.open for join in facts.joins)
    revoke = (Revoke(facts.id, "it goes: its token and bundle go first"),) if open_join else ()
    if notice and _only_advice(verdict) and policy.rebalance is Rebalance.CORDON:
        advised = node and not node.heeds(notice, drains=False, at=facts.at)
        cordon = (Cordon(node.name, node.uid, verdict.reason, notice, drains=False),) if node and advised else ()
        return (*cordon, *revoke)

    closing = node is not None and not node.heeds(notice, drains=True, at=facts.at)
    if node and closing:
        steps.append(Cordon(node.name, node.uid, verdict.reason, notice))
    since = node.draining_since(facts.at) if node and not closing else None
    times = times_of(verdict, since, policy.drain, facts.at) if since else None
    serving = _serving(verdict, facts)
    out = (LeaveLoadBalancers(facts.id, serving, verdict.reason),) if serving else ()
    if closing or (times and facts.at < times.requests_until):
        steps += out  # one that refuses us holds up nothing for longer than requests may take to end
    steps += revoke
    if closing:
        return (*steps, LookAgain(AT_ONCE, "it is closed for new work, now it is drained"))

    if node and since and times:
        unheard = silent_for(facts) >= repair_of(group, policy.repair).silent_after
        if not unheard and (wait := _requests_end(facts, times)):
            return (*steps, LookAgain(SOON, wait))
        if isinstance(facts.pods, Unknown):
            return (*steps, LookAgain(LATER, facts.pods.reason))
        over = times.ends_at is not None and facts.at >= times.ends_at
        if unheard and not over:
            drained = _unheard(node, facts.pods, since, times, verdict, facts, policy.drain)
        else:
            drained = _drained(node, facts.pods, since, times, verdict, facts, policy.drain)
        if drained and isinstance(drained[-1], LookAgain):
            return (*steps, *drained)
        if any(isinstance(step, Release) for step in drained):
            steps = []  # its last words: nothing else is worth a call now
        steps += drained
    if group and held:
        released = [step.reason for step in steps if isinstance(step, Release)]
        why = released[0] if released else "none of its pods is left on it"
        steps.append(CompleteHook(facts.id, group.name, Transition.TERMINATING, why))
    if node is None:
        steps += out
    return (*steps, *_then(verdict, facts))


def _drained(
    node: Node,
    pods: tuple[Pod, ...],
    since: datetime,
    times: Times,
    verdict: Verdict,
    facts: Facts,
    policy: DrainPolicy,
) -> tuple[Step, ...]:
    """The steps that empty it, with a look again at their end while pods are waited for, or the release in the end."""
    over = times.ends_at is not None and facts.at >= times.ends_at
    overdue = over or (times.deletes_from is not None and facts.at >= times.deletes_from)
    in_order = not _ends(facts) and (times.order_until is None or facts.at < times.order_until)
    drain = drain_of(pods, policy, overdue=overdue, at=facts.at, since=node.closed_since(facts.at), in_order=in_order)
    after = _pace(times, since, facts)
    emptying = () if over else _empty(node, drain, verdict, after)
    if drain.awaited and not over:
        return (*emptying, LookAgain(after, _waiting(drain)))
    left = tuple(dict.fromkeys((*drain.released, *drain.awaited)))
    if not left:
        return emptying
    why = f": {drain.released_because}" if drain.released_because else ""
    because = f"{_pods(left)} not gone yet, {facts.at - since} after the drain began{why}"
    return (
        *_last_try(node, pods, policy, verdict, facts.at),
        Release(facts.id, because, held=verdict.waits(Transition.TERMINATING) and verdict.group is not None),
    )


def _unheard(
    node: Node,
    pods: tuple[Pod, ...],
    since: datetime,
    times: Times,
    verdict: Verdict,
    facts: Facts,
    policy: DrainPolicy,
) -> tuple[Step, ...]:
    """Nothing ends on a machine whose kubelet is silent: its pods are evicted so that others start, not waited for."""
    drain = drain_of(pods, policy, overdue=False, at=facts.at, in_order=False)
    emptying = _empty(node, drain, verdict, None)
    left = tuple(dict.fromkeys((*drain.released, *drain.awaited)))
    if not left:
        return emptying
    why = f"its kubelet has been silent for {silent_for(facts)}, and {_pods(left)} not gone"
    if verdict.waits(Transition.TERMINATING) and verdict.group is not None:
        return (*emptying, Release(facts.id, why, held=True))
    return (*emptying, LookAgain(_pace(times, since, facts), why))


def times_of(verdict: Verdict, since: datetime, policy: DrainPolicy, at: datetime) -> Times:
    """Plan a drain backwards: from the earlier of the hook's deadline and the time at which AWS takes the machine."""
    notice = verdict.notice
    ends = [since + policy.deadline] if verdict.waits(Transition.TERMINATING) else []
    if notice and notice.taken_at and at < notice.taken_at:  # one that still runs then was not taken: it has time
        ends.append(notice.taken_at - TAKEN_MARGIN)
    ends_at = min(ends, default=None)
    if ends_at is None:
        return Times(since + REQUESTS_END_WITHIN)
    there_is = max(ends_at - since, timedelta(0))
    deletes_from = ends_at - min(DELETE_TAKES, there_is / 2) if policy.overdue is Overdue.DELETE else None
    return Times(since + there_is / 3, ends_at, since + there_is * 2 / 3, deletes_from)


def _only_advice(verdict: Verdict) -> bool:
    leaves = verdict.member is not None and verdict.member.terminating
    return verdict.notice is not None and verdict.notice.cause is Cause.REBALANCE and not leaves


def _serving(verdict: Verdict, facts: Facts) -> tuple[str, ...]:
    """Return its own group's load balancers that still send it requests; all of them while that cannot be known."""
    if isinstance(facts.targets, Unknown):
        first = not (isinstance(facts.node, Node) and facts.node.draining_since(facts.at))
        return verdict.group.load_balancers if verdict.group and first else ()
    return tuple(target.of for target in facts.targets if not target.draining)


def _requests_end(facts: Facts, times: Times) -> str | None:
    """Say which load balancers still let its requests end; None when none does, or no more time may go into that."""
    if facts.at >= times.requests_until or _ends(facts):
        return None
    if isinstance(facts.targets, Unknown):
        return facts.targets.reason
    names = ", ".join(target.of.rpartition("targetgroup/")[2] for target in facts.targets)
    return f"{names} still lets its requests end" if names else None


def _ends(facts: Facts) -> bool:
    states = (InstanceState.SHUTTING_DOWN, InstanceState.STOPPING)
    return isinstance(facts.instance, Instance) and facts.instance.state in states


def _pace(times: Times, since: datetime, facts: Facts) -> timedelta:
    """Look often while most pods go and when the end is near; in between others have to do something."""
    near = times.ends_at is not None and times.ends_at - facts.at < QUICK_FOR
    if near or facts.at - since < QUICK_FOR:
        return SOON
    return LATER if times.ends_at or _ends(facts) else UNHURRIED


def _empty(node: Node, drain: Drain, verdict: Verdict, after: timedelta | None) -> tuple[Step, ...]:
    delete = (DeleteOverdue(node.name, drain.delete, verdict.reason),) if drain.delete else ()
    evict = (Evict(node.name, drain.evict, verdict.reason, after),) if drain.evict else ()
    return (*delete, *evict)


def _last_try(
    node: Node, pods: tuple[Pod, ...], policy: DrainPolicy, verdict: Verdict, at: datetime
) -> tuple[Step, ...]:
    """Ask once more before the machine goes: a pause or an outage may have taken all the time there was."""
    return _empty(node, drain_of(pods, policy, overdue=False, at=at, in_order=False), verdict, None)


def _then(verdict: Verdict, facts: Facts) -> tuple[Step, ...]:
    """Look again while something is about to happen. For what AWS does on a day to come, the sweep looks."""
    since = facts.node.draining_since(facts.at) if isinstance(facts.node, Node) else None
    quick = SOON if since is None or facts.at - since < QUICK_FOR else LATER
    notice = verdict.notice
    if (verdict.member and verdict.member.terminating) or _ends(facts):
        return (LookAgain(quick, "it is not gone yet"),)
    if notice and notice.cause is Cause.SPOT:
        return (LookAgain(LATER, f"it is empty. {notice}"),)
    return ()


def _waiting(drain: Drain) -> str:
    kept = f"; {drain.kept_because}" if drain.kept_because else ""
    return f"{_pods(drain.awaited)} not gone yet{kept}"


def _pods(pods: tuple[Pod, ...]) -> str:
    names = ", ".join(str(pod) for pod in pods[:_NAMED]) + (", …" if len(pods) > _NAMED else "")
    return f"1 pod is ({names})" if len(pods) == 1 else f"{len(pods)} pods are ({names})"
