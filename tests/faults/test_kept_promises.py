"""What a pause, an outage or somebody else's act may not turn into harm."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from functions.cluster.draining import Overdue
from functions.cluster.machine import InstanceState, Taint, Transition
from functions.errors import ConfigurationError, RetryableError
from functions.messages import Look
from tests.faults.driving import one_pass, run_for
from tests.unit.functions.builders import CLUSTER, NOW, ONE, OUT_OF_SERVICE, SETTINGS, TWO, node, pause
from tests.unit.functions.fake_world import Call, World
from tests.unit.functions.worlds import a_cluster, interrupt, kill, let_go, listed_as, schedule

OVERDUE_DELETES = replace(
    SETTINGS, policy=replace(SETTINGS.policy, drain=replace(SETTINGS.drain, overdue=Overdue.DELETE))
)
FEW = timedelta(minutes=3)
PODS = {("evict pod", "uid-of-web-1-0"), ("evict pod", "uid-of-web-1-1")}


def fail(service: str, method: str | None = None, error: type[Exception] = RetryableError) -> Callable[[Call], None]:
    def interfere(call: Call) -> None:
        if call.service == service and method in (None, call.method):
            raise error("it does not answer")

    return interfere


def leaving(world: World) -> Transition:
    let_go(world, ONE)
    world.passes.append(Look(ONE, "its group terminates it"))
    return Transition.TERMINATING


def joined_but_held(world: World) -> Transition:
    listed_as(world, ONE, "Pending:Wait")
    return Transition.LAUNCHING


def on_its_way_into_the_warm_pool(world: World) -> Transition:
    listed_as(world, ONE, "Warmed:Pending:Wait")
    return Transition.LAUNCHING


def contradictory(world: World) -> Transition:
    world.nodes[ONE] = node(ONE, provider_id=f"aws:///us-east-1a/{TWO}")
    let_go(world, ONE)
    return Transition.TERMINATING


@pytest.mark.parametrize("held", [leaving, joined_but_held, on_its_way_into_the_warm_pool, contradictory])
def test_no_hook_runs_out_while_a_person_has_paused_the_cluster(held: Callable[[World], Transition]) -> None:
    world = a_cluster(3, volumes=False)
    transition = held(world)
    world.pauses[CLUSTER] = pause(minutes=120)
    run_for(world, timedelta(minutes=110))
    assert ("hook ran out", ONE) not in world.effects
    assert (ONE, transition) in world.heartbeats


def test_a_pause_that_outlasts_a_drains_deadline_lets_no_hook_run_out() -> None:
    world = a_cluster(3, volumes=False)
    world.budgeted.add("web-1-0")
    leaving(world)
    run_for(world, FEW)
    world.pauses[CLUSTER] = pause(minutes=180)
    run_for(world, timedelta(minutes=150))
    assert ("hook ran out", ONE) not in world.effects
    assert ("complete hook", ONE) not in world.effects


def test_when_a_pause_took_all_the_time_its_pods_are_asked_once_before_the_machine_goes() -> None:
    world = a_cluster(3, volumes=False)
    leaving(world)
    one_pass(world, world.passes.pop())
    world.passes.clear()
    world.pauses[CLUSTER] = pause(minutes=70)
    run_for(world, timedelta(minutes=75))
    assert set(world.effects) >= PODS
    assert world.effects.index(("complete hook", ONE)) > world.effects.index(("evict pod", "uid-of-web-1-1"))


def test_maintenance_whose_time_has_begun_is_still_drained_for() -> None:
    world = a_cluster(3, volumes=False)
    schedule(world, ONE, NOW - timedelta(minutes=5))
    run_for(world, FEW)
    assert set(world.effects) >= PODS
    assert world.violations == []


def test_a_hook_after_maintenance_that_is_late_has_the_hooks_own_time() -> None:
    world = a_cluster(3, volumes=False)
    world.budgeted.add("web-1-0")
    schedule(world, ONE, NOW - timedelta(minutes=5))
    run_for(world, FEW)
    leaving(world)
    run_for(world, FEW)
    assert ("complete hook", ONE) not in world.effects, "it is waited for, for as long as the hook may"


@pytest.mark.parametrize("error", [RetryableError, ConfigurationError])
def test_a_dead_machine_does_not_wait_for_a_load_balancer_that_refuses_us(error: type[Exception]) -> None:
    world = a_cluster(3, volumes=False)
    kill(world, ONE)
    world.before = fail("load_balancing", "deregister", error)
    run_for(world, FEW)
    assert ONE not in world.nodes
    assert ("complete hook", ONE) in world.effects


def test_a_person_is_told_when_a_machine_cannot_be_put_back_and_it_is_tried_until_it_can() -> None:
    world = a_cluster(3, volumes=False)
    schedule(world, ONE, NOW + timedelta(minutes=30))
    run_for(world, FEW)
    schedule(world, ONE, NOW + timedelta(minutes=30), "[Canceled] not needed")
    world.before = fail("load_balancing", "register", ConfigurationError)
    run_for(world, FEW)
    assert [subject for subject, _ in world.alerts] == [f"{ONE} could not be taken back into a load balancer"]
    world.before = lambda _: None
    run_for(world, FEW)
    assert not world.nodes[ONE].unschedulable
    assert ("register", ONE) in world.effects


def test_a_machine_that_only_starts_is_not_put_back_yet() -> None:
    world = a_cluster(3, volumes=False)
    kill(world, ONE, state=InstanceState.STOPPED)
    listed_as(world, ONE, "InService")
    run_for(world, FEW)
    before = len(world.effects)
    starting = replace(world.instances[ONE], state=InstanceState.PENDING, address="10.77.1.1")
    world.instances[ONE] = starting
    one_pass(world, Look(ONE, "EC2 says pending"))
    assert world.effects[before:] == []
    world.instances[ONE] = replace(starting, state=InstanceState.RUNNING)
    run_for(world, FEW)
    assert [what for what, _ in world.effects[before:]][:2] == ["register", "restore"]


def test_pods_that_came_while_a_person_had_uncordoned_the_node_are_evicted_as_well() -> None:
    world = a_cluster(3, volumes=False)
    world.budgeted.add("web-1-0")
    leaving(world)
    run_for(world, timedelta(minutes=5))
    there = world.nodes[ONE]
    world.nodes[ONE] = replace(there, unschedulable=False, resource_version="77")
    came = replace(next(iter(world.pods)), name="web-9", uid="uid-of-web-9", created_at=world.now)
    world.pods[came] = ONE
    run_for(world, FEW)
    assert ("evict pod", "uid-of-web-9") in world.effects


def test_a_taint_that_a_person_has_put_on_a_machine_that_runs_stays() -> None:
    world = a_cluster(3, volumes=False)
    world.nodes[ONE] = replace(world.nodes[ONE], taints=(OUT_OF_SERVICE, Taint("mine", "NoSchedule")))
    run_for(world, FEW)
    assert world.nodes[ONE].taints == (OUT_OF_SERVICE, Taint("mine", "NoSchedule"))
    assert world.effects == []


def test_a_machine_stopped_in_standby_with_pods_on_it_is_found_without_an_event() -> None:
    world = a_cluster(3, volumes=False)
    kill(world, ONE, state=InstanceState.STOPPED)
    listed_as(world, ONE, "Standby")
    run_for(world, timedelta(minutes=12))
    assert ("delete pod", "uid-of-web-1-0") in world.effects
    assert world.nodes[ONE].out_of_service


def test_no_pod_is_deleted_past_its_budget_while_nobody_knows_of_a_pause() -> None:
    world = a_cluster(3, volumes=False)
    world.budgeted |= {"web-1-0", "web-1-1"}
    interrupt(world, ONE)
    world.before = fail("table")
    run_for(world, timedelta(seconds=119), settings=OVERDUE_DELETES)
    assert "delete pod" not in [what for what, _ in world.effects]


def test_a_spot_machine_is_emptied_although_the_table_is_away_and_its_event_was_lost() -> None:
    world = a_cluster(3, volumes=False)
    interrupt(world, ONE)
    world.before = fail("table")
    run_for(world, timedelta(minutes=1, seconds=50))
    assert set(world.effects) >= PODS


def test_a_person_who_opens_an_advised_machine_again_is_not_overruled() -> None:
    world = a_cluster(3, volumes=False)
    world.instances[ONE] = replace(world.instances[ONE], spot=True)
    notice = interrupt(world, TWO)
    advice = replace(notice, cause=type(notice.cause)("rebalance-recommendation"), until=NOW + timedelta(minutes=60))
    one_pass(world, Look(ONE, "AWS advises", notice=advice))
    assert world.nodes[ONE].unschedulable
    world.nodes[ONE] = replace(world.nodes[ONE], unschedulable=False, resource_version="77")
    one_pass(world, Look(ONE, "the sweep"))
    assert not world.nodes[ONE].unschedulable


def test_a_look_whose_notice_cannot_be_read_is_still_a_look() -> None:
    body = json.dumps({"machine": ONE, "reason": "x", "notice": "what?"})
    assert Look.from_json(body) == Look(ONE, "x")


def test_a_machine_that_is_gone_for_good_is_not_kept_in_mind() -> None:
    world = a_cluster(3, volumes=False)
    run_for(world, timedelta(minutes=1))
    assert ONE in world.records
    kill(world, ONE)
    run_for(world, timedelta(minutes=5))
    assert world.cases == {}
    assert ONE not in world.records
