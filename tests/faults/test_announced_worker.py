"""A worker that AWS announces something about is closed, emptied and given back, whatever goes wrong on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import takewhile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from functions.cluster.machine import EXCLUDED_LABEL, MARKS, InstanceId, InstanceState
from functions.cluster.notice import REBALANCE_HOLDS, Notice
from functions.cluster.policy import Rebalance
from functions.errors import ConfigurationError, ConflictError, RegrowError, RetryableError
from functions.messages import Look
from tests.faults.driving import at, one_pass, run_for, run_to_end
from tests.unit.functions.builders import CLUSTER, NOW, ONE, SETTINGS, TARGET_GROUP, TWO, WORKERS, machine
from tests.unit.functions.fake_world import Call, Crash, World
from tests.unit.functions.worlds import a_cluster, interrupt, let_go, recommend, schedule, settle

REPLACEMENT = machine(0x104)
UID = f"uid-of-{ONE}"
PODS = ("uid-of-web-1-0", "uid-of-web-1-1")
OURS = {ONE, UID, *PODS}
EMPTIED = [("deregister", ONE), *(("evict pod", pod) for pod in PODS)]
DRAINING_ADVICE = replace(SETTINGS, policy=replace(SETTINGS.policy, rebalance=Rebalance.DRAIN))
IGNORING_ADVICE = replace(SETTINGS, policy=replace(SETTINGS.policy, rebalance=Rebalance.IGNORE))
OF_ONE_FAILURE = (f"The sweep of {CLUSTER} holds", "could not be taken")  # a read that failed, a right that was missing
GIVEN_BACK = [("restore", UID), ("register", ONE)]
HALF_AN_HOUR = timedelta(minutes=30)


def of_the_one(world: World) -> list[tuple[str, str]]:
    """What was done to the announced machine and its pods, each thing once, in any order."""
    return sorted({effect for effect in world.effects if effect[1] in OURS})


def assert_harmed_once(world: World) -> None:
    """Nothing but cordons (a new announcement is written down) is done twice, and nothing that must not be."""
    assert world.violations == []
    assert [subject for subject, _ in world.alerts if not any(part in subject for part in OF_ONE_FAILURE)] == []
    harm = [effect for effect in world.effects if effect[0] != "cordon" and effect[1] in OURS]
    assert len(harm) == len(set(harm))


def assert_clean(world: World) -> None:
    """Its Node is the one it was, open for pods, with nothing of ours left on it."""
    there = world.nodes[ONE]
    assert (there.uid, there.unschedulable, there.taints) == (UID, False, ())
    assert MARKS.isdisjoint(there.annotations)
    assert EXCLUDED_LABEL not in there.labels
    assert (world.cases, world.places) == ({}, {})


def heard(world: World, look: Look, event: bool) -> None:
    if event:
        world.passes.append(look)


def spot_interruption(world: World, event: bool) -> None:
    notice = interrupt(world, ONE)
    heard(world, Look(ONE, "Spot", notice=notice), event)
    run_for(world, timedelta(minutes=2))
    assert of_the_one(world)[0] == ("cordon", UID)
    run_for(world, timedelta(minutes=2))
    run_to_end(world)
    assert_harmed_once(world)
    assert world.lost == []
    assert of_the_one(world) == sorted([("cordon", UID), *EMPTIED, ("fence", UID), ("delete node", UID)])
    assert ONE not in world.nodes
    assert REPLACEMENT in world.nodes
    assert (world.cases, world.places) == ({}, {})


def advice(world: World, event: bool) -> None:
    notice = recommend(world, ONE)
    heard(world, Look(ONE, "Spot", notice=notice), event)
    run_for(world, timedelta(minutes=3))
    assert of_the_one(world) == [("cordon", UID)]
    assert world.nodes[ONE].unschedulable
    assert EXCLUDED_LABEL not in world.nodes[ONE].labels
    world.now = notice.until
    run_for(world, timedelta(minutes=3))
    assert_harmed_once(world)
    assert of_the_one(world) == [("cordon", UID), ("restore", UID)]
    assert_clean(world)


def advice_that_drains(world: World, event: bool) -> None:
    world.drains_on_advice = True
    notice = recommend(world, ONE)
    heard(world, Look(ONE, "Spot", notice=notice), event)
    run_for(world, timedelta(minutes=3), settings=DRAINING_ADVICE)
    assert of_the_one(world) == sorted([("cordon", UID), *EMPTIED])
    world.now = notice.until
    run_for(world, timedelta(minutes=3), settings=DRAINING_ADVICE)
    assert_harmed_once(world)
    assert_clean(world)


def maintenance(world: World, event: bool) -> None:
    begins_at = world.now + HALF_AN_HOUR
    heard(world, Look(ONE, "Health", notice=schedule(world, ONE, begins_at)), event)
    run_for(world, timedelta(minutes=3))
    assert of_the_one(world) == sorted([("cordon", UID), *EMPTIED])
    world.now = begins_at
    rebooted = replace(world.nodes[ONE], ready=False, resource_version="70")
    world.nodes[ONE] = rebooted
    run_for(world, timedelta(minutes=2))
    assert world.nodes[ONE].unschedulable
    world.nodes[ONE] = replace(world.nodes[ONE], ready=True, resource_version="80")
    schedule(world, ONE, begins_at, "[Completed] ")
    run_for(world, timedelta(minutes=3))
    assert_harmed_once(world)
    assert of_the_one(world) == sorted([("cordon", UID), *EMPTIED, *GIVEN_BACK])
    assert_clean(world)


def maintenance_moved(world: World, event: bool) -> None:
    """It is put off by an hour when the drain is over, which is too far ahead to stay drained; then cancelled."""
    heard(world, Look(ONE, "Health", notice=schedule(world, ONE, world.now + HALF_AN_HOUR)), event)
    run_for(world, timedelta(minutes=3))
    heard(world, Look(ONE, "Health", notice=schedule(world, ONE, world.now + timedelta(minutes=45))), event)
    run_for(world, timedelta(minutes=3))
    assert world.nodes[ONE].unschedulable
    heard(world, Look(ONE, "Health", notice=schedule(world, ONE, world.now + timedelta(days=7))), event)
    run_for(world, timedelta(minutes=3))
    assert_harmed_once(world)
    assert_clean(world)
    schedule(world, ONE, world.now + HALF_AN_HOUR, "[Canceled] ")
    run_for(world, timedelta(minutes=3))
    assert of_the_one(world) == sorted([("cordon", UID), *EMPTIED, *GIVEN_BACK])
    assert_clean(world)


Tell = Callable[[World, bool], None]
STORIES: dict[str, Tell] = {
    "spot": spot_interruption,
    "advice": advice,
    "advice that drains": advice_that_drains,
    "maintenance": maintenance,
    "maintenance moved": maintenance_moved,
}


def calls_of(name: str) -> list[Call]:
    world = a_cluster(3, volumes=False)
    STORIES[name](world, True)
    return world.calls


def points() -> list[tuple[str, int]]:
    """Every call of the stories but those that come between the same others as one before: of a machine that waits,
    each look is like the last. From the opening of a case on it is a dead worker's story."""
    found: list[tuple[str, int]] = []
    told: set[tuple[str, ...]] = set()
    for name in STORIES:
        calls = list(takewhile(lambda call: call.method != "open_case", calls_of(name)))
        for index, call in enumerate(calls):
            around = tuple(one.method for one in calls[max(0, index - 2) : index + 2])
            if around not in told:
                told.add(around)
                found.append((name, call.number))
    return found


