"""The three ways into the queue of passes: an event, a notification in the inbox, and a look that is due."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from functions.errors import PermanentError, RegrowError
from functions.events import Dropped, Hint, read_event, read_notification
from functions.messages import Look
from functions.remediate.outside import Journal, Queues


def take_in(event: object, queues: Queues, journal: Journal) -> None:
    """Order a pass for each machine that an event is about; what calls for none is logged with its reason and left."""
    _order([read_event(event)], queues, journal)


def take_notifications(bodies: Sequence[str], queues: Queues, journal: Journal) -> None:
    """The same for messages from the inbox. None of them can keep another back, or come back for what it says."""
    _order(map(read_notification, bodies), queues, journal)


def _order(read: Iterable[tuple[Hint, ...] | Dropped], queues: Queues, journal: Journal) -> None:
    """Raise the first refusal of the queue after everything else was tried.

    The whole comes again then, and the queue knows by the ids what it has already taken.
    """
    refused: list[RegrowError] = []
    for told in read:
        if isinstance(told, Dropped):
            journal.tell("event_dropped", reason=told.reason)
            journal.count(told.counted)
            continue
        for hint in told:
            try:
                queues.look_now(hint.look, f"event-{hint.event_id}")
            except RegrowError as error:
                refused.append(error)
                continue
            journal.tell("event", machine=hint.look.machine, reason=hint.look.reason, event_id=hint.event_id)
            journal.count("event")
    if refused:
        journal.tell("looks_not_ordered", number=len(refused), reason=str(refused[0]))
        raise refused[0]


def take_due(bodies: Sequence[str], queues: Queues, journal: Journal) -> None:
    """Put looks that are due on the queue of passes; all that are due for one machine at one tick become one, but what
    has been announced is not lost to one that knows nothing of it.

    Raises PermanentError for messages that are no looks, after all others have been passed on.
    """
    unreadable: list[str] = []
    for body in bodies:
        try:
            look = Look.from_json(body)
        except PermanentError as error:
            unreadable.append(str(error))
            continue
        announced = f"-{look.notice.cause.value}" if look.notice else ""
        queues.look_now(replace(look, due_s=None), f"later-{look.machine}-{look.due_s}{announced}")
    if unreadable:
        journal.tell("look_unreadable", reasons=unreadable)
        raise PermanentError("; ".join(unreadable))
