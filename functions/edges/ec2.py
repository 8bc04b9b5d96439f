"""EC2: what state an instance is in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from botocore.exceptions import ClientError

from functions.cluster.doubt import Impairment
from functions.cluster.facts import Absent
from functions.cluster.machine import CLUSTER_TAG, Instance, InstanceId, InstanceState
from functions.cluster.notice import SPOT_WARNS, Cause, Notice, ScheduledEvent
from functions.edges.aws import code, speaking_to
from functions.errors import RetryableError

_MOST_HOPS = 64  # what is not said is taken for the widest (EC2 API reference, InstanceMetadataOptionsResponse)


_EVENT_CODES = ("instance-reboot", "system-reboot", "system-maintenance", "instance-retirement", "instance-stop")
# Status codes of Spot requests whose instance is about to be taken. One that is to be terminated has its last status at
# once, and runs on for its two minutes (EC2 user guide, "State changes for a Spot request").
_MARKED = (
    "marked-for-termination",
    "marked-for-stop",
    "marked-for-stop-by-experiment",
    "instance-terminated-no-capacity",
    "instance-terminated-by-price",
    "instance-terminated-by-experiment",
)


class Ec2Edge:
    """`client` is a boto3 EC2 client."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def instance(self, instance: InstanceId) -> Instance | Absent:
        with speaking_to("EC2", "DescribeInstances"):
            try:
                answer = self._client.describe_instances(InstanceIds=[instance])
            except ClientError as error:
                if code(error) == "InvalidInstanceID.NotFound":
                    return Absent()
                raise
        found = [_instance(raw) for reservation in answer["Reservations"] for raw in reservation["Instances"]]
        return found[0] if found else Absent()

    def fleet(self, cluster: str) -> tuple[Instance, ...]:
        with speaking_to("EC2", "DescribeInstances"):
            pages = self._client.get_paginator("describe_instances").paginate(
                Filters=[{"Name": f"tag:{CLUSTER_TAG}", "Values": [cluster]}], PaginationConfig={"PageSize": 1000}
            )
            return tuple(
                _instance(raw)
                for page in pages
                for reservation in page["Reservations"]
                for raw in reservation["Instances"]
            )

    def scheduled_events(self, instance: InstanceId) -> tuple[ScheduledEvent, ...]:
        with speaking_to("EC2", "DescribeInstanceStatus"):
            try:
                answer = self._client.describe_instance_status(InstanceIds=[instance], IncludeAllInstances=True)
            except ClientError as error:
                if code(error) == "InvalidInstanceID.NotFound":
                    return ()
                raise
        return tuple(event for status in answer["InstanceStatuses"] for event in _events(status))

    def all_scheduled_events(self) -> Mapping[InstanceId, tuple[ScheduledEvent, ...]]:
        with speaking_to("EC2", "DescribeInstanceStatus"):
            pages = self._client.get_paginator("describe_instance_status").paginate(
                Filters=[{"Name": "event.code", "Values": list(_EVENT_CODES)}], IncludeAllInstances=True
            )
            statuses = [status for page in pages for status in page["InstanceStatuses"]]
        return {InstanceId(status["InstanceId"]): _events(status) for status in statuses}

    def spot_interruptions(self, *, now: datetime) -> Mapping[InstanceId, Notice]:
        """EC2 says since when a request is marked; that is two minutes before its instance is taken."""
        with speaking_to("EC2", "DescribeSpotInstanceRequests"):
            pages = self._client.get_paginator("describe_spot_instance_requests").paginate(
                Filters=[{"Name": "status-code", "Values": list(_MARKED)}]
            )
            marked = [raw for page in pages for raw in page["SpotInstanceRequests"] if raw.get("InstanceId")]
        return {InstanceId(raw["InstanceId"]): _interruption(raw, now) for raw in marked}

    def impairments(self, instances: Iterable[InstanceId]) -> Mapping[InstanceId, tuple[Impairment, ...]]:
        """At most 100 instances. One that EC2 no longer knows fails all: the next look is without it."""
        with speaking_to("EC2", "DescribeInstanceStatus"):
            pages = self._client.get_paginator("describe_instance_status").paginate(InstanceIds=list(instances))
            statuses = [status for page in pages for status in page["InstanceStatuses"]]
        found = {InstanceId(status["InstanceId"]): _impairments(status) for status in statuses}
        return {instance: failing for instance, failing in found.items() if failing}

    def reboot(self, instance: InstanceId) -> None:
        with speaking_to("EC2", "RebootInstances"):
            self._client.reboot_instances(InstanceIds=[instance])

    def console_output(self, instance: InstanceId) -> str:
        with speaking_to("EC2", "GetConsoleOutput"):
            answer = self._client.get_console_output(InstanceId=instance, Latest=False)
        return str(answer.get("Output", ""))  # boto3 has decoded it

    def image_tags(self, image: str) -> dict[str, str] | Absent:
        with speaking_to("EC2", "DescribeImages"):
            try:
                answer = self._client.describe_images(ImageIds=[image])
            except ClientError as error:
                if code(error) in ("InvalidAMIID.NotFound", "InvalidAMIID.Unavailable"):
                    return Absent()
                raise
        if not answer["Images"]:
            return Absent()
        return {tag["Key"]: tag["Value"] for tag in answer["Images"][0].get("Tags", [])}

    def terminate_without_shutdown(self, instance: InstanceId) -> None:
        """End the instance at once: its operating system gets no notice. Only drills do this."""
        with speaking_to("EC2", "TerminateInstances"):
            self._client.terminate_instances(InstanceIds=[instance], SkipOsShutdown=True)