POINTS = points()


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize(("name", "number"), POINTS)
def test_a_function_killed_at_any_call_changes_nothing_of_the_end(name: str, number: int, side: str) -> None:
    world = a_cluster(3, volumes=False)
    setattr(world, side, at(number, Crash()))
    STORIES[name](world, True)


@pytest.mark.parametrize(("name", "number"), POINTS)
def test_any_call_that_fails_once_is_made_good(name: str, number: int) -> None:
    error: type[RegrowError] = (RetryableError, ConfigurationError, ConflictError)[number % 3]
    world = a_cluster(3, volumes=False)
    world.before = at(number, error("it did not work"))
    STORIES[name](world, True)


@pytest.mark.parametrize(("name", "number"), POINTS)
def test_a_second_pass_may_run_whole_between_any_two_calls_of_the_first(name: str, number: int) -> None:
    looks = [Look(ONE, "the other pass")]
    drains = {"advice that drains": DRAINING_ADVICE}.get(name, SETTINGS)
    world = a_cluster(3, volumes=False)

    def other_pass(call: Call) -> None:
        if call.number == number:
            one_pass(world, looks[0], drains)
            settle(world)

    world.before = other_pass
    STORIES[name](world, True)


@pytest.mark.parametrize("name", ["spot", "maintenance", "maintenance moved"])
def test_with_no_event_at_all_the_sweep_finds_what_ec2_lists(name: str) -> None:
    STORIES[name](a_cluster(3, volumes=False), False)


