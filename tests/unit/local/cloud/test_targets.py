"""What checks make of a target's health."""

from __future__ import annotations

import pytest

from infra.local.cloud.balancing.targets import (
    HEALTHY,
    INITIAL,
    Failure,
    Health,
    HealthCheck,
    after_check,
    code_matches,
)

CHECK = HealthCheck("TCP", None, "/", "200", interval_s=10, timeout_s=5, healthy_after=3, unhealthy_after=2)
REFUSED = Failure("Target.FailedHealthChecks", "Health checks failed")
SLOW = Failure("Target.Timeout", "Request timed out")


def states(start: Health, *results: Failure | None) -> list[str]:
    seen, health = [], start
    for result in results:
        health = after_check(health, result, CHECK)
        seen.append(health.state)
    return seen


def test_a_new_target_is_healthy_with_its_first_good_check() -> None:
    assert states(INITIAL, None) == ["healthy"]
    assert states(INITIAL, REFUSED, None) == ["initial", "healthy"]


def test_a_new_target_that_fails_as_often_as_the_group_says_is_unhealthy() -> None:
    assert states(INITIAL, REFUSED, REFUSED) == ["initial", "unhealthy"]


def test_a_healthy_target_survives_single_failures() -> None:
    assert states(HEALTHY, REFUSED, None, REFUSED, None) == ["healthy"] * 4


def test_a_healthy_target_becomes_unhealthy_by_failures_in_a_row_and_says_the_last_reason() -> None:
    health = after_check(after_check(HEALTHY, REFUSED, CHECK), SLOW, CHECK)
    assert (health.state, health.reason) == ("unhealthy", "Target.Timeout")


def test_an_unhealthy_target_needs_good_checks_in_a_row() -> None:
    unhealthy = after_check(after_check(HEALTHY, REFUSED, CHECK), REFUSED, CHECK)
    assert states(unhealthy, None, None, REFUSED, None, None, None) == ["unhealthy"] * 5 + ["healthy"]


@pytest.mark.parametrize(
    ("code", "wanted", "matches"),
    [
        (200, "200", True),
        (204, "200", False),
        (302, "200-399", True),
        (202, "200,202", True),
        (500, "200,300-400", False),
    ],
)
def test_a_matcher_takes_codes_lists_and_ranges(code: int, wanted: str, matches: bool) -> None:
    assert code_matches(code, wanted) is matches
