"""When schedule expressions fire."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from infra.local.cloud.events.expressions import ExpressionError, parse

# A Sunday.
NOON = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "period"),
    [
        ("rate(1 minute)", timedelta(minutes=1)),
        ("rate(5 minutes)", timedelta(minutes=5)),
        ("rate(1 hour)", timedelta(hours=1)),
        ("rate(2 days)", timedelta(days=2)),
    ],
)
def test_a_rate_counts_from_the_last_time(expression: str, period: timedelta) -> None:
    assert parse(expression).after(NOON) == NOON + period


@pytest.mark.parametrize(
    ("expression", "first"),
    [
        ("cron(0/15 * * * ? *)", datetime(2026, 3, 1, 12, 15, tzinfo=UTC)),
        ("cron(30 8 * * ? *)", datetime(2026, 3, 2, 8, 30, tzinfo=UTC)),
        ("cron(0 10 ? * MON-FRI *)", datetime(2026, 3, 2, 10, 0, tzinfo=UTC)),
        ("cron(0 0 1 1,JUL ? *)", datetime(2026, 7, 1, 0, 0, tzinfo=UTC)),
        ("cron(59 23 29 2 ? *)", datetime(2028, 2, 29, 23, 59, tzinfo=UTC)),
    ],
)
def test_a_cron_fires_at_the_next_time_that_fits(expression: str, first: datetime) -> None:
    assert parse(expression).after(NOON) == first


@pytest.mark.parametrize(
    "expression",
    [
        "rate(0 minutes)",
        "rate(1 minutes)",
        "rate(5 minute)",
        "cron(* * * * *)",
        "cron(0 0 * * * *)",
        "cron(60 0 * * ? *)",
        "cron(0 0 L * ? *)",
        "every minute",
    ],
)
def test_what_is_no_schedule_is_refused_with_a_reason(expression: str) -> None:
    with pytest.raises(ExpressionError, match=r"\w+ "):
        parse(expression)


def test_a_cron_that_never_comes_says_so() -> None:
    with pytest.raises(ExpressionError, match="no time"):
        parse("cron(0 0 30 2 ? *)").after(NOON)
