"""A storm is weathered when nearly every machine is cordoned in time, none is missing, and all are empty."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.local.drills.invocations import read_invocations
from infra.local.drills.storm import Storm, judge_storm, percentile

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def storm(*waits_s: float) -> Storm:
    machines = {f"i-{number}": wait for number, wait in enumerate(waits_s)}
    return Storm(dict.fromkeys(machines, NOW), {name: NOW + timedelta(seconds=wait) for name, wait in machines.items()})


def kept(seen: Storm, machines: int, pods_left: int = 0) -> list[bool]:
    return [finding.kept for finding in judge_storm(seen, machines, pods_left)]


def test_fifty_in_time_and_empty_keep_every_promise() -> None:
    assert kept(storm(*[1.0] * 50), 50) == [True, True, True]


def test_one_that_is_never_cordoned_breaks_it_however_fast_the_others_were() -> None:
    assert kept(storm(*[1.0] * 49), 50) == [False, False, True]


def test_with_fifty_machines_the_slowest_is_the_ninety_ninth_percentile() -> None:
    assert kept(storm(*[1.0] * 49, 60.1), 50) == [True, False, True]


def test_a_pod_that_is_left_breaks_it() -> None:
    assert kept(storm(1.0), 1, pods_left=1) == [True, True, False]


@pytest.mark.parametrize(("share", "value"), [(1, 1), (50, 5), (90, 9), (99, 10), (100, 10)])
def test_a_percentile_is_the_nearest_rank(share: int, value: int) -> None:
    assert percentile(list(range(10, 0, -1)), share) == value


def test_of_nothing_there_is_no_percentile() -> None:
    assert percentile([], 99) is None


@given(st.lists(st.floats(allow_nan=False), min_size=1), st.integers(1, 100))
def test_so_many_of_a_hundred_do_not_exceed_it(values: list[float], share: int) -> None:
    found = percentile(values, share)
    assert found is not None
    assert sum(value <= found for value in values) * 100 >= len(values) * share


def test_a_log_tells_how_many_ran_at_once_and_how_many_were_cold() -> None:
    report = "REPORT RequestId: {}\tDuration: 9.5 ms\tBilled Duration: {} ms\tMemory Size: 512 MB{}"
    lines = [
        "START RequestId: a Version: $LATEST",
        "START RequestId: b Version: $LATEST",
        report.format("a", 10, "\tInit Duration: 5.00 ms"),
        "START RequestId: c Version: $LATEST",
        report.format("b", 30, ""),
        report.format("c", 20, ""),
    ]
    seen = read_invocations(lines)
    assert (seen.count, seen.cold, seen.at_once, seen.billed_ms, seen.slowest_ms) == (3, 1, 2, 60, 30)
    assert (seen.memory_mib, seen.log_bytes) == (512, sum(len(line) + 1 for line in lines))
