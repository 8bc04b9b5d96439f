"""Which steps follow from which facts, in which order; and what no plan ever holds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given, settings

from functions.cluster.assess import Kind, assess
from functions.cluster.facts import Absent, Case, Facts, Memory, Phase, Unknown
from functions.cluster.machine import CORDONED_ANNOTATION, InstanceState, Node, Pod
from functions.remediate.plan import (
    AwaitDetach,
    AwaitReplacement,
    CloseCase,
    CompleteHook,
    Cordon,
    DeleteNode,
    DeletePods,
    Fence,
    LeaveTargetGroups,
    LookAgain,
    OpenCase,
    Plan,
    Restore,
    Step,
    make_plan,
)
from tests.unit.functions.builders import (
    NOW,
    ONE,
    OUT_OF_SERVICE,
    TARGET_GROUP,
    TWO,
    WORKERS,
    case,
    facts,
    fenced,
    fleet,
    group,
    instance,
    member,
    memory,
    node,
    pod,
    record,
)
from tests.unit.functions.strategies import FACTS

TERMINATED = instance(ONE, InstanceState.TERMINATED)
STOPPED = instance(ONE, InstanceState.STOPPED)
WAITS = fleet(group(member(ONE, "Terminating:Wait"), member(TWO)))
LEFT = fleet(group(member(TWO), desired=1))
SHORT = fleet(group(member(TWO)))
CLEANING, REPLACING = memory(case=case()), memory(case=case(phase=Phase.REPLACING))
PODS = (pod(), pod("job", finished=True))

PLANS: dict[str, tuple[Facts, list[type[Step]]]] = {
    "just terminated": (
        facts(instance=TERMINATED, fleet=WAITS, pods=PODS, attachments=("csi-1",)),
        [
            OpenCase, Fence, DeletePods, LeaveTargetGroups, AwaitDetach, DeleteNode, CompleteHook, AwaitReplacement,
            LookAgain,
        ],
    ),
    "terminated, its group has not noticed": (
        facts(instance=TERMINATED, pods=PODS),
        [OpenCase, Fence, DeletePods, LeaveTargetGroups, AwaitDetach, DeleteNode, AwaitReplacement, LookAgain],
    ),
    "terminated, fenced, volumes attached": (
        facts(instance=TERMINATED, node=fenced(), attachments=("csi-1",), memory=CLEANING),
        [LeaveTargetGroups, AwaitDetach, DeleteNode, AwaitReplacement, LookAgain],
    ),
    "terminated, fenced but opened for pods again": (
        facts(instance=TERMINATED, node=fenced(unschedulable=False), memory=CLEANING),
        [Fence, LeaveTargetGroups, AwaitDetach, DeleteNode, AwaitReplacement, LookAgain],
    ),
    "terminated, Node gone, waits in its hook": (
        facts(instance=TERMINATED, node=Absent(), fleet=WAITS, memory=CLEANING),
        [LeaveTargetGroups, CompleteHook, AwaitReplacement, LookAgain],
    ),
    "terminated, nothing left, the pass before was killed": (
        facts(instance=TERMINATED, node=Absent(), fleet=SHORT, memory=CLEANING),
        [AwaitReplacement, LookAgain],
    ),
    "only finished pods": (
        facts(instance=TERMINATED, fleet=LEFT, pods=(pod("job", finished=True),), node=fenced(), memory=CLEANING),
        [AwaitDetach, DeleteNode, AwaitReplacement, LookAgain],
    ),
    "no target groups": (
        facts(instance=TERMINATED, fleet=fleet(group(member(ONE), member(TWO), target_groups=()))),
        [OpenCase, Fence, AwaitDetach, DeleteNode, AwaitReplacement, LookAgain],
    ),
    "its group is gone": (
        facts(instance=TERMINATED, fleet=fleet(group(name="other"))),
        [OpenCase, Fence, AwaitDetach, DeleteNode, AwaitReplacement, LookAgain],
    ),
    "terminated, never joined, waits in its hook": (
        facts(instance=TERMINATED, node=Absent(), fleet=WAITS),
        [OpenCase, LeaveTargetGroups, CompleteHook, AwaitReplacement, LookAgain],
    ),
    "terminated long ago, nothing left, no case": (
        facts(instance=TERMINATED, node=Absent(), fleet=LEFT),
        [],
    ),
    "being replaced, the group is short": (
        facts(instance=TERMINATED, node=Absent(), fleet=SHORT, memory=REPLACING),
        [LookAgain],
    ),
    "being replaced, its group still lists it": (
        facts(instance=TERMINATED, node=Absent(), memory=REPLACING, nodes_ready={TWO: True}),
        [LookAgain],
    ),
    "being replaced, and only now its hook waits": (
        facts(instance=TERMINATED, node=Absent(), fleet=WAITS, memory=REPLACING),
        [CompleteHook, AwaitReplacement, LookAgain],
    ),
    "being replaced, the new Node is not Ready": (
        facts(instance=TERMINATED, node=Absent(), fleet=LEFT, memory=REPLACING, nodes_ready={TWO: False}),
        [LookAgain],
    ),
    "being replaced, the Nodes cannot be listed": (
        facts(instance=TERMINATED, node=Absent(), fleet=LEFT, memory=REPLACING, nodes_ready=Unknown("no answer")),
        [LookAgain],
    ),
    "replaced": (facts(instance=TERMINATED, node=Absent(), fleet=LEFT, memory=REPLACING), [CloseCase]),
    "replaced, EC2 has forgotten it": (
        facts(instance=Absent(), node=Absent(), fleet=LEFT, memory=replace(REPLACING, record=record())),
        [CloseCase],
    ),
    "its group went while it was being replaced": (
        facts(instance=TERMINATED, node=Absent(), fleet=fleet(group(name="other")), memory=REPLACING),
        [CloseCase],
    ),
    "stopped": (
        facts(instance=STOPPED, pods=PODS),
        [OpenCase, Fence, DeletePods, LeaveTargetGroups, AwaitReplacement, LookAgain],
    ),
    "stopped, waits in its hook": (
        facts(instance=STOPPED, fleet=WAITS, node=fenced(), memory=CLEANING),
        [LeaveTargetGroups, AwaitReplacement, LookAgain],
    ),
    "stopped, all done": (facts(instance=STOPPED, node=fenced(), memory=REPLACING), [LookAgain]),
    "runs again after all was done": (facts(node=fenced(), memory=REPLACING), [Restore, CloseCase]),
    "runs again": (facts(node=fenced(), memory=CLEANING), [Restore, CloseCase]),
    "runs again, restored already": (facts(memory=CLEANING), [CloseCase]),
    "runs again, its Node is away": (facts(node=Absent(), memory=CLEANING), [LookAgain]),
    "shutting down": (
        facts(instance=instance(ONE, InstanceState.SHUTTING_DOWN), pods=PODS),
        [LeaveTargetGroups, Cordon, LookAgain],
    ),
    "shutting down, cordoned by a person": (
        facts(instance=instance(ONE, InstanceState.SHUTTING_DOWN), node=node(unschedulable=True)),
        [LeaveTargetGroups, LookAgain],
    ),
    "shutting down, cordoned by us": (
        facts(
            instance=instance(ONE, InstanceState.SHUTTING_DOWN),
            node=node(unschedulable=True, annotations={CORDONED_ANNOTATION: "2026-01-01T00:00:00+00:00"}),
        ),
        [LookAgain],
    ),
    "its group lets it go while it runs": (facts(fleet=WAITS), [LeaveTargetGroups, Cordon, LookAgain]),
    "healthy": (facts(), []),
    "healthy, cordoned by a person": (facts(node=node(unschedulable=True)), []),
    "foreign": (facts(instance=instance(tags={}), fleet=LEFT, node=Absent()), []),
    "detached from its group while its case is open": (
        facts(instance=instance(tags={}), fleet=LEFT, node=Absent(), memory=CLEANING),
        [CloseCase],
    ),
    "held, EC2 does not answer": (facts(instance=Unknown("no answer")), [LookAgain]),
    "held, its Node is another's": (facts(node=node(provider_id=f"aws:///us-east-1a/{TWO}")), []),
}  # fmt: skip


def plan_of(seen: Facts) -> Plan:
    return make_plan(assess(seen), seen)


@pytest.mark.parametrize("name", PLANS)
def test_the_steps_follow_from_the_facts_in_this_order(name: str) -> None:
    seen, steps = PLANS[name]
    assert [type(step) for step in plan_of(seen).steps] == steps


def test_every_step_says_why_and_names_what_it_touches() -> None:
    steps = plan_of(facts(instance=TERMINATED, fleet=WAITS, pods=PODS)).steps
    assert all(step.reason for step in steps)
    assert steps[0] == OpenCase(ONE, WORKERS, ONE, "EC2: terminated")
    assert steps[1] == Fence(ONE, f"uid-of-{ONE}", "EC2: terminated")
    assert steps[2] == DeletePods(ONE, (pod(),), "their machine is dead")
    assert steps[3] == LeaveTargetGroups(ONE, (TARGET_GROUP,), "it cannot serve")
    assert steps[6] == CompleteHook(ONE, WORKERS, "nothing of it is left to wait for")


@given(FACTS)
def test_a_node_is_deleted_only_when_gone_for_good_fenced_and_released(seen: Facts) -> None:
    kinds = [type(step) for step in plan_of(seen).steps]
    if DeleteNode not in kinds:
        return
    before = kinds[: kinds.index(DeleteNode)]
    assert assess(seen).gone_for_good
    assert isinstance(seen.node, Node)
    assert Fence in before or (seen.node.out_of_service and seen.node.unschedulable)
    assert AwaitDetach in before


@given(FACTS)
def test_no_step_names_anything_but_the_machine_that_was_looked_at(seen: Facts) -> None:
    for step in plan_of(seen).steps:
        if isinstance(step, Cordon | Fence | Restore | DeleteNode):
            assert isinstance(seen.node, Node)
            assert (step.node_name, step.node_uid) == (seen.node.name, seen.node.uid)
        elif isinstance(step, DeletePods):
            assert not isinstance(seen.pods, Unknown)
            assert set(step.pods) <= set(seen.pods)
        elif isinstance(step, AwaitDetach):
            assert isinstance(seen.node, Node)
            assert step.node_name == seen.node.name
        elif not isinstance(step, LookAgain):
            assert step.instance == seen.id


@given(FACTS)
def test_pods_and_hook_are_left_alone_unless_the_machine_is_dead(seen: Facts) -> None:
    harm = (OpenCase, Fence, DeletePods, DeleteNode, CompleteHook, AwaitReplacement)
    if any(isinstance(step, harm) for step in plan_of(seen).steps):
        assert assess(seen).kind is Kind.DEAD


@given(FACTS)
def test_held_and_foreign_machines_are_never_touched(seen: Facts) -> None:
    """Our own note of a case may be closed; nothing of the machine is changed."""
    if assess(seen).kind in (Kind.HELD, Kind.FOREIGN):
        assert {type(step) for step in plan_of(seen).steps} <= {LookAgain, CloseCase}


@given(FACTS)
def test_no_act_on_a_dead_machine_comes_before_its_case_is_open(seen: Facts) -> None:
    plan = plan_of(seen)
    if assess(seen).kind is Kind.DEAD and plan.touches and not (isinstance(seen.memory, Memory) and seen.memory.case):
        assert isinstance(plan.steps[0], OpenCase)


@given(FACTS)
@settings(max_examples=300)
def test_a_plan_that_was_carried_out_is_not_needed_again(seen: Facts) -> None:
    assume(isinstance(seen.memory, Memory))
    for _ in range(3):
        before = plan_of(seen)
        seen = carried_out(before, seen)
    after = plan_of(seen)
    # Deregistering what is not registered changes nothing; a case is closed at last, and then it is closed.
    assert {type(step) for step in after.steps} <= {LookAgain, CloseCase, LeaveTargetGroups}
    assert CloseCase not in {type(step) for step in plan_of(carried_out(after, seen)).steps}


def carried_out(plan: Plan, seen: Facts) -> Facts:
    """The facts that the next pass finds when every step was taken and nothing else has happened."""
    changes: dict[str, Any] = {}
    node_, memory_, fleet_ = seen.node, seen.memory, seen.fleet
    assert isinstance(memory_, Memory)
    for step in plan.steps:
        match step:
            case OpenCase():
                opened = Case(step.instance, NOW, Phase.CLEANING, step.group, step.node_name)
                memory_ = replace(memory_, case=opened)
            case Cordon() if isinstance(node_, Node):
                node_ = replace(node_, unschedulable=True, annotations={CORDONED_ANNOTATION: "now"})
            case Fence() if isinstance(node_, Node):
                node_ = replace(node_, unschedulable=True, taints=(OUT_OF_SERVICE,))
            case Restore() if isinstance(node_, Node):
                node_ = replace(node_, unschedulable=False, taints=())
            case DeletePods():
                changes["pods"] = tuple(one for one in _pods(seen) if one.finished)
            case AwaitDetach():
                changes["attachments"] = ()
            case DeleteNode():
                node_ = Absent()
            case CompleteHook():
                fleet_ = fleet(group(member(TWO), target_groups=()))
            case AwaitReplacement():
                assert memory_.case
                memory_ = replace(memory_, case=replace(memory_.case, phase=Phase.REPLACING))
            case CloseCase():
                memory_ = replace(memory_, case=None)
    return replace(seen, node=node_, memory=memory_, fleet=fleet_, **changes)


def _pods(seen: Facts) -> tuple[Pod, ...]:
    return () if isinstance(seen.pods, Unknown) else seen.pods
