"""One pass: observe, assess, plan, guard, act, record. A dry run is the same road without the last two."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from functions.cluster.assess import Kind, Verdict, assess
from functions.cluster.facts import Facts, known
from functions.cluster.heed import heeded
from functions.cluster.machine import Node
from functions.cluster.notice import Notice
from functions.cluster.optout import HELD_KEPT, held_by_annotation, holds_key
from functions.errors import ConfigurationError, RetryableError
from functions.messages import CONTROL_PLANE, Look, Order
from functions.remediate.act import Outcome, act
from functions.remediate.guards import Refusal, guard
from functions.remediate.observe import observe
from functions.remediate.outside import Outside
from functions.remediate.plan import AT_ONCE, Plan
from functions.remediate.planning import keep_hooks, make_plan
from functions.remediate.reading import look_around
from functions.remediate.telling import alert_once, tell_if_it_lasts
from functions.settings import Settings

GIVE_UP_AFTER_TRIES = 6  # then the sweep, which comes every minute, takes over
_LONGEST_WAIT = timedelta(seconds=10)
ALERT_EVERY = timedelta(hours=1)
QUARANTINE_TOLD_EVERY = timedelta(days=1)
_WAIT_WRITTEN_EVERY = timedelta(hours=1)


@dataclass(frozen=True)
class Judgement:
    """What a pass would do, and what it rests on."""

    facts: Facts
    verdict: Verdict
    plan: Plan
    refusal: Refusal | None


def judge(look: Look, outside: Outside, settings: Settings, *, now: datetime) -> Judgement:
    """Say what is to be done about a machine, without doing it."""
    seen = observe(look.machine, settings.cluster, outside, now=now, told=look.notice)
    facts = replace(seen, notice=heeded(seen, settings.policy))
    verdict = assess(facts)
    plan = make_plan(verdict, facts, settings.policy)
    if plan.rung:
        limits = settings.policy.limits
        around = known(lambda: look_around(outside, settings.cluster, verdict.group, limits, now=now))
        facts = replace(facts, around=around)
    return judged(facts, verdict, plan, settings)


def judged(facts: Facts, verdict: Verdict, plan: Plan, settings: Settings) -> Judgement:
    """Put a plan before the guards."""
    refusal = guard(plan, verdict, facts, max_in_flight=settings.max_in_flight, policy=settings.policy)
    return Judgement(facts, verdict, plan, refusal)


def run_pass(look: Look, outside: Outside, settings: Settings, clock: Callable[[], datetime]) -> Judgement:
    """Look at one machine and do the next things about it; one that is a control plane is sent to the line of those.

    Raises RetryableError when not even the next look can be ordered: the message then stays in the queue.
    """
    judgement = judge(look, outside, settings, now=clock())
    outcome = carry_out(judgement, outside, settings, clock)
    if judgement.verdict.control_plane:
        now = clock()
        due = Order(Look(CONTROL_PLANE, f"{look.machine}: {look.reason}"), f"of-{look.machine}-{now.isoformat()}")
        outside.queues.look_now(due)
    else:
        _look_again(look, judgement, outcome, outside, now=clock())
    write_down(look, judgement, outcome, outside, now=clock())
    return judgement


def carry_out(judgement: Judgement, outside: Outside, settings: Settings, clock: Callable[[], datetime]) -> Outcome:
    """Do what was judged, unless it is refused: then only what keeps the wait from doing harm."""
    if refusal := judgement.refusal:
        kept = act(keep_hooks(judgement.verdict, judgement.facts), judgement.facts, outside, settings, clock)
        return Outcome(kept.done, refusal.look_again, f"refused: {refusal.reason}")
    return act(judgement.plan, judgement.facts, outside, settings, clock)


def write_down(look: Look, judgement: Judgement, outcome: Outcome, outside: Outside, *, now: datetime) -> None:
    """Log what was seen and done, and keep what matters in the machine's history."""
    _tell(look, judgement, outcome, outside)
    try:
        _record(look, judgement, outcome, outside, now=now)
    except (RetryableError, ConfigurationError) as error:
        outside.journal.tell("record_failed", machine=look.machine, reason=str(error))


