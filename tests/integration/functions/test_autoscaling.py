"""Auto Scaling tells the cluster's groups; other clusters' and unmanaged groups are never seen."""

from __future__ import annotations

from functions.cluster.machine import InstanceId, Role, Transition
from functions.edges.autoscaling import AutoScalingEdge
from tests.integration.functions.conftest import Clients
from tests.integration.functions.surroundings import a_group
from tests.unit.functions.builders import CLUSTER, WORKERS


def test_a_group_is_shown_with_its_size_members_role_and_target_groups(clients: Clients) -> None:
    vpc = clients("ec2").describe_vpcs()["Vpcs"][0]["VpcId"]
    made = clients("elbv2").create_target_group(Name="web", Protocol="TCP", Port=80, VpcId=vpc)
    target_group = made["TargetGroups"][0]["TargetGroupArn"]
    instances = a_group(clients, TargetGroupARNs=[target_group])
    (seen,) = AutoScalingEdge(clients("autoscaling")).groups(CLUSTER)
    assert (seen.name, seen.cluster, seen.role, seen.desired) == (WORKERS, CLUSTER, Role.WORKER, 2)
    assert seen.target_groups == (target_group,)
    assert [(one.id, one.in_service) for one in seen.members] == [(one, True) for one in instances]


def test_groups_of_another_cluster_are_not_seen(clients: Clients) -> None:
    a_group(clients, name="other-worker", cluster="other")
    assert AutoScalingEdge(clients("autoscaling")).groups(CLUSTER) == ()


def test_all_pages_of_groups_are_read(clients: Clients) -> None:
    for number in range(101):
        a_group(clients, name=f"group-{number:03}", size=0)
    assert len(AutoScalingEdge(clients("autoscaling")).groups(CLUSTER)) == 101


def test_an_instance_that_waits_in_no_hook_is_left_alone(clients: Clients) -> None:
    one = InstanceId(a_group(clients)[0])
    edge = AutoScalingEdge(clients("autoscaling"))
    edge.complete_hooks(one, WORKERS, Transition.TERMINATING)
    edge.complete_hooks(InstanceId("i-0123456789abcdef0"), WORKERS, Transition.TERMINATING)
    (group,) = edge.groups(CLUSTER)
    assert [member.in_service for member in group.members] == [True, True]
