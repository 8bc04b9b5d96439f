"""An instance is taken out of a target group; one that is not in it, or a target group that is gone, is success."""

from __future__ import annotations

from typing import Any

import pytest

from functions.cluster.machine import InstanceId
from functions.edges.load_balancing import LoadBalancingEdge
from tests.integration.functions.conftest import Clients
from tests.integration.functions.surroundings import a_group


@pytest.fixture
def balanced(clients: Clients) -> tuple[Any, str, list[InstanceId]]:
    """A target group with both instances of a group in it."""
    elb = clients("elbv2")
    vpc = clients("ec2").describe_vpcs()["Vpcs"][0]["VpcId"]
    made = elb.create_target_group(Name="web", Protocol="TCP", Port=80, VpcId=vpc)
    target_group = str(made["TargetGroups"][0]["TargetGroupArn"])
    instances = [InstanceId(one) for one in a_group(clients, TargetGroupARNs=[target_group])]
    return elb, target_group, instances


def registered(elb: Any, target_group: str) -> set[str]:
    found = elb.describe_target_health(TargetGroupArn=target_group)["TargetHealthDescriptions"]
    return {one["Target"]["Id"] for one in found if one["TargetHealth"]["State"] != "draining"}


def test_the_instance_alone_is_deregistered_and_again_is_success(balanced: Any) -> None:
    elb, target_group, (one, other) = balanced
    for _ in range(2):
        LoadBalancingEdge(elb).deregister(one, target_group)
    assert registered(elb, target_group) == {other}


def test_a_target_group_that_is_gone_is_success(balanced: Any) -> None:
    elb, target_group, (one, _) = balanced
    elb.delete_target_group(TargetGroupArn=target_group)
    LoadBalancingEdge(elb).deregister(one, target_group)
    assert elb.describe_target_groups()["TargetGroups"] == []
