"""EC2 whose instances are machines: moto's backend with the calls that start and end them replaced."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Any

from moto.core.types import Base64EncodedString
from moto.ec2 import urls as ec2_urls
from moto.ec2.exceptions import (
    EC2ClientError,
    FilterNotImplementedError,
    InvalidParameterCombination,
    OperationDisableApiStopNotPermitted,
    OperationNotPermitted4,
)
from moto.ec2.models import EC2Backend
from moto.ec2.models.instances import Instance, InstanceState, Reservation
from moto.ec2.utils import EC2_PREFIX_TO_RESOURCE, get_prefix
from moto.elb.models import elb_backends
from moto.elbv2.models import elbv2_backends

from infra.local.cloud.compute.instances import Check, Checks, MachineInstance
from infra.local.cloud.compute.maintenance import Maintenance
from infra.local.cloud.compute.power import Power
from infra.local.cloud.compute.spot import ONE_TIME, Spot
from infra.local.cloud.compute.status_checks import StatusChecks
from infra.local.cloud.events.happenings import Place
from infra.local.cloud.surroundings import Surroundings

NO_TOKEN = "ABCDE"  # noqa: S105 - not a secret
"""What moto's API hands on when the caller gave no client token."""

CONSOLE_BYTES = 64 * 1024
"""How much of a console's output EC2 keeps (API reference, GetConsoleOutput)."""

EVENT_FILTERS = {
    "event.code": "Code",
    "event.description": "Description",
    "event.instance-event-id": "InstanceEventId",
}
"""Filters of DescribeInstanceStatus that are about events, and what of an event they compare."""

STATUS_FILTERS: dict[str, Callable[[Checks], Check]] = {
    "attached-ebs-status": lambda checks: checks.attached_ebs,
    "instance-status": lambda checks: checks.instance,
    "system-status": lambda checks: checks.system,
}
"""The same about status checks: each may be asked for by `.status` and, where EC2 has it, by `.reachability`."""

SPOT_FILTERS: dict[str, Callable[[dict[str, Any]], str]] = {
    "instance-id": lambda request: str(request["InstanceId"]),
    "spot-instance-request-id": lambda request: str(request["SpotInstanceRequestId"]),
    "state": lambda request: str(request["State"]),
    "status-code": lambda request: str(request["Status"]["Code"]),
    "type": lambda request: str(request["Type"]),
}

Moved = list[tuple[Instance, InstanceState]]
"""Instances, each with the state that it was in before."""


