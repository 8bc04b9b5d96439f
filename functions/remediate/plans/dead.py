"""The plan for a dead machine.

The order comes from what Kubernetes does with each step (Kubernetes, non-graceful node shutdown): the out-of-service
taint lets volumes be detached at once; the Node stays until no VolumeAttachment names it, because a Node deleted
earlier brings the attach-detach controller's six-minute wait back.
"""

from __future__ import annotations

from datetime import timedelta

from functions.cluster.assess import Verdict, not_whole, too_few
from functions.cluster.facts import Case, Facts, Memory, Phase, Unknown
from functions.cluster.machine import Group, Node, Pod, Transition
from functions.remediate.plan import (
    LATER,
    SOON,
    AwaitDetach,
    AwaitReplacement,
    CloseCase,
    CompleteHook,
    DeleteNode,
    DeletePods,
    Fence,
    LeaveLoadBalancers,
    LookAgain,
    OpenCase,
    Plan,
    Revoke,
    Step,
)

STOPPED = LookAgain(LATER, "it may be started again, or be replaced by its group")
QUICK_FOR = timedelta(minutes=10)  # then it is the sweep that looks, each minute


def dead(verdict: Verdict, facts: Facts) -> Plan:
    """Take out what is left of a dead machine, then wait until its group is whole again."""
    case = facts.case
    remains = _remains(verdict, facts)
    if case and case.phase is Phase.REPLACING and not remains:
        waiting = _replacing(verdict.group, facts) if verdict.gone_for_good else (STOPPED,)
        return Plan((*_forget(verdict, facts), *_while_it_is_new(waiting, facts)))
    if not case and not remains:
        return Plan(_forget(verdict, facts))

    steps: list[Step] = []
    if not case:
        node_name = facts.node.name if isinstance(facts.node, Node) else None
        group_name = verdict.group.name if verdict.group else None
        steps.append(OpenCase(facts.id, group_name, node_name, verdict.reason))
    steps += remains
    if verdict.gone_for_good:
        steps.append(AwaitReplacement(facts.id, "nothing is left of it in the cluster"))
        steps += _forget(verdict, facts)
        if not _many_are_dead(facts):
            steps += _while_it_is_new((LookAgain(SOON, "its group is not known to be whole yet"),), facts)
    else:
        steps.append(AwaitReplacement(facts.id, "all is done that a stopped machine needs"))
        steps += _while_it_is_new((STOPPED,), facts)
    return Plan(tuple(steps))


def _while_it_is_new(steps: tuple[Step, ...], facts: Facts) -> tuple[Step, ...]:
    """What waits for others may wait for days; the sweep looks at every open case each minute."""
    if facts.case and facts.at - facts.case.opened_at >= QUICK_FOR:
        return tuple(step for step in steps if not isinstance(step, LookAgain))
    return steps


def _forget(verdict: Verdict, facts: Facts) -> tuple[Step, ...]:
    """What it could join with goes, and once it is gone for good the minter's record of it may be forgotten."""
    if any(join.open or (verdict.gone_for_good and join.keep_until is None) for join in facts.joins):
        return (Revoke(facts.id, "it has ended: its token and bundle go, and in time its record"),)
    return ()


def _remains(verdict: Verdict, facts: Facts) -> list[Step]:
    """Return the steps that take out what is left of a dead machine."""
    steps: list[Step] = []
    case = facts.case
    if isinstance(facts.node, Node):
        name, uid = facts.node.name, facts.node.uid
        if not (facts.node.out_of_service and facts.node.unschedulable):
            steps.append(Fence(name, uid, verdict.reason))
        pods = tuple(pod for pod in facts.known_pods if not (pod.finished or _made_after_its_death(pod, case)))
        if pods:
            steps.append(DeletePods(name, pods, "their machine is dead"))
    cleaned = case is not None and case.phase is Phase.REPLACING
    may_serve = verdict.member is not None and not verdict.member.warmed and not cleaned
    if verdict.group and verdict.group.load_balancers and (steps or may_serve):
        steps.append(LeaveLoadBalancers(facts.id, verdict.group.load_balancers, "it cannot serve", serves=False))
    if verdict.gone_for_good and isinstance(facts.node, Node):
        steps.append(AwaitDetach(facts.node.name, "its volumes are released first"))
        steps.append(DeleteNode(facts.node.name, facts.node.uid, verdict.reason))
    if verdict.gone_for_good and verdict.group and verdict.waits(Transition.TERMINATING):
        steps.append(
            CompleteHook(facts.id, verdict.group.name, Transition.TERMINATING, "nothing of it is left to wait for")
        )
    if verdict.gone_for_good and verdict.group and verdict.waits(Transition.LAUNCHING):
        reason = "it died before it joined"
        steps.append(CompleteHook(facts.id, verdict.group.name, Transition.LAUNCHING, reason, abandon=True))
    return steps


def _made_after_its_death(pod: Pod, case: Case | None) -> bool:
    """Whether it has never run: many a DaemonSet tolerates whatever is on the Node, and makes its pod anew for ever."""
    return pod.daemon and case is not None and pod.created_at is not None and pod.created_at > case.opened_at


def _many_are_dead(facts: Facts) -> bool:
    """Whether others are still to be cleaned up: its group is not whole for long, and the sweep sees when it is."""
    return isinstance(facts.memory, Memory) and len(facts.memory.in_flight - {facts.id}) > 1


def _replacing(group: Group | None, facts: Facts) -> tuple[Step, ...]:
    if group is None:
        return (CloseCase(facts.id, "its group is gone, nothing will replace it", forget=True),)
    if missing := too_few(group):
        return () if _many_are_dead(facts) else (LookAgain(SOON, missing),)
    if isinstance(facts.nodes_ready, Unknown):
        return (LookAgain(LATER, facts.nodes_ready.reason),)
    if missing := not_whole(group, facts.nodes_ready):
        return (LookAgain(SOON, missing),)
    whole = f"{group.name} is whole: {group.desired} machines in service and Ready"
    return (CloseCase(facts.id, whole, forget=True),)
