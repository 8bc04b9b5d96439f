"""What a writer says of a drill: how long nobody could write, and whether a confirmed write was lost."""

from __future__ import annotations

from dataclasses import replace

import pytest

from infra.local.drills.writer import Attempt, Written, judge_writing


def attempts(*outcomes: tuple[float, float, str | None]) -> tuple[Attempt, ...]:
    return tuple(Attempt(number, *outcome) for number, outcome in enumerate(outcomes, start=1))


WELL = Written(attempts((0.0, 0.1, None), (0.2, 0.3, None), (0.4, 2.4, "TimeoutError"), (2.4, 2.6, None)), read_back=4)
GAP = "a writer through the load balancer never waited longer than 12 s for a write"
LOST = "no write that was confirmed is lost"


def broken(written: Written, at_most_s: float | None = 12.0) -> list[str]:
    return [finding.promise for finding in judge_writing(written, at_most_s) if not finding.kept]


@pytest.mark.parametrize(
    ("outcomes", "gap_s"),
    [
        ([(0.0, 0.1, None), (0.2, 0.3, None)], 0.2),
        ([(0.0, 0.1, None), (0.2, 2.2, "TimeoutError"), (2.2, 2.5, None)], 2.4),
        ([(0.0, 2.0, "TimeoutError"), (2.0, 4.0, "TimeoutError"), (4.0, 4.1, None)], 4.1),
        ([(0.0, 0.1, None), (0.2, 2.2, "TimeoutError"), (2.2, 4.2, "TimeoutError")], 4.1),
        ([(0.0, 2.0, "TimeoutError"), (2.0, 4.0, "TimeoutError")], 4.0),
    ],
)
def test_a_gap_lasts_from_one_confirmed_write_to_the_next_and_counts_at_both_ends(
    outcomes: list[tuple[float, float, str | None]], gap_s: float
) -> None:
    assert Written(attempts(*outcomes)).longest_gap_s() == gap_s


def test_who_did_not_write_has_no_gap_and_breaks_the_promise() -> None:
    assert Written(()).longest_gap_s() is None
    assert broken(Written(())) == [GAP, LOST]


def test_failures_are_counted_by_their_kind() -> None:
    written = Written(attempts((0, 1, "TimeoutError"), (1, 2, "HTTP 500"), (2, 3, "TimeoutError"), (3, 4, None)))
    assert written.failures() == {"TimeoutError": 2, "HTTP 500": 1}
    assert written.figures() == {"writes": 4.0, "failed_writes": 3.0, "longest_write_gap_s": 4.0}


@pytest.mark.parametrize(
    ("written", "promises"),
    [
        (WELL, []),
        (replace(WELL, read_back=3), [LOST]),
        (replace(WELL, read_back=None), [LOST]),
        (replace(WELL, read_back=5), []),  # one that was not confirmed may have got through
        (replace(WELL, attempts=(*WELL.attempts, Attempt(5, 2.8, 15.0, "TimeoutError"))), [GAP]),
        (Written(attempts((0, 2, "TimeoutError")), read_back=0), [GAP, LOST]),
    ],
)
def test_a_long_gap_or_a_lost_write_breaks_its_promise_and_no_other(written: Written, promises: list[str]) -> None:
    assert broken(written) == promises


def test_where_gaps_are_only_told_none_is_too_long() -> None:
    long = replace(WELL, attempts=(*WELL.attempts, Attempt(5, 2.8, 90.0, "TimeoutError")))
    assert broken(long, None) == []
