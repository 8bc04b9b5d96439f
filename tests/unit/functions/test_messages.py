"""A look survives its travel, later looks meet on a grid, and a message that is none says what is wrong with it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.cluster.machine import InstanceId
from functions.errors import PermanentError
from functions.messages import LONG, TICK, Look, due
from tests.unit.functions.builders import NOW, ONE, TWO, machine

TIMES = st.datetimes(datetime(2024, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
LOOKS = st.builds(
    Look,
    st.integers(0, 16**17 - 1).map(machine),
    st.text(),
    st.integers(0, 100),
    st.none() | st.integers(0, 2**40),
)


@given(LOOKS)
def test_a_look_comes_back_from_its_message_as_it_was(look: Look) -> None:
    assert Look.from_json(look.to_json()) == look


@given(TIMES, st.timedeltas(timedelta(0), LONG - timedelta(microseconds=1)))
def test_a_later_look_is_due_on_the_grid_and_at_most_one_tick_late(now: datetime, after: timedelta) -> None:
    tick = due(now, after)
    assert timedelta(0) <= tick - (now + after) < TICK
    assert tick.timestamp() % TICK.total_seconds() == 0


@given(TIMES, st.integers(10, 600))
def test_after_a_long_wait_chains_that_began_apart_meet(now: datetime, wait_s: int) -> None:
    after = timedelta(seconds=wait_s)
    tick = due(now, after)
    assert after / 2 <= tick - now < after * 1.5
    assert tick.timestamp() % wait_s == 0
    assert due(tick, after) == tick + after


@given(st.timedeltas(timedelta(0), TICK - timedelta(microseconds=1)))
def test_looks_ordered_within_one_tick_are_due_together(apart: timedelta) -> None:
    on_grid = due(NOW, timedelta(0)) + timedelta(microseconds=1)
    first = due(on_grid, timedelta(seconds=2))
    assert due(on_grid + apart, timedelta(seconds=2)) in (first, first + TICK)
    assert due(on_grid + TICK - timedelta(microseconds=1), timedelta(seconds=2)) == first


def test_each_machine_has_a_line_of_its_own() -> None:
    assert Look(ONE, "a").message_group == Look(ONE, "b").message_group != Look(TWO, "a").message_group


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("", "not JSON"),
        ("not a look", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "not an object"),
        ("null", "not an object"),
        ("{}", "names no instance"),
        ('{"machine": "i-1"}', "names no instance"),
        ('{"machine": ["i-00000001"]}', "names no instance"),
        ('{"machine": "i-00000001; rm -rf /"}', "names no instance"),
        ('{"machine": "i-00000001", "tries": -1}', "not a whole number"),
        ('{"machine": "i-00000001", "tries": "1"}', "not a whole number"),
        ('{"machine": "i-00000001", "due_s": 1.5}', "not a whole number"),
    ],
)
def test_a_message_that_can_never_be_parsed_says_why(body: str, says: str) -> None:
    with pytest.raises(PermanentError, match=says):
        Look.from_json(body)


@given(st.text())
def test_any_text_is_a_look_or_a_permanent_error(body: str) -> None:
    with pytest.raises(PermanentError):
        Look.from_json(body)


def test_a_short_message_written_by_hand_is_enough() -> None:
    assert Look.from_json('{"machine": "i-00000001"}') == Look(InstanceId("i-00000001"), "")
