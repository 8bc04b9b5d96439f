"""A worker that its group lets go is drained whatever goes wrong on the way, and never let go too soon."""

from __future__ import annotations

from datetime import timedelta

import pytest

from functions.cluster.machine import InstanceState, Transition
from functions.errors import ConfigurationError, ConflictError, RegrowError, RetryableError
from functions.messages import Look
from tests.faults.driving import at, one_pass, run_for, run_to_end, with_another_pass_at
from tests.unit.functions.builders import CLUSTER, NOW, ONE, TARGET_GROUP, TWO, WORKERS, join, pause
from tests.unit.functions.fake_world import Call, Crash, World
from tests.unit.functions.worlds import a_cluster, let_go

FIRST_LOOK = Look(ONE, "its group terminates it")
OF_ONE_LEAVING = [
    ("cordon", f"uid-of-{ONE}"),
    ("deregister", ONE),
    ("evict pod", "uid-of-web-1-0"),
    ("evict pod", "uid-of-web-1-1"),
    ("complete hook", ONE),
    ("fence", f"uid-of-{ONE}"),
    ("delete node", f"uid-of-{ONE}"),
]


def a_scale_in() -> World:
    world = a_cluster(3)
    let_go(world, ONE)
    world.passes.append(FIRST_LOOK)
    return world


def assert_left(world: World) -> None:
    """Drained, let go once, its Node deleted after its end; the others as they were."""
    assert world.violations == []
    assert (world.cases, world.places) == ({}, {})
    assert sorted(world.effects) == sorted(OF_ONE_LEAVING)
    effects = [effect for effect in world.effects if effect[0] != "deregister"]
    assert effects.index(("complete hook", ONE)) > effects.index(("evict pod", "uid-of-web-1-1"))
    assert world.instances[ONE].state is InstanceState.TERMINATED
    assert ONE not in world.nodes
    assert (ONE, TARGET_GROUP) not in world.targets
    assert len([uid for uid in (pod.uid for pod in world.pods) if uid.endswith("-again")]) == 2


def calls_of_an_undisturbed_case() -> list[Call]:
    world = a_scale_in()
    run_to_end(world, sweeps=False)
    assert_left(world)
    return world.calls


NUMBERS = range(1, len(calls_of_an_undisturbed_case()) + 1)


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("number", NUMBERS)
def test_a_function_killed_at_any_call_leaves_a_drain_that_goes_on(number: int, side: str) -> None:
    world = a_scale_in()
    setattr(world, side, at(number, Crash()))
    run_to_end(world)
    assert_left(world)


@pytest.mark.parametrize("error", [RetryableError, ConfigurationError, ConflictError])
@pytest.mark.parametrize("number", NUMBERS)
def test_any_call_that_fails_once_is_made_good(number: int, error: type[RegrowError]) -> None:
    world = a_scale_in()
    world.before = at(number, error("it did not work"))
    run_to_end(world)
    assert_left(world)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_second_pass_may_run_whole_between_any_two_calls_of_the_first(number: int) -> None:
    world = with_another_pass_at(number, a_scale_in(), Look(ONE, "the other pass"))
    run_to_end(world)
    assert_left(world)


def test_a_pod_that_a_budget_holds_keeps_the_machine_and_its_hook_alive_until_it_may_go() -> None:
    world = a_scale_in()
    world.budgeted.add("web-1-0")
    run_for(world, timedelta(minutes=20))
    assert world.instances[ONE].state is InstanceState.RUNNING
    assert ("evict pod", "uid-of-web-1-1") in world.effects
    assert ("complete hook", ONE) not in world.effects
    beats = [machine for machine, transition in world.heartbeats if transition is Transition.TERMINATING]
    assert 40 <= len(beats) <= 61, "one each twenty seconds or so"
    assert set(beats) == {ONE}
    world.budgeted.clear()
    run_to_end(world)
    assert_left(world)
    assert world.alerts == []


def test_a_drain_that_takes_its_whole_time_is_ended_and_a_person_is_told_what_was_left() -> None:
    world = a_scale_in()
    world.budgeted.add("web-1-0")
    run_for(world, timedelta(minutes=70))
    assert world.violations == []
    assert ("complete hook", ONE) in world.effects
    ((subject, text),) = [alert for alert in world.alerts if alert[0].startswith(ONE)]
    assert subject == f"{ONE} goes without being drained"
    assert "web-1-0" in text


def test_a_drain_goes_on_while_the_table_is_out_of_reach() -> None:
    world = a_scale_in()

    def refuse(call: Call) -> None:
        if call.service == "table":
            raise RetryableError("DynamoDB does not answer")

    world.before = refuse
    one_pass(world, FIRST_LOOK)
    one_pass(world, world.passes.pop())
    assert ("evict pod", "uid-of-web-1-0") in world.effects
    assert set(world.heartbeats) == {(ONE, Transition.TERMINATING)}


def test_a_paused_machine_is_not_drained_and_its_hook_waits_for_the_end_of_the_pause() -> None:
    world = a_scale_in()
    world.pauses[CLUSTER] = pause(minutes=60)
    run_for(world, timedelta(minutes=59))
    assert world.effects == []
    assert (ONE, Transition.TERMINATING) in world.heartbeats
    world.now = NOW + timedelta(minutes=61)
    run_for(world, timedelta(minutes=2))
    assert_left(world)


def test_an_api_server_that_is_away_for_long_lets_no_hook_run_out() -> None:
    world = a_scale_in()

    def away(call: Call) -> None:
        if call.service == "kubernetes":
            raise RetryableError("the API server does not answer")

    world.before = away
    run_for(world, timedelta(minutes=40))
    assert world.effects == []
    world.before = lambda _: None
    run_for(world, timedelta(minutes=2))
    assert_left(world)


def test_a_drain_does_not_wait_for_what_takes_the_token_away() -> None:
    world = a_scale_in()
    world.joins[ONE] = join(ONE)

    def broken(call: Call) -> None:
        if call.method == "mint":
            raise ConfigurationError("Lambda Invoke: AccessDenied")

    world.before = broken
    run_for(world, timedelta(minutes=3))
    assert ("complete hook", ONE) in world.effects
    assert ONE not in world.nodes
    world.before = lambda _: None
    run_for(world, timedelta(minutes=2))
    assert not world.joins[ONE].open


def test_a_person_who_cannot_be_told_keeps_no_machine_alive() -> None:
    world = a_scale_in()
    world.budgeted.add("web-1-0")

    def silent(call: Call) -> None:
        if call.method == "alert":
            raise RetryableError("SNS does not answer")

    world.before = silent
    run_for(world, timedelta(minutes=70))
    assert ("complete hook", ONE) in world.effects
    assert "alert_failed" in [what for what, _ in world.told]


def test_with_no_event_at_all_the_sweep_drains() -> None:
    world = a_scale_in()
    world.passes.clear()
    run_for(world, timedelta(minutes=3))
    run_to_end(world)
    assert_left(world)


def test_a_machine_that_never_joined_is_let_go_at_once() -> None:
    world = a_scale_in()
    del world.nodes[ONE]
    world.pods = {pod: where for pod, where in world.pods.items() if where != ONE}
    one_pass(world, FIRST_LOOK)
    assert ("complete hook", ONE) in world.effects
    assert {TWO} <= {member.id for member in world.groups[WORKERS].members}
