"""Say no to a plan that is right in itself. Pure; each refusal says by what and what would lift it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from functions.cluster.assess import Kind, Verdict
from functions.cluster.doubt import Doubt, Repair, Rung, repair_of
from functions.cluster.facts import Facts, Memory, Unknown
from functions.cluster.machine import Instance, InstanceId, Role
from functions.cluster.optout import pauses_of
from functions.cluster.policy import Policy
from functions.cluster.radius import Around
from functions.remediate.plan import LATER, Plan

_HOUR = timedelta(hours=1)
_NEEDED_TO_REPLACE = ("Launch", "Terminate", "ReplaceUnhealthy")  # processes of Auto Scaling


@dataclass(frozen=True)
class Refusal:
    """Why a plan is not carried out now, what would lift that, and when it is worth looking again; None leaves that to
    the sweep. `about` is what a person is told of once, when it is not the machine; of what may pass, if it lasts."""

    reason: str
    look_again: timedelta | None
    lifted_by: str = ""
    about: str | None = None
    may_pass: bool = False


def guard(
    plan: Plan, verdict: Verdict, facts: Facts, *, max_in_flight: int, policy: Policy | None = None
) -> Refusal | None:
    """Return why the plan must not be carried out, None when it may.

    `max_in_flight` counts machines of the cluster whose remains are being removed, this one not included.
    """
    if not plan.touches:
        return None
    subjects = {facts.cluster, facts.id, *([verdict.group.name] if verdict.group else [])}
    for pause in pauses_of(facts):
        if pause.holds(subjects, facts.at) and not plan.only_notes:  # to take notes leaves it alone
            return Refusal(str(pause), None, "its end, or a resume")

    if isinstance(facts.memory, Unknown):
        if verdict.kind is Kind.LEAVING and not plan.ends_a_drain:
            return None  # a cordon can be taken back; waiting for the table would cost the machine its notice
        reason = f"the table cannot be read ({facts.memory.reason})"
        return Refusal(reason, LATER, "the table answers again", may_pass=True)

    if plan.rung:
        return _of_a_rung(plan.rung, verdict, facts, facts.memory, max_in_flight, policy or Policy())
    others = facts.memory.in_flight - {facts.id}
    if plan.opens_case and len(others) >= max_in_flight:
        return _in_flight(others, max_in_flight, look_again=LATER)
    return None


def _of_a_rung(
    rung: Rung, verdict: Verdict, facts: Facts, memory: Memory, max_in_flight: int, policy: Policy
) -> Refusal | None:
    """Say what keeps a doubtful machine from being restarted, rebooted or replaced."""
    if isinstance(facts.around, Unknown):
        reason = f"how the other machines are is unknown ({facts.around.reason})"
        return Refusal(reason, None, "they can all be seen", may_pass=True)
    if rung is not Rung.RESTART and isinstance(facts.impairments, Unknown):
        reason = f"EC2's status checks could not be read ({facts.impairments.reason})"
        return Refusal(reason, None, "they can be read", may_pass=True)
    group, zone = verdict.group, facts.instance.zone if isinstance(facts.instance, Instance) else ""
    for brake in facts.around.brakes:
        if brake.holds(group.name if group else None, zone, facts.at):
            return Refusal(brake.reason, None, brake.lifted_by, about=f"brake {brake.scope}")
    repair = repair_of(group, policy.repair)
    busy = memory.in_flight | frozenset(
        doubt.instance for doubt in facts.around.doubts if _climbs(doubt, repair, facts)
    )
    if rung is not Rung.RESTART and len(busy - {facts.id}) >= max_in_flight:
        return _in_flight(busy - {facts.id}, max_in_flight, look_again=None)
    return _of_its_group(verdict, facts, facts.around, policy) if rung is Rung.REPLACE else None


def _of_its_group(verdict: Verdict, facts: Facts, around: Around, policy: Policy) -> Refusal | None:
    """Say what keeps a group from replacing one of its machines."""
    group, member = verdict.group, verdict.member
    if group is None or member is None:
        return Refusal("no group lists it, so nothing would replace it", None, "a group that does")
    if suspended := [process for process in _NEEDED_TO_REPLACE if process in group.suspended]:
        lifted = f"aws autoscaling resume-processes --auto-scaling-group-name {group.name}"
        return Refusal(f"{', '.join(suspended)} of {group.name} is suspended", None, lifted)
    if around.refreshing:
        return Refusal(f"an instance refresh of {group.name} is under way", None, "its end")
    if member.protected and group.role is Role.WORKER:
        return Refusal("somebody protects it from scale-in", None, "taking the protection off, or ending it by hand")
    lately = [
        doubt.instance
        for doubt in around.doubts
        if doubt.group == group.name
        and doubt.instance != facts.id
        and any(one.rung is Rung.REPLACE and facts.at - one.at < _HOUR for one in doubt.tried)
    ]
    if len(lately) >= policy.limits.replaced_an_hour:
        names = ", ".join(sorted(lately))
        reason = f"{len(lately)} machines of {group.name} were replaced within an hour ({names})"
        return Refusal(reason, None, "an hour after the first of them", about=f"replaced {group.name}")
    return None


def _climbs(doubt: Doubt, repair: Repair, facts: Facts) -> bool:
    """Whether the machine is out of service, or about to be, by what was tried last."""
    if not doubt.tried or doubt.calm_since or doubt.tried[-1].rung is Rung.RESTART:
        return False
    waits = {one.rung: one.wait for one in (*repair.silent, *repair.impaired)}
    last = doubt.tried[-1]
    return facts.at - last.at < waits.get(last.rung, timedelta(minutes=5))


def _in_flight(others: frozenset[InstanceId], most: int, *, look_again: timedelta | None) -> Refusal:
    names = ", ".join(sorted(others))
    reason = f"{len(others)} machines are in flight ({names}), no more than {most} may be"
    return Refusal(reason, look_again, "the end of one of them", about="all places in flight")
