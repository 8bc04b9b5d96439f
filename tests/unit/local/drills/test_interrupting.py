"""A Spot machine was treated well only when each thing came in time, and advice alone moved nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from infra.local.drills.interrupting import (
    ADVICE_HOLDS,
    CORDONED_WITHIN_S,
    Advised,
    Interruption,
    end_of,
    judge_advised,
    judge_interruption,
)
from infra.local.drills.witness import DRAINING, NOTICE, SeenNode

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
CORDONED = f"it was cordoned within {CORDONED_WITHIN_S:.0f} s of the warning"
EMPTY = "it was empty before EC2 took it"
EVICTED = "every pod of it was evicted, none deleted"
TOLD = "load balancers that controllers own were told before its first pod ended"


def after(seconds: float) -> datetime:
    return BEGAN + timedelta(seconds=seconds)


TAKEN = Interruption(
    lost={"web-1": True, "web-2": True},
    expected=2,
    least_ready=15,
    warned_at=after(0),
    cordoned_at=after(2),
    excluded_at=after(2),
    out_of_targets_at=after(2.5),
    first_ended_at=after(4),
    drained_at=after(12),
    taken_at=after(120),
    terminated_at=after(122),
    node_gone_at=after(123),
)


def test_a_machine_that_was_empty_in_time_keeps_every_promise() -> None:
    assert all(finding.kept for finding in judge_interruption(TAKEN))


@pytest.mark.parametrize(
    ("seen", "promise"),
    [
        (replace(TAKEN, cordoned_at=after(CORDONED_WITHIN_S + 0.1)), CORDONED),
        (replace(TAKEN, cordoned_at=None), CORDONED),
        (replace(TAKEN, warned_at=None), CORDONED),
        (replace(TAKEN, excluded_at=after(4.1)), TOLD),
        (replace(TAKEN, excluded_at=None), TOLD),
        (replace(TAKEN, out_of_targets_at=None), "it was out of its target groups before its first pod ended"),
        (replace(TAKEN, lost={"web-1": True, "web-2": False}), EVICTED),
        (replace(TAKEN, lost={"web-1": True}), EVICTED),
        (replace(TAKEN, least_ready=14), "their disruption budget was kept at every moment"),
        (replace(TAKEN, drained_at=after(121)), EMPTY),
        (replace(TAKEN, drained_at=None), EMPTY),
        (replace(TAKEN, node_gone_at=after(121)), "its Node went only when EC2 said terminated"),
    ],
)
def test_what_came_too_late_or_not_at_all_breaks_its_promise_and_no_other(seen: Interruption, promise: str) -> None:
    assert [finding.promise for finding in judge_interruption(seen) if not finding.kept] == [promise]


def node(until: datetime = BEGAN + ADVICE_HOLDS, **changes: Any) -> SeenNode:
    marks = {NOTICE: json.dumps({"until": until.isoformat()})}
    whole = SeenNode("i-1", "uid", ready=True, out_of_service=False, unschedulable=True, marks=marks)
    return replace(whole, **changes)


ADVISED = Advised(after(0.4), after(2), node(), lost={}, serves=True, state="InService")


def test_a_machine_that_was_only_cordoned_keeps_every_promise() -> None:
    assert all(finding.kept for finding in judge_advised(ADVISED))


@pytest.mark.parametrize(
    "seen",
    [
        replace(ADVISED, cordoned_at=None),
        replace(ADVISED, node=None),
        replace(ADVISED, node=node(until=after(7200))),
        replace(ADVISED, node=node(marks={})),
        replace(ADVISED, node=node(excluded=True)),
        replace(ADVISED, node=node(marks={**node().marks, DRAINING: "2026-01-01T00:00:02+00:00"})),
        replace(ADVISED, lost={"web-1": True}),
        replace(ADVISED, serves=False),
        replace(ADVISED, state="Terminating:Wait"),
    ],
)
def test_whatever_else_was_done_to_it_is_seen(seen: Advised) -> None:
    assert any(not finding.kept for finding in judge_advised(seen))


@pytest.mark.parametrize("mark", [None, "", "soon", "[]", "{}", '{"until": 5}', '{"until": "soon"}'])
def test_a_mark_that_says_no_end_has_none(mark: str | None) -> None:
    assert end_of(mark) is None
