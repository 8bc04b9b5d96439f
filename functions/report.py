"""What the manual invoke shows: cases, history and judgements as plain data, ready for JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from functions.cluster.facts import Case
from functions.cluster.joining import JoinRecord
from functions.cluster.machine import InstanceId
from functions.remediate.reconcile import Judgement


def case_report(
    cases: Iterable[Case],
    joins: Iterable[JoinRecord],
    machine: InstanceId | None,
    history: Iterable[Mapping[str, Any]],
    *,
    cluster: str,
) -> dict[str, Any]:
    """Return the open cases and the machines that are joining, of the whole cluster or of one machine.

    Of one machine, what passes did about it is shown as well, and its joins that have ended.
    """
    shown = [plain(case) for case in cases if machine in (None, case.instance)]
    joining = [plain(join) for join in joins if join.instance == machine or (machine is None and join.open)]
    report: dict[str, Any] = {"cluster": cluster, "open_cases": shown, "joining": joining}
    return report | {"machine": machine, "history": list(history)} if machine else report


def judgement_report(judgement: Judgement) -> dict[str, Any]:
    """Return the facts with what follows from them; what could not be read is listed apart."""
    steps = [{"step": type(step).__name__, **plain(step)} for step in judgement.plan.steps]
    return {
        "machine": judgement.facts.id,
        "verdict": judgement.verdict.kind.value,
        "reason": judgement.verdict.reason,
        "plan": steps,
        "refused": judgement.refusal.reason if judgement.refusal else None,
        "unknown": list(judgement.facts.unknowns),
        "facts": plain(judgement.facts),
    }


def plain(value: Any) -> Any:
    """Turn the project's frozen data into what JSON holds; a type that says something by itself keeps its name."""
    if is_dataclass(value) and not isinstance(value, type):
        content = {field.name: plain(getattr(value, field.name)) for field in fields(value)}
        return content or type(value).__name__.lower()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list, frozenset)):
        return [plain(item) for item in value]
    return value
