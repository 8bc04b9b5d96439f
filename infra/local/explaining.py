"""What the deployed drill function explains of a cluster or a machine, as a person reads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def as_text(said: dict[str, Any]) -> str:
    """Of a machine its verdict and plan; of a cluster a line for each machine, then what holds for more than one."""
    if "machine" in said:
        steps = [f"  {step['step']}: {step['reason']}" for step in said["plan"]]
        refused = [f"refused: {said['refused']}"] if said["refused"] else []
        unknown = [f"unknown: {reason}" for reason in said["unknown"]]
        planned = ["plan:", *steps] if steps else ["plan: nothing is to be done"]
        return "\n".join([f"{said['machine']} is {said['verdict']}: {said['reason']}", *planned, *refused, *unknown])
    rows = [("MACHINE", "ROLE", "VERDICT", "WHY", "PLAN", "REFUSED")]
    for line in said["machines"]:
        plan = ", ".join(line["planned"]) or line["then"] or ""
        rows.append((line["machine"], line["role"] or "", line["verdict"], line["reason"], plan, line["refused"] or ""))
    beside = [
        *([f"nothing is done: {said['held']}"] if said["held"] else []),
        *(f"open case: {case['instance']}, {case['phase']} since {case['opened_at']}" for case in said["open_cases"]),
        *(f"joining: {join['instance']}" for join in said["joining"]),
        *(f"in flight: {machine}" for machine in said["in_flight"]),
        *(_pause(pause) for pause in said["pauses"] or []),
        *(f"not understood: {one['source']} of {one['of']}: {one['wrong']}" for one in said["pauses_not_understood"]),
        *(f"suspended: {', '.join(one['processes'])} of {one['group']}" for one in said["suspended"]),
    ]
    return "\n".join([*_table(rows), *beside])


def _pause(pause: dict[str, Any]) -> str:
    return f"paused: {pause['of']} until {pause['until'] or 'it is put right'} ({pause['source']}): {pause['reason']}"


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
