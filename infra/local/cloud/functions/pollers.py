"""Queue mappings: Lambda's pollers, which receive from SQS, invoke the function, and delete what it worked off."""

from __future__ import annotations

import logging
import threading
import time

from moto.awslambda.exceptions import UnknownFunctionException
from moto.awslambda.models import EventSourceMapping
from moto.sqs.exceptions import SQSException
from moto.sqs.models import Message

from infra.local.cloud.access.access import UnknownAccessError, context_of
from infra.local.cloud.access.authority import Authority
from infra.local.cloud.access.policies import Decision
from infra.local.cloud.access.services.queues import of_a_poller
from infra.local.cloud.functions.deployed import deployed, lambda_backend
from infra.local.cloud.functions.environments import Functions
from infra.local.cloud.functions.invocation import ThrottledError
from infra.local.cloud.functions.records import accepted, batch_event, failed_ids
from infra.local.cloud.queues.fifo import OrderedQueue, queue_of

log = logging.getLogger(__name__)

_RECONCILE_PERIOD_S = 0.1
_LONG_POLL_S = 20.0
_ASK_AGAIN_S = 2.0
# Lambda developer guide, "Scaling and concurrency of SQS": five batches at first, 300 more each minute, 1250 at most.
_FIRST_BATCHES = 5
_MORE_BATCHES_EACH_S = 300 / 60
_MOST_BATCHES = 1250


def most_batches(busy_s: float, configured: int | None) -> int:
    """How many batches may be in flight when there was always one for `busy_s`; the mapping may set a maximum."""
    return min(int(configured or _MOST_BATCHES), _MOST_BATCHES, _FIRST_BATCHES + int(busy_s * _MORE_BATCHES_EACH_S))


class Pollers:
    """Keeps one poller for each enabled mapping of moto's Lambda whose source is a queue that its role may read."""

    def __init__(self, functions: Functions, pickup_s: float = 0.0) -> None:
        """`pickup_s`: how long a visible message waits until a poller has it."""
        self._functions = functions
        self._pickup_s = pickup_s
        self._pollers: dict[str, _Poller] = {}
        self._authority = Authority()
        self._ask_again: dict[str, float] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._reconcile, name="pollers", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Poll no more. Batches in flight end by themselves, or with the functions."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()
        for poller in self._pollers.values():
            poller.stop()

    def polled(self) -> frozenset[str]:
        """The ids of the mappings that are at work."""
        return frozenset(self._pollers)

    def _reconcile(self) -> None:
        while not self._stopping.wait(_RECONCILE_PERIOD_S):
            try:
                self._look()
            except Exception:
                log.exception("The mappings could not be looked at")

    def _look(self) -> None:
        wanted = {mapping.uuid: mapping for mapping in list(lambda_backend()._event_source_mappings.values())}
        for uuid, poller in list(self._pollers.items()):
            if uuid not in wanted or not wanted[uuid].enabled or not poller.alive:
                self._pollers.pop(uuid).stop()
        for uuid, mapping in wanted.items():
            queue = queue_of(mapping.event_source_arn) if ":sqs:" in mapping.event_source_arn else None
            if queue is not None and mapping.enabled and uuid not in self._pollers and self._allowed(mapping):
                self._pollers[uuid] = _Poller(mapping, queue, self._functions, self._pickup_s)

    def _allowed(self, mapping: EventSourceMapping) -> bool:
        """Whether the function's role lets Lambda poll the queue; where it does not, that is asked again later."""
        if time.monotonic() < self._ask_again.get(mapping.uuid, 0.0):
            return False
        try:
            role = deployed(mapping.function_arn).role
            own = context_of({"aws:PrincipalArn": role})
            decisions = {
                self._authority.decision(role, role, access, own) for access in of_a_poller(mapping.event_source_arn)
            }
            if decisions == {Decision.ALLOWED}:
                return True
        except (UnknownFunctionException, UnknownAccessError) as error:
            log.error("%s is not polled: %s", mapping.event_source_arn, error)
        self._ask_again[mapping.uuid] = time.monotonic() + _ASK_AGAIN_S
        return False


