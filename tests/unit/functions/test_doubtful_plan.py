"""What is planned for a machine in trouble: notes at once, one rung when it is due, and a person told at the end."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.cluster.assess import Kind, assess
from functions.cluster.doubt import (
    LADDER_SILENT_TAG,
    SILENT_AFTER_TAG,
    WELL_FOR,
    Doubt,
    Impairment,
    Rung,
    Sign,
    Try,
    next_rung,
    repair_of,
)
from functions.cluster.facts import Absent, Facts, Unknown
from functions.cluster.machine import Instance, Node
from functions.cluster.trouble import LEASE_STALE
from functions.remediate.plan import (
    ForgetDoubt,
    LookAgain,
    NoteDoubt,
    Reboot,
    Replace,
    RestartService,
    Step,
    TellDoubt,
)
from functions.remediate.planning import make_plan
from tests.unit.functions.builders import (
    NOW,
    ONE,
    SETTINGS,
    TWO,
    WORKERS,
    facts,
    fleet,
    group,
    join,
    member,
    memory,
    not_ready,
    record,
    silent,
)
from tests.unit.functions.cluster.test_trouble import ANY

REPAIR = SETTINGS.policy.repair


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def doubt(since_s: float, *tried: tuple[Rung, float], calm_s: float | None = None) -> Doubt:
    tries = tuple(Try(rung, ago(seconds)) for rung, seconds in tried)
    return Doubt(ONE, WORKERS, ago(since_s), tries, None if calm_s is None else ago(calm_s))


def planned(seen: Facts) -> list[Step]:
    return list(make_plan(assess(seen), seen, SETTINGS.policy).steps)


def kinds(seen: Facts) -> list[type]:
    return [type(step) for step in planned(seen)]


def remembered(known: Doubt | None, seconds: float, **changes: object) -> Facts:
    return silent(seconds, memory=memory(doubt=known, record=record()), **changes)


def test_trouble_is_noted_when_it_is_first_seen_and_not_again() -> None:
    (noted,) = planned(remembered(None, 45))
    assert isinstance(noted, NoteDoubt)
    assert noted.doubt == doubt(45)
    assert planned(remembered(noted.doubt, 45)) == []


def test_in_its_last_minute_the_rung_is_waited_for_by_the_pass_itself() -> None:
    (wait,) = planned(remembered(doubt(130), 130))
    assert isinstance(wait, LookAgain)
    assert wait.reason.startswith("restart is due at 12:00:50Z")


@pytest.mark.parametrize(
    ("tried", "silent_s", "step"),
    [
        ([], 180, RestartService),
        ([(Rung.RESTART, 90)], 270, Reboot),
        ([(Rung.RESTART, 270), (Rung.REBOOT, 180)], 450, Replace),
        ([(Rung.RESTART, 570), (Rung.REBOOT, 480), (Rung.REPLACE, 300)], 750, Replace),
    ],
)
def test_the_rung_that_is_due_is_taken_and_looked_after(
    tried: list[tuple[Rung, float]], silent_s: float, step: type
) -> None:
    seen = remembered(doubt(silent_s, *tried), silent_s)
    assert kinds(seen) == [step, LookAgain]
    a_second_sooner = replace(seen, at=ago(1))
    assert step not in kinds(a_second_sooner)


def test_with_an_impaired_host_no_rung_is_lost_on_what_cannot_help() -> None:
    impaired = (Impairment("system", ago(120)),)
    assert kinds(remembered(doubt(150), 150, impairments=impaired)) == [Replace, LookAgain]


def test_it_is_the_runtime_that_is_restarted_when_the_kubelet_blames_it() -> None:
    ill = not_ready(ONE, ago(180), "False", reason="KubeletNotReady", message="container runtime is down")
    seen = facts(node=ill, renewed_at=ago(5), memory=memory(doubt=doubt(180)))
    (restart, _) = planned(seen)
    assert isinstance(restart, RestartService)
    assert restart.service == "runtime"


def test_when_nothing_is_left_to_try_a_person_is_told_what_was_tried() -> None:
    tags = fleet(group(member(ONE), member(TWO), tags={LADDER_SILENT_TAG: "restart=60"}))
    (told,) = planned(remembered(doubt(500, (Rung.RESTART, 320)), 500, fleet=tags))
    assert isinstance(told, TellDoubt)
    assert "Tried: restart. Nothing more is: no rung is left" in told.reason


@pytest.mark.parametrize("tag", [LADDER_SILENT_TAG, SILENT_AFTER_TAG])
def test_of_a_tag_that_cannot_be_read_a_person_is_told_and_nothing_is_tried(tag: str) -> None:
    tags = fleet(group(member(ONE), member(TWO), tags={tag: "soon"}))
    for seconds in (45, 179):
        assert kinds(remembered(doubt(seconds), seconds, fleet=tags)) == []
    (told,) = planned(remembered(doubt(3600), 3600, fleet=tags))
    assert isinstance(told, TellDoubt)
    assert f"the tag {tag} is 'soon'; it must be" in told.reason


def test_a_machine_that_is_well_again_is_remembered_for_ten_minutes_with_what_was_tried() -> None:
    known = doubt(600, (Rung.RESTART, 400))
    (noted,) = planned(facts(memory=memory(doubt=known), renewed_at=ago(5)))
    assert isinstance(noted, NoteDoubt)
    assert noted.doubt == replace(known, calm_since=NOW)
    for calm_s, forgotten in ((1, False), (599, False), (WELL_FOR.total_seconds(), True)):
        calm = facts(memory=memory(doubt=replace(known, calm_since=ago(calm_s))), renewed_at=ago(5))
        assert kinds(calm) == ([ForgetDoubt] if forgotten else [])


def test_a_machine_of_which_nobody_knows_whether_it_was_heard_is_not_taken_for_well() -> None:
    known = doubt(600, (Rung.RESTART, 400))
    for kept in (known, replace(known, calm_since=ago(3600))):
        assert planned(facts(memory=memory(doubt=kept), renewed_at=Unknown("no answer"))) == []


def test_trouble_that_comes_back_climbs_on_in_its_own_time() -> None:
    known = doubt(1000, (Rung.RESTART, 800), calm_s=300)
    (noted,) = planned(remembered(known, 45))
    assert isinstance(noted, NoteDoubt)
    assert noted.doubt == doubt(45, (Rung.RESTART, 800))
    assert kinds(remembered(noted.doubt, 180)) == [Reboot, LookAgain]


def test_a_node_that_is_lost_while_its_machine_is_well_has_the_whole_time_to_come_back() -> None:
    """An hour ago it was in trouble, and is well since."""
    known = doubt(3600, (Rung.RESTART, 3400), calm_s=400)
    seen = facts(node=Absent(), memory=memory(doubt=known, record=record()))
    (noted,) = planned(seen)
    assert isinstance(noted, NoteDoubt)
    assert noted.doubt.since == NOW


def test_what_it_could_join_with_is_taken_back_whatever_else_is_done() -> None:
    earlier = join(ONE, launched_at=ago(90_000))
    seen = remembered(doubt(180), 180)
    assert isinstance(seen.memory, type(memory()))
    seen = replace(seen, memory=replace(seen.memory, joins=(earlier,)))
    assert [kind.__name__ for kind in kinds(seen)] == ["Revoke", "RestartService", "LookAgain"]


DOUBTS = st.none() | st.builds(
    lambda since, tries, calm: doubt(since, *tries, calm_s=calm),
    st.sampled_from([0, 45, 600, 3600]),
    st.lists(st.tuples(st.sampled_from(Rung), st.sampled_from([1, 90, 180, 600])), max_size=4),
    st.none() | st.sampled_from([0, 300, 700]),
)
REMEMBERED = st.builds(
    lambda seen, known: (
        seen if isinstance(seen.memory, Unknown) else replace(seen, memory=replace(seen.memory, doubt=known))
    ),
    ANY,
    DOUBTS,
)


@given(REMEMBERED)
def test_whatever_the_facts_no_machine_is_taken_down_that_was_heard_of_or_before_its_time(seen: Facts) -> None:
    verdict = assess(seen)
    plan = make_plan(verdict, seen, SETTINGS.policy)
    if plan.rung is None:
        return
    assert verdict.kind is Kind.DOUBTFUL
    assert verdict.trouble
    repair = repair_of(verdict.group, REPAIR)
    assert seen.at - verdict.trouble.since >= repair.after(verdict.trouble.sign)
    known = seen.doubt or Doubt(ONE, WORKERS, verdict.trouble.since)
    assert next_rung(verdict.trouble, known, repair).at <= seen.at
    assert isinstance(seen.instance, Instance)
    if isinstance(seen.node, Node):
        ready = next(one for one in seen.node.conditions if one.type == "Ready")
        heard = isinstance(seen.renewed_at, datetime) and timedelta(0) <= seen.at - seen.renewed_at < LEASE_STALE
        assert ready.status == "False" or not heard
    assert verdict.trouble.sign in Sign


@given(REMEMBERED)
def test_a_plan_has_one_rung_at_most_and_says_why(seen: Facts) -> None:
    steps = planned(seen)
    rungs = [step for step in steps if isinstance(step, RestartService | Reboot | Replace)]
    assert len(rungs) <= 1
    assert all(step.reason for step in steps)
