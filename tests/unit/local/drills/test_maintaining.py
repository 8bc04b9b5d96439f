"""Machines ahead of maintenance are closed, emptied and kept; called off, they are as a person left them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from infra.local.drills.maintaining import CORDONED_WITHIN_S, Closed, Reopened, judge_closed, judge_reopened
from infra.local.drills.witness import DRAINING, SeenNode

FREE, KEPT = "i-000000001", "i-000000002"
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return BEGAN + timedelta(seconds=seconds)


def node(name: str, *, cordoned: bool = False) -> SeenNode:
    return SeenNode(name, f"uid-{name}", ready=True, out_of_service=False, unschedulable=cordoned)


SHUT = replace(node(FREE, cordoned=True), excluded=True, marks={DRAINING: "then"})
CLOSED = Closed(
    FREE,
    announced_at=after(0),
    cordoned_at=after(2),
    out_of_targets_at=after(3),
    first_ended_at=after(4),
    node=SHUT,
    left=(),
    state="InService",
)


def test_a_machine_that_is_empty_ahead_of_time_keeps_every_promise() -> None:
    assert all(finding.kept for finding in judge_closed(CLOSED))


@pytest.mark.parametrize(
    "seen",
    [
        replace(CLOSED, announced_at=None),
        replace(CLOSED, cordoned_at=after(CORDONED_WITHIN_S + 1)),
        replace(CLOSED, out_of_targets_at=after(5)),
        replace(CLOSED, left=("web-1",)),
        replace(CLOSED, state="Terminating:Wait"),
        replace(CLOSED, node=None),
        replace(CLOSED, node=replace(SHUT, unschedulable=False)),
        replace(CLOSED, node=replace(SHUT, excluded=False)),
        replace(CLOSED, node=replace(SHUT, marks={})),
    ],
)
def test_what_is_missing_ahead_of_time_breaks_one_promise(seen: Closed) -> None:
    assert sum(not finding.kept for finding in judge_closed(seen)) == 1


OPEN = {FREE: node(FREE), KEPT: node(KEPT, cordoned=True)}
REOPENED = Reopened(OPEN, KEPT, frozenset({FREE, KEPT}))


def broken(seen: Reopened) -> list[str]:
    return [finding.promise for finding in judge_reopened(seen) if not finding.kept]


def test_only_the_persons_cordon_stays() -> None:
    assert broken(REOPENED) == []


@pytest.mark.parametrize(
    ("seen", "promise"),
    [
        (replace(REOPENED, nodes={**OPEN, FREE: node(FREE, cordoned=True)}), f"{FREE} is uncordoned"),
        (replace(REOPENED, nodes={**OPEN, KEPT: node(KEPT)}), f"the person's cordon of {KEPT} stays"),
        (
            replace(REOPENED, nodes={**OPEN, FREE: replace(OPEN[FREE], marks={DRAINING: "then"})}),
            f"no mark and no label is left on {FREE}",
        ),
        (
            replace(REOPENED, nodes={**OPEN, KEPT: replace(OPEN[KEPT], excluded=True)}),
            f"no mark and no label is left on {KEPT}",
        ),
        (replace(REOPENED, serving=frozenset({FREE})), "they get requests again"),
    ],
)
def test_what_is_left_over_breaks_its_promise_and_no_other(seen: Reopened, promise: str) -> None:
    assert broken(seen) == [promise]


def test_a_machine_without_a_node_is_not_open() -> None:
    assert f"{FREE} is uncordoned" in broken(replace(REOPENED, nodes={**OPEN, FREE: None}))