class _Poller:
    """One mapping at work. Settings are read from the mapping for each batch: an update needs no restart."""

    def __init__(self, mapping: EventSourceMapping, queue: OrderedQueue, functions: Functions, pickup_s: float) -> None:
        self._mapping = mapping
        self._queue = queue
        self._functions = functions
        self._pickup_s = pickup_s
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        self._in_flight = 0
        self._busy_since: float | None = None
        self._thread = threading.Thread(target=self._poll, name=f"poller {queue.name}", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive() and queue_of(self._queue.queue_arn) is self._queue

    def stop(self) -> None:
        self._stopping.set()
        self._queue.wake()
        with self._changed:
            self._changed.notify_all()
        self._thread.join()

    def _poll(self) -> None:
        while self._slot_free():
            messages = self._receive()
            if messages:
                with self._changed:
                    self._in_flight += 1
                threading.Thread(target=self._work, args=(messages,), name="batch", daemon=True).start()

    def _slot_free(self) -> bool:
        """Wait until one more batch may be in flight; False when polling has ended."""
        with self._changed:
            while not self._stopping.is_set():
                if self._in_flight < self._most_batches():
                    return True
                self._changed.wait(0.2)
            return False

    def _most_batches(self) -> int:
        if self._in_flight == 0:
            self._busy_since = None
        elif self._busy_since is None:
            self._busy_since = time.monotonic()
        busy_s = 0.0 if self._busy_since is None else time.monotonic() - self._busy_since
        return most_batches(busy_s, (self._mapping.scaling_config or {}).get("MaximumConcurrency"))

    def _receive(self) -> list[Message]:
        size, window_s = self._mapping.batch_size, float(self._mapping.max_batch_window or 0)
        messages = self._queue.take(min(size, 10), _LONG_POLL_S, unless=self._stopping.is_set)
        until = time.monotonic() + window_s
        while messages and len(messages) < size and not self._stopping.is_set():
            left_s = max(0.0, until - time.monotonic())
            more = self._queue.take(min(size - len(messages), 10), left_s, unless=self._stopping.is_set)
            if not more:
                break
            messages += more
        return messages

    def _work(self, messages: list[Message]) -> None:
        time.sleep(self._pickup_s)  # here: Lambda's pollers are many, and none waits for another
        try:
            # The receipts of now: a message that became visible meanwhile gets new ones.
            receipts = {message.id: message.receipt_handle or "" for message in messages}
            wanted = [message for message in messages if accepted(message, self._mapping.filter_criteria)]
            left = self._invoke(wanted) if wanted else set()
            for message_id, receipt in receipts.items():
                if message_id not in left:
                    self._delete(receipt)
        except Exception:
            log.exception("A batch of %s failed; its messages come back", self._queue.name)
        finally:
            with self._changed:
                self._in_flight -= 1
                self._changed.notify_all()

    def _invoke(self, messages: list[Message]) -> set[str]:
        """The ids of the messages that must stay in the queue."""
        everything = {message.id for message in messages}
        payload = batch_event(messages, self._mapping.event_source_arn, self._mapping.region)
        try:
            invocation = self._functions.invoke(self._mapping.function_arn, payload)
        except (ThrottledError, UnknownFunctionException) as error:
            log.info("%s: %s", self._queue.name, error)
            return everything
        if invocation.error is not None:
            return everything
        if "ReportBatchItemFailures" in (self._mapping.function_response_types or []):
            return failed_ids(invocation.payload, everything)
        return set()

    def _delete(self, receipt: str) -> None:
        try:
            self._queue.delete_message(receipt)
        except SQSException as error:
            # The batch took longer than the visibility timeout: the message is somebody else's by now.
            log.info("%s: not deleted: %s", self._queue.name, error)
