"""A worker is lost: killed as a dying host kills it, with its group and Regrow left to find out."""

from __future__ import annotations

from infra.local.drills.acts import REPLICAS, before_kill, event_rules, invoke_drill, rules_disabled
from infra.local.drills.findings import Before, Finding, judge
from infra.local.drills.stage import Played, Stage


def lose_a_worker(stage: Stage) -> Played:
    """With every event delivered."""
    return _lose(stage, events=True)


def lose_a_worker_unheard(stage: Stage) -> Played:
    """With no event delivered: only the sweep can find out."""
    rules = event_rules(stage.cluster)
    stage.show(f"{len(rules)} event rules are disabled: only the sweep can find out now")
    with rules_disabled(stage.cluster, rules):
        return _lose(stage, events=False)


def kill_a_worker(stage: Stage) -> Before:
    """The kill is the deployed drill function's, the same that a person invokes in a real account."""
    would = invoke_drill(stage.cluster, {"do": "drill", "dry_run": True})
    before = before_kill(stage.witness, would["machine"])
    stage.news.about(before)
    stage.show(f"killing {before.victim} of {would['group']}, which runs {len(before.pods)} of {REPLICAS} pods")
    invoke_drill(stage.cluster, {"do": "drill", "machine": before.victim})
    return before


def _lose(stage: Stage, *, events: bool) -> Played:
    before, timeline = kill_a_worker(stage), stage.timeline

    def findings() -> tuple[Finding, ...]:
        healed = judge(before, stage.sight(), events_allowed=events)
        return (*healed, stage.reached("closed", "its case is closed"), *stage.came_by_right())

    found = stage.until(findings, within_s=stage.healed_within_s)
    reached = timeline.milestone_seconds()
    return Played(
        before.victim,
        found,
        {
            "terminated_to_pods_ready_s": timeline.between("terminated", "pods_ready"),
            "killed_to_ready_s": reached.get("ready"),
            "killed_to_closed_s": reached.get("closed"),
            **stage.approval_figures(),
        },
    )
