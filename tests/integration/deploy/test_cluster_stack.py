"""The cluster template, executed: groups launch machines whose user data starts the right role."""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import boto3
import pytest

from infra.deploy import CHECKOUT
from infra.deployment.stack import ensure_stack, remove_stack
from infra.local.cloud.balancing import balancer_api
from infra.local.cloud.balancing.balancer import Balancer
from infra.local.cloud.formation import load_balancers
from infra.local.cloud.server import Cloud
from tests.integration.cloud.machines.rig import QUICK, ListedMachines, eventually

TEMPLATE = CHECKOUT / "infra" / "cluster" / "template.yaml"
STACK = "regrow-drill-cluster"
API_ADDRESS = "10.77.1.9"


@dataclass(frozen=True)
class Site:
    """An account whose machines are names on a list."""

    endpoint: str
    machines: ListedMachines

    def client(self, service: str) -> Any:
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        return boto3.client(service, region_name="us-east-1", endpoint_url=self.endpoint, **keys)

    def parameters(self, **changes: str) -> dict[str, str]:
        ec2 = self.client("ec2")
        vpc = ec2.create_vpc(CidrBlock="10.77.0.0/16")["Vpc"]["VpcId"]
        zones = {"10.77.1.0/24": "us-east-1a", "10.77.2.0/24": "us-east-1b"}
        subnets = [
            ec2.create_subnet(VpcId=vpc, CidrBlock=network, AvailabilityZone=zone)["Subnet"]["SubnetId"]
            for network, zone in zones.items()
        ]
        return {
            "ClusterName": "drill",
            "VpcId": vpc,
            "SubnetIds": ",".join(subnets),
            "VpcCidr": "10.77.0.0/16",
            "ApiAddress": API_ADDRESS,
            "ImageId": ec2.describe_images()["Images"][0]["ImageId"],
            **changes,
        }

    def make(self, parameters: dict[str, str]) -> dict[str, str]:
        return ensure_stack(self.client("cloudformation"), STACK, TEMPLATE.read_text(), parameters, lambda _: None)

    def members(self, group: str, *, state: str = "InService") -> list[str]:
        (found,) = self.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[group])[
            "AutoScalingGroups"
        ]
        return [member["InstanceId"] for member in found["Instances"] if member["LifecycleState"] == state]

    def launched(self, group: str, machines: int = 2) -> list[str]:
        """So many machines of the group, once they run and wait to be let in."""
        eventually(lambda: len(self.members(group, state="Pending:Wait")) == machines)
        return self.members(group, state="Pending:Wait")

    def user_data(self, instance_id: str) -> str:
        answer = self.client("ec2").describe_instance_attribute(InstanceId=instance_id, Attribute="userData")
        return base64.b64decode(answer["UserData"]["Value"]).decode()


@pytest.fixture
def site() -> Iterator[Site]:
    machines = ListedMachines()
    balancer = Balancer(claim=lambda _: None)
    # No hook runs out here: a launch that was given up meanwhile would be another machine than the one that was seen.
    cloud = Cloud(machines, replace(QUICK, hook_second_s=1.0), lambda _: None)
    cloud.install()
    balancer_api.install(balancer.health_of, balancer.second_s)
    load_balancers.install()
    cloud.start()
    try:
        yield Site(cloud.endpoint, machines)
    finally:
        cloud.stop()


def test_machines_start_in_their_role_with_the_apis_fixed_address(site: Site) -> None:
    outputs = site.make(site.parameters())
    assert outputs["ApiEndpoint"] == f"{API_ADDRESS}:6443"
    (control_plane,) = site.launched(outputs["ControlPlaneGroup"], 1)
    workers = site.launched(outputs["WorkerGroup"])
    boot = "exec python3 /opt/regrow/node/boot.py --cluster drill"
    target_group, group = outputs["ApiTargetGroupArn"], outputs["ControlPlaneGroup"]
    role = "--role control-plane"
    assert site.user_data(control_plane).splitlines() == [
        "#!/bin/sh",
        "set -eu",
        f"{boot} {role} --endpoint {API_ADDRESS}:6443 --target-group {target_group} --group {group}",
    ]
    assert site.user_data(workers[0]).splitlines()[2] == f"{boot} --role worker --endpoint {API_ADDRESS}:6443"
    assert site.machines.running() == {control_plane, *workers}


def test_machines_bear_their_cluster_and_role(site: Site) -> None:
    outputs = site.make(site.parameters())
    workers = site.launched(outputs["WorkerGroup"])
    described = site.client("ec2").describe_instances(InstanceIds=workers[:1])["Reservations"][0]["Instances"][0]
    tags = {tag["Key"]: tag["Value"] for tag in described["Tags"]}
    assert (tags["regrow:cluster"], tags["regrow:role"]) == ("drill", "worker")


