"""A plan that is right in itself is still refused when a person, other work or the table says no."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.cluster.assess import Kind, assess
from functions.cluster.doubt import LADDER_SILENT_TAG, Doubt, Rung, Try
from functions.cluster.facts import Facts, Fleet, Memory, Unknown
from functions.cluster.machine import Group, InstanceState, Role
from functions.cluster.radius import Around, Brake, Limits
from functions.remediate.guards import Refusal, guard
from functions.remediate.plan import LATER
from functions.remediate.planning import make_plan
from tests.unit.functions.builders import (
    CLUSTER,
    NOW,
    ONE,
    SETTINGS,
    THREE,
    TWO,
    WORKERS,
    case,
    facts,
    fleet,
    group,
    instance,
    machine,
    member,
    memory,
    pause,
    silent,
)
from tests.unit.functions.cluster.test_trouble import ANY

DEAD = instance(ONE, InstanceState.TERMINATED)


def refusal(seen: Facts, *, max_in_flight: int = 2) -> Refusal | None:
    verdict = assess(seen)
    return guard(make_plan(verdict, seen, SETTINGS.policy), verdict, seen, max_in_flight=max_in_flight)


def test_a_dead_machine_may_be_worked_on() -> None:
    assert refusal(facts(instance=DEAD)) is None


@pytest.mark.parametrize("of", [CLUSTER, WORKERS, ONE])
def test_a_pause_of_cluster_group_or_machine_refuses_and_says_until_when_and_why(of: str) -> None:
    refused = refusal(facts(instance=DEAD, memory=memory(pauses=(pause(of),))))
    assert refused == Refusal(
        f"{of} is paused until 2026-11-21 13:00:00Z: the network is being rebuilt", None, "its end, or a resume"
    )


@pytest.mark.parametrize("of", ["other", TWO, "drill-control-plane"])
def test_a_pause_of_something_else_does_not_matter(of: str) -> None:
    assert refusal(facts(instance=DEAD, memory=memory(pauses=(pause(of),)))) is None


def test_a_machine_whose_group_is_gone_is_paused_as_well() -> None:
    assert refusal(facts(instance=DEAD, fleet=Fleet((), True), memory=memory(pauses=(pause(ONE),)))) is not None


def test_a_pause_ends_by_itself() -> None:
    over = pause()
    assert refusal(facts(instance=DEAD, memory=memory(pauses=(over,)), at=NOW + timedelta(hours=1))) is None


def test_a_pause_stops_a_case_that_is_open_as_well() -> None:
    assert refusal(facts(instance=DEAD, memory=memory(case=case(), pauses=(pause(),)))) is not None


def test_a_pause_does_not_matter_where_nothing_would_be_done() -> None:
    assert refusal(facts(memory=memory(pauses=(pause(),)))) is None


def test_no_more_machines_are_taken_on_than_may_be_in_flight() -> None:
    refused = refusal(facts(instance=DEAD, memory=memory(in_flight=frozenset({TWO, THREE}))))
    assert refused == Refusal(
        f"2 machines are in flight ({TWO}, {THREE}), no more than 2 may be",
        LATER,
        "the end of one of them",
        about="all places in flight",
    )


@pytest.mark.parametrize(
    "held",
    [
        memory(in_flight=frozenset({TWO})),
        memory(in_flight=frozenset({ONE, TWO})),
        memory(case=case(), in_flight=frozenset({ONE, TWO, THREE})),
    ],
)
def test_a_machine_does_not_count_against_itself(held: object) -> None:
    assert refusal(facts(instance=DEAD, memory=held)) is None


def test_nothing_is_removed_while_the_table_cannot_be_read() -> None:
    refused = refusal(facts(instance=DEAD, memory=Unknown("DynamoDB does not answer")))
    assert refused == Refusal(
        "the table cannot be read (DynamoDB does not answer)", LATER, "the table answers again", may_pass=True
    )


def test_a_leaving_machine_is_cordoned_even_without_the_table() -> None:
    leaving = facts(instance=instance(ONE, InstanceState.SHUTTING_DOWN), memory=Unknown("DynamoDB does not answer"))
    assert refusal(leaving) is None


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def tried(of: str, *tries: tuple[Rung, float], group_name: str = WORKERS, calm: bool = False) -> Doubt:
    rungs = tuple(Try(rung, ago(seconds)) for rung, seconds in tries)
    return Doubt(machine(int(of[2:], 16)), group_name, ago(3600), rungs, NOW if calm else None)


SO_FAR: dict[Rung, list[tuple[Rung, float]]] = {
    Rung.RESTART: [],
    Rung.REBOOT: [(Rung.RESTART, 900)],
    Rung.REPLACE: [(Rung.RESTART, 900), (Rung.REBOOT, 700)],
}


def due(rung: Rung, **changes: Any) -> Facts:
    """A machine whose next rung is due."""
    return silent(1200, **{"memory": memory(doubt=tried(ONE, *SO_FAR[rung]))} | changes)


RUNGS = pytest.mark.parametrize("rung", Rung)
NOT_A_RESTART = pytest.mark.parametrize("rung", [Rung.REBOOT, Rung.REPLACE])


@RUNGS
def test_a_rung_that_is_due_is_taken_when_nothing_holds_it(rung: Rung) -> None:
    seen = due(rung)
    assert make_plan(assess(seen), seen, SETTINGS.policy).rung is rung
    assert refusal(seen) is None


@RUNGS
def test_no_rung_is_taken_while_nobody_knows_how_the_others_are(rung: Rung) -> None:
    why = "how the other machines are is unknown (the leases cannot be listed)"
    refused = refusal(due(rung, around=Unknown("the leases cannot be listed")))
    assert refused == Refusal(why, None, "they can all be seen", may_pass=True)


@NOT_A_RESTART
def test_nothing_is_taken_down_while_the_status_checks_cannot_be_read(rung: Rung) -> None:
    unread = Unknown("EC2 does not answer")
    why = "EC2's status checks could not be read (EC2 does not answer)"
    assert refusal(due(rung, impairments=unread)) == Refusal(why, None, "they can be read", may_pass=True)
    assert refusal(due(Rung.RESTART, impairments=unread)) is None


@RUNGS
def test_no_rung_is_taken_while_the_table_cannot_be_read(rung: Rung) -> None:
    refused = refusal(due(rung, memory=Unknown("DynamoDB does not answer")))
    assert refused
    assert "the table cannot be read" in refused.reason


@RUNGS
@pytest.mark.parametrize("of", [CLUSTER, WORKERS, ONE])
def test_no_rung_is_taken_while_somebody_has_paused_it(rung: Rung, of: str) -> None:
    seen = due(rung)
    assert isinstance(seen.memory, Memory)
    refused = refusal(replace(seen, memory=replace(seen.memory, pauses=(pause(of),))))
    assert refused
    assert f"{of} is paused" in refused.reason


@RUNGS
@pytest.mark.parametrize("scope", ["cluster", "zone us-east-1a", f"group {WORKERS}"])
def test_a_brake_of_its_scope_holds_every_rung_and_is_told_once_for_all(rung: Rung, scope: str) -> None:
    brake = Brake(scope, "9 of 9 machines are in trouble", NOW + timedelta(minutes=3))
    refused = refusal(due(rung, around=Around((brake,))))
    assert refused == Refusal(brake.reason, None, brake.lifted_by, about=f"brake {scope}")
    assert "12:03:00Z" in refused.lifted_by


@RUNGS
@pytest.mark.parametrize(
    ("scope", "minutes"), [("zone us-east-1b", 3), ("group others", 3), ("cluster", 0), ("zone us-east-1a", -1)]
)
def test_a_brake_of_something_else_or_of_before_holds_nothing(rung: Rung, scope: str, minutes: int) -> None:
    assert refusal(due(rung, around=Around((Brake(scope, "why", NOW + timedelta(minutes=minutes)),)))) is None


def test_notes_of_trouble_are_taken_while_it_is_paused() -> None:
    """Nothing is done to a machine by it, and nobody has to hear that it is left alone before anything is due."""
    paused = memory(pauses=(pause(),))
    for seen in (silent(60, memory=paused), facts(memory=replace(paused, doubt=tried(ONE)))):
        assert make_plan(assess(seen), seen, SETTINGS.policy).steps
        assert refusal(seen) is None


def test_no_note_is_taken_that_could_overwrite_what_cannot_be_read() -> None:
    assert refusal(silent(60, memory=Unknown("DynamoDB does not answer"))) is not None


IN_FLIGHT = [
    ({TWO, THREE}, ()),
    ({TWO}, (tried(THREE, (Rung.REBOOT, 100)),)),
    (set(), (tried(TWO, (Rung.REBOOT, 100)), tried(THREE, (Rung.RESTART, 500), (Rung.REPLACE, 100)))),
]


@NOT_A_RESTART
@pytest.mark.parametrize(("flying", "doubts"), IN_FLIGHT)
def test_no_machine_is_taken_down_while_as_many_others_as_may_be_are_down(
    rung: Rung, flying: set[Any], doubts: tuple[Doubt, ...]
) -> None:
    held = memory(doubt=tried(ONE, *SO_FAR[rung]), in_flight=frozenset(flying))
    refused = refusal(due(rung, memory=held, around=Around(doubts=doubts)))
    assert refused
    assert f"2 machines are in flight ({TWO}, {THREE}), no more than 2 may be" in refused.reason


@pytest.mark.parametrize(("flying", "doubts"), IN_FLIGHT)
def test_a_restart_takes_nothing_down_and_waits_for_nobody(flying: set[Any], doubts: tuple[Doubt, ...]) -> None:
    held = memory(doubt=tried(ONE), in_flight=frozenset(flying))
    assert refusal(due(Rung.RESTART, memory=held, around=Around(doubts=doubts))) is None


@pytest.mark.parametrize(
    "doubts",
    [
        (tried(TWO, (Rung.RESTART, 10)), tried(THREE, (Rung.RESTART, 10))),
        (tried(TWO, (Rung.REBOOT, 180)), tried(THREE, (Rung.REPLACE, 300))),
        (tried(TWO, (Rung.REBOOT, 10), calm=True), tried(THREE, (Rung.REBOOT, 10), calm=True)),
        (tried(ONE, (Rung.REBOOT, 10)), tried(TWO)),
    ],
    ids=["restarted", "waited for long enough", "well again", "itself"],
)
def test_who_is_not_down_by_what_was_tried_last_takes_no_place(doubts: tuple[Doubt, ...]) -> None:
    assert refusal(due(Rung.REBOOT, around=Around(doubts=doubts)), max_in_flight=1) is None


def of_group(**changes: Any) -> Group:
    return group(member(ONE), member(TWO), **changes)


@pytest.mark.parametrize(
    ("ladder", "rebooted_s_ago", "counts"),
    [
        ("restart=90 reboot=600 replace", 599, True),
        ("restart=90 reboot=600 replace", 600, False),
        ("restart=90 replace", 299, True),
        ("restart=90 replace", 300, False),
    ],
)
def test_another_machine_is_down_for_as_long_as_its_group_waits_for_a_rung_or_five_minutes_where_it_has_none(
    ladder: str, rebooted_s_ago: float, counts: bool
) -> None:
    ours = of_group(tags={LADDER_SILENT_TAG: ladder})
    others = Around(doubts=(tried(TWO, (Rung.REBOOT, rebooted_s_ago)),))
    refused = refusal(due(Rung.REPLACE, fleet=fleet(ours), around=others), max_in_flight=1)
    assert (refused is not None) == counts


def test_what_no_group_lists_nothing_would_replace() -> None:
    seen = due(Rung.REPLACE)
    verdict = assess(seen)
    plan = make_plan(verdict, seen, SETTINGS.policy)
    why = "no group lists it, so nothing would replace it"
    for stray in (replace(verdict, group=None), replace(verdict, member=None)):
        assert guard(plan, stray, seen, max_in_flight=2) == Refusal(why, None, "a group that does")


REFUSING_GROUPS = [
    (of_group(suspended=frozenset({"Launch"})), Around(), "Launch of drill-worker is suspended"),
    (of_group(suspended=frozenset({"Terminate"})), Around(), "Terminate of drill-worker is suspended"),
    (of_group(suspended=frozenset({"ReplaceUnhealthy"})), Around(), "ReplaceUnhealthy of drill-worker is suspended"),
    (of_group(), Around(refreshing=True), "an instance refresh of drill-worker is under way"),
    (group(replace(member(ONE), protected=True)), Around(), "somebody protects it from scale-in"),
    (
        of_group(),
        Around(doubts=tuple(tried(machine(n), (Rung.REPLACE, 3599)) for n in (4, 5, 6))),
        f"3 machines of drill-worker were replaced within an hour ({machine(4)}, {machine(5)}, {machine(6)})",
    ),
]


@pytest.mark.parametrize(("ours", "around", "why"), REFUSING_GROUPS)
def test_a_group_that_must_not_or_cannot_replace_a_machine_only_keeps_it_from_being_replaced(
    ours: Group, around: Around, why: str
) -> None:
    refused = refusal(due(Rung.REPLACE, fleet=fleet(ours), around=around))
    assert refused
    assert why in refused.reason
    assert refused.lifted_by
    for rung in (Rung.RESTART, Rung.REBOOT):
        assert refusal(due(rung, fleet=fleet(ours), around=around)) is None


@pytest.mark.parametrize(
    "doubts",
    [
        tuple(tried(machine(n), (Rung.REPLACE, 3600)) for n in (4, 5, 6)),
        tuple(tried(machine(n), (Rung.REPLACE, 600)) for n in (4, 5)),
        tuple(tried(machine(n), (Rung.REPLACE, 600), group_name="others") for n in (4, 5, 6)),
        tuple(tried(machine(n), (Rung.REBOOT, 600)) for n in (4, 5, 6)),
        (tried(ONE, (Rung.REPLACE, 600)), *(tried(machine(n), (Rung.REPLACE, 600)) for n in (4, 5))),
    ],
    ids=["an hour ago", "two", "of another group", "rebooted", "itself"],
)
def test_fewer_than_three_others_of_the_group_within_an_hour_hold_no_replacement(doubts: tuple[Doubt, ...]) -> None:
    assert refusal(due(Rung.REPLACE, around=Around(doubts=doubts))) is None


def test_how_many_are_replaced_an_hour_is_a_persons_choice() -> None:
    seen = due(Rung.REPLACE)
    verdict = assess(seen)
    none = replace(SETTINGS.policy, limits=Limits(replaced_an_hour=0))
    refused = guard(make_plan(verdict, seen, none), verdict, seen, max_in_flight=2, policy=none)
    assert refused
    assert refused.about == f"replaced {WORKERS}"


def test_other_processes_that_are_suspended_and_protection_of_control_planes_hold_nothing() -> None:
    suspended = frozenset({"AZRebalance", "AlarmNotification", "ScheduledActions"})
    assert refusal(due(Rung.REPLACE, fleet=fleet(of_group(suspended=suspended)))) is None


AROUNDS = st.builds(
    Around,
    st.lists(
        st.builds(
            Brake,
            st.sampled_from(["cluster", "zone us-east-1a", "zone us-east-1b", f"group {WORKERS}"]),
            st.just("too many"),
            st.sampled_from([NOW, NOW + timedelta(minutes=3)]),
        ),
        max_size=2,
    ).map(tuple),
    st.sampled_from([(), tuple(tried(machine(n), (Rung.REPLACE, 600)) for n in (4, 5, 6))]),
    st.booleans(),
) | st.just(Unknown("not all could be seen"))


@given(ANY, AROUNDS, st.integers(0, 3))
def test_whatever_is_known_no_rung_gets_past_a_brake_a_pause_or_blindness(
    seen: Facts, around: Around | Unknown, max_in_flight: int
) -> None:
    seen = replace(seen, around=around)
    verdict = assess(seen)
    plan = make_plan(verdict, seen, SETTINGS.policy)
    if plan.rung is None or guard(plan, verdict, seen, max_in_flight=max_in_flight) is not None:
        return
    assert verdict.kind is Kind.DOUBTFUL
    assert isinstance(seen.memory, Memory)
    assert isinstance(seen.around, Around)
    assert not any(pause.holds((CLUSTER, WORKERS, ONE), NOW) for pause in seen.memory.pauses)
    assert not any(brake.holds(WORKERS, "us-east-1a", NOW) for brake in seen.around.brakes)
    if plan.rung is Rung.REPLACE:
        assert not seen.around.refreshing
        assert verdict.group
        assert verdict.group.role is Role.WORKER
