"""Control planes come whole again whatever goes wrong on the way, and etcd's quorum is never at risk."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import count
from threading import Barrier

import pytest

from functions.cluster.machine import InstanceId, InstanceState, Pod, Transition
from functions.errors import ConfigurationError, RegrowError, RetryableError
from functions.messages import CONTROL_PLANE as LINE
from functions.messages import Look
from functions.remediate.control_planes import run_control_plane
from tests.faults.driving import at, run_for, run_to_end, with_another_pass_at
from tests.unit.functions.builders import CLUSTER, NOW, ONE, SETTINGS, machine, pause, said
from tests.unit.functions.etcds import address, etcd_member, unstarted
from tests.unit.functions.fake_world import Call, Crash, World
from tests.unit.functions.fakes import outside_of
from tests.unit.functions.worlds import (
    API_TARGET_GROUP,
    CONTROL_PLANES,
    a_cluster,
    kill,
    launch,
    leave_group,
    listed_as,
)

FIRST, SECOND, THIRD, FOURTH = (machine(number) for number in (0xC1, 0xC2, 0xC3, 0xC4))
FEW = timedelta(minutes=4)
HARM_OF_ONE_DEATH = sorted(
    [
        ("deregister", FIRST),
        ("fence", f"uid-of-{FIRST}"),
        ("remove member", FIRST),
        ("delete node", f"uid-of-{FIRST}"),
        ("complete hook", FIRST),
    ]
)
ENTRY = sorted(["mint", "register", "approve", "approve", "complete hook", "revoke"])


def a_death(control_planes: int = 3, *victims: InstanceId) -> World:
    """The first of them, which leads etcd, or these, are dead; their group has noticed, and events tell of it."""
    world = a_cluster(2, volumes=False, control_planes=control_planes)
    kill(world, *(victims or (FIRST,)))
    world.passes += [Look(one, "EC2 says terminated") for one in victims or (FIRST,)]
    return world


def replacements(world: World) -> list[InstanceId]:
    return [there.id for there in world.groups[CONTROL_PLANES].members if int(there.id[2:], 16) >= 0xD0]


def effects_on_control_planes(world: World) -> list[tuple[str, str]]:
    """What was done, leaving the workers out."""
    workers = {machine(1), machine(2)}
    return [effect for effect in world.effects if effect[1].removeprefix("uid-of-") not in workers]


def assert_whole(world: World, control_planes: int = 3) -> None:
    """The end that every road must come to: as many voters as are wanted and nothing else, all in service, Ready and
    behind the load balancer; nothing begun, nothing left to join with, nobody's quorum ever risked."""
    assert world.violations == []
    assert world.most_control_planes_in_flight <= 1
    members = world.groups[CONTROL_PLANES].members
    ours = {member.id for member in members}
    assert len(ours) == control_planes
    assert all(member.in_service for member in members)
    assert {member.name for member in world.etcd.values()} == ours
    assert all(member.voter and member.healthy for member in world.etcd.values())
    assert {node.name for node in world.nodes.values() if node.control_plane} == ours
    assert all(world.nodes[one].ready and not world.nodes[one].unschedulable for one in ours)
    assert {one for one, of in world.targets if of == API_TARGET_GROUP} == ours == world.serving
    assert not any(record.open for record in world.joins.values())
    assert (world.cases, world.places) == ({}, {})
    assert (world.admission, world.certificates_for) == (None, None)
    assert world.lease is None or world.lease[1] <= world.now


def assert_healed(world: World) -> None:
    """Whole, and each thing was done once."""
    assert_whole(world)
    (new,) = replacements(world)
    on_the_dead = [effect for effect in effects_on_control_planes(world) if effect[1] != new]
    assert sorted(on_the_dead) == HARM_OF_ONE_DEATH
    assert sorted(what for what, whom in world.effects if whom == new) == ENTRY


def until_rest(world: World, *, leases: bool = True) -> None:
    """To the end, and as long as a lease lasts that somebody who was killed had taken."""
    run_to_end(world)
    if leases:
        run_for(world, timedelta(minutes=2))


def calls_of_an_undisturbed_case() -> list[Call]:
    world = a_death()
    run_to_end(world, sweeps=False)
    assert_healed(world)
    return world.calls


READS = frozenset({
    "groups", "fleet", "instance", "all_scheduled_events", "spot_interruptions", "nodes", "node", "pods_on",
    "etcd_pods", "attachments_of", "health", "targets", "cases", "records", "joins", "pauses", "memory", "snapshot_at",
    "snapshot_begun", "snapshot", "etcd", "admission",
})  # fmt: skip
CALLS = calls_of_an_undisturbed_case()
NUMBERS = [call.number for call in CALLS]
WRITES = [call.number for call in CALLS if call.method not in READS]  # between two reads nothing can have become of it


def order(world: World, *effects: tuple[str, str]) -> list[int]:
    return [world.effects.index(effect) for effect in effects]


def test_a_dead_control_plane_is_replaced_with_no_alert_and_within_a_minute() -> None:
    world = a_death()
    run_to_end(world, sweeps=False)
    assert_healed(world)
    assert world.alerts == []
    assert world.now - NOW < timedelta(minutes=1)


