"""What a drill tells is in seconds since its first act, and nothing is told twice or lost."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from infra.local.drills.timeline import Tail, Timeline

KILL = datetime(2026, 1, 1, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return KILL + timedelta(seconds=seconds)


def test_entries_from_before_the_beginning_is_known_are_shown_after_it() -> None:
    shown: list[str] = []
    timeline = Timeline(shown.append)
    timeline.add(after(1.5), "Node", "is gone")
    assert shown == []
    timeline.begin(KILL)
    assert [line.split() for line in shown] == [["+1.50", "s", "Node", "is", "gone"]]


def test_the_first_entry_of_a_milestone_counts() -> None:
    timeline = Timeline(lambda _: None)
    timeline.begin(KILL)
    timeline.add(after(2), "Node", "tainted", milestone="tainted")
    timeline.add(after(9), "Node", "tainted again", milestone="tainted")
    assert timeline.milestone_seconds() == {"tainted": 2.0}


def test_milestones_come_in_the_order_of_a_case_and_without_those_not_reached() -> None:
    timeline = Timeline(lambda _: None)
    timeline.begin(KILL)
    for name, seconds in (("closed", 9.0), ("event", 0.5)):
        timeline.add(after(seconds), "x", name, milestone=name)
    assert list(timeline.milestone_seconds()) == ["event", "closed"]
    assert timeline.between("event", "closed") == 8.5
    assert timeline.between("event", "ready") is None


def test_the_record_is_in_order_of_time() -> None:
    timeline = Timeline(lambda _: None)
    timeline.add(after(3), "b", "second")
    timeline.add(after(1), "a", "first")
    assert timeline.as_data() == []
    timeline.begin(KILL)
    assert [entry["s"] for entry in timeline.as_data()] == [1.0, 3.0]


def test_seconds_before_the_beginning_are_an_error() -> None:
    with pytest.raises(ValueError, match="has not begun"):
        Timeline(lambda _: None).seconds(KILL)


def test_each_whole_line_of_a_growing_file_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "events.log"
    tail = Tail(path)
    assert tail.new() == []
    path.write_text(json.dumps({"n": 1}) + "\n" + '{"n": ')
    assert tail.new() == [{"n": 1}]
    assert tail.new() == []
    with path.open("a") as file:
        file.write("2}\n")
    assert tail.new() == [{"n": 2}]
