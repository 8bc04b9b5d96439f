"""moto's EventBridge whose PutEvents takes the same road as the events of AWS's own services."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from moto.events import models
from moto.events.exceptions import ValidationException
from moto.events.models import EventsBackend

from infra.local.cloud.events.bus import EventBus
from infra.local.cloud.extension import put_in_place

_MOST_ENTRIES = 10


class RoutedEvents(EventsBackend):
    """moto's EventBridge; `bus` delivers."""

    bus: EventBus

    def put_events(self, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The PutEvents API. An entry that is refused is told so in its place; the others go on."""
        if len(events) > _MOST_ENTRIES:
            raise ValidationException(
                "1 validation error detected: Value at 'entries' failed to satisfy constraint: "
                "Member must have length less than or equal to 10"
            )
        return [self._put(entry) for entry in events]

    def _put(self, entry: dict[str, Any]) -> dict[str, Any]:
        for name in ("Source", "DetailType", "Detail"):
            if not entry.get(name):
                reason = f"Parameter {name} is not valid. Reason: {name} is a required argument."
                return _refused("InvalidArgument", reason)
        if entry["Source"].startswith("aws."):
            return _refused("NotAuthorizedForSourceException", "Not authorized for the source.")
        try:
            detail = json.loads(entry["Detail"])
        except ValueError:
            return _refused("MalformedDetail", "Detail is malformed.")
        if not isinstance(detail, dict):
            return _refused("MalformedDetail", "Detail is malformed.")
        bus = self._normalize_event_bus_arn(entry.get("EventBusName"))
        self.describe_event_bus(bus)
        event_id = str(uuid4())
        at = datetime.fromtimestamp(float(entry["Time"]), UTC) if entry.get("Time") else datetime.now(UTC)
        event = {
            "id": event_id,
            "detail-type": entry["DetailType"],
            "source": entry["Source"],
            "account": self.account_id,
            "time": f"{at:%Y-%m-%dT%H:%M:%SZ}",
            "region": self.region_name,
            "resources": entry.get("Resources", []),
            "detail": detail,
        }
        self.bus.publish(event, bus)
        return {"EventId": event_id}


def install(bus: EventBus) -> None:
    """Before the first backend is made."""
    put_in_place(models.events_backends, type("RoutedThroughBus", (RoutedEvents,), {"bus": bus}))


def _refused(code: str, message: str) -> dict[str, Any]:
    return {"ErrorCode": code, "ErrorMessage": message}
