"""What the manual invoke shows: cases, history and judgements as plain data, ready for JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from functions.cluster.facts import UNTIL_MENDED, Case, Pause, Unknown
from functions.cluster.joining import JoinRecord
from functions.cluster.machine import Group, InstanceId, Node
from functions.dead_letters import Read
from functions.explain import Explained, Overview
from functions.remediate.plan import LookAgain
from functions.remediate.reconcile import Judgement

_BODY_SHOWN = 1000


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


def explained_report(explained: Explained) -> dict[str, Any]:
    """Of a control plane, what was seen of all of those and of their etcd is shown as well."""
    report = judgement_report(explained.judgement)
    return report | ({"control_plane": plain(explained.control_plane)} if explained.control_plane else {})


def overview_report(seen: Overview, *, cluster: str, at: datetime) -> dict[str, Any]:
    """Return each machine in one line, then what holds for more than one."""
    joins = (join for of_one in seen.cluster.joins.values() for join in of_one if join.open)
    return {
        "cluster": cluster,
        "at": at.isoformat(),
        "held": seen.held,
        "machines": [_line(judgement) for judgement in seen.judgements],
        "open_cases": [plain(case) for case in seen.cluster.cases.values()],
        "joining": [plain(join) for join in joins],
        "in_flight": sorted(seen.in_flight),
        "pauses": [_pause(pause) for pause in seen.pauses] if not isinstance(seen.pauses, Unknown) else None,
        "pauses_not_understood": [{"of": one.of, "source": one.source, "wrong": one.wrong} for one in seen.misread],
        "suspended": [_suspended(group) for group in seen.cluster.groups if group.suspended],
        "control_plane": plain(seen.control_plane),
    }


def _line(judgement: Judgement) -> dict[str, Any]:
    """`planned` are the names of the steps that are due, `then` what is waited for after them."""
    verdict, facts, steps = judgement.verdict, judgement.facts, judgement.plan.steps
    waits = [step.reason for step in steps if isinstance(step, LookAgain)]
    role = verdict.group.role if verdict.group else None
    return {
        "machine": facts.id,
        "group": verdict.group.name if verdict.group else None,
        "role": role.value if role else None,
        "node": facts.node.name if isinstance(facts.node, Node) else None,
        "verdict": verdict.kind.value,
        "reason": verdict.reason,
        "planned": [type(step).__name__ for step in steps if not isinstance(step, LookAgain)],
        "then": waits[0] if waits else None,
        "refused": judgement.refusal.reason if judgement.refusal else None,
    }


def _pause(pause: Pause) -> dict[str, Any]:
    until = None if pause.until == UNTIL_MENDED else pause.until.isoformat()
    return {"of": pause.of, "until": until, "reason": pause.reason, "source": pause.source or "table"}


def _suspended(group: Group) -> dict[str, Any]:
    """`until` is when Regrow resumes launches that it has suspended itself; what others have suspended is theirs."""
    until = group.launch_suspended_until
    return {
        "group": group.name,
        "processes": sorted(group.suspended),
        "until": until.isoformat() if until else None,
    }


def letters_report(found: Iterable[Read]) -> list[dict[str, Any]]:
    """`received` counts all receives, each look at it among them. `stays` is why it cannot be put back."""
    return [
        {
            "queue": one.letter.source.value,
            "id": one.letter.id,
            "machines": list(one.machines),
            "sent_at": one.letter.sent_at.isoformat(),
            "received": one.letter.received,
            "body": one.letter.body[:_BODY_SHOWN],
            "stays": one.stays,
        }
        for one in found
    ]


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
