"""Rules with a schedule: their targets get a Scheduled Event when the time has come."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from moto.events.models import Rule, events_backends

from infra.local.cloud.events.bus import EventBus
from infra.local.cloud.events.expressions import ExpressionError, Schedule, parse
from infra.local.cloud.extension import ACCOUNT, REGION

log = logging.getLogger(__name__)

_LOOK_PERIOD_S = 0.2


@dataclass(frozen=True)
class _Planned:
    expression: str
    schedule: Schedule
    due: datetime


class Schedules:
    """Looks at the rules five times a second: one made, changed or enabled counts from then on."""

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus
        self._planned: dict[str, _Planned] = {}
        self._refused: set[str] = set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="schedules", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        if not self._stopping.is_set() and self._thread.ident is not None:
            self._stopping.set()
            self._thread.join()

    def look(self, now: datetime) -> None:
        """Fire what is due at `now`, and plan what is new."""
        rules = {
            rule.name: rule
            for rule in list(events_backends[ACCOUNT][REGION].describe_event_bus("default").rules.values())
            if rule.scheduled_expression and rule.state == "ENABLED"
        }
        for name in self._planned.keys() - rules.keys():
            del self._planned[name]
        for rule in rules.values():
            self._look_at(rule, now)

    def _look_at(self, rule: Rule, now: datetime) -> None:
        expression = rule.scheduled_expression or ""
        planned = self._planned.get(rule.name)
        if planned is None or planned.expression != expression:
            try:
                schedule = parse(expression)
            except ExpressionError as error:
                if expression not in self._refused:
                    self._refused.add(expression)
                    log.error("The rule %s never fires: %s", rule.name, error)
                return
        elif planned.due <= now:
            self._bus.deliver(rule, scheduled_event(rule.arn, planned.due))
            schedule = planned.schedule
        else:
            return
        due = schedule.after(now if planned is None or planned.due > now else planned.due)
        self._planned[rule.name] = _Planned(expression, schedule, due if due > now else schedule.after(now))

    def _run(self) -> None:
        while not self._stopping.wait(_LOOK_PERIOD_S):
            try:
                self.look(datetime.now(UTC))
            except Exception:
                log.exception("The schedules could not be looked at")


def scheduled_event(rule_arn: str, at: datetime) -> dict[str, Any]:
    """EventBridge's event for a rule that fires by the clock."""
    return {
        "version": "0",
        "id": str(uuid4()),
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": ACCOUNT,
        "time": f"{at:%Y-%m-%dT%H:%M:%SZ}",
        "region": REGION,
        "resources": [rule_arn],
        "detail": {},
    }
