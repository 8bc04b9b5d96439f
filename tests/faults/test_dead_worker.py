"""A dead worker's case comes to the same end whatever goes wrong on the way, and nothing is harmed twice."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from functions.cluster.facts import Absent, Phase
from functions.cluster.machine import InstanceId, InstanceState
from functions.errors import ConfigurationError, ConflictError, RegrowError, RetryableError
from functions.messages import Look
from tests.faults.driving import at, one_pass, run_for, run_to_end, with_another_pass_at
from tests.unit.functions.builders import CLUSTER, ONE, SETTINGS, TARGET_GROUP, TWO, WORKERS, machine, pause
from tests.unit.functions.fake_world import Call, Crash, World
from tests.unit.functions.worlds import a_cluster, kill, settle

FIRST_LOOK = Look(ONE, "EC2 says terminated")
REPLACEMENT = machine(0x103)
HARM_OF_ONE_DEATH = sorted(
    [
        ("fence", f"uid-of-{ONE}"),
        ("delete pod", "uid-of-web-1-0"),
        ("delete pod", "uid-of-web-1-1"),
        ("deregister", ONE),
        ("delete node", f"uid-of-{ONE}"),
        ("complete hook", ONE),
    ]
)


def a_death(workers: int = 2) -> World:
    world = a_cluster(workers)
    kill(world, ONE)
    world.passes.append(FIRST_LOOK)
    return world


def assert_healed(world: World) -> None:
    """The end that every road must come to: whole again, harm done once and only to what was dead, and the replacement
    let in once, with nothing left to join with."""
    assert world.violations == []
    assert (world.cases, world.places) == ({}, {})
    assert sorted(effect for effect in world.effects if effect[1] != REPLACEMENT) == HARM_OF_ONE_DEATH
    entered = [what for what, whom in world.effects if whom == REPLACEMENT]
    assert sorted(entered) == sorted(["mint", "approve", "approve", "complete hook", "revoke"])
    assert not any(record.open for record in world.joins.values())
    assert {member.id for member in world.groups[WORKERS].members} == {TWO, REPLACEMENT}
    assert ONE not in world.nodes
    assert all(node.ready and not node.unschedulable for node in world.nodes.values())
    assert {one for one, of in world.targets if of == TARGET_GROUP} == {TWO, REPLACEMENT}
    uids = {pod.uid for pod in world.pods}
    assert uids == {"uid-of-web-1-0-again", "uid-of-web-1-1-again", "uid-of-web-2-0", "uid-of-web-2-1"}
    assert ONE not in world.pods.values()


def calls_of_an_undisturbed_case() -> list[Call]:
    world = a_death()
    run_to_end(world, sweeps=False)
    return world.calls


CALLS = calls_of_an_undisturbed_case()
NUMBERS = range(1, len(CALLS) + 1)


def test_a_dead_worker_is_healed_with_no_alert_and_within_a_minute() -> None:
    world = a_death()
    started = world.now
    run_to_end(world, sweeps=False)
    assert_healed(world)
    assert world.alerts == []
    assert world.now - started < timedelta(minutes=1)


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("number", NUMBERS)
def test_a_function_killed_at_any_call_leaves_a_world_that_heals(number: int, side: str) -> None:
    world = a_death()
    setattr(world, side, at(number, Crash()))
    run_to_end(world)
    assert_healed(world)


@pytest.mark.parametrize("error", [RetryableError, ConfigurationError, ConflictError])
@pytest.mark.parametrize("number", NUMBERS)
def test_any_call_that_fails_once_is_made_good(number: int, error: type[RegrowError]) -> None:
    world = a_death()
    world.before = at(number, error("it did not work"))
    run_to_end(world)
    assert_healed(world)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_call_whose_answer_is_lost_is_made_again_without_harm(number: int) -> None:
    world = a_death()
    world.after = at(number, RetryableError("the connection was closed"))
    run_to_end(world)
    assert_healed(world)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_second_pass_may_run_whole_between_any_two_calls_of_the_first(number: int) -> None:
    world = with_another_pass_at(number, a_death(), Look(ONE, "the other pass"))
    run_to_end(world)
    assert_healed(world)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_pass_that_was_frozen_and_goes_on_after_the_end_harms_nothing(number: int) -> None:
    world = a_death()

    def everything_else(call: Call) -> None:
        if call.number == number:
            world.before = lambda _: None
            world.passes.append(FIRST_LOOK)
            run_to_end(world)

    world.before = everything_else
    run_to_end(world)
    assert_healed(world)


def test_two_passes_at_once_in_threads_come_to_the_same_end() -> None:
    world = a_death()
    with ThreadPoolExecutor(2) as together:
        passes = [together.submit(one_pass, world, FIRST_LOOK) for _ in range(2)]
    assert [one.exception() for one in passes] == [None, None]
    settle(world)
    run_to_end(world)
    assert_healed(world)


@pytest.mark.parametrize("service", ["ec2", "autoscaling", "kubernetes", "table"])
@pytest.mark.parametrize("error", [RetryableError, ConfigurationError])
def test_nothing_is_changed_while_a_service_is_out_of_reach_and_all_heals_when_it_is_back(
    service: str, error: type[RegrowError]
) -> None:
    world = a_death()

    def out_of_reach(call: Call) -> None:
        if call.service == service:
            raise error(f"{service} does not answer")

    world.before = out_of_reach
    run_for(world, timedelta(minutes=10))
    assert (world.effects, world.cases) == ([], {})
    world.before = lambda _: None
    run_for(world, timedelta(minutes=5))
    assert_healed(world)


def test_in_a_wrong_region_nothing_happens_and_a_person_is_told() -> None:
    world = a_death(workers=3)
    there = dict(world.instances)
    world.instances.clear()
    run_for(world, timedelta(minutes=30))
    assert (world.effects, world.cases) == ([], {})
    assert [subject for subject, _ in world.alerts] == [f"The sweep of {CLUSTER} holds"]
    assert "wrong region or account" in world.alerts[0][1]
    world.instances.update(there)
    run_for(world, timedelta(minutes=5))
    assert world.cases == {}
    assert ONE not in world.nodes


@pytest.mark.parametrize("of", [CLUSTER, WORKERS, ONE])
def test_a_paused_machine_is_left_alone_until_the_pause_is_over_and_then_healed(of: str) -> None:
    world = a_death()
    world.pauses[of] = pause(of, minutes=30)
    run_for(world, timedelta(minutes=29))
    assert (world.effects, world.cases) == ([], {})
    assert [subject for subject, _ in world.alerts] == [f"{ONE} is dead and left alone"]
    run_for(world, timedelta(minutes=5))
    assert_healed(world)


def test_with_no_event_at_all_the_sweep_heals() -> None:
    world = a_death()
    world.passes.clear()
    run_for(world, timedelta(minutes=3))
    assert_healed(world)


def test_a_machine_that_ec2_has_forgotten_is_healed_by_its_record() -> None:
    world = a_cluster()
    run_for(world, timedelta(minutes=15))  # long enough for a record of it that counts
    del world.instances[ONE]
    world.groups[WORKERS] = replace(world.groups[WORKERS], members=(world.groups[WORKERS].members[1],))
    run_for(world, timedelta(minutes=3))
    assert ONE not in world.nodes
    assert (world.cases, world.violations) == ({}, [])
    assert ("delete node", f"uid-of-{ONE}") in world.effects


def test_ten_dead_at_once_are_healed_two_at_a_time() -> None:
    world = a_cluster(workers=12)
    dead = [machine(number) for number in range(1, 11)]
    kill(world, *dead)
    world.passes += [Look(one, "EC2 says terminated") for one in dead]
    run_to_end(world)
    assert world.most_in_flight == SETTINGS.max_in_flight == 2
    assert (world.violations, world.cases, world.places) == ([], {}, {})
    assert not set(dead) & set(world.nodes)
    assert len(world.groups[WORKERS].members) == 12
    assert sum(what == "delete node" for what, _ in world.effects) == 10


def test_volumes_that_never_detach_keep_the_node_and_tell_a_person_once() -> None:
    world = a_death()
    world.attachments["csi-stuck"] = ONE
    world.after = lambda _: world.attachments.update({"csi-stuck": ONE})
    run_for(world, timedelta(minutes=30))
    assert ONE in world.nodes
    assert world.nodes[ONE].out_of_service
    assert [subject for subject, _ in world.alerts] == [f"Volumes of {ONE} are not released"]
    assert world.cases[ONE].phase is Phase.CLEANING
    world.after = lambda _: None
    run_for(world, timedelta(minutes=5))
    assert_healed(world)


def test_a_stopped_machine_keeps_its_node_and_gets_it_back_when_it_starts() -> None:
    world = a_cluster()
    kill(world, ONE, state=InstanceState.STOPPED)
    as_listed = a_cluster().groups[WORKERS]
    world.groups[WORKERS] = as_listed  # nobody replaces it: its group does not look at its health
    run_for(world, timedelta(minutes=2))
    assert world.nodes[ONE].out_of_service
    world.instances[ONE] = replace(world.instances[ONE], state=InstanceState.RUNNING, address="10.77.1.1")
    world.nodes[ONE] = replace(world.nodes[ONE], ready=True, resource_version="50")
    run_for(world, timedelta(minutes=2))
    restored = world.nodes[ONE]
    assert (restored.uid, restored.taints, restored.unschedulable) == (f"uid-of-{ONE}", (), False)
    assert (world.cases, world.places, world.violations) == ({}, {}, [])


def test_another_node_of_the_same_name_is_not_harmed_by_a_plan_made_for_the_old_one() -> None:
    world = a_death()
    uid = "uid-of-the-new-one"

    def renamed(call: Call) -> None:
        if call.method == "fence":
            world.before = lambda _: None
            world.nodes[ONE] = replace(world.nodes[ONE], uid=uid, resource_version="1")

    world.before = renamed
    one_pass(world, FIRST_LOOK)
    assert [effect for effect in world.effects if effect[1] == uid] == []
    assert not world.nodes[ONE].out_of_service


def test_a_hook_that_is_gone_is_no_obstacle() -> None:
    world = a_death()

    def complete_by_another(call: Call) -> None:
        if call.method == "complete_hooks":
            left = tuple(member for member in world.groups[WORKERS].members if member.id != ONE)
            world.groups[WORKERS] = replace(world.groups[WORKERS], members=left)

    world.before = complete_by_another
    run_to_end(world)
    assert (world.cases, world.violations) == ({}, [])
    assert isinstance(world.nodes.get(ONE, Absent()), Absent)


def test_an_instance_of_no_group_is_left_alone() -> None:
    world = a_cluster()
    stranger = machine(0x999)
    world.instances[stranger] = replace(world.instances[ONE], id=stranger, state=InstanceState.TERMINATED, tags={})
    world.passes.append(Look(stranger, "EC2 says terminated"))
    run_for(world, timedelta(minutes=3))
    assert (world.effects, world.cases, world.history) == ([], {}, [])


LOOKS = st.lists(st.sampled_from([ONE, TWO, InstanceId("i-00000000000000003")]), min_size=1, max_size=8)


@given(st.data(), LOOKS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_looks_in_any_order_and_number_come_to_the_same_end(data: st.DataObject, looks: list[InstanceId]) -> None:
    world = a_death()
    world.passes += [Look(one, f"message {number}") for number, one in enumerate(looks)]
    run_to_end(world, choose=lambda waiting: data.draw(st.integers(0, len(waiting) - 1)))
    assert_healed(world)
