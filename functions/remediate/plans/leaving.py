"""The plan for a machine that leaves while its operating system may still run.

It serves and runs what it has until that is elsewhere: out of the target groups first, then no new pods, then its pods
evicted, and only when they are gone does Auto Scaling hear that it may go on. The Node goes when EC2 says that the
instance has ended, by the plan for a dead machine.
"""

from __future__ import annotations

from datetime import timedelta

from functions.cluster.assess import Verdict
from functions.cluster.facts import Facts, Unknown
from functions.cluster.machine import Node, Pod, Transition
from functions.remediate.plan import (
    LATER,
    SOON,
    CompleteHook,
    Cordon,
    Evict,
    Heartbeat,
    LeaveTargetGroups,
    LookAgain,
    Release,
    Revoke,
    Step,
)

_NAMED = 3


def leaving(verdict: Verdict, facts: Facts, drain_deadline: timedelta) -> tuple[Step, ...]:
    """Return the steps for a machine that is on its way out. Our mark on the Node says since when it is drained.

    The mark is the Node's own, so whoever has root on the machine can renew it: that only delays the machine's end, up
    to the two days that Auto Scaling lets a hook wait.
    """
    group = verdict.group
    held = group is not None and verdict.waits(Transition.TERMINATING)
    node = facts.node if isinstance(facts.node, Node) else None
    steps: list[Step] = []
    if group and held:
        steps.append(Heartbeat(facts.id, group.name, Transition.TERMINATING, "it is not drained yet"))
    since = node.draining_since(facts.at) if node else None
    if not (node and node.unschedulable and since):
        if group and group.target_groups:
            steps.append(LeaveTargetGroups(facts.id, group.target_groups, verdict.reason))
        if node:
            steps.append(Cordon(node.name, node.uid, verdict.reason))
    if any(join.open for join in facts.joins):
        steps.append(Revoke(facts.id, "it goes: its token and bundle go first"))
    if node:
        if isinstance(facts.pods, Unknown):
            return (*steps, LookAgain(LATER, facts.pods.reason))
        if evictable := tuple(pod for pod in facts.pods if pod.evictable):
            steps.append(Evict(node.name, evictable, verdict.reason))
        if awaited := tuple(pod for pod in facts.pods if pod.awaited):
            waiting = f"{_pods(awaited)} not gone yet"
            if not (held and since and facts.at - since > drain_deadline):
                return (*steps, LookAgain(SOON, waiting))
            because = f"{waiting}, {drain_deadline} after the drain began"
            steps = [Release(facts.id, because)]  # an eviction that is refused now would keep it from going
    if group and held:
        why = steps[0].reason if steps and isinstance(steps[0], Release) else "none of its pods is left on it"
        steps.append(CompleteHook(facts.id, group.name, Transition.TERMINATING, why))
    return (*steps, LookAgain(SOON, "it is not gone yet"))


def _pods(pods: tuple[Pod, ...]) -> str:
    names = ", ".join(str(pod) for pod in pods[:_NAMED]) + (", …" if len(pods) > _NAMED else "")
    return f"1 pod is ({names})" if len(pods) == 1 else f"{len(pods)} pods are ({names})"
