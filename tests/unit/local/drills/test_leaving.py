"""A drill says that a machine left in order only when each thing came after the one that it must wait for."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from infra.local.drills.leaving import Leave, judge_leave
from infra.local.drills.watcher import Watcher
from infra.local.drills.witness import Change, SeenPod

MACHINE, OTHER = "i-000000001", "i-000000002"
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return BEGAN + timedelta(seconds=seconds)


IN_ORDER = Leave(
    lost={"web-1": True, "web-2": True},
    expected=2,
    least_ready=15,
    out_of_targets_at=after(0.5),
    first_ended_at=after(1),
    held_at=after(0.2),
    drained_at=after(8.5),
    let_go_at=after(9),
    terminated_at=after(11),
    node_gone_at=after(12),
    completed_by_regrow=True,
)


def broken(leave: Leave) -> list[str]:
    return [finding.promise for finding in judge_leave(leave) if not finding.kept]


def test_a_machine_that_left_in_order_keeps_every_promise() -> None:
    assert broken(IN_ORDER) == []


@pytest.mark.parametrize(
    ("leave", "promise"),
    [
        (replace(IN_ORDER, lost={"web-1": True, "web-2": False}), "every pod of it was evicted, none deleted"),
        (replace(IN_ORDER, lost={"web-1": True}), "every pod of it was evicted, none deleted"),
        (replace(IN_ORDER, least_ready=14), "their disruption budget was kept at every moment"),
        (replace(IN_ORDER, least_ready=None), "their disruption budget was kept at every moment"),
        (
            replace(IN_ORDER, out_of_targets_at=after(1.1)),
            "it was out of its target groups before its first pod ended",
        ),
        (replace(IN_ORDER, out_of_targets_at=None), "it was out of its target groups before its first pod ended"),
        (replace(IN_ORDER, completed_by_regrow=False), "Regrow completed its hook"),
        (replace(IN_ORDER, held_at=None), "it was held by its hook until then"),
        (replace(IN_ORDER, drained_at=after(9.1)), "none of its pods was left when it was let go"),
        (replace(IN_ORDER, drained_at=None), "none of its pods was left when it was let go"),
        (replace(IN_ORDER, node_gone_at=after(10.9)), "its Node went only when EC2 said terminated"),
        (replace(IN_ORDER, node_gone_at=None), "its Node went only when EC2 said terminated"),
    ],
)
def test_what_came_too_early_or_not_at_all_breaks_its_promise_and_no_other(leave: Leave, promise: str) -> None:
    assert broken(leave) == [promise]


def pod(name: str, **changes: object) -> SeenPod:
    return replace(SeenPod(name, f"uid-{name}", MACHINE, ready=True), **changes)  # type: ignore[arg-type]


def change(before: SeenPod | None, now: SeenPod | None) -> Change:
    seen = now or before
    assert seen is not None
    return Change(after(1), seen, before, now)


def ended(watcher: Watcher, last: SeenPod) -> dict[str, bool]:
    """What the watcher says after a pod that is well has become like this and then gone."""
    watcher.see(change(pod(last.name, node=last.node), last))
    watcher.see(change(last, None))
    return watcher.lost


def test_a_pod_that_an_eviction_ended_is_told_from_one_that_was_deleted() -> None:
    watcher = Watcher(MACHINE)
    ended(watcher, pod("web-1", evicted=True, ending=True, ready=False))
    assert ended(watcher, pod("web-2", ending=True, ready=False)) == {"web-1": True, "web-2": False}
    assert watcher.first_ended_at == after(1)


def test_pods_of_other_machines_do_not_count_as_lost() -> None:
    assert ended(Watcher(MACHINE), pod("web-1", node=OTHER, ending=True, ready=False)) == {}


def test_the_fewest_ready_at_any_moment_are_kept() -> None:
    watcher, pods = Watcher(MACHINE), [pod("web-1"), pod("web-2"), pod("held-1", app="held")]
    watcher.begin(pods)
    watcher.see(change(pods[0], replace(pods[0], ready=False)))
    watcher.see(change(pods[1], replace(pods[1], ready=False)))
    watcher.see(change(None, pod("web-3", node=OTHER)))
    assert watcher.least_ready == 0
