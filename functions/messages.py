"""What travels on the queues: which machine to look at, and why. Everything else is read anew by the pass."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta

from functions.cluster.machine import InstanceId, instance_id
from functions.cluster.notice import Notice
from functions.errors import PermanentError

TICK = timedelta(seconds=2)  # later looks are rounded up to this grid, so that parallel chains melt into one
LONG = timedelta(seconds=10)  # from here on a wait is a grid of its own: each sweep begins a chain at another second


CONTROL_PLANE = InstanceId("control-plane")
"""Stands for all control planes of the cluster, which are looked at together."""


@dataclass(frozen=True)
class Look:
    """Look at this machine, or at the control plane. `tries` counts the looks in a row that learnt nothing; `due_s` is
    the tick, in seconds since the epoch, for which a later look was ordered; `notice` what AWS has just announced."""

    machine: InstanceId
    reason: str
    tries: int = 0
    due_s: int | None = None
    notice: Notice | None = None

    @property
    def message_group(self) -> str:
        """One machine, one line; all control planes are one: SQS hands out one message of a group at a time."""
        return self.machine

    def to_json(self) -> str:
        notice = self.notice.to_json() if self.notice else None
        return json.dumps({**vars(self), "notice": notice})

    @classmethod
    def from_json(cls, body: str) -> Look:
        """Raise PermanentError when the body is not a look, saying what is wrong with it."""
        try:
            content = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise PermanentError(f"the message is not JSON ({error}): {body[:200]!r}") from error
        if not isinstance(content, dict):
            raise PermanentError(f"the message is not an object: {body[:200]!r}")
        named = content.get("machine")
        machine = CONTROL_PLANE if named == CONTROL_PLANE else instance_id(named)
        if machine is None:
            raise PermanentError(f"the message names no instance: {body[:200]!r}")
        tries, due_s = content.get("tries", 0), content.get("due_s")
        if not isinstance(tries, int) or tries < 0 or not isinstance(due_s, int | None):
            raise PermanentError(f"the message's tries or due_s is not a whole number: {body[:200]!r}")
        notice = Notice.from_json(content.get("notice"))  # one that cannot be read is none; the look stands without it
        return cls(machine, str(content.get("reason", "")), tries, due_s, notice)


@dataclass(frozen=True)
class Order:
    """A look to be taken now. SQS takes each id once in five minutes, so it is never the content: SQS would be deaf to
    the same look for that long."""

    look: Look
    deduplication_id: str


def due(now: datetime, after: timedelta) -> datetime:
    """Return the next tick at or after `now + after`; ticks are whole multiples of TICK since the epoch.

    After a long wait ticks are multiples of that wait: between half of it and one and a half from now.
    """
    tick_s, earliest = (TICK.total_seconds(), now + after) if after < LONG else (after.total_seconds(), now + after / 2)
    ticks = -(earliest.timestamp() // -tick_s)
    return datetime.fromtimestamp(ticks * tick_s, tz=now.tzinfo)
