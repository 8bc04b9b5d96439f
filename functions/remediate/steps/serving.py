"""Take a machine out of its group's load balancers, and put it back. All are tried before one that fails stops a pass.

One that we may not change, for want of a tag or a right, is a person's to mend, and told. A machine goes without it;
one that stays is not back before it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from functions.cluster.machine import InstanceId
from functions.errors import ConfigurationError, RetryableError
from functions.remediate.outside import Outside
from functions.remediate.plan import JoinLoadBalancers, LeaveLoadBalancers
from functions.remediate.telling import tell_if_possible

_DAY = timedelta(days=1)


def leave(step: LeaveLoadBalancers, outside: Outside, *, at: datetime) -> None:
    """Raise a RetryableError only for a machine that may still serve."""
    errors = _each(step.instance, step.load_balancers, outside.load_balancing.deregister, "out of", outside, at)
    for error in errors:
        if step.serves and isinstance(error, RetryableError):
            raise error
        outside.journal.tell("deregister_failed", machine=step.instance, reason=str(error))
        outside.journal.count("deregister_failed")


def join(step: JoinLoadBalancers, outside: Outside, *, at: datetime) -> None:
    """Raise whatever keeps the machine from serving."""
    for error in _each(step.instance, step.load_balancers, outside.load_balancing.register, "back into", outside, at):
        raise error


def _each(
    instance: InstanceId,
    load_balancers: Iterable[str],
    change: Callable[[InstanceId, str], None],
    where: str,
    outside: Outside,
    at: datetime,
) -> list[RetryableError | ConfigurationError]:
    errors: list[RetryableError | ConfigurationError] = []
    for load_balancer in load_balancers:
        try:
            change(instance, load_balancer)
        except RetryableError as error:
            errors.append(error)
        except ConfigurationError as error:
            errors.append(error)
            subject = f"{instance} could not be taken {where} a load balancer"
            text = f"{load_balancer}: {error}. Does it carry the tag regrow:cluster? Do it by hand, and mend that."
            key = f"serving#{where}#{instance}#{load_balancer}"
            tell_if_possible(outside, key, subject, text, now=at, within=_DAY)
    return errors
