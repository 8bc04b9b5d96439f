"""A worker whose kubelet goes silent is brought back or replaced once, whatever goes wrong on the way.

Never two of a small pool at once, and never one that is well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise, takewhile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from functions.cluster.doubt import LADDER_SILENT_TAG, Rung
from functions.cluster.machine import MARKS, InstanceId
from functions.errors import ConfigurationError, ConflictError, RegrowError, RetryableError
from functions.messages import Look
from tests.faults.driving import at, one_pass, run_for, run_to_end
from tests.unit.functions.builders import CLUSTER, NOW, ONE, THREE, TWO, WORKERS, machine, pause
from tests.unit.functions.fake_world import Call, Crash, World
from tests.unit.functions.worlds import a_cluster, settle

OF_ONE_FAILURE = (f"The sweep of {CLUSTER} holds", "could not be taken")
REPLACED = [f"{ONE} is replaced", f"{ONE} goes without being drained"]
RUNGS = frozenset({"restart kubelet", "restart runtime", "reboot", "replace"})
MINUTE = timedelta(minutes=1)
TIME_ENOUGH = 14 * MINUTE  # for all rungs, a failure, and the replacement


def a_pool(workers: int = 3) -> World:
    return a_cluster(workers, pods_each=1, volumes=False)


def rungs(world: World, one: InstanceId = ONE) -> list[str]:
    return [what for what, whom in world.effects if what in RUNGS and whom == one]


def told(world: World) -> list[str]:
    """What people heard, but for what one failed call alone makes them hear."""
    return [subject for subject, _ in world.alerts if not any(part in subject for part in OF_ONE_FAILURE)]


def assert_whole(world: World, workers: int = 3) -> None:
    """As many workers as are wanted, in service and Ready; nothing begun, nothing forbidden done on the way."""
    assert world.violations == []
    assert (world.cases, world.places) == ({}, {})
    members = world.groups[WORKERS].members
    assert len(members) == workers
    assert all(member.in_service for member in members)
    ours = {member.id for member in members}
    assert {node.name for node in world.nodes.values() if not node.control_plane} == ours
    assert all(node.ready and not node.unschedulable for node in world.nodes.values())
    assert not ours & set(world.silent)
    assert len(world.pods) == workers
    assert set(world.pods.values()) <= set(world.nodes)
    assert not any(record.open for record in world.joins.values())
    assert {one for one, _ in world.targets} >= ours
    assert set(Counter(rungs(world)).values()) <= {1, 2}
    assert rungs(world).count("replace") <= 1


def assert_same_machine(world: World) -> None:
    """It is the machine that it was, with nothing of ours left on it; the rungs below a replacement were enough."""
    assert_whole(world)
    assert world.member(ONE)
    assert MARKS.isdisjoint(world.nodes[ONE].annotations)
    assert {effect for effect in world.effects if effect[0] not in RUNGS} == set()
    assert "replace" not in rungs(world)
    assert told(world) == []


def assert_replaced(world: World) -> None:
    assert_whole(world)
    assert world.member(ONE) is None
    assert ONE not in world.nodes
    assert rungs(world).count("replace") == 1
    assert sorted(set(told(world))) == sorted(REPLACED)
    harm = [effect for effect in world.effects if effect[0] in ("fence", "delete node", "complete hook")]
    assert [effect for effect in harm if ONE in effect[1]] == [
        ("complete hook", ONE), ("fence", f"uid-of-{ONE}"), ("delete node", f"uid-of-{ONE}"),
    ]  # fmt: skip


def to_the_end(world: World, duration: timedelta = TIME_ENOUGH) -> None:
    run_for(world, duration)
    run_to_end(world)


def a_restart_mends_it(world: World) -> None:
    world.silent[ONE], world.mended_by[ONE] = world.now, Rung.RESTART
    to_the_end(world)
    assert_same_machine(world)


def a_reboot_mends_it(world: World) -> None:
    world.silent[ONE], world.mended_by[ONE] = world.now, Rung.REBOOT
    to_the_end(world)
    assert_same_machine(world)


def nothing_mends_it(world: World) -> None:
    world.silent[ONE] = world.now
    to_the_end(world)
    assert_replaced(world)


def its_host_dies(world: World) -> None:
    """EC2 goes on saying that it runs; its status checks fail a minute later."""
    world.silent[ONE], world.impaired[ONE] = world.now, world.now + MINUTE
    to_the_end(world)
    assert_replaced(world)


def it_comes_back_by_itself(world: World) -> None:
    """After a restart that could not be had, before the reboot."""
    world.silent[ONE] = world.now
    run_for(world, timedelta(seconds=200))
    world.mends_at[ONE] = world.now
    to_the_end(world, 3 * MINUTE)
    assert_same_machine(world)


STORIES: dict[str, Callable[[World], None]] = {
    "a restart mends it": a_restart_mends_it,
    "a reboot mends it": a_reboot_mends_it,
    "nothing mends it": nothing_mends_it,
    "its host dies": its_host_dies,
    "it comes back by itself": it_comes_back_by_itself,
}
READS = frozenset({
    "groups", "fleet", "instance", "all_scheduled_events", "spot_interruptions", "nodes", "node", "pods_on",
    "etcd_pods", "attachments_of", "health", "targets", "cases", "records", "joins", "pauses", "memory", "snapshot_at",
    "renewals", "renewed_at", "doubts", "brakes", "impairments", "refreshing", "etcd", "admission", "snapshot_begun",
})  # fmt: skip


def points() -> list[tuple[str, Call]]:
    """Every call of the stories but those that come between the same others as one before: of a machine that is waited
    for, each look is like the last. From the opening of a case on it is a dead worker's story."""
    found: list[tuple[str, Call]] = []
    seen: set[tuple[str, ...]] = set()
    for name, tell in STORIES.items():
        world = a_pool()
        tell(world)
        calls = list(takewhile(lambda call: call.method != "open_case", world.calls))
        for index, call in enumerate(calls):
            around = (*(one.method for one in calls[max(0, index - 2) : index + 2]), *rung_of(name, calls[:index]))
            if around not in seen:
                seen.add(around)
                found.append((name, call))
    return found