def _look_again(look: Look, judgement: Judgement, outcome: Outcome, outside: Outside, *, now: datetime) -> None:
    if outcome.look_again is None:
        return
    learnt_nothing = outcome.failed or judgement.refusal or judgement.verdict.kind is Kind.HELD
    again = Look(look.machine, outcome.reason, notice=_still_news(judgement.facts, now))
    if learnt_nothing:
        try_again(look, again, outside, now=now)
    elif outcome.look_again == AT_ONCE:
        outside.queues.look_now(Order(again, f"then-{look.machine}-{now.isoformat()}"))
    else:
        outside.queues.look_later(again, now=now, after=outcome.look_again)


def try_again(look: Look, again: Look, outside: Outside, *, now: datetime) -> None:
    """After a look that learnt nothing: each time later, and at last not at all; then it is the sweep's."""
    if look.tries < GIVE_UP_AFTER_TRIES:
        after = min(_LONGEST_WAIT, timedelta(seconds=2 ** (look.tries + 1)))
        outside.queues.look_later(replace(again, tries=look.tries + 1), now=now, after=after)


def _still_news(facts: Facts, now: datetime) -> Notice | None:
    """Return what was told if the machine's Node does not remember it yet."""
    if isinstance(facts.node, Node) and facts.notice and facts.node.notice == facts.notice:
        return None
    return facts.told if facts.told and facts.told.in_effect(now) else None


def _tell(look: Look, judgement: Judgement, outcome: Outcome, outside: Outside) -> None:
    verdict = judgement.verdict
    outside.journal.tell(
        "pass",
        machine=look.machine,
        because=look.reason,
        verdict=verdict.kind.value,
        reason=verdict.reason,
        steps=[type(done.step).__name__ for done in outcome.done],
        then=outcome.reason,
        look_again_s=outcome.look_again.total_seconds() if outcome.look_again else None,
    )
    outside.journal.count(f"pass_{verdict.kind.value}")
    if judgement.refusal:
        outside.journal.count("refused")
    if verdict.quarantined:
        outside.journal.count("quarantined")


def _new_wait(look: Look, outcome: Outcome, outside: Outside, now: datetime) -> bool:
    """Whether what a machine waits for (a budget, a volume) is not in its history yet, or not lately."""
    if not outcome.waits:
        return False
    key = f"waits#{look.machine}#{hashlib.sha256(outcome.reason.encode()).hexdigest()[:12]}"
    return outside.table.first_time(key, now=now, within=_WAIT_WRITTEN_EVERY)


def _record(look: Look, judgement: Judgement, outcome: Outcome, outside: Outside, *, now: datetime) -> None:
    """Keep in the table what changed something, failed, or was refused; a refusal is also told to a person, once."""
    verdict = judgement.verdict
    if judgement.refusal and held_by_annotation(judgement.facts):
        outside.table.first_time(holds_key(look.machine), now=judgement.facts.at, within=HELD_KEPT)
    if verdict.quarantined:
        subject = f"{look.machine} contradicts itself and is left alone"
        text = (
            f"{verdict.reason}. Nothing is done to it until that is so no more; a person has to find out which is true."
        )
        alert_once(outside, f"quarantined#{look.machine}", subject, text, now=now, within=QUARANTINE_TOLD_EVERY)
    if not (outcome.done or outcome.failed or judgement.refusal or _new_wait(look, outcome, outside, now)):
        return
    entry: dict[str, object] = {
        "because": look.reason,
        "verdict": verdict.kind.value,
        "reason": verdict.reason,
        "steps": [
            {"step": type(done.step).__name__, "at": done.at.isoformat(), "reason": done.step.reason}
            for done in outcome.done
        ],
        "then": outcome.reason,
    }
    outside.table.write_history(look.machine, now, entry)
    if refusal := judgement.refusal:
        subject = f"{look.machine} is {verdict.kind.value} and left alone"
        lifted_by = f" What would lift that: {refusal.lifted_by}." if refusal.lifted_by else ""
        text = f"{verdict.reason}. Not acted on: {refusal.reason}.{lifted_by} Regrow looks again by itself."
        key = f"refused#{refusal.about or look.machine}"
        if refusal.may_pass:
            tell_if_it_lasts(outside, key, subject, text, now=now, within=ALERT_EVERY)
        else:
            alert_once(outside, key, subject, text, now=now, within=ALERT_EVERY)
