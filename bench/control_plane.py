"""Lose a control plane again and again: how soon its member is out and another votes, and what writers notice."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from infra.local.cluster import Cluster
from infra.local.drills.control_plane import lose_the_leader
from infra.local.drills.groundwork import default_balancing
from infra.local.drills.kinds import KINDS, Kind
from infra.local.drills.run import run

FIGURES = ("event_to_member_removed_s", "killed_to_voting_s", "killed_to_ready_s", "longest_write_gap_s")
AS_BY_DEFAULT = replace(
    KINDS["leader"], groundwork=default_balancing, play=partial(lose_the_leader, longest_gap_s=None)
)
"""With the health checks that a target group has unless it is told otherwise."""
PLAYED: dict[str, Kind] = {
    "follower": KINDS["control-plane"],
    "leader": KINDS["leader"],
    "leader, default health checks": AS_BY_DEFAULT,
}


def lose_some(cluster: Cluster, rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Each kind so many times. A gap is the longest of all: a new connection may meet the dead machine or not."""
    figures: dict[str, Any] = {}
    for name, kind in PLAYED.items():
        runs = [run(cluster, kind, lambda _: None) for _ in range(rounds)]
        for number, one in enumerate(runs, start=1):
            seen = {figure: one[figure] for figure in FIGURES}
            broken = [finding["promise"] for finding in one["findings"] if not finding["kept"]]
            say(f"{name}, {number} of {rounds}: {seen}{f', NOT kept: {broken}' if broken else ''}")
        figures[name] = _summary(runs)
    return figures


def _summary(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    medians = {figure: round(statistics.median(one[figure] for one in runs), 2) for figure in FIGURES[:-1]}
    gaps = [one[FIGURES[-1]] for one in runs]
    return {"rounds": len(runs), "median": medians, "longest_write_gap_s": round(max(gaps), 2), "write_gaps_s": gaps}
