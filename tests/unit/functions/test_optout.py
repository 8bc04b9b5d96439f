"""An opt-out by tag or annotation is a pause with an end; what a machine says of itself holds for a while at most."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.cluster.assess import assess
from functions.cluster.facts import UNTIL_MENDED, Absent, Facts, Pause, Unknown
from functions.cluster.machine import PAUSE_ANNOTATION, PAUSE_TAG, InstanceState
from functions.cluster.optout import LONGEST_PAUSE, held_by_annotation, misread, pauses_of
from functions.remediate.guards import guard
from functions.remediate.plan import Plan, Restore
from functions.remediate.planning import make_plan
from tests.unit.functions.builders import (
    NOW,
    ONE,
    SETTINGS,
    WORKERS,
    facts,
    fleet,
    group,
    instance,
    member,
    memory,
    node,
    pause,
)
from tests.unit.functions.strategies import FACTS

TEN_MINUTES = timedelta(minutes=10)
NOT_UNDERSTOOD = {
    "": "does not begin with a time",
    "tomorrow": "does not begin with a time",
    "until 2026-11-21T13:00:00Z": "does not begin with a time",
    "1 hour": "does not begin with a time",
    "2026-11-21T25:00:00Z": "does not begin with a time",
    "0001-01-01T00:00:00+14:00": "does not begin with a time",
    "2026-11-21T13:00:00": "names no time zone",
    "2026-11-21 13:00:00Z": "names no time zone",
    "2026-11-28T12:00:01Z": "is more than 7 days ahead",
    "2099-01-01T00:00:00Z the owner does not like it": "is more than 7 days ahead",
}


def of_group(text: str) -> Facts:
    return facts(fleet=fleet(group(member(ONE), pause_until=text)))


def of_instance(text: str) -> Facts:
    ours = instance()
    return facts(instance=replace(ours, tags=ours.tags | {PAUSE_TAG: text}))


def of_node(text: str, **changes: object) -> Facts:
    return facts(node=node(annotations={PAUSE_ANNOTATION: text}), **changes)


@pytest.mark.parametrize(
    ("seen", "of", "source"),
    [
        (of_group, WORKERS, f"tag {PAUSE_TAG}"),
        (of_instance, ONE, f"tag {PAUSE_TAG}"),
        (of_node, ONE, f"annotation {PAUSE_ANNOTATION}"),
    ],
)
def test_a_pause_says_of_what_until_when_why_and_where_it_comes_from(seen: object, of: str, source: str) -> None:
    (found,) = pauses_of(seen("2026-11-21T14:00:00+01:00 the disk is looked at"))  # type: ignore[operator]
    assert found == Pause(of, NOW + timedelta(hours=1), "the disk is looked at", source)
    assert str(found) == f"{of} is paused by its {source} until 2026-11-21 13:00:00Z: the disk is looked at"


def test_it_stands_beside_those_of_the_table_and_needs_no_reason() -> None:
    seen = replace(of_group("20261121T1300Z"), memory=memory(pauses=(pause(),)))
    assert [one.reason for one in pauses_of(seen)] == ["the network is being rebuilt", "no reason is given"]


@pytest.mark.parametrize("text", ["2026-11-21T11:59:00Z", "2026-11-21T12:00:00Z it is done"])
def test_one_whose_time_is_over_holds_nothing_and_nothing_is_wrong_with_it(text: str) -> None:
    for seen in (of_group(text), of_instance(text), of_node(text)):
        assert not any(one.holds((ONE, WORKERS), NOW) for one in pauses_of(seen))
    assert misread((group(pause_until=text),), (), {ONE: node(annotations={PAUSE_ANNOTATION: text})}, NOW) == ()


@pytest.mark.parametrize(("text", "why"), NOT_UNDERSTOOD.items())
def test_a_persons_tag_that_is_not_understood_holds_until_it_is_put_right(text: str, why: str) -> None:
    for seen in (of_group(text), of_instance(text)):
        (found,) = pauses_of(seen)
        assert found.until == UNTIL_MENDED
        assert found.holds((ONE, WORKERS), NOW + timedelta(days=365))
        assert why in str(found)
        assert "until it is put right" in str(found)


@pytest.mark.parametrize(("text", "why"), NOT_UNDERSTOOD.items())
def test_an_annotation_that_is_not_understood_holds_nothing(text: str, why: str) -> None:
    assert pauses_of(of_node(text)) == ()
    (wrong,) = misread((), (), {ONE: node(annotations={PAUSE_ANNOTATION: text})}, NOW)
    assert (wrong.of, wrong.pause) == (ONE, None)
    assert why in (wrong.wrong or "")


@pytest.mark.parametrize(
    ("ended", "lifecycle_state", "holds"),
    [
        (instance(), "InService", True),
        (instance(), "Standby", True),
        (instance(state=InstanceState.PENDING), "Pending", True),
        (instance(), "Pending:Wait", False),
        (instance(), "Warmed:Pending:Wait", False),
        (instance(), "Terminating", False),
        (instance(), "Terminating:Wait", False),
        (instance(state=InstanceState.SHUTTING_DOWN), "InService", False),
        (instance(state=InstanceState.STOPPED), "InService", False),
        (instance(state=InstanceState.TERMINATED), "InService", False),
        (Absent(), "InService", False),
        (Unknown("no answer"), "InService", False),
    ],
)
def test_an_annotation_holds_back_neither_a_hook_nor_what_is_left_of_a_dead_machine(
    ended: object, lifecycle_state: str, holds: bool
) -> None:
    listed = fleet(group(member(ONE, lifecycle_state)))
    seen = of_node("2026-11-21T13:00:00Z", instance=ended, fleet=listed)
    assert bool(pauses_of(seen)) is holds
    assert held_by_annotation(seen) is holds


@pytest.mark.parametrize(
    ("since", "ends"),
    [
        (None, NOW + timedelta(days=6)),
        (NOW - timedelta(days=1), NOW + timedelta(days=6)),
        (NOW - timedelta(days=4), NOW + timedelta(days=3)),
        (NOW - timedelta(days=7), NOW),
        (NOW - timedelta(days=13), NOW - timedelta(days=6)),
        (Unknown("the table does not answer"), NOW + timedelta(days=6)),
    ],
)
def test_an_annotation_that_is_renewed_ends_seven_days_after_it_first_held(since: object, ends: object) -> None:
    (found,) = pauses_of(of_node("2026-11-27T12:00:00Z", annotation_holds_since=since))
    assert found.until == ends


ANY_TEXT = st.text(max_size=60) | st.datetimes(timezones=st.timezones() | st.none()).map(
    lambda moment: f"{moment.isoformat()} x"
)


@given(ANY_TEXT, st.timedeltas(timedelta(0), 2 * LONGEST_PAUSE))
def test_whatever_a_node_says_holds_nothing_for_longer_than_the_longest_pause(text: str, after: timedelta) -> None:
    """However it is renewed: what holds at `NOW + after` has held since NOW, which is written down."""
    seen = of_node(text, at=NOW + after, annotation_holds_since=NOW)
    for found in pauses_of(seen):
        assert found.until <= NOW + LONGEST_PAUSE
        assert str(found).isprintable()


@given(ANY_TEXT)
def test_whatever_a_tag_says_either_ends_within_the_longest_pause_or_is_told_as_wrong(text: str) -> None:
    (found,) = pauses_of(of_instance(text))
    wrong = misread((), (of_instance(text).instance,), {}, NOW)  # type: ignore[arg-type]
    assert (found.until == UNTIL_MENDED) is bool(wrong)
    assert found.until == UNTIL_MENDED or found.until <= NOW + LONGEST_PAUSE
    assert str(found).isprintable()


@given(FACTS)
def test_no_annotation_keeps_back_what_is_to_be_done_about_a_machine_that_ends(seen: Facts) -> None:
    bare = seen
    if not isinstance(seen.node, Absent | Unknown):
        kept = {key: text for key, text in seen.node.annotations.items() if key != PAUSE_ANNOTATION}
        bare = replace(seen, node=replace(seen.node, annotations=kept))
    verdict = assess(seen)
    plan = make_plan(verdict, seen, SETTINGS.policy)
    said, without = (guard(plan, verdict, one, max_in_flight=2) for one in (seen, bare))
    if verdict.member and (verdict.member.held or verdict.member.terminating):
        assert said == without
    if not held_by_annotation(seen):
        assert said == without


def test_tags_are_heeded_even_when_the_table_is_silent() -> None:
    seen = replace(of_group("2026-11-21T13:00:00Z"), memory=Unknown("DynamoDB does not answer"))
    plan = Plan((Restore(ONE, "uid", "it runs"),))
    refused = guard(plan, assess(seen), seen, max_in_flight=2)
    assert refused is not None
    assert f"{WORKERS} is paused by its tag" in refused.reason