class MachinesBackend(EC2Backend):
    """EC2 of one region, on top of real machines."""

    def __init__(self, surroundings: Surroundings, region_name: str, account_id: str) -> None:
        self.surroundings = surroundings
        self.lock = threading.RLock()
        self._by_token: dict[str, Reservation] = {}
        super().__init__(region_name, account_id)
        self.power = Power(surroundings, self)
        place = Place(account_id, region_name)
        self.spot = Spot(surroundings, place, self.power)
        self.maintenance = Maintenance(surroundings, place, self.machine, self.power)
        self.status_checks = StatusChecks(surroundings, self._machines, self.power.rebooting)

    def reset(self) -> None:
        """Nothing: moto throws a backend away right after it has reset it."""

    @property
    def _url_module(self) -> Any:
        return ec2_urls

    def run_instances(
        self,
        image_id: str,
        count: int,
        user_data: Base64EncodedString | None,
        security_group_names: list[str],
        **kwargs: Any,
    ) -> Reservation:
        token = kwargs.get("client_token")
        with self.lock:
            if token and token != NO_TOKEN and token in self._by_token:
                return self._by_token[token]
            template = self._template_data(kwargs.get("launch_template"))
            if not kwargs.get("metadata_options"):
                kwargs["metadata_options"] = template.get("MetadataOptions", {})
            reservation = super().run_instances(image_id, count, user_data, security_group_names, **kwargs)
            self._give_profiles(reservation, kwargs, template)
            market = template.get("InstanceMarketOptions", {})
            if (kwargs.get("instance_market_options") or market.get("MarketType")) == "spot":
                for instance in reservation.instances:
                    self.spot.open(MachineInstance.of(instance), market.get("SpotOptions", {}))
            if token and token != NO_TOKEN:
                self._by_token[token] = reservation
        for instance in reservation.instances:
            self.power.ordered(MachineInstance.of(instance))
        return reservation

    def start_instances(self, instance_ids: list[str]) -> Moved:
        with self.lock:
            instances = self.get_multi_instances_by_id(instance_ids)
            for instance in instances:
                _require(instance, ("stopped", "pending", "running"), "started")
        return [self._begin(instance, "start") for instance in instances]

    def stop_instances(self, instance_ids: list[str], *, skip_os: bool = False) -> Moved:
        with self.lock:
            instances = self.get_multi_instances_by_id(instance_ids)
            for instance in instances:
                if instance.disable_api_stop is True:
                    raise OperationDisableApiStopNotPermitted(instance.id)
                _require(instance, ("running", "stopping", "stopped"), "stopped")
                request = self.spot.request_of(instance.id)
                if request is not None and request.kind == ONE_TIME:
                    raise EC2ClientError(
                        "UnsupportedOperation",
                        f"You can't stop the Spot Instance '{instance.id}' because it is associated with a one-time "
                        "Spot Instance request. You can only stop Spot Instances associated with persistent Spot "
                        "Instance requests.",
                    )
        return [self._begin(instance, "stop", skip_os) for instance in instances]

    def terminate_instances(self, instance_ids: list[str], *, skip_os: bool = False) -> Moved:
        if not instance_ids:
            raise InvalidParameterCombination("No instances specified")
        with self.lock:
            instances = self.get_multi_instances_by_id(instance_ids)
            for instance in instances:
                if instance.disable_api_termination is True:
                    raise OperationNotPermitted4(instance.id)
        return [self._begin(instance, "terminate", skip_os) for instance in instances]

    def reboot_instances(self, instance_ids: list[str]) -> list[Instance]:
        instances = self.get_multi_instances_by_id(instance_ids)
        for instance in instances:
            _require(instance, ("running",), "rebooted")
        for instance in instances:
            self.power.reboot(MachineInstance.of(instance))
        return instances

    def console_output(self, instance_id: str) -> bytes:
        """The most recent of it; InvalidInstanceID.NotFound once EC2 has forgotten the instance."""
        _require_ids([instance_id])
        return self.surroundings.hardware.console(self.get_instance(instance_id).id, CONSOLE_BYTES)

    def describe_instance_status(
        self, instance_ids: list[str], include_all_instances: bool, filters: dict[str, list[str]]
    ) -> list[MachineInstance]:
        """`filters` by name; those of events let an instance through that has one event for which all of them hold."""
        of_events = {member: filters[name] for name, member in EVENT_FILTERS.items() if name in filters}
        of_checks = {name: values for name, values in filters.items() if name.partition(".")[0] in STATUS_FILTERS}
        others = {name: filters[name] for name in filters.keys() - EVENT_FILTERS.keys() - of_checks.keys()}
        found = super().describe_instance_status(instance_ids, include_all_instances, others)
        instances = [MachineInstance.of(instance) for instance in found]
        if of_events:
            instances = [each for each in instances if any(_fits(event, of_events) for event in each.events)]
        return [each for each in instances if _checked(each.checks, of_checks)] if of_checks else instances

    def describe_spot_instance_requests(
        self, filters: dict[str, list[str]] | None = None, spot_instance_ids: list[str] | None = None
    ) -> list[dict[str, Any]]:
        """Only those of instances that were launched as Spot instances: nothing here asks by RequestSpotInstances."""
        requests = [request.described() for request in self.spot.requests()]
        if spot_instance_ids:
            requests = [request for request in requests if request["SpotInstanceRequestId"] in spot_instance_ids]
        for name, values in (filters or {}).items():
            if name not in SPOT_FILTERS:
                raise FilterNotImplementedError(name, "DescribeSpotInstanceRequests")
            requests = [request for request in requests if SPOT_FILTERS[name](request) in values]
        return requests

    def get_multi_instances_by_id(self, instance_ids: list[str], filters: Any = None) -> list[Instance]:
        _require_ids(instance_ids)
        found: list[Instance] = super().get_multi_instances_by_id(instance_ids, filters)
        return found

    def get_reservations_by_instance_ids(self, instance_ids: list[str], filters: Any = None) -> list[Reservation]:
        _require_ids(instance_ids)
        super().get_multi_instances_by_id(instance_ids)
        distinct = list(dict.fromkeys(instance_ids))
        found: list[Reservation] = super().get_reservations_by_instance_ids(distinct, filters)
        return found

    def all_reservations(self, filters: Any = None) -> list[Reservation]:
        """Nobody sees an instance that has not all its tags yet."""
        with self.lock:
            found: list[Reservation] = super().all_reservations(filters)
            return found

    def create_tags(self, resource_ids: list[str], tags: dict[str, str]) -> bool:
        with self.lock:
            return bool(super().create_tags(resource_ids, tags))

    def delete_tags(self, resource_ids: list[str], tags: dict[str, str]) -> bool:
        with self.lock:
            return bool(super().delete_tags(resource_ids, tags))

    def describe_tags(self, filters: dict[str, list[str]] | None = None) -> list[dict[str, str]]:
        with self.lock:
            ids = (filters or {}).get("resource-id", [])
            if filters and len(filters) == 1 and len(ids) == 1 and ids[0] in self.tags:
                # What every description of a resource asks: moto would look through all tags there are.
                kind = EC2_PREFIX_TO_RESOURCE.get(get_prefix(ids[0]), "")
                return [
                    {"resource_id": ids[0], "key": key, "value": value, "resource_type": kind}
                    for key, value in self.tags[ids[0]].items()
                ]
            found: list[dict[str, str]] = super().describe_tags(filters)
            return found

    def forget(self, instance: MachineInstance) -> None:
        """The hour is over: this instance never was."""
        with self.lock:
            for key, reservation in list(self.reservations.items()):
                if instance in reservation.instances:
                    reservation.instances = [other for other in reservation.instances if other is not instance]
                    if not reservation.instances:
                        del self.reservations[key]
            self.tags.pop(instance.id, None)
            self.spot.forget(instance.id)

    def forget_targets(self, instance_id: str) -> None:
        """A terminated instance is no target any more, and behind no classic load balancer."""
        elb = elb_backends[self.account_id][self.region_name]
        for name in list(elb.load_balancers):
            elb.deregister_instances(name, [instance_id])
        elbv2_backends[self.account_id][self.region_name].notify_terminate_instances([instance_id])

    def machine(self, instance_id: str) -> MachineInstance:
        """InvalidInstanceID as EC2 says it, if there is none."""
        _require_ids([instance_id])
        return MachineInstance.of(self.get_instance(instance_id))

    def _machines(self) -> list[MachineInstance]:
        with self.lock:
            return [MachineInstance.of(instance) for instance in self.all_instances()]

    def _begin(self, instance: Instance, verb: str, skip_os: bool = False) -> tuple[Instance, InstanceState]:
        machine = MachineInstance.of(instance)
        was = InstanceState(machine.state, machine.state_code)
        if verb != "start":
            self.power.end(machine, skip_os=skip_os, final=verb == "terminate")
        elif was.name == "stopped":
            self.power.start_again(machine)
        return instance, was

    def _template_data(self, launch_template: dict[str, Any] | None) -> dict[str, Any]:
        if not launch_template:
            return {}
        data: dict[str, Any] = self._get_template_from_args(launch_template).data
        return data

    def _give_profiles(self, reservation: Reservation, kwargs: dict[str, Any], template: dict[str, Any]) -> None:
        """moto gives a named profile to the first instance only, and a template's to none."""
        name, arn = kwargs.get("iam_instance_profile_name"), kwargs.get("iam_instance_profile_arn")
        instances = reservation.instances[1:]
        if not name and not arn:
            profile = template.get("IamInstanceProfile", {})
            name, arn = profile.get("Name"), profile.get("Arn")
            instances = reservation.instances
        if name or arn:
            for instance in instances:
                self.associate_iam_instance_profile(
                    instance.id, iam_instance_profile_name=name, iam_instance_profile_arn=arn
                )


def _fits(event: dict[str, Any], wanted: dict[str, list[str]]) -> bool:
    return all(event[member] in values for member, values in wanted.items())


def _checked(checks: Checks, wanted: dict[str, list[str]]) -> bool:
    for name, values in wanted.items():
        kind, _, of = name.partition(".")
        said = STATUS_FILTERS[kind](checks).described()
        if of == "reachability" and kind != "attached-ebs-status":
            found = {detail["Status"] for detail in said.get("Details", ())}
        elif of == "status":
            found = {said["Status"]}
        else:
            raise FilterNotImplementedError(name, "DescribeInstanceStatus")
        if found.isdisjoint(values):
            return False
    return True


def _require(instance: Instance, states: tuple[str, ...], participle: str) -> None:
    if instance.state not in states:
        raise EC2ClientError(
            "IncorrectInstanceState",
            f"The instance '{instance.id}' is not in a state from which it can be {participle}.",
        )


def _require_ids(instance_ids: list[str]) -> None:
    for instance_id in instance_ids:
        if not re.fullmatch(r"i-([0-9a-f]{8}|[0-9a-f]{17})", instance_id):
            raise EC2ClientError("InvalidInstanceID.Malformed", f'Invalid id: "{instance_id}"')
