"""The times of a drain are planned backwards, so that the last word comes before AWS takes the machine."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from functions.cluster.assess import Kind, Verdict
from functions.cluster.draining import DrainPolicy, Overdue
from functions.cluster.notice import Cause, Notice
from functions.cluster.policy import Policy
from functions.remediate.plans.leaving import TAKEN_MARGIN, Times, times_of
from tests.unit.functions.builders import NOW, ONE, group, member

AGES = st.timedeltas(timedelta(0), timedelta(days=2))
NOTICES = st.builds(
    lambda cause, ahead: Notice(cause, "terminate", NOW, NOW + ahead),
    st.sampled_from(Cause),
    st.timedeltas(-timedelta(days=1), timedelta(days=14)),
)
POLICIES = st.builds(
    DrainPolicy,
    deadline=st.timedeltas(timedelta(seconds=10), timedelta(days=2)),
    overdue=st.sampled_from(Overdue),
)


def a_drain(notice: Notice | None, policy: DrainPolicy, age: timedelta, *, held: bool) -> Times:
    there = member(ONE, "Terminating:Wait" if held else "InService")
    verdict = Verdict(Kind.LEAVING, "it goes", group(there), there, notice=notice)
    return times_of(verdict, NOW - age, policy, NOW)


@given(st.none() | NOTICES, POLICIES, AGES, st.booleans())
def test_a_drain_ends_with_the_earlier_of_the_hooks_deadline_and_the_time_the_machine_is_taken(
    notice: Notice | None, policy: DrainPolicy, age: timedelta, held: bool
) -> None:
    ends_at = a_drain(notice, policy, age, held=held).ends_at
    limits = [NOW - age + policy.deadline] if held else []
    if notice and notice.taken_at and notice.taken_at > NOW:  # one that still runs then was not taken
        limits.append(notice.taken_at - TAKEN_MARGIN)
    assert (ends_at is None) == (not limits)
    for limit in limits:
        assert ends_at is not None
        assert ends_at <= limit
    assert ends_at is None or ends_at in limits


@given(st.none() | NOTICES, POLICIES, AGES, st.booleans())
def test_everything_that_comes_before_the_end_of_a_drain_has_its_share_of_the_time(
    notice: Notice | None, policy: DrainPolicy, age: timedelta, held: bool
) -> None:
    times = a_drain(notice, policy, age, held=held)
    since = NOW - age
    assert times.requests_until >= since
    assert (times.deletes_from is not None) == (times.ends_at is not None and policy.overdue is Overdue.DELETE)
    if times.ends_at is None:
        return
    assert times.order_until is not None
    last = max(times.ends_at, since)  # news that came too late leave no time for anything
    assert since <= times.requests_until <= times.order_until <= last
    assert times.requests_until - since <= (last - since) / 3 + timedelta(microseconds=1)
    if times.deletes_from is not None:
        assert times.deletes_from <= times.ends_at
        assert times.deletes_from >= min(since, times.ends_at)


@given(POLICIES)
def test_maintenance_is_planned_so_far_ahead_that_a_drain_has_all_its_time(policy: DrainPolicy) -> None:
    ahead = Policy(drain=policy).planned_ahead
    notice = Notice(Cause.MAINTENANCE, "instance-reboot", NOW, NOW + ahead)
    ends_at = a_drain(notice, policy, timedelta(0), held=False).ends_at
    assert ends_at is not None
    assert ends_at - NOW >= policy.deadline
