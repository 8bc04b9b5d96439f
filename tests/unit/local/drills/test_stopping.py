"""A machine that was stopped is out of service and kept; started again, nothing of that is left on it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from infra.local.drills.stopping import Back, Stopped, judge_back, judge_stopped
from infra.local.drills.witness import DRAINING, SeenNode

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
OUT = SeenNode("i-1", "uid", ready=False, out_of_service=True, unschedulable=True, marks={DRAINING: "then"})
WELL = SeenNode("i-1", "uid", ready=True, out_of_service=False, unschedulable=False)
STOPPED = Stopped(BEGAN, BEGAN + timedelta(seconds=2), OUT, "uid", serves=False)
BACK = Back(WELL, "uid", pods=8, serves=True, came=())
CLEAN = "it is the same Node, Ready, with no taint, cordon, mark or label left"


def test_a_stopped_machine_out_of_service_keeps_every_promise() -> None:
    assert all(finding.kept for finding in judge_stopped(STOPPED))


@pytest.mark.parametrize(
    ("seen", "promise"),
    [
        (replace(STOPPED, tainted_at=BEGAN - timedelta(seconds=1)), "it was tainted out of service only when"),
        (replace(STOPPED, stopped_at=None), "it was tainted out of service only when"),
        (replace(STOPPED, node=None), "its Node is there, out of service"),
        (replace(STOPPED, node_uid="another"), "its Node is there, out of service"),
        (replace(STOPPED, node=WELL), "its Node is there, out of service"),
        (replace(STOPPED, serves=True), "it gets no requests"),
    ],
)
def test_each_promise_about_a_stopped_machine_can_be_broken(seen: Stopped, promise: str) -> None:
    (broken,) = [finding.promise for finding in judge_stopped(seen) if not finding.kept]
    assert broken.startswith(promise)


def test_a_machine_that_is_as_before_keeps_every_promise() -> None:
    assert all(finding.kept for finding in judge_back(BACK))


@pytest.mark.parametrize(
    ("seen", "promise"),
    [
        (replace(BACK, node=OUT), CLEAN),
        (replace(BACK, node=None), CLEAN),
        (replace(BACK, node=replace(WELL, ready=False)), CLEAN),
        (replace(BACK, node=replace(WELL, excluded=True)), CLEAN),
        (replace(BACK, node=replace(WELL, marks={DRAINING: "then"})), CLEAN),
        (replace(BACK, node=replace(WELL, uid="another")), CLEAN),
        (replace(BACK, pods=0), "it takes pods again"),
        (replace(BACK, serves=False), "it gets requests again"),
        (replace(BACK, came=("i-2",)), "nobody replaced it"),
    ],
)
def test_each_promise_about_its_return_can_be_broken(seen: Back, promise: str) -> None:
    assert [finding.promise for finding in judge_back(seen) if not finding.kept] == [promise]
