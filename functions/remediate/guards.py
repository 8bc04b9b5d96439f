"""Say no to a plan that is right in itself. Pure; each refusal says by what and what would lift it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from functions.cluster.assess import Kind, Verdict
from functions.cluster.facts import Facts, Unknown
from functions.cluster.optout import pauses_of
from functions.remediate.plan import LATER, Plan


@dataclass(frozen=True)
class Refusal:
    """Why a plan is not carried out now, and when it is worth looking again; None leaves that to the sweep."""

    reason: str
    look_again: timedelta | None


def guard(plan: Plan, verdict: Verdict, facts: Facts, *, max_in_flight: int) -> Refusal | None:
    """Return why the plan must not be carried out, None when it may.

    `max_in_flight` counts machines of the cluster whose remains are being removed, this one not included.
    """
    if not plan.touches:
        return None
    subjects = {facts.cluster, facts.id, *([verdict.group.name] if verdict.group else [])}
    for pause in pauses_of(facts):
        if pause.holds(subjects, facts.at):
            return Refusal(str(pause), None)

    if isinstance(facts.memory, Unknown):
        if verdict.kind is Kind.LEAVING and not plan.ends_a_drain:
            return None  # a cordon can be taken back; waiting for the table would cost the machine its notice
        return Refusal(f"the table cannot be read ({facts.memory.reason})", LATER)

    others = facts.memory.in_flight - {facts.id}
    if plan.opens_case and len(others) >= max_in_flight:
        names = ", ".join(sorted(others))
        return Refusal(f"{len(others)} machines are in flight ({names}), no more than {max_in_flight} may be", LATER)
    return None
