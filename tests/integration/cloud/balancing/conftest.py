"""An AWS in this process with a balancer whose seconds last twenty milliseconds."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import pytest

from infra.local.cloud import extension
from infra.local.cloud.balancing import balancer_api
from infra.local.cloud.balancing.balancer import Balancer
from infra.local.cloud.formation import load_balancers
from infra.local.cloud.server import Cloud
from tests.integration.cloud.machines.rig import QUICK, ListedMachines

_hosts = itertools.count(10)


@dataclass
class Balancing:
    """A load balancer's API and what is needed to fill it."""

    client: Callable[[str], Any]
    vpc: str
    subnets: list[str]

    def address(self) -> str:
        """A loopback address that nothing else uses."""
        return f"127.77.0.{next(_hosts)}"

    def group(self, name: str, **settings: Any) -> str:
        created = self.client("elbv2").create_target_group(
            Name=name,
            Protocol="TCP",
            Port=7443,
            VpcId=self.vpc,
            TargetType=settings.pop("TargetType", "ip"),
            HealthCheckIntervalSeconds=5,
            HealthCheckTimeoutSeconds=5,
            HealthyThresholdCount=2,
            UnhealthyThresholdCount=2,
            **settings,
        )
        return str(created["TargetGroups"][0]["TargetGroupArn"])

    def balancer(self, name: str, group_arn: str) -> str:
        """A network load balancer in front of the group; the address where it listens, on port 7443."""
        elbv2, address = self.client("elbv2"), self.address()
        made = elbv2.create_load_balancer(
            Name=name,
            Type="network",
            Scheme="internal",
            SubnetMappings=[{"SubnetId": self.subnets[0], "PrivateIPv4Address": address}],
        )
        elbv2.create_listener(
            LoadBalancerArn=made["LoadBalancers"][0]["LoadBalancerArn"],
            Protocol="TCP",
            Port=7443,
            DefaultActions=[{"Type": "forward", "TargetGroupArn": group_arn}],
        )
        return address

    def register(self, group_arn: str, *ids: str) -> None:
        self.client("elbv2").register_targets(TargetGroupArn=group_arn, Targets=[{"Id": id_} for id_ in ids])

    def deregister(self, group_arn: str, *ids: str) -> None:
        self.client("elbv2").deregister_targets(TargetGroupArn=group_arn, Targets=[{"Id": id_} for id_ in ids])

    def health(self, group_arn: str) -> dict[str, tuple[str, str | None]]:
        """State and reason of each target that is described."""
        found = self.client("elbv2").describe_target_health(TargetGroupArn=group_arn)["TargetHealthDescriptions"]
        return {one["Target"]["Id"]: (one["TargetHealth"]["State"], one["TargetHealth"].get("Reason")) for one in found}

    def states(self, group_arn: str) -> dict[str, str]:
        return {target: state for target, (state, _) in self.health(group_arn).items()}


@pytest.fixture(scope="module")
def elb() -> Iterator[Balancing]:
    balancer = Balancer(second_s=0.02)
    cloud = Cloud(ListedMachines(), QUICK, lambda _: None)
    cloud.install()
    balancer_api.install(balancer.health_of, balancer.second_s, QUICK.deregistration_s)
    load_balancers.install()
    cloud.start()

    def client(service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=cloud.endpoint,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    ec2 = client("ec2")
    vpc = ec2.create_vpc(CidrBlock="127.78.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"127.78.{number}.0/24", AvailabilityZone=f"us-east-1{letter}")
        for number, letter in ((1, "a"), (2, "b"))
    ]
    balancer.start()
    yield Balancing(client, vpc, [made["Subnet"]["SubnetId"] for made in subnets])
    balancer.stop()
    cloud.stop()
    extension.restore()