def rung_of(name: str, calls: list[Call]) -> tuple[str, ...]:
    """Calls near a rung are points of their own in each story."""
    near = [call.method for call in calls[-4:] if call.method in ("restart", "reboot", "replace")]
    return (name, *near) if near else ()


TELLS = frozenset({"first_time", "alert"})
FOUND = points()
POINTS = [(name, call.number) for name, call in FOUND if call.method not in TELLS]
WRITES = [(name, call.number) for name, call in FOUND if call.method not in READS | TELLS]
TELLING = [(name, call.number) for name, call in FOUND if call.method in TELLS]


@pytest.mark.parametrize("name", STORIES)
def test_a_doubtful_machine_is_brought_back_or_replaced(name: str) -> None:
    STORIES[name](a_pool())


def test_rungs_come_in_their_time() -> None:
    world = a_pool()
    world.silent[ONE] = NOW
    taken: dict[str, float] = {}

    def look(call: Call) -> None:
        if call.method in ("restart", "reboot", "replace"):
            taken.setdefault(call.method, (world.now - NOW).total_seconds())

    world.before = look
    to_the_end(world)
    for method, due_s in (("restart", 180), ("reboot", 270), ("replace", 450)):
        assert due_s <= taken[method] <= due_s + 20, method


def test_a_host_that_dies_is_replaced_within_three_minutes_of_its_first_failing_check() -> None:
    world = a_pool()
    world.silent[ONE], world.impaired[ONE] = NOW, NOW + MINUTE
    run_for(world, MINUTE + timedelta(seconds=180))
    assert rungs(world) == ["replace"]


@pytest.mark.parametrize(("name", "number"), POINTS)
def test_a_function_killed_before_any_call_changes_nothing_of_the_end(name: str, number: int) -> None:
    world = a_pool()
    world.before = at(number, Crash())
    STORIES[name](world)


@pytest.mark.parametrize(("name", "number"), WRITES)
def test_a_function_killed_after_any_write_changes_nothing_of_the_end(name: str, number: int) -> None:
    world = a_pool()
    world.after = at(number, Crash())
    STORIES[name](world)


