"""SQS where moto differs from it: order within a message group, five minutes of deduplication, waiting without polling.

moto forgets the deduplication id with the message, hands out one message twice to receivers that ask at once, and runs
queue mappings inside SendMessage. Mappings are polled here as Lambda polls them (see functions/pollers.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from copy import deepcopy
from typing import Any

from moto.core.utils import unix_time_millis
from moto.sqs import models
from moto.sqs.exceptions import InvalidParameterValue
from moto.sqs.models import Message, Queue, SQSBackend

from infra.local.cloud.extension import ACCOUNT, REGION, put_in_place, replace

DEDUPLICATION_WINDOW_S = 300.0


class Deduplication:
    """What was sent in the last five minutes: SQS remembers it after the message was deleted, too."""

    def __init__(self, clock: Callable[[], float], window_s: float = DEDUPLICATION_WINDOW_S) -> None:
        self._clock = clock
        self._window_s = window_s
        self._seen: dict[tuple[str, str], tuple[float, Message]] = {}

    def earlier(self, message: Message, per_group: bool) -> Message | None:
        """The message that this one repeats, or None; then this one is remembered from now on."""
        if message.deduplication_id is None:
            return None
        now = self._clock()
        self._seen = {key: entry for key, entry in self._seen.items() if entry[0] > now}
        key = (message.group_id or "" if per_group else "", message.deduplication_id)
        if key in self._seen:
            return self._seen[key][1]
        self._seen[key] = (now + self._window_s, message)
        return None


class OrderedQueue(Queue):
    """A queue as SQS keeps it. All changes happen under its lock and wake who waits for messages."""

    clock: Callable[[], float] = staticmethod(time.time)

    def __init__(self, name: str, region: str, account_id: str, **kwargs: Any) -> None:
        self._deduplication = Deduplication(self.clock)
        # SQS's sequence numbers have 20 digits and grow; the distance between them is arbitrary.
        self._sequence = int(time.time() * 1e6) * 256
        super().__init__(name, region, account_id, **kwargs)

    def add_message(self, message: Message) -> None:
        with self._messages_lock:
            if self.fifo_queue:
                earlier = self._deduplication.earlier(message, per_group=self.deduplication_scope == "messageGroup")
                if earlier is not None:
                    message.id, message.sequence_number = earlier.id, earlier.sequence_number
                    return
                self._sequence += 256
                message.sequence_number = f"{self._sequence:020d}"
            self._accept(message)

    def take(
        self, count: int, wait_s: float, visibility_s: int | None = None, unless: Callable[[], bool] = lambda: False
    ) -> list[Message]:
        """Receive up to `count` messages, waiting up to `wait_s` for the first; ends early once `unless` holds.

        Without `visibility_s` the queue's own counts, as it is when a message is handed out.
        """
        deadline = time.monotonic() + wait_s
        with self._messages_lock:
            while True:
                taken = self._take_now(count, visibility_s)
                left_s = deadline - time.monotonic()
                if taken or left_s <= 0 or unless():
                    return taken
                self._messages_lock.wait(min(left_s, self._next_change_s()))

    def wake(self) -> None:
        """Let everybody who waits in `take` look again."""
        with self._messages_lock:
            self._messages_lock.notify_all()

    def delete_message(self, receipt_handle: str) -> None:
        with self._messages_lock:
            for message in self._messages:
                if message.had_receipt_handle(receipt_handle):
                    if not self._may_delete(message, receipt_handle):
                        return
                    break
            super().delete_message(receipt_handle)
            self._messages_lock.notify_all()

    def change_visibility(self, change: Callable[[], None]) -> None:
        """Run moto's own change under the lock: a message made visible must wake who waits for it."""
        with self._messages_lock:
            change()
            self._messages_lock.notify_all()

    def redrive(self, message: Message) -> None:
        """Accept a message that another queue gave up. It moves: deduplication is for those that are sent."""
        with self._messages_lock:
            message.visible_at = 0.0
            self._accept(message)

    def _accept(self, message: Message) -> None:
        self._messages.append(message)
        self._messages_lock.notify_all()

    def _may_delete(self, message: Message, receipt_handle: str) -> bool:
        """A handle that a later receive replaced deletes nothing; on a FIFO queue one that expired is an error."""
        current = bool(message.receipt_handle == receipt_handle)
        if self.fifo_queue and (not current or message.visible):
            reason = "Reason: The receipt handle has expired."
            raise InvalidParameterValue(f"Value {receipt_handle} for parameter ReceiptHandle is invalid. {reason}")
        return current

    def _take_now(self, count: int, visibility_s: int | None) -> list[Message]:
        now = unix_time_millis()
        self._messages: list[Message] = [message for message in self._messages if not self._expired(message, now)]
        blocked: set[str] = set()
        if self.fifo_queue:
            blocked = {message.group_id or "" for message in self._messages if not message.visible}
        taken: list[Message] = []
        for message in list(self._messages):
            if len(taken) >= count:
                break
            group = message.group_id or ""
            if self.fifo_queue and group in blocked:
                continue
            if message.delayed or not message.visible:
                blocked.add(group)
            elif self._used_up(message):
                self._messages.remove(message)
                _ordered(self.dead_letter_queue).redrive(message)
            else:
                own_s = int(self.visibility_timeout)
                message.mark_received(visibility_timeout=own_s if visibility_s is None else visibility_s)
                taken.append(message)
        return taken

    def _used_up(self, message: Message) -> bool:
        policy = self.redrive_policy
        if self.dead_letter_queue is None or not policy:
            return False
        return int(message.approximate_receive_count) >= int(policy["maxReceiveCount"])

    def _expired(self, message: Message, now_ms: float) -> bool:
        retention_s = int(self.message_retention_period)
        return (message.sent_timestamp or 0) + retention_s * 1000 <= now_ms

    def _next_change_s(self) -> float:
        """Until the next message becomes visible by itself, which moto counts from the millisecond after."""
        now = unix_time_millis()
        due = [t for message in self._messages for t in (message.visible_at, message.delayed_until) if t >= now]
        return max(0.0, (min(due) - now) / 1000) + 0.001 if due else 3600.0


