"""Where an instance is a target, and taking it out; what is not there any more is success."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from functions.cluster.machine import InstanceId, Target
from functions.edges.load_balancing import LoadBalancingEdge
from tests.integration.functions.conftest import Clients
from tests.integration.functions.surroundings import a_group

CLASSIC = "old-web"


@pytest.fixture
def edge(clients: Clients) -> LoadBalancingEdge:
    return LoadBalancingEdge(clients("elbv2"), clients("elb"))


@pytest.fixture
def balanced(clients: Clients) -> tuple[str, list[InstanceId]]:
    """A target group and a classic load balancer with both instances of a group in them."""
    elb = clients("elbv2")
    vpc = clients("ec2").describe_vpcs()["Vpcs"][0]["VpcId"]
    made = elb.create_target_group(Name="web", Protocol="TCP", Port=80, VpcId=vpc)
    target_group = str(made["TargetGroups"][0]["TargetGroupArn"])
    listener = {"Protocol": "tcp", "LoadBalancerPort": 80, "InstancePort": 80}
    classic = clients("elb")
    classic.create_load_balancer(LoadBalancerName=CLASSIC, Listeners=[listener], AvailabilityZones=["us-east-1a"])
    instances = [InstanceId(one) for one in a_group(clients, TargetGroupARNs=[target_group])]
    named = [{"InstanceId": one} for one in instances]
    classic.register_instances_with_load_balancer(LoadBalancerName=CLASSIC, Instances=named)
    return target_group, instances


def in_target_group(clients: Clients, target_group: str) -> set[str]:
    found = clients("elbv2").describe_target_health(TargetGroupArn=target_group)["TargetHealthDescriptions"]
    return {one["Target"]["Id"] for one in found if one["TargetHealth"]["State"] != "draining"}


def in_classic(clients: Clients) -> set[str]:
    (found,) = clients("elb").describe_load_balancers(LoadBalancerNames=[CLASSIC])["LoadBalancerDescriptions"]
    return {one["InstanceId"] for one in found["Instances"]}


def test_the_instance_alone_is_deregistered_and_again_is_success(
    clients: Clients, edge: LoadBalancingEdge, balanced: tuple[str, list[InstanceId]]
) -> None:
    target_group, (one, other) = balanced
    for load_balancer in (target_group, CLASSIC) * 2:
        edge.deregister(one, load_balancer)
    assert in_target_group(clients, target_group) == {other}
    assert in_classic(clients) == {other}


def test_a_machine_that_was_taken_out_is_put_back_and_again_is_success(
    clients: Clients, edge: LoadBalancingEdge, balanced: tuple[str, list[InstanceId]]
) -> None:
    target_group, (one, other) = balanced
    for load_balancer in (target_group, CLASSIC):
        edge.deregister(one, load_balancer)
        edge.register(one, load_balancer)
        edge.register(one, load_balancer)
    assert in_target_group(clients, target_group) == {one, other}
    assert in_classic(clients) == {one, other}


def test_a_machine_is_known_to_be_a_target_wherever_it_is_one(
    edge: LoadBalancingEdge, balanced: tuple[str, list[InstanceId]]
) -> None:
    target_group, (one, _) = balanced
    assert edge.targets(one, (target_group, CLASSIC)) == (Target(target_group), Target(CLASSIC))
    edge.deregister(one, CLASSIC)
    assert edge.targets(one, (target_group, CLASSIC)) == (Target(target_group),)


@pytest.mark.parametrize(
    ("health", "found"),
    [
        ({"State": "draining", "Reason": "Target.DeregistrationInProgress"}, [True]),
        ({"State": "healthy"}, [False]),
        ({"State": "unhealthy", "Reason": "Target.FailedHealthChecks"}, [False]),
        ({"State": "unused", "Reason": "Target.NotInUse"}, [False]),
        ({"State": "unused", "Reason": "Target.NotRegistered"}, []),
    ],
)
def test_a_target_that_drains_is_told_from_one_that_serves_and_one_that_is_none(
    clients: Clients, health: dict[str, str], found: list[bool]
) -> None:
    class Answers:
        def describe_target_health(self, **_: Any) -> dict[str, Any]:
            return {"TargetHealthDescriptions": [{"Target": {"Id": "i-0"}, "TargetHealth": health}]}

    targets = LoadBalancingEdge(Answers(), clients("elb")).targets(InstanceId("i-0"), ("arn:aws:web",))
    assert [target.draining for target in targets] == found


def test_a_target_group_that_is_gone_is_success(
    clients: Clients, edge: LoadBalancingEdge, balanced: tuple[str, list[InstanceId]]
) -> None:
    target_group, (one, _) = balanced
    clients("elbv2").delete_target_group(TargetGroupArn=target_group)
    edge.deregister(one, target_group)
    assert edge.targets(one, (target_group,)) == ()


@pytest.mark.parametrize("said", ["LoadBalancerNotFound", "InvalidInstance"])
def test_a_classic_load_balancer_or_a_registration_that_is_gone_is_success(clients: Clients, said: str) -> None:
    asked: list[str] = []

    class Gone:
        def __getattr__(self, operation: str) -> Any:
            def refuse(**_: Any) -> None:
                asked.append(operation)
                raise ClientError({"Error": {"Code": said, "Message": "gone"}}, operation)

            return refuse

    edge = LoadBalancingEdge(clients("elbv2"), Gone())
    edge.deregister(InstanceId("i-0"), CLASSIC)
    assert edge.targets(InstanceId("i-0"), (CLASSIC,)) == ()
    assert asked == ["deregister_instances_from_load_balancer", "describe_instance_health"]
