"""How many batches of a queue are worked off at once."""

from __future__ import annotations

import pytest

from infra.local.cloud.functions.pollers import most_batches


@pytest.mark.parametrize(
    ("busy_s", "configured", "batches"),
    [(0, None, 5), (60, None, 305), (3600, None, 1250), (0, 2, 2), (60, 10, 10)],
)
def test_five_at_first_then_three_hundred_more_each_minute_up_to_the_maximum(
    busy_s: float, configured: int | None, batches: int
) -> None:
    assert most_batches(busy_s, configured) == batches
