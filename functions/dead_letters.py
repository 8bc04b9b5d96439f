"""Messages that no function could deal with in five tries: what lies there and why, and how it is put back.

A look is put back as a new one: under its old deduplication id SQS would swallow it for five minutes. What the inbox
could not hand on goes into the inbox again. What nobody understands stays where it is; it would only fail again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from typing import Protocol

from functions.errors import ConfigurationError, PermanentError, RetryableError
from functions.events import Dropped, read_message
from functions.messages import Look, Order
from functions.remediate.outside import Queues


class Source(Enum):
    """The queue that gave a message up."""

    PASSES = "pass"
    INBOX = "inbox"


@dataclass(frozen=True)
class DeadLetter:
    """One message as it lies there; `receipt` is what it can be deleted or given back by."""

    source: Source
    id: str
    body: str
    sent_at: datetime
    received: int
    receipt: str


class DeadLetters(Protocol):
    """Who receives letters has them for a minute, unless they are given back."""

    def receive(self) -> tuple[DeadLetter, ...]: ...

    def give_back(self, letters: Sequence[DeadLetter]) -> None: ...

    def delete(self, letter: DeadLetter) -> None: ...

    def into_the_inbox(self, body: str) -> None: ...


@dataclass(frozen=True)
class Read:
    """A letter, which machines it is about, and why it cannot be put back, if so."""

    letter: DeadLetter
    machines: tuple[str, ...] = ()
    stays: str | None = None


def read(letter: DeadLetter) -> Read:
    """Say what a letter is. Pure; never raises."""
    try:
        look = Look.from_json(letter.body)
        if letter.source is Source.PASSES or look.due_s is not None:
            return Read(letter, (look.machine,))
    except PermanentError as error:
        if letter.source is Source.PASSES:
            return Read(letter, stays=str(error))
    hints = read_message(letter.body)
    if isinstance(hints, Dropped):
        return Read(letter, stays=hints.reason)
    return Read(letter, tuple(hint.look.machine for hint in hints))


def show(letters: DeadLetters) -> tuple[Read, ...]:
    """Look at them; each can be received again at once."""
    found = letters.receive()
    letters.give_back(found)
    return tuple(read(letter) for letter in found)


def put_back(letters: DeadLetters, queues: Queues, *, now: datetime) -> tuple[tuple[Read, ...], tuple[Read, ...]]:
    """Return what was put back, and what stays with the reason.

    Sent first and deleted then: a letter that is put back twice is one more look, and one that is lost would be none.
    """
    done: list[Read] = []
    left: list[Read] = []
    for one in map(read, letters.receive()):
        if one.stays is None:
            try:
                _send(one, letters, queues, now)
                letters.delete(one.letter)
            except (RetryableError, ConfigurationError) as error:
                one = replace(one, stays=f"it was not taken: {error}")
        (done if one.stays is None else left).append(one)
    letters.give_back([one.letter for one in left])
    return tuple(done), tuple(left)


def _send(one: Read, letters: DeadLetters, queues: Queues, now: datetime) -> None:
    if one.letter.source is Source.INBOX:
        letters.into_the_inbox(one.letter.body)
        return
    look = replace(Look.from_json(one.letter.body), tries=0)
    queues.look_now(Order(look, f"put-back-{one.letter.id}-{now:%Y%m%dT%H%M%S}"))