@pytest.mark.parametrize(("market", "lifecycle"), [("on-demand", None), ("spot", "spot")])
def test_workers_alone_are_spot_instances_where_that_is_asked_for(
    site: Site, market: str, lifecycle: str | None
) -> None:
    outputs = site.make(site.parameters(WorkerMarket=market))
    workers = site.launched(outputs["WorkerGroup"])
    (control_plane,) = site.launched(outputs["ControlPlaneGroup"], 1)
    described = site.client("ec2").describe_instances(InstanceIds=[*workers, control_plane])["Reservations"]
    lifecycles = {
        instance["InstanceId"]: instance.get("InstanceLifecycle")
        for reservation in described
        for instance in reservation["Instances"]
    }
    assert lifecycles == {**dict.fromkeys(workers, lifecycle), control_plane: None}


def hooks_of(site: Site, group: str) -> dict[str, tuple[str, int, str]]:
    """Name -> transition, seconds, and what follows when nobody answers in that time."""
    found = site.client("autoscaling").describe_lifecycle_hooks(AutoScalingGroupName=group)["LifecycleHooks"]
    return {
        hook["LifecycleHookName"]: (
            hook["LifecycleTransition"].removeprefix("autoscaling:EC2_INSTANCE_"),
            hook["HeartbeatTimeout"],
            hook["DefaultResult"],
        )
        for hook in found
    }


def test_both_groups_hold_a_leaving_and_an_arriving_machine_until_they_are_told(site: Site) -> None:
    """A control plane that nobody answers for is kept, with its data."""
    times = {"LaunchHookTimeoutSeconds": "150", "ControlPlaneLaunchHookTimeoutSeconds": "600"}
    outputs = site.make(site.parameters(TerminateHookTimeoutSeconds="120", **times))
    assert hooks_of(site, outputs["ControlPlaneGroup"]) == {
        "regrow-terminate": ("TERMINATING", 120, "ABANDON"),
        "regrow-launch": ("LAUNCHING", 600, "ABANDON"),
    }
    assert hooks_of(site, outputs["WorkerGroup"]) == {
        "regrow-terminate": ("TERMINATING", 120, "CONTINUE"),
        "regrow-launch": ("LAUNCHING", 150, "ABANDON"),
    }


def test_the_very_first_worker_is_held_until_it_is_let_go_on(site: Site) -> None:
    outputs = site.make(site.parameters())
    first, second = site.launched(outputs["WorkerGroup"])
    site.client("autoscaling").complete_lifecycle_action(
        AutoScalingGroupName=outputs["WorkerGroup"],
        LifecycleHookName="regrow-launch",
        InstanceId=first,
        LifecycleActionResult="CONTINUE",
    )
    assert eventually(lambda: site.members(outputs["WorkerGroup"])) == [first]
    assert site.members(outputs["WorkerGroup"], state="Pending:Wait") == [second]


def test_the_api_is_behind_a_private_balancer_that_asks_whether_it_is_ready(site: Site) -> None:
    outputs = site.make(site.parameters(HealthCheckIntervalSeconds="5"))
    elb = site.client("elbv2")
    (balancer,) = elb.describe_load_balancers(LoadBalancerArns=[outputs["LoadBalancerArn"]])["LoadBalancers"]
    assert (balancer["Type"], balancer["Scheme"]) == ("network", "internal")
    (group,) = elb.describe_target_groups(TargetGroupArns=[outputs["ApiTargetGroupArn"]])["TargetGroups"]
    assert (group["HealthCheckProtocol"], group["HealthCheckPath"]) == ("HTTPS", "/readyz")
    assert group["HealthCheckIntervalSeconds"] == 5
    found = elb.describe_target_group_attributes(TargetGroupArn=outputs["ApiTargetGroupArn"])["Attributes"]
    attributes = {entry["Key"]: entry["Value"] for entry in found}
    assert attributes["preserve_client_ip.enabled"] == "false"
    assert attributes["target_health_state.unhealthy.connection_termination.enabled"] == "false"


def test_without_a_fixed_address_the_balancers_name_is_the_endpoint(site: Site) -> None:
    host = site.make(site.parameters(ApiAddress=""))["ApiEndpoint"].rpartition(":")[0]
    with pytest.raises(ValueError, match="does not appear to be an IPv4 or IPv6 address"):
        ipaddress.ip_address(host)


def test_a_removed_cluster_leaves_no_machine_running(site: Site) -> None:
    outputs = site.make(site.parameters())
    site.launched(outputs["WorkerGroup"])
    remove_stack(site.client("cloudformation"), STACK, lambda _: None)
    eventually(lambda: not site.machines.running())
