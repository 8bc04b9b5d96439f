"""What AWS has announced is heeded as long as it can be true, whatever is written on a Node."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.cluster.notice import REBALANCE_HOLDS, SPOT_STAYS, SPOT_WARNS, Cause, Notice, ScheduledEvent
from tests.unit.functions.builders import NOW

MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2999, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis
NOTICES = st.builds(Notice, st.sampled_from(Cause), st.text(max_size=64), MOMENTS, MOMENTS)


@given(NOTICES)
def test_a_notice_is_read_back_as_it_was_written(notice: Notice) -> None:
    assert Notice.from_json(notice.to_json()) == notice


@given(st.text() | st.builds(lambda text: f'{{"cause": "spot-interruption", "until": "{text}"}}', st.text()))
def test_what_is_no_notice_is_none(text: str) -> None:
    assert Notice.from_json(text) is None


@pytest.mark.parametrize("moment", ["2026-11-21T12:00:00", "0001-01-01T00:00:00+00:00", "soon", 7, None])
def test_a_moment_without_a_zone_beyond_reason_or_that_is_none_makes_no_notice(moment: object) -> None:
    whole = Notice(Cause.SPOT, "stop", NOW, NOW).to_json()
    assert Notice.from_json(whole) is not None
    assert Notice.from_json(whole.replace(f'"{NOW.isoformat()}"', repr(moment).replace("'", '"'), 1)) is None


@given(NOTICES, MOMENTS)
def test_no_moment_however_far_makes_the_question_fail(notice: Notice, at: datetime) -> None:
    assert notice.in_effect(at) in (True, False)


@pytest.mark.parametrize(
    ("cause", "ahead", "heeded"),
    [
        (Cause.SPOT, SPOT_WARNS, True),
        (Cause.SPOT, SPOT_WARNS + timedelta(minutes=2), False),
        (Cause.SPOT, timedelta(seconds=1) - SPOT_STAYS, True),
        (Cause.SPOT, -SPOT_STAYS, False),
        (Cause.REBALANCE, REBALANCE_HOLDS, True),
        (Cause.REBALANCE, REBALANCE_HOLDS + timedelta(minutes=2), False),
        (Cause.REBALANCE, timedelta(0), False),
        (Cause.MAINTENANCE, timedelta(days=14), True),
        (Cause.MAINTENANCE, -timedelta(days=14), True),
    ],
)
def test_an_announcement_holds_from_when_aws_makes_it_until_it_is_pointless(
    cause: Cause, ahead: timedelta, heeded: bool
) -> None:
    assert Notice(cause, "", NOW, NOW + ahead).in_effect(NOW) is heeded


@pytest.mark.parametrize(
    ("description", "over"),
    [("", False), ("The instance will be rebooted", False), ("[Completed] x", True), ("[Canceled] x", True)],
)
def test_a_scheduled_event_is_over_when_ec2_says_so(description: str, over: bool) -> None:
    assert ScheduledEvent("instance-reboot", NOW, description).over is over
