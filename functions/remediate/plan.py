"""Turn a verdict into the steps that follow from it. Pure; every step says what it will touch and why.

The order for a dead worker comes from what Kubernetes does with each step (Kubernetes, non-graceful node shutdown):
the out-of-service taint lets volumes be detached at once; the Node stays until no VolumeAttachment names it, because a
Node deleted earlier brings the attach-detach controller's six-minute wait back.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from functions.cluster.assess import Kind, Verdict, not_whole
from functions.cluster.facts import Absent, Case, Facts, Memory, Phase, Unknown
from functions.cluster.machine import CORDONED_ANNOTATION, Group, InstanceId, Node, Pod

SOON = timedelta(seconds=2)
LATER = timedelta(seconds=10)


@dataclass(frozen=True)
class OpenCase:
    """Write down that the machine is being worked on, and take one of the cluster's places for such work."""

    instance: InstanceId
    group: str | None
    node_name: str | None
    reason: str


@dataclass(frozen=True)
class Cordon:
    """Keep new pods away from a Node whose machine may still run."""

    node_name: str
    node_uid: str
    reason: str


@dataclass(frozen=True)
class Fence:
    """Cordon a dead machine's Node and taint it out of service."""

    node_name: str
    node_uid: str
    reason: str


@dataclass(frozen=True)
class Restore:
    """Take back what we did to the Node of a machine that runs again."""

    node_name: str
    node_uid: str
    reason: str


@dataclass(frozen=True)
class DeletePods:
    """Delete a dead machine's pods by uid with no grace: there is no kubelet left to end them."""

    node_name: str
    pods: tuple[Pod, ...]
    reason: str


@dataclass(frozen=True)
class LeaveTargetGroups:
    """Take the instance out of its own group's target groups."""

    instance: InstanceId
    target_groups: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class AwaitDetach:
    """Wait until no VolumeAttachment names the Node."""

    node_name: str
    reason: str


@dataclass(frozen=True)
class DeleteNode:
    """Delete the Node object, that very one."""

    node_name: str
    node_uid: str
    reason: str


@dataclass(frozen=True)
class CompleteHook:
    """Let Auto Scaling go on with an instance that waits in a terminate hook."""

    instance: InstanceId
    group: str
    reason: str


@dataclass(frozen=True)
class AwaitReplacement:
    """Write down that nothing more is to be removed; the machine's place in flight is free from here on."""

    instance: InstanceId
    reason: str


@dataclass(frozen=True)
class CloseCase:
    """The cluster is whole again."""

    instance: InstanceId
    reason: str


@dataclass(frozen=True)
class LookAgain:
    """Nothing more can be done now."""

    after: timedelta
    reason: str


Step = (
    OpenCase | Cordon | Fence | Restore | DeletePods | LeaveTargetGroups | AwaitDetach | DeleteNode
    | CompleteHook | AwaitReplacement | CloseCase | LookAgain
)  # fmt: skip


STOPPED = LookAgain(LATER, "it may be started again, or be replaced by its group")


@dataclass(frozen=True)
class Plan:
    """Steps in the order in which they must happen; none at all is a plan as well."""

    steps: tuple[Step, ...] = ()

    @property
    def opens_case(self) -> bool:
        return any(isinstance(step, OpenCase) for step in self.steps)

    @property
    def touches(self) -> bool:
        """Whether any step changes anything."""
        return any(not isinstance(step, LookAgain) for step in self.steps)


def make_plan(verdict: Verdict, facts: Facts) -> Plan:
    """Return the steps that the verdict calls for, given what is left of the machine."""
    match verdict.kind:
        case Kind.DEAD:
            return _dead(verdict, facts)
        case Kind.LEAVING:
            return _leaving(verdict, facts)
        case Kind.HEALTHY:
            return _healthy(facts)
        case Kind.HELD if verdict.may_change:
            return Plan((LookAgain(LATER, verdict.reason),))
        case Kind.FOREIGN if _case(facts):
            return Plan((CloseCase(facts.id, verdict.reason),))
        case Kind.HELD | Kind.FOREIGN:
            return Plan()


