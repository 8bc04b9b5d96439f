"""What others have done already, or do while we are at it, is success: no error, no harm, and no more passes for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from functions.cluster.machine import InstanceState, Taint
from functions.messages import Look
from tests.faults.driving import run_for, run_to_end
from tests.unit.functions.builders import ONE, TARGET_GROUP
from tests.unit.functions.fake_world import Call, World
from tests.unit.functions.worlds import a_cluster, interrupt, kill, leave_group, let_go

MOST_PASSES = 30  # of a case from its first look to the replacement's last
UID = f"uid-of-{ONE}"


def passes(world: World) -> int:
    return sum(what == "pass" for what, _ in world.told)


def a_leaving_worker() -> World:
    world = a_cluster(3, volumes=False)
    let_go(world, ONE)
    world.passes.append(Look(ONE, "its group terminates it"))
    return world


def a_dead_worker() -> World:
    world = a_cluster(3, volumes=False)
    kill(world, ONE)
    world.passes.append(Look(ONE, "EC2 says terminated"))
    return world


def a_spot_machine() -> World:
    world = a_cluster(3, volumes=False)
    world.passes.append(Look(ONE, "Spot", notice=interrupt(world, ONE)))
    return world


def delete_node(world: World) -> None:
    """A cloud controller deletes the Node; its pods are collected with it."""
    world.nodes.pop(ONE, None)
    world.pods = {pod: where for pod, where in world.pods.items() if where != ONE}


def change(world: World, **changes: object) -> None:
    if there := world.nodes.get(ONE):
        version = str(int(there.resource_version) + 1)
        world.nodes[ONE] = replace(there, resource_version=version, **changes)  # type: ignore[arg-type]


def taint_and_drain(world: World) -> None:
    """An autoscaler marks the Node and evicts its pods."""
    if there := world.nodes.get(ONE):
        change(world, unschedulable=True, taints=(*there.taints, Taint("ToBeDeletedByClusterAutoscaler", "NoSchedule")))
    world.pods = {pod: where for pod, where in world.pods.items() if where != ONE}


def uncordon(world: World) -> None:
    change(world, unschedulable=False)


def deregister(world: World) -> None:
    world.targets.discard((ONE, TARGET_GROUP))


def complete_hook(world: World) -> None:
    """Another handler completes the hook that holds it, whatever still runs on it."""
    there = world.instances[ONE]
    if any(member.id == ONE and member.held for group in world.groups.values() for member in group.members):
        leave_group(world, ONE)
        world.instances[ONE] = replace(there, state=InstanceState.TERMINATED, address=None)


DOINGS: tuple[Callable[[World], None], ...] = (delete_node, taint_and_drain, uncordon, deregister, complete_hook)
CASES: tuple[Callable[[], World], ...] = (a_leaving_worker, a_dead_worker, a_spot_machine)


def finish(world: World) -> None:
    run_to_end(world)
    run_for(world, timedelta(minutes=4))
    run_to_end(world)


def calls_until_it_is_gone(make: Callable[[], World]) -> range:
    world = make()
    gone: list[int] = []
    world.after = lambda call: gone.append(call.number) if call.method == "await_replacement" else None
    finish(world)
    return range(1, gone[0] + 1)


POINTS = [(make, number) for make in CASES for number in calls_until_it_is_gone(make)[::4]]


@pytest.mark.parametrize("do", DOINGS)
@pytest.mark.parametrize(("make", "number"), POINTS)
def test_what_another_does_at_any_point_leads_to_the_same_end(
    make: Callable[[], World], number: int, do: Callable[[World], None]
) -> None:
    world = make()

    def interfere(call: Call) -> None:
        if call.number == number:
            do(world)

    world.before = interfere
    finish(world)
    assert (world.violations, world.alerts) == ([], [])
    assert (world.cases, world.places) == ({}, {})
    assert ONE not in world.nodes
    assert ONE not in world.pods.values()
    failed = [fields for what, fields in world.told if what == "pass" and "failed" in str(fields["then"])]
    assert len(failed) <= 1, "a conflict with who was just there at most"
    assert passes(world) <= MOST_PASSES


@pytest.mark.parametrize("make", CASES)
def test_a_case_takes_few_passes(make: Callable[[], World]) -> None:
    world = make()
    finish(world)
    assert passes(world) <= MOST_PASSES


@pytest.mark.parametrize("do", [taint_and_drain, delete_node])
def test_a_machine_that_another_has_emptied_is_let_go_with_nothing_evicted_again(do: Callable[[World], None]) -> None:
    world = a_leaving_worker()
    do(world)
    deregister(world)
    finish(world)
    assert [what for what, _ in world.effects if what in ("evict pod", "delete pod", "deregister")] == []
    assert ("complete hook", ONE) in world.effects
    assert (world.violations, world.alerts, ONE in world.nodes) == ([], [], False)


def test_a_person_who_opens_the_node_again_and_again_costs_a_cordon_each_time_and_no_pod_stays() -> None:
    world = a_leaving_worker()
    world.budgeted.add("web-1-0")
    for _ in range(10):
        uncordon(world)
        run_for(world, timedelta(minutes=1))
    cordons = [effect for effect in world.effects if effect == ("cordon", UID)]
    assert len(cordons) == 10
    world.budgeted.clear()
    finish(world)
    assert (world.violations, world.alerts, ONE in world.nodes) == ([], [], False)
