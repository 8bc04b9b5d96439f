"""How a drain begins, and the step that asks pods to go: when it is done, and what it says about those that may not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta

from functions.cluster.machine import CORDONED_ANNOTATION, DRAINING_ANNOTATION, Pod
from functions.remediate.outside import Blocked
from functions.remediate.plan import SOON, Cordon, Evict
from functions.remediate.steps.drain import evict
from functions.remediate.steps.node import cordon
from functions.remediate.steps.waiting import Waiting
from tests.unit.functions.builders import NOW, ONE, node, pod
from tests.unit.functions.fake_world import World
from tests.unit.functions.fakes import FakeKubernetes, outside_of

PODS = tuple(pod(f"web-{number}") for number in range(5))
STEP = Evict(ONE, PODS, "its group takes it out")
BUDGET = "The disruption budget web needs 2 healthy pods and has 2 currently"


@dataclass
class Budgeted(FakeKubernetes):
    """Disruption budgets hold these pods."""

    held: frozenset[Pod] = frozenset()
    asked: list[Pod] = field(default_factory=list)

    def evict(self, pods: Iterable[Pod], *, grace_s: int | None = None) -> tuple[Blocked, ...]:
        self.asked += pods
        return tuple(Blocked(one, BUDGET) for one in self.asked if one in self.held)


def held(*pods: Pod) -> Budgeted:
    return Budgeted(World(), "kubernetes", frozenset(pods))


def reason(*pods: Pod) -> str:
    waiting = evict(STEP, replace(outside_of(World()), kubernetes=held(*pods)), grace_s=None)
    assert isinstance(waiting, Waiting)
    assert waiting.after == SOON
    return waiting.reason


def test_pods_that_all_may_go_need_no_waiting() -> None:
    kubernetes = held()
    assert evict(STEP, replace(outside_of(World()), kubernetes=kubernetes), grace_s=None) is None
    assert kubernetes.asked == list(PODS)


def test_a_pod_that_may_not_go_is_named_with_the_api_servers_words() -> None:
    assert reason(PODS[1]) == f"1 of 5 pods on {ONE} may not be evicted yet: default/web-1: {BUDGET}"


def test_pods_that_one_budget_holds_share_its_words() -> None:
    held = "default/web-0, default/web-1, default/web-2 and 2 more"
    assert reason(*PODS) == f"5 of 5 pods on {ONE} may not be evicted yet: {held}: {BUDGET}"


def test_a_drain_of_a_node_that_a_person_has_cordoned_begins_as_well_and_only_once() -> None:
    there = node(unschedulable=True)
    world = World(nodes={ONE: there})
    step = Cordon(ONE, there.uid, "its group takes it out")
    cordon(step, FakeKubernetes(world, "kubernetes"), at=NOW)
    cordon(step, FakeKubernetes(world, "kubernetes"), at=NOW + timedelta(minutes=1))
    assert world.nodes[ONE].annotations[DRAINING_ANNOTATION] == NOW.isoformat()
    assert CORDONED_ANNOTATION not in world.nodes[ONE].annotations
