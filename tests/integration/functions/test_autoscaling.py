"""Auto Scaling tells the cluster's groups; other clusters' and unmanaged groups are never seen."""

from __future__ import annotations

import pytest

from functions.cluster.machine import (
    PAUSE_TAG,
    SUSPENDED_BECAUSE_TAG,
    SUSPENDED_UNTIL_TAG,
    InstanceId,
    Role,
    Transition,
)
from functions.edges.autoscaling import AutoScalingEdge
from tests.integration.functions.conftest import Clients
from tests.integration.functions.surroundings import a_group
from tests.unit.functions.builders import CLUSTER, NOW, WORKERS


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


def test_a_suspended_group_says_until_when_and_resumes_with_no_trace(clients: Clients) -> None:
    a_group(clients)
    edge = AutoScalingEdge(clients("autoscaling"))
    edge.suspend_launch(WORKERS, "3 launches in a row: it has no token, 0:08:00 after its launch (é!)", until=NOW)
    (group,) = edge.groups(CLUSTER)
    assert (group.suspended, group.launch_suspended_until) == (frozenset({"Launch"}), NOW)
    tags = clients("autoscaling").describe_tags()["Tags"]
    (why,) = [tag["Value"] for tag in tags if tag["Key"] == SUSPENDED_BECAUSE_TAG]
    assert why == "3 launches in a row: it has no token  0:08:00 after its launch     "
    edge.resume_launch(WORKERS)
    (group,) = edge.groups(CLUSTER)
    assert (group.suspended, group.launch_suspended_until, group.role) == (frozenset(), None, Role.WORKER)


@pytest.mark.parametrize("text", ["", "tomorrow", "2026-11-21"])
def test_a_time_that_a_person_made_unreadable_is_no_time(clients: Clients, text: str) -> None:
    a_group(clients)
    tag = {"ResourceId": WORKERS, "ResourceType": "auto-scaling-group", "PropagateAtLaunch": False}
    clients("autoscaling").create_or_update_tags(Tags=[tag | {"Key": SUSPENDED_UNTIL_TAG, "Value": text}])
    (group,) = AutoScalingEdge(clients("autoscaling")).groups(CLUSTER)
    assert group.launch_suspended_until is None


def test_a_groups_opt_out_is_shown_as_a_person_wrote_it(clients: Clients) -> None:
    a_group(clients)
    edge = AutoScalingEdge(clients("autoscaling"))
    assert [group.pause_until for group in edge.groups(CLUSTER)] == [None]
    tag = {"ResourceId": WORKERS, "ResourceType": "auto-scaling-group", "PropagateAtLaunch": False}
    text = "2026-11-21T18:00:00Z the racks are moved"
    clients("autoscaling").create_or_update_tags(Tags=[tag | {"Key": PAUSE_TAG, "Value": text}])
    assert [group.pause_until for group in edge.groups(CLUSTER)] == [text]