@pytest.mark.parametrize(("name", "number"), POINTS)
def test_any_call_that_fails_once_is_made_good(name: str, number: int) -> None:
    error: type[RegrowError] = (RetryableError, ConfigurationError, ConflictError)[number % 3]
    world = a_pool()
    world.before = at(number, error("it did not work"))
    STORIES[name](world)


@pytest.mark.parametrize(("name", "number"), WRITES)
def test_a_call_whose_answer_is_lost_is_made_good(name: str, number: int) -> None:
    world = a_pool()
    world.after = at(number, RetryableError("the connection was closed"))
    STORIES[name](world)


@pytest.mark.parametrize(("name", "number"), POINTS)
def test_a_second_pass_may_run_whole_between_any_two_calls_of_the_first(name: str, number: int) -> None:
    world = a_pool()

    def other_pass(call: Call) -> None:
        if call.number == number:
            one_pass(world, Look(ONE, "the other pass"))
            settle(world)

    world.before = other_pass
    STORIES[name](world)


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("what", [Crash(), RetryableError("the connection was closed")])
@pytest.mark.parametrize(("name", "number"), TELLING)
def test_what_could_not_be_told_is_done_all_the_same(name: str, number: int, what: BaseException, side: str) -> None:
    """A person may miss an alert whose sending was cut off; the history has what was done."""
    world = a_pool()
    setattr(world, side, at(number, what))
    world.silent[ONE] = world.now
    if name == "its host dies":
        world.impaired[ONE] = world.now + MINUTE
    to_the_end(world)
    world.violations = [said for said in world.violations if "was let go with" not in said]  # a person missed it
    assert_whole(world)
    assert rungs(world).count("replace") == 1
    steps = [step["step"] for _, entry in world.history for step in entry.get("steps", ())]  # type: ignore[attr-defined]
    assert "Replace" in steps


@pytest.mark.parametrize("name", STORIES)
def test_with_every_look_five_times_all_happens_once(name: str) -> None:
    world = a_pool()
    seen: set[Look] = set()

    def double(_: Call) -> None:
        for look in set(world.passes) - seen:
            seen.add(look)
            world.passes += [look] * 4

    world.before = double
    STORIES[name](world)
    assert max(Counter(rungs(world)).values(), default=0) <= 1


@pytest.mark.parametrize("name", STORIES)
def test_with_every_other_look_lost_the_sweep_goes_on(name: str) -> None:
    world = a_pool()

    def lose(call: Call) -> None:
        if call.number % 2:
            world.later.clear()

    world.before = lose
    STORIES[name](world)


@given(st.data())
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_looks_in_any_order_and_number_come_to_one_replacement(data: st.DataObject) -> None:
    world = a_pool()
    world.silent[ONE] = world.now
    for _ in range(data.draw(st.integers(1, 6))):
        run_for(world, timedelta(seconds=data.draw(st.integers(1, 150))))
        looks = data.draw(st.lists(st.sampled_from([ONE, TWO, THREE]), max_size=5))
        world.passes += [Look(one, f"message {number}") for number, one in enumerate(looks)]
        run_to_end(world, choose=lambda waiting: data.draw(st.integers(0, len(waiting) - 1)))
    to_the_end(world)
    assert_replaced(world)


def refusing(world: World, *services: str, error: type[RegrowError] = RetryableError, method: str = "") -> None:
    def refuse(call: Call) -> None:
        if call.service in services or call.method == method:
            raise error(f"{call.service} does not answer")

    world.before = refuse


@pytest.mark.parametrize("error", [RetryableError, ConfigurationError])
@pytest.mark.parametrize("service", ["ec2", "autoscaling", "kubernetes", "table"])
def test_while_a_service_is_out_of_reach_no_rung_is_taken_and_afterwards_all_is_made_good(
    service: str, error: type[RegrowError]
) -> None:
    world = a_pool()
    world.silent[ONE] = world.now
    run_for(world, timedelta(seconds=100))
    refusing(world, service, error=error)
    run_for(world, 15 * MINUTE)
    assert world.effects == []
    world.before = lambda _: None
    to_the_end(world)
    assert_replaced(world)


