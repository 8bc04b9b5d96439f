"""The way into the queue of passes, by the inbox: what AWS tells, and looks that are due."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

from functions.cluster.machine import InstanceId
from functions.cluster.notice import Cause
from functions.errors import PermanentError
from functions.events import Dropped, read_message
from functions.messages import Look, Order
from functions.remediate.outside import Journal, Queues

_URGENCY = (Cause.SPOT, Cause.MAINTENANCE, Cause.REBALANCE, None)


def take_in(bodies: Sequence[str], queues: Queues, journal: Journal) -> None:
    """Order a pass for each machine that a message is about; what calls for none is logged with its reason and left.

    Raises RetryableError when the queue of passes has not taken all of them, after each was tried. The whole batch
    comes again then, and the queue knows by the ids what it has already taken.
    """
    orders = _melted([order for body in bodies for order in _read(body, journal)])
    if orders:
        queues.look_now(*orders)


def _melted(orders: Sequence[Order]) -> list[Order]:
    """One pass sees all that has happened to a machine by then, so it needs no other; only what was announced travels
    with a look, and of that advice to leave is nothing beside the warning that the machine is taken."""
    causes: defaultdict[InstanceId, set[Cause | None]] = defaultdict(set)
    kept = []
    for order in sorted(orders, key=_weight):
        told = causes[order.look.machine]
        cause = order.look.notice.cause if order.look.notice else None
        if cause in told or (told and cause is None) or (cause is Cause.REBALANCE and Cause.SPOT in told):
            continue
        told.add(cause)
        kept.append(order)
    return kept


def _weight(order: Order) -> tuple[int, float]:
    """Which looks of one batch come first, the latest word before earlier ones; equals stay as they came."""
    notice = order.look.notice
    return (_URGENCY.index(notice.cause), -notice.heard_at.timestamp()) if notice else (_URGENCY.index(None), 0)


def _read(body: str, journal: Journal) -> Iterator[Order]:
    if look := _due(body):
        yield look
        return
    read = read_message(body)
    if isinstance(read, Dropped):
        journal.tell("event_dropped", reason=read.reason)
        journal.count(read.counted)
        return
    for hint in read:
        journal.tell("event", machine=hint.look.machine, reason=hint.look.reason, event_id=hint.event_id)
        journal.count("event")
        yield Order(hint.look, f"event-{hint.event_id}")


def _due(body: str) -> Order | None:
    """A look that was ordered for now. All that are due for one machine at one tick become one, but what has been
    announced is not lost to one that knows nothing of it."""
    try:
        look = Look.from_json(body)
    except PermanentError:
        return None  # then it is somebody else's message, or nobody's
    if look.due_s is None:
        return None
    announced = f"-{look.notice.cause.value}" if look.notice else ""
    return Order(replace(look, due_s=None), f"later-{look.machine}-{look.due_s}{announced}")
