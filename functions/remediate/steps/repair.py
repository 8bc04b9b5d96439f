"""Try to bring a doubtful machine back, and remember what was tried.

A restart or a reboot comes first and its memory second: one that was killed in between is done once more, which harms
nothing. A replacement is remembered and told first: a machine that is ended on a doubt is always counted as one.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from functions.cluster.doubt import Doubt, Rung
from functions.errors import ConfigurationError, PermanentError, RetryableError
from functions.remediate.outside import Outside
from functions.remediate.plan import Reboot, Replace, RestartService, TellDoubt
from functions.remediate.steps.waiting import Unchanged
from functions.remediate.telling import tell_if_possible

_DAY = timedelta(days=1)


def restart(step: RestartService, outside: Outside, *, at: datetime) -> None:
    """A machine that nobody can reach was tried as well: the next rung does not need its help."""
    try:
        outside.commands.restart(step.doubt.instance, step.service)
    except (RetryableError, PermanentError, ConfigurationError) as error:
        outside.journal.tell("restart_failed", machine=step.doubt.instance, service=step.service, reason=str(error))
        outside.journal.count("restart_failed")
    _remember(step.doubt, Rung.RESTART, outside, at)


def reboot(step: Reboot, outside: Outside, *, at: datetime) -> None:
    outside.ec2.reboot(step.doubt.instance)
    _remember(step.doubt, Rung.REBOOT, outside, at)


def replace(step: Replace, outside: Outside, *, at: datetime) -> Unchanged | None:
    _remember(step.doubt, Rung.REPLACE, outside, at)
    tried = ", ".join(one.rung.value for one in step.doubt.tried) or "nothing"
    text = (
        f"{step.reason}. Tried before: {tried}. Its group {step.doubt.group} is asked to end it and to start another "
        "one. What is left of it in the cluster is cleaned up when EC2 says that it has ended."
    )
    subject = f"{step.doubt.instance} is replaced"
    tell_if_possible(outside, f"replaced#{step.doubt.instance}", subject, text, now=at, within=_DAY)
    return None if outside.autoscaling.replace(step.doubt.instance, step.doubt.group) else Unchanged()


def tell(step: TellDoubt, outside: Outside, *, at: datetime) -> Unchanged | None:
    subject = f"{step.instance} is in trouble, and nothing more is tried"
    key = f"doubt#{step.instance}"
    told = tell_if_possible(outside, key, subject, step.reason, now=at, within=_DAY)
    return None if told else Unchanged()


def _remember(doubt: Doubt, rung: Rung, outside: Outside, at: datetime) -> None:
    outside.table.note_doubt(doubt.with_try(rung, at), at=at)