@pytest.mark.parametrize(
    "method", ["renewals", "renewed_at", "nodes", "doubts", "brakes", "refreshing", "fleet", "records"]
)
def test_while_one_part_cannot_be_read_no_rung_is_taken(method: str) -> None:
    world = a_pool()
    world.silent[ONE] = world.now
    refusing(world, method=method)
    run_for(world, 20 * MINUTE)
    assert world.effects == []
    assert [call for call in world.calls if call.method in ("restart", "reboot", "replace")] == []
    assert world.alerts or method == "renewed_at", "a person hears that something is not seen"
    world.alerts.clear()
    world.before = lambda _: None
    to_the_end(world)
    assert_replaced(world)


def test_while_ec2_says_nothing_about_its_checks_a_kubelet_is_restarted_and_no_machine_taken_down() -> None:
    world = a_pool()
    refusing(world, method="impairments")
    a_restart_mends_it(world)
    assert rungs(world) == ["restart kubelet"]
    world.silent[ONE], world.mended_by[ONE] = world.now, Rung.REBOOT
    run_for(world, 20 * MINUTE)
    assert rungs(world) == ["restart kubelet"]
    assert told(world) == [f"{ONE} is doubtful and left alone"]
    world.alerts.clear()
    world.before = lambda _: None
    to_the_end(world)
    assert_same_machine(world)


@pytest.mark.parametrize("error", [RetryableError, ConfigurationError])
def test_a_machine_that_run_command_does_not_reach_is_rebooted_all_the_same(error: type[RegrowError]) -> None:
    world = a_pool()
    refusing(world, method="restart", error=error)
    a_reboot_mends_it(world)
    assert rungs(world) == ["reboot"]


def test_while_no_api_server_answers_nobody_is_in_trouble() -> None:
    """API blindness is no death: nothing is noted that could count when it is over."""
    world = a_pool()
    refusing(world, "kubernetes")
    run_for(world, 30 * MINUTE)
    world.before = lambda _: None
    run_for(world, 5 * MINUTE)
    assert (world.effects, world.doubts, world.brakes) == ([], {}, {})


@pytest.mark.parametrize("of", [CLUSTER, WORKERS, ONE])
@pytest.mark.parametrize("begins_s", [0, 100, 200, 300])
def test_a_pause_in_the_middle_is_kept_and_at_its_end_all_goes_on(of: str, begins_s: int) -> None:
    world = a_pool()
    world.silent[ONE] = world.now
    run_for(world, timedelta(seconds=begins_s))
    before = list(world.effects)
    tries = [call.method for call in world.calls if call.method in ("restart", "reboot", "replace")]
    world.pauses[of] = replace(pause(of), until=world.now + 30 * MINUTE)
    run_for(world, 29 * MINUTE)
    assert world.effects == before
    assert [call.method for call in world.calls if call.method in ("restart", "reboot", "replace")] == tries
    assert told(world) == [f"{ONE} is doubtful and left alone"]
    world.alerts.clear()
    to_the_end(world)
    assert_replaced(world)


@pytest.mark.parametrize("of", [CLUSTER, WORKERS, ONE])
def test_a_short_silence_in_a_pause_is_nothing_that_anybody_has_to_hear_of(of: str) -> None:
    world = a_pool()
    world.pauses[of] = pause(of)
    world.silent[ONE] = world.now
    run_for(world, timedelta(seconds=150))
    world.mends_at[ONE] = world.now
    run_for(world, 30 * MINUTE)
    assert (world.effects, world.alerts, world.doubts) == ([], [], {})


def test_a_brake_holds_both_and_when_one_is_back_it_lets_go_and_the_other_is_repaired() -> None:
    world = a_pool()
    world.silent |= {ONE: world.now, TWO: world.now}
    run_for(world, 20 * MINUTE)
    assert world.effects == []
    assert [call for call in world.calls if call.method in ("restart", "reboot", "replace")] == []
    assert told(world) == [f"Machines of {CLUSTER} are in trouble and left alone: group {WORKERS}"]
    assert [entry for _, entry in world.history if "brakes" in entry]
    world.mends_at[TWO] = world.now
    run_for(world, 3 * MINUTE)
    assert world.effects == [], "kubelets come back one after another"
    world.alerts.clear()
    to_the_end(world)
    assert_replaced(world)
    assert rungs(world, TWO) == []


