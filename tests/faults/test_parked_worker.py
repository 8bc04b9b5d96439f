"""A worker that somebody wants out of service is left alone, and comes back clean."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from functions.cluster.machine import CLUSTER_TAG, EXCLUDED_LABEL, MARKS, ROLE_TAG, InstanceState
from functions.messages import Look
from tests.faults.driving import run_for
from tests.unit.functions.builders import ONE, WORKERS
from tests.unit.functions.fake_world import World
from tests.unit.functions.worlds import a_cluster, kill, leave_group, let_go, listed_as, recommend

FEW = timedelta(minutes=3)


def a_look(world: World) -> None:
    world.passes.append(Look(ONE, "Auto Scaling says something"))


def starts(world: World) -> None:
    """EC2 starts it again, which is a launch; its Node takes a while."""
    there = world.instances[ONE]
    world.instances[ONE] = replace(there, state=InstanceState.RUNNING, address="10.77.1.1", launched_at=world.now)


def ready(world: World, *, is_so: bool = True) -> None:
    there = world.nodes[ONE]
    world.nodes[ONE] = replace(there, ready=is_so, resource_version=str(int(there.resource_version) + 1))


def assert_clean(world: World) -> None:
    there = world.nodes[ONE]
    assert (there.uid, there.unschedulable, there.taints) == (f"uid-of-{ONE}", False, ())
    assert MARKS.isdisjoint(there.annotations)
    assert EXCLUDED_LABEL not in there.labels
    assert (world.cases, world.places, world.violations, world.alerts) == ({}, {}, [], [])


@pytest.mark.parametrize("state", ["EnteringStandby", "Standby", "Detaching", "Detached", "Warmed:Running"])
def test_a_machine_that_is_taken_aside_is_left_alone(state: str) -> None:
    world = a_cluster(3)
    listed_as(world, ONE, state)
    world.groups[WORKERS] = replace(world.groups[WORKERS], desired=2)
    a_look(world)
    run_for(world, FEW)
    assert (world.effects, world.cases, world.alerts, world.later) == ([], {}, [], [])


@pytest.mark.parametrize("state", ["Pending", "Pending:Wait"])
def test_a_machine_that_was_rebooted_in_standby_is_waited_for_when_it_comes_back(state: str) -> None:
    world = a_cluster(3)
    run_for(world, timedelta(minutes=1))  # it is written down while it is well
    listed_as(world, ONE, "Standby")
    ready(world, is_so=False)
    run_for(world, FEW)
    listed_as(world, ONE, state)
    a_look(world)
    run_for(world, timedelta(minutes=1))
    assert (world.effects, world.alerts) == ([], [])
    ready(world)
    run_for(world, timedelta(minutes=1))
    listed_as(world, ONE, "InService")
    run_for(world, FEW)
    assert_clean(world)
    assert ONE in {member.id for member in world.groups[WORKERS].members}


def test_a_machine_that_is_stopped_in_standby_comes_back_clean() -> None:
    world = a_cluster(3)
    listed_as(world, ONE, "Standby")
    world.groups[WORKERS] = replace(world.groups[WORKERS], desired=2)
    kill(world, ONE, state=InstanceState.STOPPED)
    listed_as(world, ONE, "Standby")
    a_look(world)
    run_for(world, FEW)
    assert ("delete pod", "uid-of-web-1-0") in world.effects
    assert ("delete node", f"uid-of-{ONE}") not in world.effects
    starts(world)
    ready(world)
    run_for(world, FEW)
    listed_as(world, ONE, "Pending:Wait")
    a_look(world)
    run_for(world, FEW)
    assert_clean(world)


def test_a_machine_that_its_group_takes_back_into_its_warm_pool_is_drained_and_comes_back_clean() -> None:
    world = a_cluster(3, volumes=False)
    world.reused.add(ONE)
    let_go(world, ONE)
    a_look(world)
    run_for(world, FEW)
    harm = [effect for effect in world.effects if effect[0] == "evict pod"]
    assert sorted(harm) == [("evict pod", "uid-of-web-1-0"), ("evict pod", "uid-of-web-1-1")]
    assert world.groups[WORKERS].member(ONE) is not None
    assert getattr(world.groups[WORKERS].member(ONE), "lifecycle_state", "") == "Warmed:Pending"
    world.instances[ONE] = replace(world.instances[ONE], state=InstanceState.STOPPING)
    a_look(world)
    run_for(world, timedelta(minutes=1))
    world.instances[ONE] = replace(world.instances[ONE], state=InstanceState.STOPPED, address=None)
    ready(world, is_so=False)
    listed_as(world, ONE, "Warmed:Stopped")
    before = list(world.effects)
    a_look(world)
    run_for(world, FEW)
    assert (world.effects, world.cases) == (before, {})

    starts(world)
    listed_as(world, ONE, "Pending:Wait")
    world.groups[WORKERS] = replace(world.groups[WORKERS], desired=3)
    a_look(world)
    run_for(world, timedelta(minutes=1))
    assert world.effects == before
    ready(world)
    run_for(world, FEW)
    assert getattr(world.groups[WORKERS].member(ONE), "lifecycle_state", "") == "InService"
    assert_clean(world)
    assert [effect for effect in world.effects if effect[0] in ("fence", "delete node", "abandon launch")] == []


def test_a_machine_that_is_detached_is_nobodys_concern() -> None:
    world = a_cluster(3)
    leave_group(world, ONE)
    world.groups[WORKERS] = replace(world.groups[WORKERS], desired=2)
    tags = {key: text for key, text in world.instances[ONE].tags.items() if key in (CLUSTER_TAG, ROLE_TAG)}
    world.instances[ONE] = replace(world.instances[ONE], tags=tags)
    a_look(world)
    run_for(world, FEW)
    kill(world, ONE)
    a_look(world)
    run_for(world, FEW)
    assert [effect for effect in world.effects if effect[0] == "abandon launch"] == []
    assert world.violations == []


def test_advice_about_a_machine_in_standby_changes_nothing() -> None:
    world = a_cluster(3)
    listed_as(world, ONE, "Standby")
    world.groups[WORKERS] = replace(world.groups[WORKERS], desired=2)
    world.passes.append(Look(ONE, "advice", notice=recommend(world, ONE)))
    run_for(world, FEW)
    assert (world.effects, world.later) == ([], [])
