"""Have a machine let in by the two functions that may, and give up a launch that does not join."""

from __future__ import annotations

from datetime import datetime, timedelta

from functions.cluster.facts import Abandoned
from functions.cluster.machine import InstanceId
from functions.errors import ConfigurationError, RetryableError
from functions.remediate.outside import Outside
from functions.remediate.plan import LATER, SOON, Approve, CountAbandoned, GiveUpLaunch, Mint, Revoke, SuspendLaunch
from functions.remediate.steps.waiting import Unchanged, Waiting
from functions.remediate.telling import tell_if_possible

_DAY = timedelta(days=1)
BOOT_LOG_KEPT = 16_000  # characters, from the end: an item of the table holds 400 kB
BOOT_LOG_TOLD = 2_000


def mint(step: Mint, outside: Outside, *, at: datetime) -> Waiting | Unchanged | None:
    answer = outside.joining.mint(step.instance)
    outside.journal.tell("mint", machine=step.instance, did=answer.did, reason=answer.reason)
    match answer.did:
        case "minted" | "revoked":
            return None
        case "is_minted" | "nothing":
            return Unchanged()
        case "refused":
            text = (
                f"{answer.reason}. The machine gets nothing to join with until that is mended; its launch is given up "
                "at its deadline."
            )
            subject = f"{step.instance} may not join"
            tell_if_possible(outside, f"join-refused#{step.instance}", subject, text, now=at, within=_DAY)
            return Waiting(f"it may not join: {answer.reason}", LATER)
        case _:
            return Waiting(f"mint {answer.did}: {answer.reason}", SOON)


def revoke(step: Revoke, outside: Outside) -> Unchanged | None:
    try:
        answer = outside.joining.mint(step.instance)
    except (RetryableError, ConfigurationError) as error:
        outside.journal.tell("revoke_failed", machine=step.instance, reason=str(error))
        outside.journal.count("revoke_failed")
        return Unchanged()
    outside.journal.tell("mint", machine=step.instance, did=answer.did, reason=answer.reason)
    return None if answer.did == "revoked" else Unchanged()


def approve(step: Approve, outside: Outside) -> Unchanged | None:
    try:
        answer = outside.joining.approve(step.instance)
    except (RetryableError, ConfigurationError) as error:
        outside.journal.tell("approve_failed", machine=step.instance, reason=str(error))
        outside.journal.count("approve_failed")
        return Unchanged()
    if answer.did == "nothing":
        return Unchanged()
    outside.journal.tell("approve", machine=step.instance, did=answer.did, reason=answer.reason)
    return Unchanged() if answer.did == "held" else None


def give_up_launch(step: GiveUpLaunch, outside: Outside, *, at: datetime) -> Unchanged | None:
    """Keep the end of the boot log and tell a person, once for each launch.

    The launch ends whether or not its log can be read and a person be told.
    """
    key = f"gave-up#{step.instance}"
    if not outside.table.first_time(key, now=at, within=_DAY):
        return Unchanged()
    log = _boot_log(step.instance, outside)
    entry: dict[str, object] = {"gave_up": step.reason, "group": step.group, "boot_log": log[-BOOT_LOG_KEPT:]}
    try:
        outside.table.write_history(step.instance, at, entry)
    except (RetryableError, ConfigurationError):
        outside.table.unsay(key)
        raise
    subject = f"{step.instance} never joined"
    text = f"{step.reason}. Group {step.group}. The end of its boot log:\n\n{log[-BOOT_LOG_TOLD:].strip()}"
    tell_if_possible(outside, f"never-joined#{step.instance}", subject, text, now=at, within=_DAY)
    return None


def _boot_log(instance: InstanceId, outside: Outside) -> str:
    try:
        return outside.ec2.console_output(instance) or "EC2 has no console output of it"
    except (RetryableError, ConfigurationError) as error:
        return f"its console output could not be read: {error}"


def count_abandoned(step: CountAbandoned, outside: Outside, *, at: datetime) -> None:
    outside.table.note_abandoned(Abandoned(step.group, step.instance), at=at)


def suspend_launch(step: SuspendLaunch, outside: Outside, *, at: datetime, lasting: timedelta) -> None:
    until = at + lasting
    outside.autoscaling.suspend_launch(step.group, step.reason, until=until)
    text = (
        f"{step.reason}. The group launches nothing until {until:%Y-%m-%d %H:%M:%SZ}, then Regrow resumes it. To "
        "resume it now: aws autoscaling resume-processes --scaling-processes Launch --auto-scaling-group-name "
        f"{step.group}"
    )
    subject = f"{step.group} launches no more for now"
    tell_if_possible(outside, f"suspended#{step.group}", subject, text, now=at, within=lasting)
