"""No Node is ever touched for another machine's sake: names and addresses are used again, and EC2 forgets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from functions.cluster.machine import InstanceState, Node
from functions.messages import Look
from tests.faults.driving import run_for
from tests.unit.functions.builders import NOW, ONE, TWO, WORKERS, machine, node, record
from tests.unit.functions.fake_world import World
from tests.unit.functions.worlds import a_cluster, kill, leave_group

NAME = "ip-10-77-1-1.ec2.internal"
LOOK = Look(ONE, "EC2 says terminated")
FEW = timedelta(minutes=4)
UNKNOWN = machine(0x700)


def old_style(of: str, **changes: object) -> Node:
    """A Node named after an address, as machines that joined before Regrow have it."""
    whole = replace(node(ONE), name=NAME, uid=f"uid-of-{of}", created_at=NOW - timedelta(hours=23))
    return replace(whole, **changes)  # type: ignore[arg-type]


def a_death_named(there: Node) -> World:
    """ONE is dead and was written down under that name; the Node that has it now is as given."""
    world = a_cluster(3, volumes=False)
    kill(world, ONE)
    leave_group(world, ONE)
    world.groups[WORKERS] = replace(world.groups[WORKERS], desired=2)
    world.pods = {pod: there.name if where == ONE else where for pod, where in world.pods.items()}
    replaced = (ONE, TWO) if there.uid == f"uid-of-{TWO}" else (ONE,)
    world.nodes = {key: one for key, one in world.nodes.items() if key not in replaced} | {there.name: there}
    world.records[ONE] = record(ONE, node_name=NAME, node_uid=f"uid-of-{ONE}")
    return world


def with_the_address_of_the_dead(world: World) -> World:
    world.instances[TWO] = replace(world.instances[TWO], address="10.77.1.1")
    return world


@pytest.mark.parametrize("sweep_alone", [False, True])
@pytest.mark.parametrize("provider_id", [f"aws:///us-east-1a/{TWO}", ""])
def test_a_successor_with_the_name_and_the_address_of_the_dead_is_not_touched(
    provider_id: str, *, sweep_alone: bool
) -> None:
    world = with_the_address_of_the_dead(a_death_named(old_style(TWO, provider_id=provider_id)))
    world.passes += [] if sweep_alone else [LOOK]
    run_for(world, FEW)
    there = world.nodes[NAME]
    assert there == old_style(TWO, provider_id=provider_id)
    assert [effect for effect in world.effects if effect[0] != "deregister"] == []
    assert (world.cases, world.places, world.violations) == ({}, {}, [])
    assert world.records[TWO].node_uid == f"uid-of-{TWO}"


@pytest.mark.parametrize("sweep_alone", [False, True])
@pytest.mark.parametrize("provider_id", [f"aws:///us-east-1a/{ONE}", ""])
def test_a_terminated_machine_without_any_name_or_address_left_is_healed(
    provider_id: str, *, sweep_alone: bool
) -> None:
    world = a_death_named(old_style(ONE, provider_id=provider_id))
    assert world.instances[ONE].address is None
    world.passes += [] if sweep_alone else [LOOK]
    run_for(world, FEW)
    assert NAME not in world.nodes
    assert (world.cases, world.places, world.violations, world.alerts) == ({}, {}, [], [])


def forget(world: World) -> World:
    del world.instances[ONE]
    leave_group(world, ONE)
    world.groups[WORKERS] = replace(world.groups[WORKERS], desired=2)
    return world


def test_a_machine_that_ec2_has_forgotten_and_we_have_written_down_is_healed_without_a_word() -> None:
    world = forget(a_cluster(3, volumes=False))
    world.records[ONE] = record(ONE)
    run_for(world, FEW)
    assert ONE not in world.nodes
    assert (world.cases, world.violations, world.alerts) == ({}, [], [])


def unheard_of(world: World) -> None:
    forget(world)


def of_two_machines(world: World) -> None:
    world.nodes[ONE] = replace(node(ONE), provider_id=f"aws:///us-east-1a/{UNKNOWN}")


def of_another_address(world: World) -> None:
    world.nodes[ONE] = replace(node(ONE), provider_id="", addresses=("10.77.1.9",))


def dead_and_of_another(world: World) -> None:
    kill(world, ONE)
    leave_group(world, ONE)
    world.groups[WORKERS] = replace(world.groups[WORKERS], desired=2)
    of_two_machines(world)


@pytest.mark.parametrize("contradict", [unheard_of, of_two_machines, of_another_address, dead_and_of_another])
def test_what_contradicts_itself_is_found_by_the_sweep_left_alone_and_told_once_a_day(
    contradict: Callable[[World], None],
) -> None:
    world = a_cluster(3, volumes=False)
    contradict(world)
    before = dict(world.nodes)
    for hours in (0, 12, 23):
        world.now = NOW + timedelta(hours=hours)
        run_for(world, FEW)
    assert [subject for subject, _ in world.alerts] == [f"{ONE} contradicts itself and is left alone"]
    world.now = NOW + timedelta(hours=25)
    run_for(world, FEW)
    assert len(world.alerts) == 2
    assert (world.effects, world.cases, world.nodes) == ([], {}, before)


def test_an_instance_that_nobody_knows_and_of_which_nothing_is_left_is_nobodys() -> None:
    world = a_cluster(3, volumes=False)
    world.passes.append(Look(UNKNOWN, "EC2 says terminated"))
    run_for(world, FEW)
    assert (world.effects, world.cases, world.alerts, world.history) == ([], {}, [], [])


def test_a_stopped_machine_whose_node_was_made_anew_by_its_kubelet_is_still_its_own() -> None:
    world = a_cluster(3, volumes=False)
    world.records[ONE] = record(ONE, node_uid="uid-of-the-first")
    world.instances[ONE] = replace(world.instances[ONE], state=InstanceState.RUNNING)
    run_for(world, FEW)
    assert (world.effects, world.alerts) == ([], [])
