"""EC2 wants a Spot machine back: with two minutes' notice, or with advice alone.

The interruption is AWS FIS', the same that a person orders in a real account.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from infra.local.cluster import wait_for
from infra.local.drills.acts import before_kill
from infra.local.drills.announcing import interrupt
from infra.local.drills.findings import Before, Finding, judge_standing
from infra.local.drills.groundwork import spot_members
from infra.local.drills.news import ADVICE, WARNING
from infra.local.drills.stage import Played, Stage
from infra.local.drills.targets import target_group, when_out
from infra.local.drills.watcher import Watcher, in_order, judge_evictions, within
from infra.local.drills.witness import NOTICE, SeenNode

CORDONED_WITHIN_S = 20.0
TAKEN_WITHIN_S = 150.0
"""Two minutes of notice, and what a system needs to end."""

ADVICE_HOLDS = timedelta(hours=1)
LONG_NOTICE = timedelta(minutes=15)
"""The warning comes so long after the advice that no drill lives to see it."""

LEFT_ALONE_S = 20.0
SWEPT_WITHIN_S = 120.0


@dataclass(frozen=True)
class Interruption:
    """When what happened to a Spot machine that was taken; None where it was not seen. `lost` as in Watcher."""

    lost: Mapping[str, bool]
    expected: int
    least_ready: int | None
    warned_at: datetime | None
    cordoned_at: datetime | None
    excluded_at: datetime | None
    out_of_targets_at: datetime | None
    first_ended_at: datetime | None
    drained_at: datetime | None
    taken_at: datetime | None
    terminated_at: datetime | None
    node_gone_at: datetime | None


def judge_interruption(seen: Interruption) -> tuple[Finding, ...]:
    """A finding for every promise about the two minutes, and what comes after them. Pure."""
    return (
        within(
            f"it was cordoned within {CORDONED_WITHIN_S:.0f} s of the warning",
            seen.warned_at,
            seen.cordoned_at,
            CORDONED_WITHIN_S,
        ),
        in_order(
            "load balancers that controllers own were told before its first pod ended",
            seen.excluded_at,
            seen.first_ended_at,
        ),
        in_order(
            "it was out of its target groups before its first pod ended", seen.out_of_targets_at, seen.first_ended_at
        ),
        *judge_evictions(seen.lost, seen.expected, seen.least_ready),
        in_order("it was empty before EC2 took it", seen.drained_at, seen.taken_at),
        in_order("its Node went only when EC2 said terminated", seen.terminated_at, seen.node_gone_at),
    )


def lose_a_spot_worker(stage: Stage) -> Played:
    """With the two minutes that EC2 gives."""
    cluster, timeline, news = stage.cluster, stage.timeline, stage.news
    before, watcher = _watched(stage)
    machine = before.victim
    with target_group(cluster) as targets:
        wait_for("the machine in its target group", lambda: machine in targets.machines(), within_s=30)
        with when_out(targets, [machine]) as out_of_targets_at:
            timeline.begin(datetime.now(UTC))
            interrupt(cluster, [machine])

            def findings() -> tuple[Finding, ...]:
                at = timeline.milestones
                interruption = Interruption(
                    lost=dict(watcher.lost),
                    expected=len(before.pods),
                    least_ready=watcher.least_ready,
                    warned_at=news.moments.get((machine, WARNING)),
                    cordoned_at=at.get("cordoned"),
                    excluded_at=at.get("excluded"),
                    out_of_targets_at=out_of_targets_at.get(machine),
                    first_ended_at=watcher.first_ended_at,
                    drained_at=at.get("drained"),
                    taken_at=news.moments.get((machine, "shutting-down")),
                    terminated_at=news.moments.get((machine, "terminated")),
                    node_gone_at=at.get("node_gone"),
                )
                closed = stage.reached("closed", "its case is closed")
                return (
                    *judge_interruption(interruption),
                    *stage.whole_without(before),
                    *stage.came_by_right(),
                    closed,
                )

            found = stage.until(findings, within_s=TAKEN_WITHIN_S + stage.healed_within_s)
    between = timeline.between
    figures = {
        "warned_to_cordoned_s": between("warned", "cordoned"),
        "warned_to_drained_s": between("warned", "drained"),
        "drained_to_taken_s": between("drained", "taken"),
        "taken_to_closed_s": between("taken", "closed"),
        **stage.approval_figures(),
    }
    return Played(machine, found, figures)


@dataclass(frozen=True)
class Advised:
    """A machine for a while after EC2 advised to leave it. `node` as it is then, None when it has none."""

    advised_at: datetime | None
    cordoned_at: datetime | None
    node: SeenNode | None
    lost: Mapping[str, bool]
    serves: bool
    state: str


def judge_advised(seen: Advised) -> tuple[Finding, ...]:
    """A finding for every promise about advice alone. Pure."""
    node = seen.node
    excluded, draining = (node.excluded, node.draining) if node else (True, True)
    return (
        within(
            f"it was cordoned within {CORDONED_WITHIN_S:.0f} s of the advice",
            seen.advised_at,
            seen.cordoned_at,
            CORDONED_WITHIN_S,
        ),
        _holds_its_end(seen),
        Finding("none of its pods was ended", not seen.lost, ", ".join(seen.lost) or "none"),
        Finding(
            "it serves on",
            seen.serves and not excluded and seen.state == "InService",
            f"{seen.state}, {'in' if seen.serves else 'not in'} its target group"
            + (", kept from load balancers that controllers own" if excluded else ""),
        ),
        Finding("it is not being drained", not draining, "marked as drained" if draining else "no mark of it"),
    )


def _holds_its_end(seen: Advised) -> Finding:
    """EC2 tells the time of its advice in whole seconds."""
    until = end_of(seen.node.marks.get(NOTICE) if seen.node else None)
    promise = f"its mark holds the end: {ADVICE_HOLDS.total_seconds() / 60:.0f} min after the advice"
    if until is None or seen.advised_at is None:
        return Finding(promise, False, "no mark")
    off_s = (until - seen.advised_at - ADVICE_HOLDS).total_seconds()
    return Finding(promise, abs(off_s) <= 2, f"until {until:%H:%M:%SZ}")


def end_of(mark: str | None) -> datetime | None:
    """Until when a notice that is marked on a Node is heeded; None for what says nothing of that."""
    try:
        return datetime.fromisoformat(json.loads(mark or "")["until"])
    except (ValueError, KeyError, TypeError):
        return None


def advise_to_leave(stage: Stage) -> Played:
    """Nothing more than a cordon follows, and that ends by itself: here when the mark is made to say so."""
    cluster, timeline = stage.cluster, stage.timeline
    _, watcher = _watched(stage)
    machine = watcher.machine
    with target_group(cluster) as targets:
        wait_for("the machine in its target group", lambda: machine in targets.machines(), within_s=30)
        timeline.begin(datetime.now(UTC))
        interrupt(cluster, [machine], before=LONG_NOTICE)

        def advised() -> tuple[Finding, ...]:
            return judge_advised(
                Advised(
                    advised_at=stage.news.moments.get((machine, ADVICE)),
                    cordoned_at=timeline.milestones.get("cordoned"),
                    node=stage.witness.nodes.get(machine),
                    lost=dict(watcher.lost),
                    serves=machine in targets.machines(),
                    state=cluster.members()[0].get(machine, "gone"),
                )
            )

        stage.until(advised, within_s=CORDONED_WITHIN_S * 2)
        stage.watch_for(LEFT_ALONE_S)
        findings = advised()
        _make_it_run_out(stage, machine)
        findings += stage.until(
            lambda: (_clean(stage, machine), *judge_standing(stage.sight())), within_s=SWEPT_WITHIN_S
        )
        findings += (Finding("its pods never noticed", not watcher.lost, ", ".join(watcher.lost) or "none was ended"),)
    between = timeline.between
    figures = {
        "advised_to_cordoned_s": between("advised", "cordoned"),
        "ran_out_to_uncordoned_s": between("ran_out", "uncordoned"),
    }
    return Played(machine, findings, figures)


def _watched(stage: Stage) -> tuple[Before, Watcher]:
    (machine,) = spot_members(stage.cluster)
    before = before_kill(stage.witness, machine)
    watcher = Watcher(machine)
    watcher.begin(stage.witness.pods.values())
    stage.news.about(before)
    stage.news.listeners.append(watcher.see)
    stage.show(f"EC2 speaks of {machine}, a Spot instance, which runs {len(before.pods)} of the pods")
    return before, watcher


def _make_it_run_out(stage: Stage, machine: str) -> None:
    """As if the hour were over."""
    node = stage.witness.nodes.get(machine)
    notice = json.loads(node.marks.get(NOTICE, "{}")) if node else {}
    notice["until"] = datetime.now(UTC).isoformat()
    stage.cluster.kubectl("annotate", "node", machine, f"{NOTICE}={json.dumps(notice)}", "--overwrite")
    stage.timeline.add(datetime.now(UTC), "drill", "the mark says now that the time is over", milestone="ran_out")


def _clean(stage: Stage, machine: str) -> Finding:
    node = stage.witness.nodes.get(machine)
    clean = node is not None and node.untouched
    seen = "clean" if clean else ", ".join(node.marks) or "cordoned" if node else "no Node"
    return Finding("when its time was over it was uncordoned by the sweep, and no mark is left", clean, seen)
