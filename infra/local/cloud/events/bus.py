"""EventBridge's default road: an event, the rules that match it, and their targets.

Every publication and every delivery is kept and written down, so that a drill can prove that nothing was delivered.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from moto.events.models import Rule, events_backends
from moto.events.utils import EventTemplateParser

from infra.local.cloud.events.patterns import matches
from infra.local.cloud.extension import ACCOUNT, REGION
from infra.local.cloud.functions.environments import Functions
from infra.local.cloud.queues.destinations import send, service_of
from infra.local.cloud.timers import Timers

log = logging.getLogger(__name__)

Event = dict[str, Any]


@dataclass(frozen=True)
class Delivery:
    """One event handed to one target of one rule. `error` is None if the target took it."""

    at: str
    event_id: str
    source: str
    detail_type: str
    rule: str
    target_arn: str
    error: str | None


class EventBus:
    """Delivers events through the enabled rules of moto's EventBridge."""

    def __init__(self, functions: Functions, delay_s: float, log: Path) -> None:
        """`delay_s`: from publication to delivery. `log`: a file of JSON lines for publications and deliveries."""
        self._functions = functions
        self._delay_s = delay_s
        self._log = log
        self._lock = threading.Lock()
        self._published: list[Event] = []
        self._deliveries: list[Delivery] = []
        self._timers = Timers()
        log.parent.mkdir(parents=True, exist_ok=True)

    def start(self) -> None:
        """Nothing to start: the bus works from the first event on."""

    def stop(self) -> None:
        """Deliver nothing more."""
        self._timers.stop()

    def publish(self, event: Event, bus: str = "default") -> None:
        """Take the event in its published form; returns at once. A missing id, time, account or region is filled in."""
        complete = {
            "version": "0",
            "id": str(uuid4()),
            "account": ACCOUNT,
            "time": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "region": REGION,
            "resources": [],
            **event,
        }
        with self._lock:
            self._published.append(complete)
            self._write({"at": _now(), "published": complete})
        self._timers.after(self._delay_s, self._through_rules, complete, bus)

    def deliver(self, rule: Rule, event: Event) -> None:
        """Hand the event to every target of the rule, whatever its pattern says."""
        for target in list(rule.targets):
            self._record(rule, target, event, self._handed(target, event))

    def published(self) -> tuple[Event, ...]:
        """Every event that came in, in order."""
        with self._lock:
            return tuple(self._published)

    def deliveries(self, matching: Callable[[Delivery], bool] = lambda _: True) -> tuple[Delivery, ...]:
        """Every delivery to a target, in order, also those that failed."""
        with self._lock:
            return tuple(delivery for delivery in self._deliveries if matching(delivery))

    def _through_rules(self, event: Event, bus: str) -> None:
        for rule in list(events_backends[ACCOUNT][REGION].describe_event_bus(bus).rules.values()):
            # moto's pattern of a rule that only has a schedule matches everything.
            if rule.state == "ENABLED" and rule.event_pattern.get_pattern() and matches(rule.event_pattern, event):
                self.deliver(rule, event)

    def _handed(self, target: dict[str, Any], event: Event) -> str | None:
        try:
            body = _input(target, event)
            if service_of(target["Arn"]) == "lambda":
                self._functions.invoke(target["Arn"], body.encode(), asynchronous=True)
            else:
                send(target["Arn"], body, group_id=target.get("SqsParameters", {}).get("MessageGroupId"))
        except Exception as error:
            log.warning("An event was not delivered to %s: %s", target["Arn"], error)
            return f"{type(error).__name__}: {error}"
        return None

    def _record(self, rule: Rule, target: dict[str, Any], event: Event, error: str | None) -> None:
        delivery = Delivery(
            at=_now(),
            event_id=event["id"],
            source=event["source"],
            detail_type=event["detail-type"],
            rule=rule.name,
            target_arn=target["Arn"],
            error=error,
        )
        with self._lock:
            self._deliveries.append(delivery)
            self._write({"delivered": asdict(delivery)})

    def _write(self, line: dict[str, Any]) -> None:
        with self._log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _input(target: dict[str, Any], event: Event) -> str:
    """What the target gets: its constant, a part of the event, a text made from it, or the event itself."""
    if "Input" in target:
        return str(target["Input"])
    if path := target.get("InputPath"):
        part: Any = event
        for name in path.removeprefix("$").strip(".").split("."):
            part = part[name] if name else part
        return json.dumps(part)
    if transformer := target.get("InputTransformer"):
        made = EventTemplateParser.parse(
            input_template=transformer.get("InputTemplate"),
            input_paths_map=transformer.get("InputPathsMap", {}),
            event=event,
        )
        return made if isinstance(made, str) else json.dumps(made)
    return json.dumps(event)