def test_a_whole_zone_that_goes_dark_is_left_alone_and_told_once_and_all_comes_back_by_itself() -> None:
    world = a_cluster(12, pods_each=1, volumes=False)
    ours = [machine(number) for number in range(1, 13)]
    for one in ours[:6]:
        world.instances[one] = replace(world.instances[one], zone="us-east-1b")
    world.silent |= dict.fromkeys(ours[:6], world.now)
    world.impaired |= dict.fromkeys(ours[:6], world.now + MINUTE)
    run_for(world, timedelta(seconds=100))
    assert len(world.alerts) == 1
    run_for(world, 50 * MINUTE)
    assert world.effects == []
    assert len(world.alerts) == 1
    world.mends_at |= dict.fromkeys(ours[:6], world.now)
    run_for(world, 30 * MINUTE)
    assert (world.effects, world.violations, world.doubts) == ([], [], {})


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_one_bad_machine_of_a_small_pool_is_always_replaced(size: int) -> None:
    world = a_pool(size)
    world.silent[ONE] = world.now
    to_the_end(world)
    assert_whole(world, size)
    assert rungs(world).count("replace") == 1


@pytest.mark.parametrize("period_s", [170, 100, 41])
def test_a_kubelet_that_flaps_below_the_thresholds_for_a_day_is_left_alone(period_s: int) -> None:
    world = a_pool()

    def flap(_: Call) -> None:
        into = (world.now - NOW).total_seconds() % (period_s + 70)
        if into < period_s:
            world.silent[ONE] = world.now - timedelta(seconds=into)
        else:
            world.silent.pop(ONE, None)

    world.before = flap
    run_for(world, timedelta(hours=24))
    assert (world.effects, world.violations, world.alerts) == ([], [], [])
    assert [call for call in world.calls if call.method in ("restart", "reboot", "replace")] == []


@pytest.mark.parametrize("off", [-MINUTE, -10 * MINUTE, timedelta(days=-365), MINUTE, timedelta(hours=1)])
def test_a_wrong_clock_is_no_trouble_and_hides_none_and_hastens_no_rung(off: timedelta) -> None:
    world = a_pool()
    world.clocks_off[ONE] = off
    run_for(world, timedelta(hours=2))
    assert (world.effects, world.alerts, world.doubts) == ([], [], {})
    world.silent[ONE] = world.now
    run_for(world, timedelta(seconds=175))
    assert [call for call in world.calls if call.method in ("restart", "reboot", "replace")] == []
    to_the_end(world)
    assert_replaced(world)


def test_a_kubelet_that_hangs_again_and_again_climbs_the_ladder_instead_of_being_restarted_for_ever() -> None:
    world = a_pool()
    world.mended_by[ONE] = Rung.RESTART
    for _ in range(4):
        world.silent.setdefault(ONE, world.now)
        run_for(world, 6 * MINUTE)
    to_the_end(world)
    assert_replaced(world)
    assert rungs(world) == ["restart kubelet", "reboot", "replace"]


def test_one_that_was_well_for_long_begins_at_the_lowest_rung_again() -> None:
    world = a_pool()
    world.mended_by[ONE] = Rung.RESTART
    for _ in range(3):
        world.silent[ONE] = world.now
        run_for(world, 20 * MINUTE)
        assert world.doubts == {}
    assert rungs(world) == ["restart kubelet"] * 3


