"""The two ways into the queue of passes: an event that has just come, and a look that is due."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from functions.errors import PermanentError
from functions.events import Dropped, read_event
from functions.messages import Look
from functions.remediate.outside import Journal, Queues


def take_in(event: object, queues: Queues, journal: Journal) -> None:
    """Order a pass for the machine that an event is about; what calls for none is logged with its reason and left."""
    read = read_event(event)
    if isinstance(read, Dropped):
        journal.tell("event_dropped", reason=read.reason)
        journal.count("event_dropped")
        return
    queues.look_now(read.look, f"event-{read.event_id}")
    journal.tell("event", machine=read.look.machine, reason=read.look.reason, event_id=read.event_id)
    journal.count("event")


def take_due(bodies: Sequence[str], queues: Queues, journal: Journal) -> None:
    """Put looks that are due on the queue of passes; all that are due for one machine at one tick become one.

    Raises PermanentError for messages that are no looks, after all others have been passed on.
    """
    unreadable: list[str] = []
    for body in bodies:
        try:
            look = Look.from_json(body)
        except PermanentError as error:
            unreadable.append(str(error))
            continue
        queues.look_now(replace(look, due_s=None), f"later-{look.machine}-{look.due_s}")
    if unreadable:
        journal.tell("look_unreadable", reasons=unreadable)
        raise PermanentError("; ".join(unreadable))
