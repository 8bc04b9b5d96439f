"""Scheduled events: what EC2 lists of an instance, what AWS Health tells, and what happens when the time is there.

AWS has no call to schedule one, so here it is ordered by a request of the local AWS alone (see `maintenance_api`).
EC2 user guide, "Scheduled events for your instances".
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from moto.ec2.models.instances import StateReason

from infra.local.cloud.compute.instances import MachineInstance
from infra.local.cloud.compute.power import Power
from infra.local.cloud.events.happenings import Place, ScheduledChangeNews, scheduled_change
from infra.local.cloud.surroundings import Surroundings

WINDOW = timedelta(hours=2)
OUTCOMES = ("Completed", "Canceled")
REBOOTS = ("instance-reboot", "system-reboot")
STOPS = ("instance-stop", "instance-retirement")
"""All instances here have their root on EBS; one on instance store would be terminated when it is retired."""

_TYPE_CODES = {
    "instance-reboot": "AWS_EC2_INSTANCE_REBOOT_MAINTENANCE_SCHEDULED",
    "system-reboot": "AWS_EC2_SYSTEM_REBOOT_MAINTENANCE_SCHEDULED",
    "system-maintenance": "AWS_EC2_INSTANCE_NETWORK_MAINTENANCE_SCHEDULED",
    "instance-stop": "AWS_EC2_INSTANCE_STOP_SCHEDULED",
    "instance-retirement": "AWS_EC2_PERSISTENT_INSTANCE_RETIREMENT_SCHEDULED",
}
_DESCRIPTIONS = {
    "instance-reboot": "The instance is scheduled for a reboot",
    "system-reboot": "The host of the instance is scheduled for a reboot",
    "system-maintenance": "The host of the instance is scheduled for maintenance",
    "instance-stop": "The instance is scheduled to be stopped",
    "instance-retirement": "The instance is running on degraded hardware",
}


class UnknownScheduleError(Exception):
    """What is asked for cannot be scheduled, or was never; the text says what."""


@dataclass
class ScheduledEvent:
    """One event of one instance or several. `arn` is AWS Health's name for it."""

    arn: str
    code: str
    not_before: datetime
    instances: tuple[MachineInstance, ...]
    outcome: str | None = None
    ids: dict[str, str] = field(init=False)
    """EC2's own name of it for each instance."""

    def __post_init__(self) -> None:
        self.ids = {instance.id: f"instance-event-{uuid4().hex[:17]}" for instance in self.instances}

    @property
    def description(self) -> str:
        """EC2 says in front of it when an event is over."""
        said = _DESCRIPTIONS[self.code]
        return f"[{self.outcome}] {said}" if self.outcome else said

    def described(self, instance_id: str) -> dict[str, Any]:
        """Its entry in DescribeInstanceStatus."""
        entry = {
            "InstanceEventId": self.ids[instance_id],
            "Code": self.code,
            "Description": self.description,
            "NotBefore": self.not_before,
        }
        return entry if self.code in STOPS else {**entry, "NotAfter": self.not_before + WINDOW}


class Maintenance:
    """The scheduled events of a region."""

    def __init__(
        self, surroundings: Surroundings, place: Place, find: Callable[[str], MachineInstance], power: Power
    ) -> None:
        self._world = surroundings
        self._place = place
        self._find = find
        self._power = power
        self._lock = threading.Lock()
        self._events: dict[str, ScheduledEvent] = {}

    def schedule(self, instance_ids: Sequence[str], code: str, not_before: datetime) -> str:
        """One event for all of these instances; its ARN. UnknownScheduleError for a code that EC2 has not."""
        if code not in _TYPE_CODES:
            raise UnknownScheduleError(f"There is no {code!r}; choose one of: {', '.join(_TYPE_CODES)}.")
        if not instance_ids:
            raise UnknownScheduleError("An event needs an instance at least.")
        instances = tuple(map(self._find, dict.fromkeys(instance_ids)))
        type_code, number = _TYPE_CODES[code], uuid4().hex
        arn = f"arn:aws:health:{self._place.region}::event/EC2/{type_code}/{type_code}_{number}"
        event = ScheduledEvent(arn, code, not_before.astimezone(UTC), instances)
        with self._lock:
            self._events[arn] = event
        self._tell(event)
        wait_s = (event.not_before - datetime.now(UTC)).total_seconds()
        self._world.timers.after(wait_s, self._due, event)
        return arn

    def close(self, arn: str, outcome: str) -> None:
        """The event is over in this way, without anything done to the instances."""
        event = self._events.get(arn)
        if event is None or outcome not in OUTCOMES:
            raise UnknownScheduleError(f"There is no event {arn!r} that could be {outcome!r}.")
        if self._end(event, outcome):
            self._tell(event)

    def events_of(self, instance_id: str) -> list[dict[str, Any]]:
        """What DescribeInstanceStatus lists, those that are over too."""
        with self._lock:
            return [event.described(instance_id) for event in self._events.values() if instance_id in event.ids]

    def _due(self, event: ScheduledEvent) -> None:
        if not self._end(event, "Completed"):
            return
        for instance in event.instances:
            if event.code in REBOOTS and instance.state == "running":
                self._power.reboot(instance)
            elif event.code in STOPS and instance.state == "running":
                code = "Server.ScheduledStop"
                reason = StateReason(f"{code}: Stopped due to a scheduled retirement", code)
                self._power.end(instance, skip_os=False, final=False, reason=reason)
        self._tell(event)

    def _end(self, event: ScheduledEvent, outcome: str) -> bool:
        """Whether it was still open."""
        with self._lock:
            was_open = event.outcome is None
            if was_open:
                event.outcome = outcome
            return was_open

    def _tell(self, event: ScheduledEvent) -> None:
        news = ScheduledChangeNews(
            event_arn=event.arn,
            type_code=_TYPE_CODES[event.code],
            description=event.description,
            instance_ids=tuple(event.ids),
            starts=event.not_before,
            ends=event.not_before + WINDOW,
            over=event.outcome is not None,
        )
        self._world.publish(scheduled_change(self._place, news, datetime.now(UTC)))