class OrderedSQS(SQSBackend):
    """moto's SQS over ordered queues."""

    def receive_message(
        self,
        queue_name: str,
        count: int,
        wait_seconds_timeout: int,
        visibility_timeout: int,
        message_attribute_names: list[str] | None = None,
    ) -> list[Message]:
        taken = _ordered(self.get_queue(queue_name)).take(count, wait_seconds_timeout, visibility_timeout)
        copies = deepcopy(taken)
        for copy in copies:
            models._filter_message_attributes(copy, message_attribute_names or [])
        return copies

    def change_message_visibility(self, queue_name: str, receipt_handle: str, visibility_timeout: int) -> None:
        change = super().change_message_visibility
        queue = _ordered(self.get_queue(queue_name))
        queue.change_visibility(lambda: change(queue_name, receipt_handle, visibility_timeout))

    def purge_queue(self, queue_name: str) -> None:
        with self.get_queue(queue_name)._messages_lock:
            super().purge_queue(queue_name)


def queue_of(arn: str) -> OrderedQueue | None:
    """The queue of that ARN, if it exists."""
    queue = models.sqs_backends[ACCOUNT][REGION].queues.get(arn.rsplit(":", 1)[-1])
    return None if queue is None else _ordered(queue)


def install(clock: Callable[[], float] = time.time) -> None:
    """Put the corrections in place, before the first backend is made. `clock` measures the five minutes, in seconds."""
    replace(models, "Queue", type("ClockedQueue", (OrderedQueue,), {"clock": staticmethod(clock)}))
    put_in_place(models.sqs_backends, OrderedSQS)


def _ordered(queue: Queue) -> OrderedQueue:
    if not isinstance(queue, OrderedQueue):
        raise RuntimeError(f"The queue {queue.name} was made before the SQS extension was installed.")
    return queue