@pytest.mark.parametrize("name", STORIES)
def test_with_every_event_five_times_all_happens_once(name: str) -> None:
    world = a_cluster(3, volumes=False)
    seen: set[Look] = set()

    def double(_: Call) -> None:
        for look in set(world.passes) - seen:
            seen.add(look)
            world.passes += [look] * 4

    world.before = double
    STORIES[name](world, True)


def test_advice_that_a_person_wants_ignored_changes_nothing_however_often_it_comes() -> None:
    world = a_cluster(3, volumes=False)
    notice = recommend(world, ONE)
    world.passes += [Look(ONE, "Spot", notice=notice)] * 3
    run_for(world, timedelta(minutes=5), settings=IGNORING_ADVICE)
    assert (world.effects, world.history, world.later) == ([], [], [])


def test_advice_is_taken_back_when_a_person_turns_it_off() -> None:
    world = a_cluster(3, volumes=False)
    world.passes.append(Look(ONE, "Spot", notice=recommend(world, ONE)))
    run_for(world, timedelta(minutes=2))
    run_for(world, timedelta(minutes=2), settings=IGNORING_ADVICE)
    assert_clean(world)


@pytest.mark.parametrize("announce", [interrupt, recommend])
def test_what_is_said_of_spot_machines_is_nothing_to_one_that_is_none(
    announce: Callable[[World, InstanceId], Notice],
) -> None:
    world = a_cluster(3, volumes=False)
    notice = announce(world, ONE)
    world.interrupted.clear()
    world.instances[ONE] = replace(world.instances[ONE], spot=False)
    world.passes.append(Look(ONE, "Spot", notice=notice))
    run_for(world, timedelta(minutes=5))
    assert (world.effects, world.history) == ([], [])


