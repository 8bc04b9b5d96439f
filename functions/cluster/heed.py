"""Say which announcement about a machine counts now, if any. Pure.

What EC2 can tell by itself wins over what an event or a mark on the Node says: only a Spot machine is interrupted, and
maintenance is what DescribeInstanceStatus lists as not over. What was said of a Spot machine before it was stopped and
started again has come true: EC2 counts a start as a launch.
"""

from __future__ import annotations

from datetime import datetime

from functions.cluster.facts import Facts, Unknown
from functions.cluster.machine import Instance, Node
from functions.cluster.notice import Cause, Notice, ScheduledEvent
from functions.cluster.policy import Policy, Rebalance

_URGENCY = tuple(Cause)


def heeded(facts: Facts, policy: Policy) -> Notice | None:
    """Return the most urgent announcement that is in effect, of those just told and those marked on the Node."""
    marked = facts.node.notice if isinstance(facts.node, Node) else None
    said = [notice for notice in (marked, facts.told) if notice and notice.in_effect(facts.at)]
    counts = [found for notice in said if (found := _counts(notice, marked, facts, policy))]
    return min(counts, key=lambda notice: (_URGENCY.index(notice.cause), notice.until), default=None)


def _counts(notice: Notice, marked: Notice | None, facts: Facts, policy: Policy) -> Notice | None:
    instance = facts.instance
    spot = isinstance(instance, Instance) and instance.spot and notice.heard_at >= instance.launched_at
    match notice.cause:
        case Cause.SPOT:
            return notice if spot else None
        case Cause.REBALANCE:
            return notice if spot and policy.rebalance is not Rebalance.IGNORE else None
        case Cause.MAINTENANCE if isinstance(facts.scheduled, Unknown):
            return notice if notice is marked else None  # what is begun is not taken back on doubt
        case Cause.MAINTENANCE:
            return _planned(notice, facts.scheduled, facts.at + policy.planned_ahead)


def _planned(notice: Notice, scheduled: tuple[ScheduledEvent, ...], until: datetime) -> Notice | None:
    """Return the first event that is not over, if it begins until then."""
    ahead = [event for event in scheduled if not event.over]
    first = min(ahead, key=lambda event: event.not_before, default=None)
    if first is None or first.not_before > until:
        return None
    return Notice(Cause.MAINTENANCE, first.code, notice.heard_at, first.not_before)
