"""The plan for a machine that runs and may be failing: one rung of its group's ladder after the other, each waited for.

What is tried is remembered in the table until the machine has been well for long, so that one that fails again and
again climbs on, instead of being restarted for ever.
"""

from __future__ import annotations

from datetime import timedelta

from functions.cluster.assess import Verdict
from functions.cluster.doubt import WELL_FOR, Doubt, Repair, Rung, Trouble, next_rung, repair_of
from functions.cluster.facts import Facts, Unknown
from functions.remediate.plan import (
    LATER,
    ForgetDoubt,
    LookAgain,
    NoteDoubt,
    Reboot,
    Replace,
    RestartService,
    Step,
    TellDoubt,
)

LOOKED_AT_WITHIN = timedelta(minutes=1)  # before a rung is due; until then it is the sweep that looks
KUBELET, RUNTIME = "kubelet", "runtime"


def doubtful(verdict: Verdict, facts: Facts, default: Repair) -> tuple[Step, ...]:
    """Return the rung that is due, or the look at which it will be."""
    trouble, group = verdict.trouble, verdict.group
    if trouble is None or group is None:
        return ()
    known = facts.doubt
    doubt = known or Doubt(facts.id, group.name, trouble.since)
    if doubt.calm_since:
        doubt = Doubt(facts.id, group.name, trouble.since, doubt.tried)
    noted = (NoteDoubt(doubt, f"it is in trouble: {trouble}"),) if doubt != known else ()
    repair = repair_of(group, default)
    due = next_rung(trouble, doubt, repair)
    if facts.at < due.at:
        if due.rung is None or due.at - facts.at > LOOKED_AT_WITHIN:
            return noted
        return (*noted, LookAgain(LATER, f"{due.rung.value} is due at {due.at:%H:%M:%SZ}: {trouble}"))
    if due.rung is None:
        return (*noted, TellDoubt(facts.id, _untried(trouble, doubt, repair)))
    return (*noted, _step(due.rung, doubt, trouble), LookAgain(LATER, f"{due.rung.value} is waited for"))


def calm(facts: Facts) -> tuple[Step, ...]:
    """Return what becomes of the doubt about a machine that is well."""
    doubt = facts.doubt
    if doubt is None or isinstance(facts.renewed_at, Unknown):
        return ()  # whether it is well is not known
    if doubt.calm_since is None:
        since = Doubt(doubt.instance, doubt.group, doubt.since, doubt.tried, calm_since=facts.at)
        return (NoteDoubt(since, "it is well again"),)
    if facts.at - doubt.calm_since >= WELL_FOR:
        return (ForgetDoubt(facts.id, f"it has been well since {doubt.calm_since:%H:%M:%SZ}"),)
    return ()


def _step(rung: Rung, doubt: Doubt, trouble: Trouble) -> Step:
    match rung:
        case Rung.RESTART:
            return RestartService(doubt, RUNTIME if trouble.runtime else KUBELET, str(trouble))
        case Rung.REBOOT:
            return Reboot(doubt, str(trouble))
        case Rung.REPLACE:
            return Replace(doubt, str(trouble))


def _untried(trouble: Trouble, doubt: Doubt, repair: Repair) -> str:
    tried = ", ".join(one.rung.value for one in doubt.tried) or "nothing"
    why = "; ".join(repair.wrong) or "no rung is left, or its group wants none"
    return f"{trouble}. Tried: {tried}. Nothing more is: {why}"