@given(st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_announcements_in_any_order_and_number_come_to_one_drain(data: st.DataObject) -> None:
    world = a_cluster(3, volumes=False)
    notices = [recommend(world, ONE), interrupt(world, ONE), schedule(world, ONE, NOW + HALF_AN_HOUR), None]
    looks = data.draw(st.lists(st.sampled_from(notices), min_size=1, max_size=8))
    world.passes += [Look(ONE, f"message {number}", notice=notice) for number, notice in enumerate(looks)]
    run_to_end(world, choose=lambda waiting: data.draw(st.integers(0, len(waiting) - 1)))
    run_for(world, timedelta(minutes=4))
    run_to_end(world)
    assert_harmed_once(world)
    assert world.lost == []
    assert ONE not in world.nodes


def refusing(world: World, *methods: str, service: str = "") -> None:
    def refuse(call: Call) -> None:
        if call.method in methods or call.service == service:
            raise RetryableError(f"{call.service} does not answer")

    world.before = refuse


def test_a_machine_that_spot_takes_is_emptied_while_the_table_is_out_of_reach() -> None:
    world = a_cluster(3, volumes=False)
    refusing(world, service="table")
    world.passes.append(Look(ONE, "Spot", notice=interrupt(world, ONE)))
    run_for(world, timedelta(minutes=2))
    assert of_the_one(world) == sorted([("cordon", UID), *EMPTIED])
    world.before = lambda _: None
    run_for(world, timedelta(minutes=4))
    assert_harmed_once(world)
    assert world.lost == []
    assert ONE not in world.nodes


def test_a_minute_without_the_api_server_still_leaves_a_spot_machine_time_to_be_emptied() -> None:
    world = a_cluster(3, volumes=False)
    refusing(world, service="kubernetes")
    world.passes.append(Look(ONE, "Spot", notice=interrupt(world, ONE)))
    run_for(world, timedelta(minutes=1))
    assert world.effects == []
    world.before = lambda _: None
    run_for(world, timedelta(minutes=5))
    assert_harmed_once(world)
    assert world.lost == []
    assert ONE not in world.nodes


def test_a_drain_that_maintenance_began_is_not_taken_back_while_ec2_does_not_say_what_is_planned() -> None:
    world = a_cluster(3, volumes=False)
    world.passes.append(Look(ONE, "Health", notice=schedule(world, ONE, NOW + HALF_AN_HOUR)))
    world.budgeted.add("web-1-0")
    run_for(world, timedelta(minutes=2))
    refusing(world, "scheduled_events", "all_scheduled_events")
    run_for(world, timedelta(minutes=5))
    assert world.nodes[ONE].unschedulable
    assert ("restore", UID) not in world.effects
    world.budgeted.clear()
    run_for(world, timedelta(minutes=1))
    assert of_the_one(world) == sorted([("cordon", UID), *EMPTIED])
    schedule(world, ONE, NOW + HALF_AN_HOUR, "[Canceled] ")
    world.before = lambda _: None
    run_for(world, timedelta(minutes=2))
    assert_harmed_once(world)
    assert_clean(world)


def test_what_ec2_cannot_be_asked_about_begins_no_drain() -> None:
    world = a_cluster(3, volumes=False)
    refusing(world, "scheduled_events", "all_scheduled_events")
    world.passes.append(Look(ONE, "Health", notice=schedule(world, ONE, NOW + HALF_AN_HOUR)))
    run_for(world, timedelta(minutes=3))
    assert world.effects == []
    world.before = lambda _: None
    run_for(world, timedelta(minutes=2))
    assert of_the_one(world) == sorted([("cordon", UID), *EMPTIED])


@pytest.mark.parametrize("first", [recommend, interrupt])
def test_a_person_who_closed_the_node_before_us_finds_it_closed_after_us(
    first: Callable[[World, InstanceId], Notice],
) -> None:
    world = a_cluster(3, volumes=False)
    world.nodes[ONE] = replace(world.nodes[ONE], unschedulable=True)
    world.cordoned_by_people.add(UID)
    notice = first(world, ONE)
    world.interrupted.clear()  # it was not taken after all
    world.passes.append(Look(ONE, "Spot", notice=notice))
    run_for(world, timedelta(minutes=1))
    world.now = NOW + REBALANCE_HOLDS
    run_for(world, timedelta(minutes=2))
    there = world.nodes[ONE]
    assert there.unschedulable
    assert MARKS.isdisjoint(there.annotations)
    assert EXCLUDED_LABEL not in there.labels


def test_a_spot_machine_that_is_not_taken_after_all_is_given_back() -> None:
    world = a_cluster(3, volumes=False)
    notice = interrupt(world, ONE)
    world.interrupted[ONE] = replace(notice, until=NOW + timedelta(days=1))  # so that the world does not take it
    world.passes.append(Look(ONE, "Spot", notice=notice))
    run_for(world, timedelta(minutes=2))
    assert of_the_one(world) == sorted([("cordon", UID), *EMPTIED])
    world.interrupted.clear()
    run_for(world, timedelta(minutes=11))
    assert_clean(world)


def test_a_spot_machine_that_aws_stopped_and_started_again_is_not_held_to_what_was_said_before() -> None:
    world = a_cluster(3, volumes=False)
    world.passes.append(Look(ONE, "Spot", notice=interrupt(world, ONE, "stop")))
    run_for(world, timedelta(minutes=4))
    assert world.nodes[ONE].out_of_service
    started = replace(world.instances[ONE], state=InstanceState.RUNNING, address="10.77.1.1", launched_at=world.now)
    world.instances[ONE] = started
    world.nodes[ONE] = replace(world.nodes[ONE], ready=True, resource_version="70")
    run_for(world, timedelta(minutes=3))
    assert_harmed_once(world)
    assert_clean(world)


def two_announcements(world: World, *announce: Callable[[World], Look]) -> World:
    for one in announce:
        world.passes.append(one(world))
        run_for(world, timedelta(seconds=20))
    return world


def by_advice(world: World) -> Look:
    return Look(ONE, "advice", notice=recommend(world, ONE))


def by_spot(world: World) -> Look:
    return Look(ONE, "Spot", notice=interrupt(world, ONE))


def by_maintenance(world: World) -> Look:
    return Look(ONE, "Health", notice=schedule(world, ONE, world.now + HALF_AN_HOUR))


def by_hook(world: World) -> Look:
    let_go(world, ONE)
    return Look(ONE, "its group terminates it")


PAIRS = {
    "advice, then Spot": (by_advice, by_spot),
    "Spot, then advice": (by_spot, by_advice),
    "maintenance, then Spot": (by_maintenance, by_spot),
    "Spot, then maintenance": (by_spot, by_maintenance),
    "maintenance, then hook": (by_maintenance, by_hook),
    "hook, then maintenance": (by_hook, by_maintenance),
    "hook, then Spot": (by_hook, by_spot),
    "Spot, then hook": (by_spot, by_hook),
    "advice, then hook": (by_advice, by_hook),
    "hook, then advice": (by_hook, by_advice),
}


@pytest.mark.parametrize("name", PAIRS)
def test_two_announcements_about_one_machine_are_one_drain(name: str) -> None:
    world = two_announcements(a_cluster(4, volumes=False), *PAIRS[name])
    run_for(world, timedelta(minutes=5))
    run_to_end(world)
    assert_harmed_once(world)
    assert world.alerts == []
    assert world.lost == []
    assert set(EMPTIED) <= set(world.effects)
    assert ONE not in world.nodes
    assert (world.cases, world.places) == ({}, {})


@pytest.mark.parametrize("name", [name for name in PAIRS if "Spot" in name])
def test_of_two_deadlines_the_earlier_one_counts_and_one_alert_tells_of_what_was_left(name: str) -> None:
    world = a_cluster(4, volumes=False)
    world.budgeted.add("web-1-0")
    two_announcements(world, *PAIRS[name])
    run_for(world, timedelta(minutes=12))
    assert world.violations == []
    assert [subject for subject, _ in world.alerts] == [f"{ONE} goes without being drained"]
    told = next(fields for what, fields in world.told if what == "step" and fields["step"] == "Release")
    assert "1 pod is (default/web-1-0)" in str(told["reason"])
    assert ONE not in world.nodes


def test_a_load_balancer_that_refuses_us_keeps_no_machine_from_being_emptied_and_let_go() -> None:
    world = a_cluster(3, volumes=False)
    refusing(world, "deregister")
    world.passes.append(by_hook(world))
    run_for(world, timedelta(minutes=25))
    assert world.violations == []
    assert ("complete hook", ONE) in world.effects
    assert {("evict pod", pod) for pod in PODS} <= set(world.effects)


def test_a_heartbeat_that_is_refused_keeps_no_machine_from_being_emptied_and_let_go() -> None:
    world = a_cluster(3, volumes=False)
    refusing(world, "heartbeat")
    world.passes.append(by_hook(world))
    run_for(world, timedelta(minutes=2))
    assert_harmed_once(world)
    assert ("complete hook", ONE) in world.effects
    assert "count heartbeat_failed" in [what for what, _ in world.told]


def test_a_machine_that_a_person_keeps_from_controllers_load_balancers_is_put_back_into_its_groups() -> None:
    world = a_cluster(3, volumes=False)
    world.nodes[ONE] = replace(world.nodes[ONE], labels={EXCLUDED_LABEL: "true"})
    world.passes.append(by_maintenance(world))
    run_for(world, timedelta(minutes=2))
    assert (ONE, TARGET_GROUP) not in world.targets
    schedule(world, ONE, NOW + HALF_AN_HOUR, "[Canceled] ")
    run_for(world, timedelta(minutes=2))
    assert (ONE, TARGET_GROUP) in world.targets
    assert EXCLUDED_LABEL in world.nodes[ONE].labels
    assert not world.nodes[ONE].unschedulable


def test_a_load_balancer_that_refuses_us_keeps_no_spot_machine_from_being_emptied() -> None:
    world = a_cluster(3, volumes=False)
    refusing(world, "deregister")
    world.passes.append(by_spot(world))
    run_for(world, timedelta(minutes=4))
    assert world.lost == []


def test_requests_that_do_not_end_take_a_third_of_the_time_at_most() -> None:
    world = a_cluster(3, volumes=False)
    world.requests_take = timedelta(hours=1)
    world.passes.append(by_spot(world))
    run_for(world, timedelta(seconds=30))
    assert not {("evict pod", pod) for pod in PODS} & set(world.effects)
    run_for(world, timedelta(seconds=20))
    assert {("evict pod", pod) for pod in PODS} <= set(world.effects)


def test_a_machine_that_joins_goes_on_joining_in_spite_of_advice() -> None:
    """A group without a launch hook: the machine is in service before it has a Node."""
    world = a_cluster(3, volumes=False)
    new = machine(0x105)
    workers = world.groups[WORKERS]
    launched_at = world.now - timedelta(seconds=5)
    world.instances[new] = replace(world.instances[TWO], id=new, address="10.77.1.105", launched_at=launched_at)
    world.groups[WORKERS] = replace(workers, members=(*workers.members, replace(workers.members[0], id=new)), desired=4)
    world.passes += [Look(new, "it is launched"), Look(new, "advice", notice=recommend(world, new))]
    run_for(world, timedelta(minutes=5))
    assert new in world.nodes
    assert not world.joins[new].open
    assert world.nodes[new].unschedulable, "once it has joined, the advice counts"
