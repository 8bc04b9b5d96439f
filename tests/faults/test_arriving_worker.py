"""A replacement is let in by right whatever goes wrong on the way, and one that never joins is given up."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from functions.cluster.machine import InstanceState, Transition
from functions.errors import ConfigurationError, ConflictError, RegrowError, RetryableError
from functions.messages import Look
from tests.faults.driving import at, one_pass, run_for, run_to_end, with_another_pass_at
from tests.unit.functions.builders import CLUSTER, NOW, TARGET_GROUP, WORKERS, approval, machine, node, pause
from tests.unit.functions.fake_world import Call, Crash, World
from tests.unit.functions.worlds import a_cluster, launch

NEW = machine(0x42)
LOOK = Look(NEW, f"{WORKERS} launches it")
ENTRY = ["mint", "approve", "approve", "complete hook", "revoke"]


def a_launch() -> World:
    world = a_cluster()
    world.groups[WORKERS] = replace(world.groups[WORKERS], desired=3)
    launch(world, NEW)
    return world


def never_joining(world: World) -> None:
    """From here on no certificate request of any machine ever comes."""

    def nothing_asked(call: Call) -> None:
        if call.method == "approve":
            raise RetryableError("no answer of the approver")

    world.before = nothing_asked


def assert_joined(world: World) -> None:
    """Let in once, in service, with nothing left to join with."""
    assert world.violations == []
    assert sorted(what for what, whom in world.effects if whom == NEW) == sorted(ENTRY)
    assert not any(record.open for record in world.joins.values())
    member = world.groups[WORKERS].member(NEW)
    assert member
    assert member.in_service
    assert (NEW, TARGET_GROUP) in world.targets
    assert world.nodes[NEW].ready
    assert world.abandoned == set()


def calls_of_an_undisturbed_case() -> list[Call]:
    world = a_launch()
    run_to_end(world, sweeps=False)
    assert_joined(world)
    return world.calls


NUMBERS = range(1, len(calls_of_an_undisturbed_case()) + 1)


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("number", NUMBERS)
def test_a_function_killed_at_any_call_leaves_a_machine_that_joins(number: int, side: str) -> None:
    world = a_launch()
    setattr(world, side, at(number, Crash()))
    run_to_end(world)
    assert_joined(world)


@pytest.mark.parametrize("error", [RetryableError, ConfigurationError, ConflictError])
@pytest.mark.parametrize("number", NUMBERS)
def test_any_call_that_fails_once_is_made_good(number: int, error: type[RegrowError]) -> None:
    world = a_launch()
    world.before = at(number, error("it did not work"))
    run_to_end(world)
    assert_joined(world)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_second_pass_may_run_whole_between_any_two_calls_of_the_first(number: int) -> None:
    world = with_another_pass_at(number, a_launch(), Look(NEW, "the other pass"))
    run_to_end(world)
    assert_joined(world)


def test_with_no_event_at_all_the_sweep_lets_it_in() -> None:
    world = a_launch()
    world.passes.clear()
    run_for(world, timedelta(minutes=3))
    assert_joined(world)


def test_an_api_server_that_is_away_holds_the_launch_and_nothing_is_given_up_on_doubt() -> None:
    world = a_launch()

    def away(call: Call) -> None:
        if call.service == "kubernetes":
            raise RetryableError("the API server does not answer")

    world.before = away
    run_for(world, timedelta(minutes=7))
    assert [what for what, whom in world.effects if whom == NEW] == []
    assert len([beat for beat in world.heartbeats if beat == (NEW, Transition.LAUNCHING)]) >= 7
    world.before = lambda _: None
    run_for(world, timedelta(minutes=1))
    assert_joined(world)


def test_nothing_is_minted_approved_or_given_up_while_the_table_is_out_of_reach() -> None:
    world = a_launch()

    def refuse(call: Call) -> None:
        if call.service == "table":
            raise RetryableError("DynamoDB does not answer")

    world.before = refuse
    run_for(world, timedelta(minutes=10))
    assert world.effects == []


def test_an_api_server_that_is_away_for_longer_than_any_hook_lets_none_run_out() -> None:
    world = a_launch()

    def away(call: Call) -> None:
        if call.service == "kubernetes":
            raise RetryableError("the API server does not answer")

    world.before = away
    run_for(world, timedelta(minutes=30))
    assert world.effects == []
    assert world.groups[WORKERS].member(NEW)


def test_a_paused_cluster_lets_nobody_in_and_no_hook_runs_out() -> None:
    world = a_launch()
    world.pauses[CLUSTER] = pause(minutes=60)
    run_for(world, timedelta(minutes=59))
    assert world.effects == []


@pytest.mark.parametrize("method", ["mint", "approve"])
def test_a_ready_machine_goes_into_service_when_the_other_functions_do_not_answer(method: str) -> None:
    world = a_launch()
    one_pass(world, LOOK)
    world.nodes[NEW] = node(NEW)

    def broken(call: Call) -> None:
        if call.method == method:
            raise RetryableError("the function does not answer")

    world.before = broken
    one_pass(world, LOOK)
    assert ("complete hook", NEW) in world.effects
    world.before = lambda _: None
    run_for(world, timedelta(minutes=3))
    assert not world.joins[NEW].open


@pytest.mark.parametrize("method", ["console_output", "alert"])
def test_a_launch_is_given_up_even_when_its_log_cannot_be_read_or_a_person_be_told(method: str) -> None:
    world = a_launch()

    def broken(call: Call) -> None:
        if call.method in ("approve", method):
            raise ConfigurationError("AccessDenied")

    world.before = broken
    run_for(world, timedelta(minutes=9))
    assert ("abandon launch", NEW) in world.effects
    (kept,) = [entry for whom, entry in world.history if whom == NEW and "boot_log" in entry]
    assert kept["gave_up"]


def test_a_suspension_that_cannot_be_ended_stops_nothing_else_and_a_pause_keeps_it() -> None:
    world = a_cluster()
    over = replace(world.groups[WORKERS], suspended=frozenset({"Launch"}), launch_suspended_until=NOW)
    world.groups[WORKERS] = over
    world.pauses[CLUSTER] = pause(minutes=2)
    run_for(world, timedelta(minutes=1))
    assert ("resume launch", WORKERS) not in world.effects
    world.pauses.clear()

    def broken(call: Call) -> None:
        if call.method == "resume_launch":
            raise ConfigurationError("AccessDenied")

    world.before = broken
    run_for(world, timedelta(minutes=1))
    assert "resume_failed" in [what for what, _ in world.told]
    assert "approve" in [call.method for call in world.calls[-3:]], "the sweep went on"
    world.before = lambda _: None
    run_for(world, timedelta(minutes=1))
    assert ("resume launch", WORKERS) in world.effects


def test_a_machine_that_is_refused_gets_nothing_and_a_person_hears_why_once() -> None:
    world = a_launch()
    world.refused[NEW] = "its image has kubeadm v1.35.1, the cluster is v1.36.3"
    run_for(world, timedelta(minutes=4))
    assert world.effects == []
    ((subject, text),) = world.alerts
    assert subject == f"{NEW} may not join"
    assert "v1.35.1" in text
    assert "v1.36.3" in text


def test_a_launch_that_never_joins_is_given_up_after_its_deadline_with_its_boot_log_kept() -> None:
    world = a_launch()
    world.consoles[NEW] = "regrow: waiting for the bundle"
    never_joining(world)
    run_for(world, timedelta(minutes=9))
    assert ("abandon launch", NEW) in world.effects
    assert world.instances[NEW].state is InstanceState.TERMINATED
    assert not world.joins[NEW].open
    (kept,) = [entry for whom, entry in world.history if whom == NEW and "boot_log" in entry]
    assert kept["boot_log"] == "regrow: waiting for the bundle"
    assert "480" in str(kept["gave_up"]) or "0:08:00" in str(kept["gave_up"])
    told = [text for subject, text in world.alerts if subject == f"{NEW} never joined"]
    assert len(told) == 1
    assert "waiting for the bundle" in told[0]
    assert {transition for whom, transition in world.heartbeats if whom == NEW} == {Transition.LAUNCHING}


def test_three_launches_in_a_row_that_never_join_suspend_the_group_with_one_alert_and_an_end() -> None:
    world = a_launch()
    never_joining(world)
    run_for(world, timedelta(minutes=40))
    abandoned = [whom for what, whom in world.effects if what == "abandon launch"]
    assert len(abandoned) == len(set(abandoned)) == 3
    assert world.groups[WORKERS].suspended == {"Launch"}
    assert world.groups[WORKERS].launch_suspended_until
    assert [subject for subject, _ in world.alerts].count(f"{WORKERS} launches no more for now") == 1
    world.before = lambda _: None
    run_for(world, timedelta(minutes=70))
    assert (world.groups[WORKERS].suspended, world.groups[WORKERS].launch_suspended_until) == (frozenset(), None)
    assert all(member.in_service for member in world.groups[WORKERS].members)
    assert len(world.groups[WORKERS].members) == 3


def test_a_launch_that_joins_ends_the_count_of_those_before() -> None:
    world = a_launch()
    never_joining(world)
    run_for(world, timedelta(minutes=17))
    assert len(world.abandoned) == 2
    world.before = lambda _: None
    run_to_end(world)
    assert world.abandoned == set()


def test_a_machine_that_asked_for_what_it_must_not_have_is_given_up_at_once() -> None:
    world = a_launch()
    one_pass(world, LOOK)
    world.approvals[NEW] = approval(NEW, launched_at=NOW, denied="it asked to be another node")
    one_pass(world, LOOK)
    assert ("abandon launch", NEW) in world.effects
    assert not world.joins[NEW].open
    assert any("it asked to be another node" in text for _, text in world.alerts)