def _events(status: dict[str, Any]) -> tuple[ScheduledEvent, ...]:
    return tuple(
        ScheduledEvent(event["Code"], event["NotBefore"], event.get("Description", ""))
        for event in status.get("Events", [])
        if "NotBefore" in event
    )


def _impairments(status: dict[str, Any]) -> tuple[Impairment, ...]:
    """Return the checks that fail. One that is initialising, or of which EC2 has too little data, fails not."""
    checks = (("system", "SystemStatus"), ("instance", "InstanceStatus"), ("ebs", "AttachedEbsStatus"))
    return tuple(
        Impairment(check, _since(status[key]))
        for check, key in checks
        if status.get(key, {}).get("Status") == "impaired"
    )


def _since(check: dict[str, Any]) -> datetime | None:
    return min((one["ImpairedSince"] for one in check.get("Details", []) if "ImpairedSince" in one), default=None)


def _interruption(request: dict[str, Any], now: datetime) -> Notice:
    since = request["Status"].get("UpdateTime", now)
    return Notice(Cause.SPOT, request.get("InstanceInterruptionBehavior", "terminate"), since, since + SPOT_WARNS)


def _instance(raw: dict[str, Any]) -> Instance:
    try:
        state = InstanceState(raw["State"]["Name"])
    except ValueError as error:
        raise RetryableError(f"EC2 says a state that we do not know: {raw['State']['Name']!r}") from error
    metadata = raw.get("MetadataOptions", {})
    return Instance(
        id=InstanceId(raw["InstanceId"]),
        state=state,
        address=raw.get("PrivateIpAddress") or None,
        launched_at=raw["LaunchTime"].replace(microsecond=0),
        tags={tag["Key"]: tag["Value"] for tag in raw.get("Tags", [])},
        spot=raw.get("InstanceLifecycle") == "spot",
        zone=raw.get("Placement", {}).get("AvailabilityZone", ""),
        image=raw.get("ImageId", ""),
        private_addresses=tuple(
            address["PrivateIpAddress"]
            for interface in raw.get("NetworkInterfaces", [])
            for address in interface.get("PrivateIpAddresses", [])
        ),
        ipv6_addresses=tuple(
            interface["Ipv6Addresses"][0]["Ipv6Address"]
            for interface in raw.get("NetworkInterfaces", [])
            if interface.get("Ipv6Addresses")
        ),
        public_address=raw.get("PublicIpAddress") or None,
        private_dns_name=raw.get("PrivateDnsName") or None,
        public_dns_name=raw.get("PublicDnsName") or None,
        profile=raw.get("IamInstanceProfile", {}).get("Arn", ""),
        vpc=raw.get("VpcId", ""),
        subnet=raw.get("SubnetId", ""),
        metadata_tokens=metadata.get("HttpTokens", "optional"),
        metadata_hops=metadata.get("HttpPutResponseHopLimit", _MOST_HOPS),
    )
