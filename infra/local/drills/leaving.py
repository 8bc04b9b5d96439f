"""A machine leaves in order: its group is made smaller, and Regrow drains it before Auto Scaling may end it."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from infra.local.cluster import wait_for
from infra.local.drills.acts import before_kill, protected, set_capacity
from infra.local.drills.findings import Before, Finding
from infra.local.drills.held import Blocked, Budget, Hold, LongHold, held_pod, hook_timeout, left_on
from infra.local.drills.news import TERMINATE_ACTION
from infra.local.drills.stage import Played, Stage
from infra.local.drills.targets import Targets, target_group, when_out
from infra.local.drills.watcher import Watcher, in_order, judge_evictions

LET_GO_WITHIN_S = 60.0


@dataclass(frozen=True)
class Leave:
    """When what happened to a machine that left; None where it was not seen. `lost` as in Watcher."""

    lost: dict[str, bool]
    expected: int
    least_ready: int | None
    out_of_targets_at: datetime | None
    first_ended_at: datetime | None
    held_at: datetime | None
    drained_at: datetime | None
    let_go_at: datetime | None
    terminated_at: datetime | None
    node_gone_at: datetime | None
    completed_by_regrow: bool


def judge_leave(leave: Leave) -> tuple[Finding, ...]:
    """A finding for every promise about the order in which a machine leaves. Pure."""
    return (
        *judge_evictions(leave.lost, leave.expected, leave.least_ready),
        in_order(
            "it was out of its target groups before its first pod ended", leave.out_of_targets_at, leave.first_ended_at
        ),
        Finding(
            "Regrow completed its hook",
            leave.completed_by_regrow,
            "in its history" if leave.completed_by_regrow else "not yet",
        ),
        in_order("it was held by its hook until then", leave.held_at, leave.let_go_at),
        in_order("none of its pods was left when it was let go", leave.drained_at, leave.let_go_at),
        in_order("its Node went only when EC2 said terminated", leave.terminated_at, leave.node_gone_at),
    )


def scale_in(stage: Stage) -> Played:
    """In the time that its pods take."""
    return _leave(stage, None)


def drain_for_long(stage: Stage) -> Played:
    """Held by one pod for longer than a function runs and longer than the hook lasts without heartbeats."""
    return _leave(stage, LongHold())


def drain_past_a_budget(stage: Stage) -> Played:
    """Held by one pod until its budget, which a person finds named in the machine's history, is loosened."""
    return _leave(stage, Blocked())


def _leave(stage: Stage, hold: Hold | None) -> Played:
    cluster = stage.cluster
    members, desired = cluster.members()
    machine = min(machine for machine, state in members.items() if state == "InService")
    others = [each for each in members if each != machine]
    with target_group(cluster) as targets, protected(cluster, others):
        wait_for("the machine in its target group", lambda: machine in targets.machines(), within_s=30)
        with ExitStack() as held:
            budget = held.enter_context(held_pod(cluster, machine)) if hold else None
            if hold and hold.hook_timeout_s:
                held.enter_context(hook_timeout(cluster, hold.hook_timeout_s))
            holding = (hold, budget) if hold and budget else None
            before, findings = _shrink(stage, machine, desired - 1, targets, holding)
        set_capacity(cluster, desired)
        whole = stage.until(
            lambda: (*stage.whole_without(before), *stage.came_by_right()), within_s=stage.healed_within_s
        )
    between = stage.timeline.between
    figures = {
        "held_to_drained_s": between("held", "drained"),
        "drained_to_let_go_s": between("drained", "let_go"),
        "released_to_let_go_s": between("released", "let_go"),
        **stage.approval_figures(),
    }
    return Played(machine, (*findings, *whole), figures)


def _shrink(
    stage: Stage, machine: str, size: int, targets: Targets, holding: tuple[Hold, Budget] | None
) -> tuple[Before, tuple[Finding, ...]]:
    """Make the group smaller by this machine; what was found when it was gone."""
    cluster, timeline, news = stage.cluster, stage.timeline, stage.news
    before = before_kill(stage.witness, machine)
    watcher = Watcher(machine)
    watcher.begin(stage.witness.pods.values())
    expected = len(before.pods) + (1 if holding else 0)
    news.about(before)
    news.listeners.append(watcher.see)
    stage.show(f"making {cluster.worker_group} smaller by {machine}, which runs {len(before.pods)} of the pods")
    timeline.begin(datetime.now(UTC))
    with when_out(targets, [machine]) as out_of_targets_at:
        set_capacity(cluster, size)

        def leave() -> Leave:
            return Leave(
                lost=dict(watcher.lost),
                expected=expected,
                least_ready=watcher.least_ready,
                out_of_targets_at=out_of_targets_at.get(machine),
                first_ended_at=watcher.first_ended_at,
                held_at=news.moments.get((machine, TERMINATE_ACTION)),
                drained_at=timeline.milestones.get("drained"),
                let_go_at=news.moments.get((machine, "shutting-down")),
                terminated_at=news.moments.get((machine, "terminated")),
                node_gone_at=timeline.milestones.get("node_gone"),
                completed_by_regrow=_completed(news.histories[machine]),
            )

        held = _hold(stage, machine, *holding) if holding else ()
        found = stage.until(
            lambda: (*judge_leave(leave()), *stage.whole_without(before)), within_s=stage.healed_within_s
        )
        if holding:
            held = (*held, _let_go_after_release(stage, leave()))
    return before, (*held, *found)


def _hold(stage: Stage, machine: str, hold: Hold, budget: Budget) -> tuple[Finding, ...]:
    """Wait until nothing but the held pod is left, see what is to be seen of that, and let the pod go."""

    def held() -> bool:
        return (machine, TERMINATE_ACTION) in stage.news.moments

    waits = stage.comes_true("the machine is held by its hook", held, within_s=60)
    held_until = stage.comes_true(
        "nothing but the held pod is left on it",
        lambda: left_on(stage, machine) == {budget.pod},
        within_s=stage.healed_within_s,
    )
    seen = hold.see(stage, machine, budget)
    hold.release(budget)
    stage.timeline.add(datetime.now(UTC), "drill", hold.released, milestone="released")
    return waits, held_until, *seen, stage.reached("released", "the budget was released by the drill")


def _let_go_after_release(stage: Stage, leave: Leave) -> Finding:
    released = stage.timeline.milestones.get("released")
    promise = f"Regrow let it go within {LET_GO_WITHIN_S:.0f} s after the release, and not before"
    if released is None or leave.let_go_at is None:
        return Finding(promise, False, "not let go")
    after_s = (leave.let_go_at - released).total_seconds()
    return Finding(promise, 0 <= after_s <= LET_GO_WITHIN_S, f"{after_s:.1f} s after it")


def _completed(history: list[dict[str, Any]]) -> bool:
    return any(step["step"] == "CompleteHook" for entry in history for step in entry.get("steps", ()))
