"""EC2: what state an instance is in."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError

from functions.cluster.facts import Absent
from functions.cluster.machine import CLUSTER_TAG, Instance, InstanceId, InstanceState
from functions.edges.aws import code, speaking_to
from functions.errors import RetryableError


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


def _instance(raw: dict[str, Any]) -> Instance:
    try:
        state = InstanceState(raw["State"]["Name"])
    except ValueError as error:
        raise RetryableError(f"EC2 says a state that we do not know: {raw['State']['Name']!r}") from error
    return Instance(
        id=InstanceId(raw["InstanceId"]),
        state=state,
        address=raw.get("PrivateIpAddress") or None,
        launched_at=raw["LaunchTime"].replace(microsecond=0),
        tags={tag["Key"]: tag["Value"] for tag in raw.get("Tags", [])},
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
    )
