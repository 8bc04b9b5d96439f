"""Lambda's queue for asynchronous invocations: two retries, then the dead-letter queue or the failure destination."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from moto.awslambda.exceptions import UnknownFunctionException

from infra.local.cloud.functions.deployed import AsynchronousSettings, asynchronous_settings
from infra.local.cloud.functions.invocation import Invocation, ThrottledError
from infra.local.cloud.queues.destinations import send, service_of
from infra.local.cloud.timers import Timers

log = logging.getLogger(__name__)

# Lambda backs off from 1 s to 5 min while a function is throttled.
_THROTTLED_FIRST_S = 1.0
_THROTTLED_LAST_S = 300.0


@dataclass(frozen=True)
class _Item:
    function: str
    payload: bytes
    request_id: str
    since: float
    errors: int = 0
    throttles: int = 0


class AsynchronousQueue:
    """Runs what is put into it, soon and at least once. What fails for good goes where the function's settings say."""

    def __init__(self, invoke: Callable[[str, bytes], Invocation], retry_after_s: tuple[float, float]) -> None:
        self._invoke = invoke
        self._retry_after_s = retry_after_s
        self._timers = Timers()

    def put(self, function_arn: str, payload: bytes) -> str:
        """Take it in; returns its request id at once."""
        item = _Item(function_arn, payload, str(uuid4()), time.monotonic())
        self._timers.after(0.0, self._run, item)
        return item.request_id

    def stop(self) -> None:
        """Begin nothing more; what waits for its retry is lost, as the world is."""
        self._timers.stop()

    def _run(self, item: _Item) -> None:
        try:
            settings = asynchronous_settings(item.function)
            invocation = self._invoke(item.function, item.payload)
        except ThrottledError:
            self._throttled(item)
            return
        except UnknownFunctionException:
            log.warning("%s is gone: its asynchronous invocation %s is dropped", item.function, item.request_id)
            return
        except Exception as error:
            # Lambda itself could not run it: handled like an error of the function, so that it is tried again.
            log.exception("%s could not be run", item.function)
            invocation = Invocation(payload=json.dumps({"errorMessage": str(error)}).encode(), error="Unhandled")
        if invocation.error is None:
            self._tell(settings.on_success, item, invocation, "Success")
        elif item.errors < settings.retries and not self._too_old(item, settings):
            delay_s = self._retry_after_s[min(item.errors, len(self._retry_after_s) - 1)]
            self._timers.after(delay_s, self._run, replace(item, errors=item.errors + 1))
        else:
            self._give_up(item, settings, invocation)

    def _throttled(self, item: _Item) -> None:
        settings = asynchronous_settings(item.function)
        if self._too_old(item, settings):
            self._give_up(item, settings, Invocation(error="Throttled"))
            return
        delay_s = min(_THROTTLED_FIRST_S * 2**item.throttles, _THROTTLED_LAST_S)
        self._timers.after(delay_s, self._run, replace(item, throttles=item.throttles + 1))

    def _too_old(self, item: _Item, settings: AsynchronousSettings) -> bool:
        return time.monotonic() - item.since > settings.max_age_s

    def _give_up(self, item: _Item, settings: AsynchronousSettings, invocation: Invocation) -> None:
        log.warning("%s failed for good (%s): %r", item.function, item.request_id, invocation.payload[:200])
        self._tell(settings.on_failure, item, invocation, "RetriesExhausted")
        if settings.dead_letter:
            message = _json(invocation.payload)
            text = str(message.get("errorMessage", "")) if isinstance(message, dict) else str(message)
            send(
                settings.dead_letter,
                item.payload.decode(),
                attributes={"RequestID": item.request_id, "ErrorCode": "200", "ErrorMessage": text[:1024] or "unknown"},
            )

    def _tell(self, destination: str | None, item: _Item, invocation: Invocation, condition: str) -> None:
        if destination is None:
            return
        record = {
            "version": "1.0",
            "timestamp": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z",
            "requestContext": {
                "requestId": item.request_id,
                "functionArn": f"{item.function}:$LATEST",
                "condition": condition,
                "approximateInvokeCount": item.errors + 1,
            },
            "requestPayload": _json(item.payload),
            "responseContext": {"statusCode": 200, "executedVersion": "$LATEST"}
            | ({"functionError": invocation.error} if invocation.error else {}),
            "responsePayload": _json(invocation.payload),
        }
        if service_of(destination) == "lambda":
            self.put(destination, json.dumps(record).encode())
        else:
            send(destination, json.dumps(record))


def _json(text: bytes) -> Any:
    try:
        return json.loads(text or b"null")
    except ValueError:
        return text.decode(errors="replace")
