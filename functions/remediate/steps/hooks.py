"""Keep lifecycle hooks from running out while there is work, and say so when the work's time is over."""

from __future__ import annotations

from datetime import datetime, timedelta

from functions.errors import ConfigurationError, RetryableError
from functions.remediate.outside import Outside
from functions.remediate.plan import CompleteHook, Heartbeat, Release
from functions.remediate.steps.waiting import Unchanged
from functions.remediate.telling import tell_if_possible

HEARTBEAT_EVERY = timedelta(seconds=20)  # the shortest time-out that Auto Scaling takes for a hook is 30 s


def heartbeat(step: Heartbeat, outside: Outside, *, at: datetime) -> Unchanged:
    """Send one when the last is long enough ago. When the table cannot say, one too many is sent.

    One that fails is sent again by the next pass; the work that it is to win time for does not wait for it.
    """
    key = f"heartbeat#{step.instance}"
    try:
        due = outside.table.first_time(key, now=at, within=HEARTBEAT_EVERY)
    except (RetryableError, ConfigurationError) as error:
        outside.journal.tell("heartbeat_without_table", machine=step.instance, reason=str(error))
        due = True
    if due:
        try:
            outside.autoscaling.heartbeat(step.instance, step.group, step.transition)
        except (RetryableError, ConfigurationError) as error:
            outside.journal.tell("heartbeat_failed", machine=step.instance, reason=str(error))
            outside.journal.count("heartbeat_failed")
            _try_unsay(key, outside)
            return Unchanged()
        outside.journal.tell("heartbeat", machine=step.instance, transition=step.transition.value)
    return Unchanged()


def complete(step: CompleteHook, outside: Outside) -> Unchanged | None:
    """A machine may go on waiting in a hook that is somebody else's: then there is nothing for us to do about it."""
    ours = outside.autoscaling.complete_hooks(step.instance, step.group, step.transition, abandon=step.abandon)
    return None if ours else Unchanged()


def release(step: Release, outside: Outside, *, at: datetime) -> Unchanged | None:
    """Tell a person once; a machine that AWS leaves running for longer than it said is no news each minute."""
    what_now = (
        "The machine is no longer held: what still runs on it ends with it. Look at the disruption budgets that kept "
        "the pods, or give drains more time by REGROW_DRAIN_DEADLINE_S."
        if step.held
        else "AWS takes it when it has said, with what still runs on it. REGROW_DRAIN_OVERDUE=delete would delete such "
        "pods before."
    )
    text = f"{step.reason}. {what_now}"
    subject = f"{step.instance} goes without being drained"
    within = timedelta(days=1)
    told = tell_if_possible(outside, f"released#{step.instance}", subject, text, now=at, within=within)
    return None if told else Unchanged()


def _try_unsay(key: str, outside: Outside) -> None:
    """Have the next pass try again; without the table it does so anyway."""
    try:
        outside.table.unsay(key)
    except (RetryableError, ConfigurationError) as error:
        outside.journal.tell("heartbeat_without_table", key=key, reason=str(error))
