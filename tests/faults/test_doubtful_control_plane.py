"""A control plane whose kubelet goes silent is taken down only while etcd and the API can do without it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import takewhile

import pytest

from functions.cluster.doubt import Rung
from functions.cluster.machine import MARKS, InstanceId
from functions.errors import ConfigurationError, RegrowError, RetryableError
from functions.messages import CONTROL_PLANE as LINE
from functions.messages import Look
from tests.faults.driving import at, run_for, run_to_end, with_another_pass_at
from tests.faults.test_control_planes import assert_whole, replacements
from tests.faults.test_doubtful_worker import READS, TELLS
from tests.unit.functions.builders import CLUSTER, NOW, machine
from tests.unit.functions.etcds import etcd_member
from tests.unit.functions.fake_world import Call, Crash, World
from tests.unit.functions.worlds import CONTROL_PLANES, a_cluster, launch

FIRST, SECOND, THIRD = (machine(number) for number in (0xC1, 0xC2, 0xC3))
MINUTE = timedelta(minutes=1)
RUNGS = ("restart", "reboot", "replace")
OF_ONE_FAILURE = (f"The sweep of {CLUSTER} holds", "could not be taken")


def a_plane(control_planes: int = 3) -> World:
    return a_cluster(2, pods_each=0, volumes=False, control_planes=control_planes)


def tried(world: World) -> list[str]:
    return [call.method for call in world.calls if call.method in RUNGS]


def taken(world: World, one: InstanceId) -> list[str]:
    return [what for what, whom in world.effects if whom == one and what in ("restart kubelet", "reboot", "replace")]


def told(world: World) -> list[str]:
    return [subject for subject, _ in world.alerts if not any(part in subject for part in OF_ONE_FAILURE)]


def to_the_end(world: World, minutes: int = 16) -> None:
    run_for(world, minutes * MINUTE)
    run_to_end(world)
    run_for(world, 2 * MINUTE)


def assert_same(world: World, one: InstanceId) -> None:
    assert_whole(world)
    assert {effect for effect in world.effects if effect[0] not in ("reboot", "restart kubelet")} == set()
    assert MARKS.isdisjoint(world.nodes[one].annotations)
    assert told(world) == []


def a_restart_mends_it(world: World) -> None:
    world.silent[SECOND], world.mended_by[SECOND] = world.now, Rung.RESTART
    to_the_end(world)
    assert_same(world, SECOND)


def a_reboot_mends_the_leader(world: World) -> None:
    world.silent[FIRST], world.mended_by[FIRST] = world.now, Rung.REBOOT
    to_the_end(world)
    assert_same(world, FIRST)
    assert set(taken(world, FIRST)) == {"reboot"}


def nothing_mends_it(world: World) -> None:
    world.silent[SECOND] = world.now
    to_the_end(world)
    assert_whole(world)
    assert len(replacements(world)) == 1
    assert taken(world, SECOND).count("replace") == 1
    assert set(Counter(taken(world, SECOND)).values()) <= {1, 2}
    gone = [what for what, whom in world.effects if whom in (SECOND, f"uid-of-{SECOND}")]
    assert gone.index("replace") < gone.index("remove member") < gone.index("complete hook") < gone.index("delete node")


STORIES: dict[str, Callable[[World], None]] = {
    "a restart mends it": a_restart_mends_it,
    "a reboot mends the leader": a_reboot_mends_the_leader,
    "nothing mends it": nothing_mends_it,
}


def points() -> list[tuple[str, Call]]:
    """Every call near a rung, and of the others one of each kind; from the end of its machine on it is a death."""
    found: list[tuple[str, Call]] = []
    seen: set[tuple[str, ...]] = set()
    for name, tell in STORIES.items():
        world = a_plane()
        tell(world)
        calls = list(takewhile(lambda call: call.method != "open_case", world.calls))
        for index, call in enumerate(calls):
            near = any(one.method in RUNGS for one in calls[max(0, index - 3) : index + 3])
            around = (calls[index - 1].method, call.method, *((name,) if near else ()))
            if around not in seen:
                seen.add(around)
                found.append((name, call))
    return found


FOUND = points()
POINTS = [(name, call.number) for name, call in FOUND if call.method not in TELLS]
WRITES = [(name, call.number) for name, call in FOUND if call.method not in READS | TELLS]


@pytest.mark.parametrize("name", STORIES)
def test_a_doubtful_control_plane_is_brought_back_or_replaced(name: str) -> None:
    STORIES[name](a_plane())


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize(("name", "number"), WRITES)
def test_a_function_killed_at_any_write_changes_nothing_of_the_end(name: str, number: int, side: str) -> None:
    world = a_plane()
    setattr(world, side, at(number, Crash()))
    STORIES[name](world)


@pytest.mark.parametrize(("name", "number"), POINTS)
def test_any_call_that_fails_once_is_made_good(name: str, number: int) -> None:
    error: type[RegrowError] = (RetryableError, ConfigurationError)[number % 2]
    world = a_plane()
    world.before = at(number, error("it did not work"))
    STORIES[name](world)


@pytest.mark.parametrize(("name", "number"), WRITES)
def test_a_call_whose_answer_is_lost_is_made_good(name: str, number: int) -> None:
    world = a_plane()
    world.after = at(number, RetryableError("the connection was closed"))
    STORIES[name](world)


@pytest.mark.parametrize(("name", "number"), WRITES)
def test_a_second_pass_may_run_whole_between_any_two_calls_of_the_first(name: str, number: int) -> None:
    STORIES[name](with_another_pass_at(number, a_plane(), Look(LINE, "the other pass")))


@pytest.mark.parametrize("one", [FIRST, SECOND, THIRD])
def test_whoever_it_is_its_rungs_come_in_their_time(one: InstanceId) -> None:
    world = a_plane()
    world.silent[one] = NOW
    when: dict[str, float] = {}

    def look(call: Call) -> None:
        if call.method in RUNGS:
            when.setdefault(call.method, (world.now - NOW).total_seconds())

    world.before = look
    to_the_end(world)
    for method, due_s in zip(RUNGS, (180, 270, 450), strict=True):
        assert due_s <= when[method] <= due_s + 20, method


def test_one_of_one_is_never_rebooted_or_replaced_and_a_person_is_told() -> None:
    world = a_plane(1)
    world.silent[FIRST] = world.now
    run_for(world, timedelta(hours=6))
    assert set(tried(world)) == {"restart"}
    assert world.effects == []
    assert any(FIRST in text and "cannot be spared" in text for _, text in world.alerts)


def test_of_two_neither_is_taken_down() -> None:
    world = a_plane(2)
    world.silent[FIRST] = world.now
    run_for(world, timedelta(hours=1))
    assert set(tried(world)) == {"restart"}
    assert world.effects == []
    assert any("cannot be spared" in text for _, text in world.alerts)


def test_while_another_member_is_unhealthy_nothing_is_taken_down_and_a_person_is_told() -> None:
    world = a_plane()
    third = etcd_member(0xC3).id
    whole = world.etcd[third]
    world.etcd[third] = replace(whole, answers=False)
    world.silent[SECOND] = world.now
    run_for(world, timedelta(hours=1))
    assert set(tried(world)) == {"restart"}
    assert world.effects == []
    assert any(SECOND in text and "cannot be spared" in text for _, text in world.alerts)
    world.etcd[third] = whole
    to_the_end(world)
    assert_whole(world)
    assert taken(world, SECOND) == ["reboot", "replace"]


@pytest.mark.parametrize("size", [3, 4, 5, 7])
def test_as_many_as_etcd_can_do_without_are_never_exceeded(size: int) -> None:
    """Members that do not answer, one more than it may be beside one that is rebooted."""
    world = a_plane(size)
    members = sorted(world.etcd)
    spare = size - (size // 2 + 1)
    for id_ in members[-spare:]:
        world.etcd[id_] = replace(world.etcd[id_], answers=False)
    world.silent[FIRST] = world.now
    run_for(world, 30 * MINUTE)
    assert set(tried(world)) == {"restart"}
    assert world.effects == []


def test_two_that_are_silent_at_once_are_left_alone_until_one_is_back() -> None:
    world = a_plane()
    world.silent |= {SECOND: world.now, THIRD: world.now}
    run_for(world, 30 * MINUTE)
    assert (tried(world), world.effects) == ([], [])
    assert any("are in trouble and left alone" in subject for subject, _ in world.alerts)
    world.mends_at[THIRD] = world.now
    to_the_end(world, 20)
    assert_whole(world)
    assert taken(world, SECOND) == ["reboot", "replace"]


def test_while_no_other_one_serves_the_api_none_is_taken_down() -> None:
    world = a_plane()

    def unhealthy(_: Call) -> None:
        world.serving -= {FIRST, THIRD}

    world.before = unhealthy
    world.silent[SECOND] = world.now
    run_for(world, 30 * MINUTE)
    assert set(tried(world)) == {"restart"}
    assert any("no other healthy target" in text for _, text in world.alerts)


def test_while_another_one_joins_none_is_taken_down() -> None:
    world = a_plane()
    world.groups[CONTROL_PLANES] = replace(world.groups[CONTROL_PLANES], desired=4)
    new = machine(0xDD)
    launch(world, new, group_name=CONTROL_PLANES)
    world.stuck.add(new)
    world.silent[SECOND] = world.now
    run_for(world, 7 * MINUTE)
    assert [what for what in tried(world) if what != "restart"] == []


@pytest.mark.parametrize("method", ["etcd", "health", "renewals", "doubts", "refreshing", "memory", "etcd_pods"])
def test_while_something_cannot_be_read_none_is_taken_down(method: str) -> None:
    world = a_plane()
    world.silent[SECOND] = world.now

    def refuse(call: Call) -> None:
        if call.method == method:
            raise RetryableError(f"{method} does not answer")

    world.before = refuse
    run_for(world, 30 * MINUTE)
    assert [what for what in tried(world) if what != "restart"] == []
    assert world.effects == []
    world.before = lambda _: None
    to_the_end(world, 20)
    assert_whole(world)
    assert taken(world, SECOND) == ["reboot", "replace"]


def test_a_member_that_cannot_be_told_to_be_its_own_is_no_reason_to_take_a_machine_down() -> None:
    """It may be the one that the quorum hangs on."""
    world = a_plane()
    world.silent[SECOND] = world.now
    second = etcd_member(0xC2).id
    world.etcd[second] = replace(
        world.etcd[second],
        name="somebody",
        peer_urls=("https://10.9.9.9:2380",),
        client_urls=("https://10.9.9.9:2379",),
    )
    world.runs_elsewhere.add("somebody")
    run_for(world, 20 * MINUTE)
    assert not set(taken(world, SECOND)) & {"reboot", "replace"}


def test_a_refresh_of_its_group_is_waited_for() -> None:
    world = a_plane()
    world.refreshing.add(CONTROL_PLANES)
    world.silent[SECOND] = world.now
    run_for(world, 30 * MINUTE)
    assert taken(world, SECOND) == ["reboot"]


def test_flapping_below_the_thresholds_for_a_day_is_nothing() -> None:
    world = a_plane()

    def flap(_: Call) -> None:
        into = (world.now - NOW).total_seconds() % 240
        if into < 170:
            world.silent[SECOND] = world.now - timedelta(seconds=into)
        else:
            world.silent.pop(SECOND, None)

    world.before = flap
    run_for(world, timedelta(hours=24))
    assert (tried(world), world.effects, world.alerts, world.violations) == ([], [], [], [])
