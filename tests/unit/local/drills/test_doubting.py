"""A machine that ran and did not work was treated well only when what is gentle came first, and proof before force."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from infra.local.drills.doubting import (
    REBOOT,
    REPLACE,
    RESTART,
    RUNGS,
    Ends,
    Frozen,
    Replaced,
    judge_frozen,
    judge_ladder,
    judge_replaced,
    steps_of,
)
from infra.local.drills.witness import DRAINING, Change, SeenNode, SeenPod

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return BEGAN + timedelta(seconds=seconds)


REPLACED = Replaced(
    steps=(*RUNGS, "CompleteHook", "CloseCase"),
    replaced_at=after(30),
    shutting_down_at=after(31),
    terminated_at=after(32),
    tainted_at=after(33),
    first_gone_at=after(34),
    node_gone_at=after(35),
)


def test_a_machine_that_was_replaced_before_anything_was_taken_from_it_keeps_every_promise() -> None:
    assert all(finding.kept for finding in judge_replaced(REPLACED, RUNGS))


@pytest.mark.parametrize(
    ("seen", "promise"),
    [
        (replace(REPLACED, replaced_at=after(31.5)), "EC2 went on saying that it runs until it was replaced"),
        (replace(REPLACED, shutting_down_at=None), "EC2 went on saying that it runs until it was replaced"),
        (replace(REPLACED, tainted_at=after(31)), "it was tainted out of service only when EC2 said terminated"),
        (replace(REPLACED, tainted_at=None), "it was tainted out of service only when EC2 said terminated"),
        (replace(REPLACED, first_gone_at=after(31)), "no pod of it was deleted by force before EC2 said so"),
        (replace(REPLACED, node_gone_at=after(31)), "its Node went only after that"),
        (replace(REPLACED, steps=()), "what was tried is RestartService, then Reboot, then Replace"),
    ],
)
def test_each_promise_about_it_can_be_broken(seen: Replaced, promise: str) -> None:
    assert [finding.promise for finding in judge_replaced(seen, RUNGS) if not finding.kept] == [promise]


@pytest.mark.parametrize(
    ("steps", "kept"),
    [
        ((RESTART, REBOOT, REPLACE), True),
        ((RESTART, RESTART, REBOOT, "Cordon", REPLACE), True),
        ((RESTART, REBOOT, REPLACE, REPLACE), False),
        ((REBOOT, RESTART, REPLACE), False),
        ((RESTART, REBOOT, RESTART, REPLACE), False),
        ((RESTART, REPLACE), False),
        ((REPLACE,), False),
        ((RESTART, REBOOT), False),
    ],
)
def test_a_ladder_is_climbed_rung_by_rung_and_ends_one_machine_once(steps: tuple[str, ...], kept: bool) -> None:
    assert judge_ladder(steps, RUNGS).kept is kept


def test_the_first_pod_object_that_goes_counts_and_one_of_another_machine_does_not() -> None:
    ends = Ends("i-1")
    for second, node in enumerate(("i-2", "i-1", "i-1")):
        pod = SeenPod(f"web-{second}", f"uid-{second}", node, ready=True)
        ends.see(Change(after(second), pod, pod, replace(pod, ending=True)))
        ends.see(Change(after(second + 0.5), pod, pod, None))
    assert ends.first_gone_at == after(1.5)


WELL = SeenNode("i-1", "uid", ready=True, out_of_service=False, unschedulable=False)
FROZEN = Frozen(
    steps=(RESTART, "CloseCase"),
    node=WELL,
    node_uid="uid",
    restarted_at=after(30),
    renewed_at=after(31),
    lost={},
    came=(),
    state="InService",
)
SAME = "it is the same Node, Ready, with nothing on it"


def test_a_machine_whose_kubelet_was_only_started_again_keeps_every_promise() -> None:
    assert all(finding.kept for finding in judge_frozen(FROZEN))


@pytest.mark.parametrize(
    ("seen", "promise"),
    [
        (replace(FROZEN, steps=()), "what was tried is RestartService"),
        (replace(FROZEN, steps=(RESTART, REBOOT)), "what was tried is RestartService"),
        (replace(FROZEN, renewed_at=after(29)), "its kubelet was heard again"),
        (replace(FROZEN, restarted_at=None), "its kubelet was heard again"),
        (replace(FROZEN, node=None), SAME),
        (replace(FROZEN, node_uid="another"), SAME),
        (replace(FROZEN, node=replace(WELL, ready=False)), SAME),
        (replace(FROZEN, node=replace(WELL, marks={DRAINING: "then"})), SAME),
        (replace(FROZEN, lost={"web-1": True}), "none of its pods was ended"),
        (replace(FROZEN, came=("i-2",)), "nobody replaced it"),
        (replace(FROZEN, state="Terminating:Wait"), "nobody replaced it"),
    ],
)
def test_each_promise_about_a_frozen_kubelet_can_be_broken(seen: Frozen, promise: str) -> None:
    assert [finding.promise for finding in judge_frozen(seen) if not finding.kept] == [promise]


def test_steps_are_those_of_every_entry_in_order() -> None:
    history: list[dict[str, Any]] = [
        {"verdict": "held"},
        {"steps": [{"step": RESTART}]},
        {"steps": [{"step": REBOOT}, {"step": "Told"}]},
    ]
    assert steps_of(history) == (RESTART, REBOOT, "Told")