def test_its_member_goes_before_its_node_and_its_hook_and_all_of_it_before_anybody_may_join() -> None:
    world = a_death()
    run_to_end(world, sweeps=False)
    (new,) = replacements(world)
    steps = [("deregister", FIRST), ("fence", f"uid-of-{FIRST}"), ("remove member", FIRST)]
    steps += [("delete node", f"uid-of-{FIRST}"), ("complete hook", FIRST), ("mint", new), ("complete hook", new)]
    assert order(world, *steps) == sorted(order(world, *steps))


@pytest.mark.parametrize("victim", [FIRST, SECOND, THIRD])
@pytest.mark.parametrize("control_planes", [3, 4, 5, 7])
def test_whoever_dies_of_however_many_the_end_is_the_same(control_planes: int, victim: InstanceId) -> None:
    world = a_death(control_planes, victim)
    run_to_end(world, sweeps=False)
    assert_whole(world, control_planes)


def test_a_leader_that_dies_is_healed_with_no_alert_although_an_election_takes_its_time() -> None:
    world = a_death()
    world.elected_at = world.now + timedelta(seconds=5)
    run_to_end(world, sweeps=False)
    assert_healed(world)
    assert world.alerts == []


def test_with_no_event_at_all_the_sweep_heals() -> None:
    world = a_death()
    world.passes.clear()
    run_for(world, FEW)
    assert_healed(world)


def test_a_replacement_with_the_address_of_the_dead_joins_as_itself() -> None:
    world = a_death()
    new = machine(0xE1)
    launch(world, new, group_name=CONTROL_PLANES)
    world.instances[new] = replace(world.instances[new], address=address(0xC1))
    run_for(world, timedelta(seconds=30))
    assert ("remove member", FIRST) in world.effects
    assert ("mint", new) in world.effects
    assert world.violations == []


SIDES = [("before", number) for number in NUMBERS] + [("after", number) for number in WRITES]


@pytest.mark.parametrize(("side", "number"), SIDES)
def test_a_function_killed_at_any_call_leaves_control_planes_that_come_whole(side: str, number: int) -> None:
    world = a_death()
    setattr(world, side, at(number, Crash()))
    until_rest(world)
    assert_healed(world)


ERRORS = [(RetryableError, number) for number in NUMBERS] + [(ConfigurationError, number) for number in WRITES[::2]]


@pytest.mark.parametrize(("error", "number"), ERRORS)
def test_any_call_that_fails_once_is_made_good(error: type[RegrowError], number: int) -> None:
    world = a_death()
    world.before = at(number, error("it did not work"))
    until_rest(world)
    assert_healed(world)


@pytest.mark.parametrize("number", WRITES)
def test_a_call_whose_answer_is_lost_is_made_again_without_harm(number: int) -> None:
    world = a_death()
    world.after = at(number, RetryableError("the connection was closed"))
    until_rest(world)
    assert_healed(world)


@pytest.mark.parametrize("number", WRITES)
def test_a_second_pass_may_run_whole_between_any_two_calls_of_the_first(number: int) -> None:
    """One line hands out one look at a time; a look that is handed out again while a function hangs comes to this."""
    world = with_another_pass_at(number, a_death(), Look(LINE, "the other pass"))
    until_rest(world)
    assert_healed(world)


