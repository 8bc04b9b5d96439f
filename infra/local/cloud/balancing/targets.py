"""What a target group thinks of a target: Elastic Load Balancing's states and reasons, counted from checks. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class HealthCheck:
    """How a target group asks its targets. `port` None is the port that traffic goes to."""

    protocol: str
    port: int | None
    path: str
    codes: str
    interval_s: float
    timeout_s: float
    healthy_after: int
    unhealthy_after: int


@dataclass(frozen=True)
class Failure:
    """Why a check failed, in the words of DescribeTargetHealth."""

    reason: str
    description: str


@dataclass(frozen=True)
class Health:
    """A target's state, as DescribeTargetHealth shows it, and the checks in a row that speak against it."""

    state: str
    reason: str | None = None
    description: str | None = None
    against: int = 0


INITIAL = Health("initial", "Elb.InitialHealthChecking", "Initial health checks in progress")
HEALTHY = Health("healthy")
DRAINING = Health("draining", "Target.DeregistrationInProgress", "Target deregistration is in progress")
NOT_REGISTERED = Health("unused", "Target.NotRegistered", "Target is not registered to the target group")
NOT_IN_USE = Health(
    "unused", "Target.NotInUse", "Target group is not configured to receive traffic from the load balancer"
)
STOPPED = Health("unused", "Target.InvalidState", "Target is in the stopped state")


def after_check(health: Health, failure: Failure | None, check: HealthCheck) -> Health:
    """The state after one more check.

    A new target passes with its first good check; a known one changes only after as many in a row as the group says.
    """
    if health.state == "healthy":
        if failure is None:
            return HEALTHY
        counted = replace(health, against=health.against + 1)
        return _unhealthy(failure) if counted.against >= check.unhealthy_after else counted
    if failure is None:
        counted = replace(health, against=health.against + 1)
        return HEALTHY if health.state == "initial" or counted.against >= check.healthy_after else counted
    if health.state == "unhealthy":
        return _unhealthy(failure)
    # Still initial: `against` counts the failures from the first check on.
    counted = replace(health, against=health.against + 1)
    return _unhealthy(failure) if counted.against >= check.unhealthy_after else counted


def _unhealthy(failure: Failure) -> Health:
    return Health("unhealthy", failure.reason, failure.description)


def code_matches(code: int, wanted: str) -> bool:
    """Whether an HTTP status is among a matcher's codes: `200`, `200,202`, `200-399`."""
    for part in wanted.split(","):
        low, _, high = part.partition("-")
        if int(low) <= code <= int(high or low):
            return True
    return False