@pytest.mark.parametrize(
    ("change", "lifts"),
    [
        ({"suspended": frozenset({"Terminate"})}, {"suspended": frozenset()}),
        ({"suspended": frozenset({"ReplaceUnhealthy"})}, {"suspended": frozenset()}),
        ({"suspended": frozenset({"Launch"})}, {"suspended": frozenset()}),
    ],
)
def test_a_group_whose_processes_a_person_suspended_replaces_nothing_until_they_are_resumed(
    change: dict[str, frozenset[str]], lifts: dict[str, frozenset[str]]
) -> None:
    world = a_pool()
    world.groups[WORKERS] = replace(world.groups[WORKERS], **change)  # type: ignore[arg-type]
    world.silent[ONE] = world.now
    run_for(world, 30 * MINUTE)
    assert rungs(world) == ["reboot"]
    assert told(world) == [f"{ONE} is doubtful and left alone"]
    assert "resume-processes" in world.alerts[0][1]
    world.groups[WORKERS] = replace(world.groups[WORKERS], **lifts)  # type: ignore[arg-type]
    world.alerts.clear()
    to_the_end(world)
    assert_replaced(world)


def test_an_instance_refresh_is_waited_for() -> None:
    world = a_pool()
    world.refreshing.add(WORKERS)
    world.silent[ONE] = world.now
    run_for(world, 30 * MINUTE)
    assert rungs(world) == ["reboot"]
    assert told(world) == [f"{ONE} is doubtful and left alone"]
    world.refreshing.clear()
    world.alerts.clear()
    to_the_end(world)
    assert_replaced(world)


def test_with_a_tag_that_cannot_be_read_nothing_is_tried_and_a_person_is_told_once_a_day_which() -> None:
    world = a_pool()
    world.groups[WORKERS] = replace(world.groups[WORKERS], tags={LADDER_SILENT_TAG: "reboot restart"})
    world.silent[ONE] = world.now
    run_for(world, timedelta(hours=3))
    assert world.effects == []
    ((subject, text),) = world.alerts
    assert subject == f"{ONE} is in trouble, and nothing more is tried"
    assert f"the tag {LADDER_SILENT_TAG} is 'reboot restart'; it must be" in text
    world.groups[WORKERS] = replace(world.groups[WORKERS], tags={})
    world.alerts.clear()
    to_the_end(world)
    assert_replaced(world)


def test_a_replacement_that_never_comes_is_told_and_asked_for_again_no_sooner_than_it_was_waited_for() -> None:
    """The answer says that it was done, and it was not."""
    world = a_pool()
    world.silent[ONE] = world.now
    asked: list[float] = []

    def lose(call: Call) -> None:
        if call.method == "replace":
            asked.append((world.now - NOW).total_seconds())
            raise ConflictError("lost")

    world.before = lose
    run_for(world, 30 * MINUTE)
    gaps = [later - sooner for sooner, later in pairwise(asked)]
    assert len(asked) > 2
    assert min(gaps) >= 300
    assert told(world) == [f"{ONE} is replaced"]
    world.before = lambda _: None
    to_the_end(world)
    assert_replaced(world)


def test_many_that_are_replaced_one_after_the_other_are_no_more_than_three_an_hour() -> None:
    world = a_cluster(30, pods_each=0, volumes=False)
    replaced_at = []

    def look(call: Call) -> None:
        if call.method == "replace":
            replaced_at.append(world.now)

    world.before = look
    for number in range(1, 9):
        world.silent[machine(number)] = world.now
        run_for(world, 15 * MINUTE)
    assert world.violations == []
    assert len(replaced_at) > 3
    for first, fourth in zip(replaced_at, replaced_at[3:], strict=False):
        assert fourth - first >= timedelta(hours=1)
    assert any("were replaced within an hour" in text for _, text in world.alerts)


def test_a_machine_that_leaves_has_its_requests_and_pods_waited_for_while_its_kubelet_only_hangs_for_a_while() -> None:
    world = a_pool()
    world.groups[WORKERS] = replace(world.groups[WORKERS], desired=2)
    members = tuple(
        replace(member, lifecycle_state="Terminating:Wait") if member.id == ONE else member
        for member in world.groups[WORKERS].members
    )
    world.groups[WORKERS] = replace(world.groups[WORKERS], members=members)
    world.silent[ONE] = world.now
    run_for(world, timedelta(seconds=150))
    assert ("complete hook", ONE) not in world.effects
    run_for(world, 3 * MINUTE)
    assert ("complete hook", ONE) in world.effects, "nothing ends on it any more: it is not waited for for an hour"
    assert world.violations == []