def _dead(verdict: Verdict, facts: Facts) -> Plan:
    case = _case(facts)
    remains = _remains(verdict, facts)
    if case and case.phase is Phase.REPLACING and not remains:
        return _replacing(verdict.group, facts) if verdict.gone_for_good else Plan((STOPPED,))
    if not case and not remains:
        return Plan()

    steps: list[Step] = []
    if not case:
        node_name = facts.node.name if isinstance(facts.node, Node) else None
        group_name = verdict.group.name if verdict.group else None
        steps.append(OpenCase(facts.id, group_name, node_name, verdict.reason))
    steps += remains
    if verdict.gone_for_good:
        steps.append(AwaitReplacement(facts.id, "nothing is left of it in the cluster"))
        steps.append(LookAgain(SOON, "its group is not known to be whole yet"))
    else:
        steps.append(AwaitReplacement(facts.id, "all is done that a stopped machine needs"))
        steps.append(STOPPED)
    return Plan(tuple(steps))


def _remains(verdict: Verdict, facts: Facts) -> list[Step]:
    """Return the steps that take out what is left of a dead machine."""
    steps: list[Step] = []
    case = _case(facts)
    if isinstance(facts.node, Node):
        name, uid = facts.node.name, facts.node.uid
        if not (facts.node.out_of_service and facts.node.unschedulable):
            steps.append(Fence(name, uid, verdict.reason))
        pods = tuple(pod for pod in _pods(facts) if not pod.finished)
        if pods:
            steps.append(DeletePods(name, pods, "their machine is dead"))
    cleaned = case is not None and case.phase is Phase.REPLACING
    if verdict.group and verdict.group.target_groups and (steps or (verdict.member and not cleaned)):
        steps.append(LeaveTargetGroups(facts.id, verdict.group.target_groups, "it cannot serve"))
    if verdict.gone_for_good and isinstance(facts.node, Node):
        steps.append(AwaitDetach(facts.node.name, "its volumes are released first"))
        steps.append(DeleteNode(facts.node.name, facts.node.uid, verdict.reason))
    if (
        verdict.gone_for_good
        and verdict.member
        and verdict.group
        and verdict.member.lifecycle_state == "Terminating:Wait"
    ):
        steps.append(CompleteHook(facts.id, verdict.group.name, "nothing of it is left to wait for"))
    return steps


def _replacing(group: Group | None, facts: Facts) -> Plan:
    if group is None:
        return Plan((CloseCase(facts.id, "its group is gone, nothing will replace it"),))
    if isinstance(facts.nodes_ready, Unknown):
        return Plan((LookAgain(LATER, facts.nodes_ready.reason),))
    if missing := not_whole(group, facts.nodes_ready):
        return Plan((LookAgain(SOON, missing),))
    return Plan((CloseCase(facts.id, f"{group.name} is whole: {group.desired} machines in service and Ready"),))


def _leaving(verdict: Verdict, facts: Facts) -> Plan:
    """Our cordon comes last: once it is seen, all has been done, and a pass each two seconds does nothing again."""
    steps: list[Step] = []
    node = facts.node if isinstance(facts.node, Node) else None
    done = node is not None and node.unschedulable and CORDONED_ANNOTATION in node.annotations
    if verdict.group and verdict.group.target_groups and not done:
        steps.append(LeaveTargetGroups(facts.id, verdict.group.target_groups, verdict.reason))
    if node and not node.unschedulable:
        steps.append(Cordon(node.name, node.uid, verdict.reason))
    return Plan((*steps, LookAgain(SOON, "it is not gone yet")))


def _healthy(facts: Facts) -> Plan:
    """A machine that was dead by its state and runs again gets back what we took."""
    case = _case(facts)
    if not case:
        return Plan()
    steps: list[Step] = []
    if isinstance(facts.node, Node) and facts.node.out_of_service:
        steps.append(Restore(facts.node.name, facts.node.uid, "its machine runs again"))
    elif isinstance(facts.node, Absent) and case.phase is Phase.CLEANING:
        return Plan((LookAgain(LATER, "it runs again, its Node has not come back yet"),))
    return Plan((*steps, CloseCase(facts.id, "it runs again")))


def _case(facts: Facts) -> Case | None:
    return facts.memory.case if isinstance(facts.memory, Memory) else None


def _pods(facts: Facts) -> tuple[Pod, ...]:
    return () if isinstance(facts.pods, Unknown) else facts.pods