@pytest.mark.parametrize("seed", range(100))
def test_ten_events_at_once_doubled_and_shuffled_take_out_one_at_a_time(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - a seed makes the order the same each time
    world = a_cluster(1, volumes=False, control_planes=5)
    victims = chance.sample([machine(0xC0 + number) for number in range(1, 6)], 2)
    kill(world, *victims)
    about = [*victims, *victims, *(machine(0xC0 + number) for number in range(1, 6)), LINE]
    events = [Look(one, f"event {number}") for number, one in enumerate(about)] * 2
    chance.shuffle(events)
    world.passes += events
    run_to_end(world, choose=lambda waiting: chance.randrange(len(waiting)))
    assert_whole(world, 5)
    assert world.most_control_planes_in_flight == 1
    assert world.alerts == []


def test_of_an_arriving_and_a_dead_one_the_dead_one_is_done_first() -> None:
    world = a_cluster(1, volumes=False, control_planes=3)
    world.groups[CONTROL_PLANES] = replace(world.groups[CONTROL_PLANES], desired=4)
    new = machine(0xDD)
    launch(world, new, group_name=CONTROL_PLANES)
    kill(world, SECOND)
    world.passes.append(Look(SECOND, "EC2 says terminated"))
    run_to_end(world, sweeps=False)
    assert order(world, ("remove member", SECOND), ("mint", new)) == sorted(
        order(world, ("remove member", SECOND), ("mint", new))
    )
    assert_whole(world, 4)


@pytest.mark.parametrize("wanted", [4, 5, 7])
def test_many_that_arrive_at_once_join_one_after_the_other(wanted: int) -> None:
    world = a_cluster(1, volumes=False, control_planes=3)
    world.groups[CONTROL_PLANES] = replace(world.groups[CONTROL_PLANES], desired=wanted)
    joining = []

    def count(_: Call) -> None:
        joining.append(sum(record.open for record in world.joins.values()))

    world.before = count
    run_for(world, timedelta(minutes=5))
    assert_whole(world, wanted)
    assert max(joining) == 1


def test_of_five_two_dead_are_healed_one_after_the_other() -> None:
    world = a_death(5, FIRST, SECOND)
    run_to_end(world)
    assert_whole(world, 5)
    assert world.most_control_planes_in_flight == 1
    assert world.alerts == []


def test_of_five_two_dead_one_pass_removes_one_and_judges_the_other_by_what_is_true_then() -> None:
    world = a_death(5, FIRST, SECOND)
    run_control_plane(Look(LINE, "a test"), outside_of(world), SETTINGS, lambda: world.now)
    assert [what for what, _ in world.effects].count("remove member") == 1


def test_of_three_two_dead_are_left_alone_with_one_alert_that_names_the_run_book() -> None:
    world = a_death(3, FIRST, SECOND)
    run_for(world, timedelta(minutes=20))
    assert effects_on_control_planes(world) == []
    assert world.cases == {}
    ((subject, text),) = [told for told in world.alerts if "The sweep" not in told[0]]
    assert subject == f"etcd of {CLUSTER} has lost its quorum"
    assert "1 of 3 voters answer" in text
    assert "docs/runbooks/etcd.md" in text


def test_a_quorum_that_comes_back_is_healed_from_there() -> None:
    world = a_death(3, FIRST, SECOND)
    run_for(world, FEW)
    world.instances[SECOND] = replace(world.instances[SECOND], state=InstanceState.RUNNING, address=address(0xC2))
    world.nodes[SECOND] = replace(world.nodes[SECOND], ready=True)
    listed_as(world, SECOND, "InService")
    leave_group(world, replacements(world)[-1])  # which the group launched for it
    run_for(world, timedelta(minutes=8))
    assert_whole(world)


def test_the_last_control_plane_is_never_taken_out_of_etcd() -> None:
    world = a_death(1)
    run_for(world, timedelta(minutes=15))
    assert effects_on_control_planes(world) == []
    assert world.etcd
    assert world.alerts != []


def test_of_two_a_dead_one_is_left_alone_since_one_is_no_majority() -> None:
    world = a_death(2)
    run_for(world, timedelta(minutes=15))
    assert effects_on_control_planes(world) == []
    assert len(world.etcd) == 2
    assert [subject for subject, _ in world.alerts].count(f"etcd of {CLUSTER} has lost its quorum") == 1


def test_workers_are_healed_while_etcd_is_in_no_state_to_be_changed() -> None:
    world = a_cluster(2, volumes=False, control_planes=2)
    kill(world, FIRST)
    kill(world, ONE)
    run_for(world, FEW)
    assert ONE not in world.nodes
    assert ("remove member", FIRST) not in world.effects


def member_of(world: World, one: InstanceId) -> str | None:
    peer_url = f"https://{address(int(one[2:], 16))}:2380"
    return next((member.id for member in world.etcd.values() if peer_url in member.peer_urls), None)


class _SoFar(BaseException):
    """The drive ends here."""


def stop_when(world: World, is_so: Callable[[World, InstanceId], bool]) -> InstanceId:
    """Drive until the replacement has come so far, and stop at that very call."""
    found: list[InstanceId] = []

    def look(_: Call) -> None:
        found.extend(one for one in replacements(world) if is_so(world, one))
        if found:
            raise _SoFar

    world.before = look
    with pytest.raises(_SoFar):
        run_for(world, timedelta(minutes=3))
    world.before = lambda _: None
    return found[0]


def is_unstarted(world: World, one: InstanceId) -> bool:
    member = member_of(world, one)
    return member is not None and not world.etcd[member].name


def is_learner(world: World, one: InstanceId) -> bool:
    member = member_of(world, one)
    return member is not None and world.etcd[member].learner and world.etcd[member].name == one


def is_voter(world: World, one: InstanceId) -> bool:
    member = member_of(world, one)
    return member is not None and world.etcd[member].voter


def dies_on_its_way(world: World, one: InstanceId, *, told: bool = True) -> None:
    """It dies while its launch hook holds it: Auto Scaling takes it out at once, and launches another."""
    world.instances[one] = replace(world.instances[one], state=InstanceState.TERMINATED, address=None)
    leave_group(world, one)
    world.passes += [Look(one, "EC2 says terminated")] if told else []


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("so_far", [is_unstarted, is_learner, is_voter])
def test_what_a_join_that_dies_half_way_leaves_in_etcd_is_gone_within_a_sweep_and_the_next_one_joins(
    so_far: Callable[[World, InstanceId], bool], *, told: bool
) -> None:
    world = a_death()
    died = stop_when(world, so_far)
    left = member_of(world, died)
    dies_on_its_way(world, died, told=told)
    run_for(world, timedelta(minutes=1, seconds=20))
    assert left not in world.etcd
    run_to_end(world)
    run_for(world, FEW)
    assert_whole(world)
    assert not any(record.open for record in world.joins.values())


def test_an_orphan_is_left_alone_while_the_machine_that_may_own_it_is_joining() -> None:
    world = a_cluster(1, volumes=False, control_planes=3)
    world.groups[CONTROL_PLANES] = replace(world.groups[CONTROL_PLANES], desired=4)
    new = stop_when(world, is_unstarted)
    member = member_of(world, new)
    assert member
    world.stuck.add(new)
    world.etcd[member] = replace(world.etcd[member], peer_urls=("https://10.77.9.9:2380",))  # of none that is known
    run_for(world, timedelta(minutes=5))
    assert member in world.etcd


def test_a_voter_whose_kubelet_never_gets_its_certificate_is_seen_and_taken_out_at_its_deadline() -> None:
    world = a_death()

    def never_approved(call: Call) -> None:
        if call.method == "approve":
            raise RetryableError("no answer of the approver")

    world.before = never_approved
    run_for(world, SETTINGS.join_deadline + timedelta(seconds=10))
    (given_up,) = [whom for what, whom in world.effects if what == "mint"]
    assert is_voter(world, InstanceId(given_up))
    run_for(world, timedelta(minutes=1, seconds=30))
    steps = [("remove member", given_up), ("abandon launch", given_up)]
    assert order(world, *steps) == sorted(order(world, *steps))
    assert any(subject == f"{given_up} never joined" for subject, _ in world.alerts)
    world.before = lambda _: None
    run_for(world, timedelta(minutes=5))
    assert_whole(world)


def test_a_machine_whose_api_server_never_serves_is_given_up_and_keeps_nobody_else_from_joining() -> None:
    world = a_death()
    new = stop_when(world, is_voter)

    def never_serves(_: Call) -> None:
        world.serving.discard(new)

    world.before = never_serves
    run_for(world, SETTINGS.join_deadline + timedelta(minutes=8))
    assert ("abandon launch", new) in world.effects
    assert_whole(world)


def test_a_join_that_gets_no_further_than_a_learner_is_given_up_and_its_learner_taken_out() -> None:
    world = a_death()
    stuck = stop_when(world, is_learner)
    world.stuck.add(stuck)
    run_for(world, SETTINGS.join_deadline + timedelta(minutes=2))
    assert ("abandon launch", stuck) in world.effects
    run_for(world, timedelta(minutes=5))
    assert_whole(world)


def test_joins_that_never_come_to_an_end_are_three_in_a_row_and_then_a_person_is_asked() -> None:
    world = a_death()
    world.stuck = {machine(0xD0 + number) for number in range(0x20)}
    run_for(world, timedelta(minutes=55))
    abandoned = [whom for what, whom in world.effects if what == "abandon launch"]
    assert len(abandoned) == len(set(abandoned)) == 3
    assert world.groups[CONTROL_PLANES].suspended == {"Launch"}
    assert {member.name for member in world.etcd.values()} == {SECOND, THIRD}
    assert world.violations == []


def leaving(one: InstanceId = FIRST, control_planes: int = 3) -> World:
    world = a_cluster(2, volumes=False, control_planes=control_planes)
    world.pods[Pod("default", "app-0", "uid-of-app-0", finished=False)] = one
    mirror = Pod("kube-system", f"etcd-{one}", "uid-of-etcd", finished=False, mirror=True)
    world.pods[mirror] = one
    listed_as(world, one, "Terminating:Wait")
    world.passes.append(Look(one, "its group terminates it"))
    return world


def test_a_leaving_leader_is_drained_leads_no_more_and_its_member_is_the_last_that_goes_before_its_hook() -> None:
    world = leaving()
    run_for(world, timedelta(minutes=4))
    steps = [("cordon", f"uid-of-{FIRST}"), ("evict pod", "uid-of-app-0")]
    (moved,) = [effect for effect in world.effects if effect[0] == "move leader"]
    steps += [moved, ("remove member", FIRST), ("complete hook", FIRST), ("delete node", f"uid-of-{FIRST}")]
    assert order(world, *steps) == sorted(order(world, *steps))
    assert moved[1] in (SECOND, THIRD)
    assert_whole(world)
    assert world.alerts == []


def test_a_leaving_follower_goes_without_moving_anybody() -> None:
    world = leaving(SECOND)
    run_for(world, timedelta(minutes=4))
    assert "move leader" not in [what for what, _ in world.effects]
    assert_whole(world)


def test_one_that_leaves_waits_in_its_hook_until_etcd_can_do_without_it() -> None:
    world = leaving(FIRST)
    world.etcd = {id_: replace(one, answers=one.name != THIRD) for id_, one in world.etcd.items()}
    run_for(world, timedelta(minutes=15))
    assert ("remove member", FIRST) not in world.effects
    assert ("complete hook", FIRST) not in world.effects
    assert ("hook ran out", FIRST) not in world.effects
    assert any(subject == f"etcd's membership is left as it is: {FIRST}" for subject, _ in world.alerts)
    world.etcd = {id_: replace(one, answers=True) for id_, one in world.etcd.items()}
    run_for(world, timedelta(minutes=4))
    assert_whole(world)


def test_of_two_one_may_leave_as_long_as_it_answers() -> None:
    world = leaving(SECOND, control_planes=2)
    run_for(world, timedelta(minutes=4))
    assert_whole(world, 2)


def test_a_machine_that_ends_by_itself_keeps_its_member_until_it_has_ended() -> None:
    world = a_cluster(2, volumes=False, control_planes=3)
    listed_as(world, FIRST, "Terminating:Wait")
    world.instances[FIRST] = replace(world.instances[FIRST], state=InstanceState.SHUTTING_DOWN)
    run_for(world, timedelta(minutes=2))
    assert ("remove member", FIRST) not in world.effects
    kill(world, FIRST)
    run_for(world, timedelta(minutes=4))
    assert_whole(world)


@pytest.mark.parametrize("control_planes", [3, 5])
def test_two_that_leave_at_once_go_one_after_the_other(control_planes: int) -> None:
    world = leaving(FIRST, control_planes)
    listed_as(world, SECOND, "Terminating:Wait")
    run_for(world, timedelta(minutes=6))
    assert_whole(world, control_planes)


def test_a_stopped_control_plane_keeps_its_member_and_comes_back() -> None:
    world = a_cluster(2, volumes=False, control_planes=3)
    kill(world, FIRST, state=InstanceState.STOPPED)
    listed_as(world, FIRST, "InService")
    run_for(world, timedelta(minutes=5))
    assert member_of(world, FIRST)
    assert (FIRST, API_TARGET_GROUP) not in world.targets
    world.instances[FIRST] = replace(world.instances[FIRST], state=InstanceState.RUNNING, address=address(0xC1))
    world.nodes[FIRST] = replace(world.nodes[FIRST], ready=True, resource_version="77")
    run_for(world, timedelta(minutes=5))
    assert_whole(world)


@pytest.mark.parametrize("wanted", [3, 5])
def test_what_the_group_wants_may_change_in_the_middle(wanted: int) -> None:
    control_planes = 8 - wanted
    for number in range(5, 60, 9):
        world = a_death(control_planes)

        def change(call: Call, number: int = number, world: World = world) -> None:
            if call.number == number:
                ours = world.groups[CONTROL_PLANES]
                world.groups[CONTROL_PLANES] = replace(ours, desired=wanted)
                for extra in [one for one in ours.members if one.id != FIRST][wanted:]:
                    listed_as(world, extra.id, "Terminating:Wait")

        world.before = change
        run_for(world, timedelta(minutes=12))
        assert_whole(world, wanted)


@pytest.mark.parametrize("number", WRITES[::6])
def test_a_pause_at_any_time_stops_what_is_done_and_lets_nothing_run_out_and_all_is_made_good_after(
    number: int,
) -> None:
    of = CLUSTER if number % 2 else CONTROL_PLANES
    world = a_death()
    begun: list[int] = []

    def pauses(call: Call) -> None:
        if call.number == number:
            world.pauses[of] = replace(pause(of), until=world.now + timedelta(minutes=12))
            begun.append(len(world.effects))

    world.before = pauses
    run_for(world, timedelta(minutes=11))
    assert ("hook ran out", FIRST) not in world.effects
    done = [what for what, _ in world.effects[begun[0] :]]
    assert done.count("remove member") <= 1, "of the pass that had begun"
    run_for(world, timedelta(minutes=20))
    assert_whole(world)


def test_in_a_paused_cluster_nothing_is_done_to_etcd_or_the_load_balancer_orphans_included() -> None:
    world = a_death()
    orphan = unstarted(0x99)
    world.etcd[orphan.id] = orphan
    world.pauses[CLUSTER] = pause(minutes=60)
    run_for(world, timedelta(minutes=15))
    assert effects_on_control_planes(world) == []
    assert orphan.id in world.etcd
    assert world.snapshots == [(NOW, "etcd/the-first.db")]


@pytest.mark.parametrize("silent", [SECOND, THIRD])
def test_etcd_that_is_silent_on_one_machine_that_runs_is_no_death(silent: InstanceId) -> None:
    world = a_cluster(2, volumes=False, control_planes=3)
    world.etcd = {id_: replace(one, answers=one.name != silent) for id_, one in world.etcd.items()}
    run_for(world, timedelta(minutes=15))
    assert effects_on_control_planes(world) == []


def in_between_half_hours(control_planes: int = 3) -> World:
    """Whole, and at a time at which etcd is not looked at anyway."""
    world = a_cluster(2, volumes=False, control_planes=control_planes)
    world.now = NOW + timedelta(minutes=7)
    return world


def silence(world: World, *silent: InstanceId) -> None:
    world.etcd = {id_: replace(one, answers=one.name not in silent) for id_, one in world.etcd.items()}


@pytest.mark.parametrize("silent", [FIRST, SECOND, THIRD])
@pytest.mark.parametrize(("control_planes", "told_in_two_hours"), [(3, 2), (5, 1)])
def test_a_machine_that_runs_with_a_dead_etcd_is_told_within_minutes_again_by_how_bad_it_is_and_never_touched(
    control_planes: int, told_in_two_hours: int, silent: InstanceId
) -> None:
    world = in_between_half_hours(control_planes)
    silence(world, silent)
    run_for(world, timedelta(minutes=3))
    ((subject, text),) = world.alerts
    assert subject == f"etcd of {CLUSTER} runs and is not whole"
    assert silent in text
    assert f"{control_planes - 1} of {control_planes} voters answer" in text
    assert ("none may fail" in text) == (control_planes == 3)
    assert "docs/runbooks/etcd.md" in text
    run_for(world, timedelta(minutes=110))
    assert len(world.alerts) == told_in_two_hours
    assert (effects_on_control_planes(world), world.cases, world.violations) == ([], {}, [])


def test_a_dead_etcd_whose_pod_still_looks_ready_is_told_by_the_look_of_the_half_hour() -> None:
    world = a_cluster(2, volumes=False, control_planes=3)
    one = member_of(world, SECOND)
    assert one
    world.etcd[one] = replace(world.etcd[one], answers=False)
    looks_ready(world)
    run_for(world, timedelta(minutes=3))
    assert [subject for subject, _ in world.alerts] == [f"etcd of {CLUSTER} runs and is not whole"]


def looks_ready(world: World) -> None:
    world.etcd_pods_look_ready = True


def test_an_etcd_that_answers_again_at_the_next_look_is_nobody_s_business() -> None:
    world = in_between_half_hours()
    silence(world, SECOND)
    run_for(world, timedelta(seconds=20))
    silence(world)
    run_for(world, timedelta(minutes=40))
    assert world.alerts == []


def test_an_alarm_is_told_although_every_pod_of_etcd_looks_well_when_nothing_can_be_written_any_more() -> None:
    world = in_between_half_hours()
    for id_, one in world.etcd.items():
        world.etcd[id_] = replace(one, alarms=("NOSPACE",) if one.name == THIRD else ())
    world.nodes = {name: replace(one, conditions=said(world.now)) for name, one in world.nodes.items()}
    run_for(world, timedelta(minutes=9))
    ((subject, text),) = world.alerts
    assert subject == f"etcd of {CLUSTER} runs and is not whole"
    assert "has raised NOSPACE" in text
    assert "nothing can be written to Kubernetes" in text
    run_for(world, timedelta(minutes=45))
    assert len(world.alerts) == 1
    assert effects_on_control_planes(world) == []


def test_a_second_etcd_that_dies_on_a_machine_that_runs_is_told_at_once_although_the_first_was() -> None:
    world = in_between_half_hours(5)
    silence(world, SECOND)
    run_for(world, timedelta(minutes=4))
    silence(world, SECOND, THIRD)
    run_for(world, timedelta(minutes=4))
    assert len(world.alerts) == 2
    assert "none may fail" in world.alerts[1][1]


@pytest.mark.parametrize("silent", [(FIRST, SECOND), (FIRST, THIRD), (SECOND, THIRD)])
def test_with_etcd_dead_on_two_of_three_machines_that_run_the_quorum_is_said_to_be_lost(
    silent: tuple[InstanceId, ...],
) -> None:
    world = in_between_half_hours()
    silence(world, *silent)
    run_for(world, timedelta(minutes=15))
    assert [subject for subject, _ in world.alerts] == [f"etcd of {CLUSTER} has lost its quorum"]
    assert "1 of 3 voters answer" in world.alerts[0][1]
    assert effects_on_control_planes(world) == []


def test_after_one_that_does_not_answer_the_others_are_asked_about_etcd_at_the_same_time() -> None:
    world = a_cluster(2, volumes=False, control_planes=4)
    silence(world, FIRST)
    all_asked, asked = Barrier(3, timeout=20), count(1)

    def wait_for_the_others(call: Call) -> None:
        if (call.service, call.method) == ("commands", "etcd") and next(asked) > 1:
            all_asked.wait()

    world.before = wait_for_the_others
    run_control_plane(Look(LINE, "a test"), outside_of(world), SETTINGS, lambda: world.now)
    assert [call.method for call in world.calls if call.service == "commands"] == ["etcd"] * 4
    assert not all_asked.broken


@pytest.mark.parametrize("silent", [SECOND, THIRD])
def test_with_one_dead_and_one_silent_of_three_nothing_is_touched(silent: InstanceId) -> None:
    world = a_death()
    world.etcd = {id_: replace(one, answers=one.name != silent) for id_, one in world.etcd.items()}
    run_for(world, timedelta(minutes=15))
    assert effects_on_control_planes(world) == []
    assert len(world.etcd) == 3
    assert any(CLUSTER in subject for subject, _ in world.alerts)


@pytest.mark.parametrize("error", [RetryableError, ConfigurationError])
def test_when_nobody_answers_for_etcd_all_is_held_a_person_hears_of_it_and_all_heals_after(
    error: type[RegrowError],
) -> None:
    world = a_death()

    def away(call: Call) -> None:
        if call.service == "commands":
            raise error("SSM does not answer")

    world.before = away
    run_for(world, timedelta(minutes=15))
    assert effects_on_control_planes(world) == []
    assert ("hook ran out", FIRST) not in world.effects
    assert [subject for subject, _ in world.alerts] == [f"Nobody answers for etcd of {CLUSTER}"]
    world.before = lambda _: None
    run_for(world, timedelta(minutes=5))
    assert_whole(world)


@pytest.mark.parametrize("service", ["ec2", "autoscaling", "kubernetes", "table"])
@pytest.mark.parametrize("error", [RetryableError, ConfigurationError])
def test_blindness_is_no_death(service: str, error: type[RegrowError]) -> None:
    world = a_death()

    def out_of_reach(call: Call) -> None:
        if call.service == service:
            raise error(f"{service} does not answer")

    world.before = out_of_reach
    run_for(world, timedelta(minutes=8))
    assert {what for what, _ in effects_on_control_planes(world)} <= {"deregister"}
    assert len(world.etcd) == 3
    world.before = lambda _: None
    run_for(world, timedelta(minutes=6))
    assert_whole(world)


@pytest.mark.parametrize("error", [RetryableError, ConfigurationError])
def test_a_load_balancer_that_refuses_us_holds_up_no_removal(error: type[RegrowError]) -> None:
    world = a_death()

    def refuse(call: Call) -> None:
        if call.method == "deregister":
            raise error("not with that tag")

    world.before = refuse
    run_for(world, timedelta(minutes=3))
    assert ("remove member", FIRST) in world.effects
    assert len(world.etcd) == 3


def test_a_member_with_a_foreign_name_that_answers_is_never_touched() -> None:
    world = a_cluster(2, volumes=False, control_planes=3)
    foreign = etcd_member(0x99, name="etcd-of-somebody", answers=True)
    world.etcd[foreign.id] = foreign
    world.runs_elsewhere.add(foreign.name)
    run_for(world, timedelta(minutes=15))
    assert (effects_on_control_planes(world), foreign.id in world.etcd) == ([], True)


def test_a_member_with_a_foreign_name_that_is_silent_and_has_no_machine_is_taken_out_with_its_quorum() -> None:
    world = a_cluster(2, volumes=False, control_planes=3)
    foreign = etcd_member(0x99, name="etcd-of-somebody")
    world.etcd[foreign.id] = foreign
    run_for(world, timedelta(minutes=12))
    assert effects_on_control_planes(world) == [("remove member", "etcd-of-somebody")]
    assert_whole(world)


@pytest.mark.parametrize("dead", [False, True])
def test_two_members_of_one_name_are_a_contradiction_and_nothing_is_removed(*, dead: bool) -> None:
    world = a_death() if dead else a_cluster(2, volumes=False, control_planes=3)
    twin = etcd_member(0x99, name=FIRST, answers=False)
    world.etcd[twin.id] = twin
    run_for(world, timedelta(minutes=15))
    assert "remove member" not in [what for what, _ in world.effects]
    assert len(world.etcd) == 4
    assert ("hook ran out", FIRST) not in world.effects


@pytest.mark.parametrize("control_planes", [3, 5])
def test_an_alarm_holds_what_would_count_on_its_member_and_lets_nobody_join(control_planes: int) -> None:
    world = a_death(control_planes)
    alarmed = member_of(world, SECOND)
    assert alarmed
    world.etcd[alarmed] = replace(world.etcd[alarmed], alarms=("NOSPACE",))
    run_for(world, timedelta(minutes=10))
    assert (("remove member", FIRST) in world.effects) == (control_planes == 5)
    assert "mint" not in [what for what, _ in world.effects]
    world.etcd[alarmed] = replace(world.etcd[alarmed], alarms=())
    run_for(world, timedelta(minutes=6))
    assert_whole(world, control_planes)


def test_an_orphan_and_a_dead_one_go_one_after_the_other_the_orphan_without_a_vote_first() -> None:
    world = a_death()
    orphan = unstarted(0x99)
    world.etcd[orphan.id] = orphan
    run_to_end(world)
    steps = [("remove member", orphan.id), ("remove member", FIRST)]
    assert order(world, *steps) == sorted(order(world, *steps))
    assert_whole(world)


def test_a_snapshot_that_is_due_is_taken_before_a_member_is_removed_and_one_that_fails_holds_up_nothing() -> None:
    for fails in (False, True):
        world = a_death()
        world.snapshots = [(NOW - timedelta(hours=3), "etcd/old.db")]

        def refuse(call: Call, fails: bool = fails) -> None:
            if fails and call.method == "begin_snapshot":
                raise RetryableError("no space left")

        world.before = refuse
        run_to_end(world, sweeps=False)
        assert_healed(world)
        methods = [call.method for call in world.calls if call.service == "commands"]
        assert methods.index("begin_snapshot") < methods.index("remove_member")
        assert [subject for subject, _ in world.alerts] == (["No snapshot of etcd could be taken"] if fails else [])


def with_a_snapshot_due(takes: timedelta) -> World:
    world = a_cluster(1, volumes=False, control_planes=3)
    world.snapshots = [(NOW - timedelta(hours=3), "etcd/old.db")]
    world.snapshot_takes = takes
    world.passes.append(Look(LINE, "a test"))
    return world


def calls_of_a_long_snapshot() -> list[Call]:
    world = with_a_snapshot_due(LONG_SNAPSHOT)
    run_to_end(world, sweeps=False)
    return world.calls


LONG_SNAPSHOT = timedelta(seconds=50)
OF_SNAPSHOTS = {call.number: call.method for call in calls_of_a_long_snapshot()}
OF_SNAPSHOTS_WRITES = [number for number, method in OF_SNAPSHOTS.items() if method not in READS]


def assert_has_one_of_now(world: World) -> None:
    """A snapshot is there, of the time when it was begun, no two were under way at once, and nothing is remembered."""
    assert world.violations == []
    assert world.snapshot_begun is None
    assert max(at for at, _ in world.snapshots) >= NOW
    assert all(f"{at:%H%M%S}" in key for at, key in world.snapshots if at >= NOW)


def test_a_snapshot_that_takes_long_is_noticed_when_it_arrives_and_no_pass_waits_for_it() -> None:
    world = with_a_snapshot_due(LONG_SNAPSHOT)
    run_for(world, timedelta(minutes=3))
    assert_has_one_of_now(world)
    assert len(world.snapshot_commands) == 1
    assert world.alerts == []


def test_a_snapshot_that_never_ends_in_time_is_told_and_tried_again_at_the_next_look_at_etcd() -> None:
    world = with_a_snapshot_due(timedelta(minutes=9))
    run_for(world, timedelta(minutes=50))
    assert world.violations == []
    assert len(world.snapshot_commands) == 2
    assert [subject for subject, _ in world.alerts] == ["No snapshot of etcd could be taken"]


def test_one_that_takes_long_holds_up_no_removal_and_is_noticed_in_the_course_of_it() -> None:
    world = a_death()
    world.snapshots, world.snapshot_takes = [(NOW - timedelta(hours=3), "etcd/old.db")], LONG_SNAPSHOT
    run_to_end(world, sweeps=False)
    assert_healed(world)
    assert world.now - NOW < timedelta(minutes=1)
    run_for(world, timedelta(minutes=35))
    assert_has_one_of_now(world)
    assert len(world.snapshot_commands) == 1


@pytest.mark.parametrize(
    ("side", "number"), [("before", number) for number in OF_SNAPSHOTS] + [("after", n) for n in OF_SNAPSHOTS_WRITES]
)
@pytest.mark.parametrize("what", [Crash(), RetryableError("it did not work")], ids=["killed", "failed"])
def test_whatever_happens_to_a_pass_a_snapshot_is_there_after_the_next_look_and_no_two_were_under_way(
    side: str, number: int, what: BaseException
) -> None:
    world = with_a_snapshot_due(LONG_SNAPSHOT)
    setattr(world, side, at(number, what))
    run_for(world, timedelta(minutes=36))
    assert_has_one_of_now(world)


@pytest.mark.parametrize("number", OF_SNAPSHOTS)
def test_two_passes_at_once_begin_one_snapshot(number: int) -> None:
    world = with_another_pass_at(number, with_a_snapshot_due(LONG_SNAPSHOT), Look(LINE, "the other pass"))
    run_for(world, timedelta(minutes=36))
    assert_has_one_of_now(world)


def test_a_machine_that_dies_while_it_takes_a_snapshot_is_not_waited_for_for_long() -> None:
    world = with_a_snapshot_due(LONG_SNAPSHOT)
    run_for(world, timedelta(seconds=5))
    assert world.snapshot_begun
    command = world.snapshot_begun.command
    world.snapshot_commands[command] = (NOW + timedelta(days=1), "etcd/never.db")
    kill(world, world.snapshot_begun.on)
    del world.snapshot_commands[command]
    world.snapshot_takes = timedelta(seconds=5)

    def says_nothing(call: Call) -> None:
        if call.method == "snapshot" and world.snapshot_begun and world.snapshot_begun.command == command:
            raise RetryableError("in progress for ever")

    world.before = says_nothing
    run_for(world, timedelta(minutes=36))
    assert_whole(world)
    assert_has_one_of_now(world)


def test_a_replacement_that_is_refused_gets_nothing_and_leaves_etcd_as_it_is() -> None:
    world = a_death()
    world.refused = {machine(0xD0 + number): "its image has kubeadm v1.35.1" for number in range(16)}
    run_for(world, timedelta(minutes=5))
    assert "mint" not in [what for what, _ in world.effects]
    assert {member.name for member in world.etcd.values()} == {SECOND, THIRD}
    assert len([subject for subject, _ in world.alerts if "may not join" in subject]) == 1
    world.refused.clear()
    run_for(world, timedelta(minutes=12))
    assert_whole(world)


def test_a_replacement_with_an_older_kubeadm_is_told_held_until_its_deadline_and_given_up_for_the_next_one() -> None:
    older = "its image ami-1 has Kubernetes v1.35.9, the API server v1.36.3; the group needs an image of v1.36"
    world = a_death()
    world.refused = {machine(0xD0 + number): older for number in range(16)}
    run_for(world, timedelta(minutes=7))
    (first,) = replacements(world)
    ((subject, text),) = world.alerts
    assert subject == f"{first} may not join"
    assert older in text
    assert world.admission
    assert world.admission.instance == first
    assert {member.name for member in world.etcd.values()} == {SECOND, THIRD}
    assert world.hooks_end[first, Transition.LAUNCHING] > world.now + timedelta(minutes=9), "its hook is kept"
    world.refused = {first: older}  # the next one has a newer image
    run_for(world, timedelta(minutes=5))
    assert [whom for what, whom in world.effects if what == "abandon launch"] == [first]
    assert f"{first} never joined" in [subject for subject, _ in world.alerts]
    assert_whole(world)
    assert first not in replacements(world)
    assert ("mint", first) not in world.effects
    assert ("hook ran out", first) not in world.effects
