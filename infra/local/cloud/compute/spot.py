"""Spot requests, one for each Spot instance, and their interruption: announced first, then carried out for real.

Codes and states: EC2 user guide, "State changes for a Spot request". An instance that is to be terminated has a request
that says so from the notice on, while the instance runs on for two minutes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from moto.ec2.models.instances import StateReason

from infra.local.cloud.compute.instances import MachineInstance
from infra.local.cloud.compute.power import Power
from infra.local.cloud.events.happenings import Place, interruption_warning, rebalance_recommendation
from infra.local.cloud.surroundings import Surroundings

WARNING = timedelta(minutes=2)
"""How long before it interrupts an instance EC2 says so; hibernation begins at once."""

ONE_TIME = "one-time"


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass
class SpotRequest:
    """What EC2 keeps about one Spot instance."""

    instance: MachineInstance
    behavior: str
    kind: str
    id: str = field(default_factory=lambda: f"sir-{uuid4().hex[:8]}")
    state: str = "active"
    code: str = "fulfilled"
    created: datetime = field(default_factory=_now)
    updated: datetime = field(default_factory=_now)
    recommended_at: datetime | None = None
    taken_at: datetime | None = None

    def move(self, state: str, code: str) -> None:
        self.state, self.code, self.updated = state, code, _now()

    def described(self) -> dict[str, Any]:
        """Its entry in DescribeSpotInstanceRequests."""
        return {
            "SpotInstanceRequestId": self.id,
            "InstanceId": self.instance.id,
            "InstanceInterruptionBehavior": self.behavior,
            "Type": self.kind,
            "State": self.state,
            "Status": {"Code": self.code, "Message": self.code.replace("-", " "), "UpdateTime": self.updated},
            "CreateTime": self.created,
            "LaunchedAvailabilityZone": self.instance.placement.zone,
            "ProductDescription": "Linux/UNIX",
            "Tags": [],
        }


class NoSpotInstanceError(Exception):
    """The instance is none that EC2 could interrupt."""


class Spot:
    """The Spot requests of a region."""

    def __init__(self, surroundings: Surroundings, place: Place, power: Power) -> None:
        self._world = surroundings
        self._place = place
        self._power = power
        self._requests: dict[str, SpotRequest] = {}
        surroundings.listeners.append(self._instance_changed)

    def open(self, instance: MachineInstance, options: Mapping[str, Any]) -> None:
        """The instance was launched as a Spot instance, with these SpotOptions."""
        behavior = options.get("InstanceInterruptionBehavior") or "terminate"
        request = SpotRequest(instance, behavior, options.get("SpotInstanceType") or ONE_TIME)
        instance.lifecycle, instance.spot_instance_request_id = "spot", request.id
        self._requests[instance.id] = request

    def requests(self) -> list[SpotRequest]:
        return list(self._requests.values())

    def request_of(self, instance_id: str) -> SpotRequest | None:
        return self._requests.get(instance_id)

    def forget(self, instance_id: str) -> None:
        self._requests.pop(instance_id, None)

    def interrupt(self, instance_id: str, before: timedelta) -> None:
        """Recommend to leave the instance now, warn two minutes before the end, take it at the end.

        As the FIS action aws:ec2:send-spot-instance-interruptions does it. NoSpotInstanceError if it is none, or does
        not run.
        """
        request = self._requests.get(instance_id)
        if request is None or request.instance.state != "running":
            raise NoSpotInstanceError(f"{instance_id} is not a running Spot instance.")
        request.recommended_at = _now()
        self._world.publish(rebalance_recommendation(self._place, instance_id, _now()))
        if before > WARNING:
            self._world.timers.after(self._lasting_s(before - WARNING), self._warn, request)
        else:
            self._warn(request)

    def _warn(self, request: SpotRequest) -> None:
        instance, at = request.instance, _now()
        if instance.state != "running" or request.taken_at is not None:
            return
        wait_s = 0.0 if request.behavior == "hibernate" else self._lasting_s(WARNING)
        request.taken_at = at + timedelta(seconds=wait_s)
        if request.behavior == "terminate":
            request.move("closed", "instance-terminated-by-experiment")
        else:
            request.move("active", "marked-for-stop-by-experiment")
        zone = instance.placement.zone or ""
        self._world.publish(interruption_warning(self._place, instance.id, zone, request.behavior, at))
        self._world.timers.after(wait_s, self._take, request)

    def _take(self, request: SpotRequest) -> None:
        final = request.behavior == "terminate"
        code = "Server.SpotInstanceTermination" if final else "Server.SpotInstanceShutdown"
        text = f"{code}: Spot Instance {'termination' if final else 'shutdown'}"
        if request.instance.state == "running":
            self._power.end(request.instance, skip_os=False, final=final, reason=StateReason(text, code))

    def _instance_changed(self, instance_id: str, state: str) -> None:
        request = self._requests.get(instance_id)
        if request is None:
            return
        taken = request.taken_at is not None
        if state == "running":
            request.recommended_at = request.taken_at = None
            request.move("active", "fulfilled")
        elif state == "stopped":
            request.move("disabled", "instance-stopped-by-experiment" if taken else "instance-stopped-by-user")
        elif state == "terminated" and request.state != "closed":
            request.move("closed", "instance-terminated-by-user")

    def _lasting_s(self, span: timedelta) -> float:
        return span.total_seconds() * self._world.delays.notice_second_s
