"""What drills do to groups, templates, hooks and parameters works on AWS's APIs, and is undone to the letter."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from infra.local.cluster import Cluster
from infra.local.drills.acts import protected, set_capacity
from infra.local.drills.announcing import spot_workers
from infra.local.drills.foreign import foreign_group
from infra.local.drills.groundwork import spot_members
from infra.local.drills.held import hook_timeout
from infra.local.drills.joining import see_bundles
from infra.local.drills.never_joining import (
    SUSPENDED_UNTIL,
    WRONG_PATH,
    faulty_user_data,
    resume,
)
from infra.local.drills.stopping import not_replaced
from infra.local.drills.targets import target_group
from infra.local.places import WorldPlace
from infra.local.worlds.world import World
from tests.integration.cloud.machines.fleet import Fleet
from tests.integration.cloud.machines.rig import Aws, eventually

NAME = "t"
USER_DATA = "#!/bin/sh\nexec python3 /opt/regrow/node/boot.py --cluster t --role worker\n"


@dataclass(frozen=True)
class Session:
    aws: Aws

    def client(self, service: str) -> Any:
        return self.aws.client(service)


@pytest.fixture
def cluster(aws: Aws, tmp_path: Path) -> Cluster:
    """Two workers in service, in a group with both hooks, as the cluster's template makes it."""
    ec2 = aws.client("ec2")
    data = {
        "ImageId": "ami-0abcdef1234567890",
        "InstanceType": "t3.medium",
        "UserData": base64.b64encode(USER_DATA.encode()).decode(),
    }
    ec2.create_launch_template(LaunchTemplateName="workers", LaunchTemplateData=data)
    ec2.create_tags(Resources=[aws.vpc], Tags=[{"Key": "Name", "Value": "regrow"}])
    cluster = Cluster(World(WorldPlace(tmp_path, NAME), 0), Session(aws))
    fleet = Fleet(cluster.worker_group, aws.client("autoscaling"))
    fleet.api.create_auto_scaling_group(
        AutoScalingGroupName=fleet.name,
        MinSize=0,
        MaxSize=5,
        DesiredCapacity=2,
        LaunchTemplate={"LaunchTemplateName": "workers", "Version": "1"},
        VPCZoneIdentifier=",".join(aws.subnets),
        Tags=[{"Key": "regrow:cluster", "Value": NAME, "PropagateAtLaunch": True}],
    )
    fleet.wait_in_service(2)
    fleet.put_hook("regrow-launch", "LAUNCHING", 600, DefaultResult="ABANDON")
    fleet.put_hook("regrow-terminate", "TERMINATING", 600, DefaultResult="CONTINUE")
    return cluster


def group(cluster: Cluster) -> dict[str, Any]:
    return {key: value for key, value in cluster.workers().items() if key != "Instances"}


def hooks(cluster: Cluster) -> list[dict[str, Any]]:
    api = cluster.client("autoscaling")
    described: list[dict[str, Any]] = api.describe_lifecycle_hooks(AutoScalingGroupName=cluster.worker_group)[
        "LifecycleHooks"
    ]
    return described


def test_the_one_that_is_not_protected_leaves(cluster: Cluster) -> None:
    first, second = sorted(cluster.members()[0])
    with protected(cluster, [second]):
        set_capacity(cluster, 1)
        eventually(lambda: cluster.members()[0].get(first) == "Terminating:Wait")
        assert cluster.members()[0][second] == "InService"
    assert not any(member["ProtectedFromScaleIn"] for member in cluster.workers()["Instances"])


def test_machines_launched_meanwhile_have_the_fault_and_those_after_have_not(aws: Aws, cluster: Cluster) -> None:
    before, workers = group(cluster), set(cluster.members()[0])
    with faulty_user_data(cluster):
        set_capacity(cluster, 3)
        (faulty,) = eventually(lambda: set(cluster.members()[0]) - workers)
    set_capacity(cluster, 4)
    (right,) = eventually(lambda: set(cluster.members()[0]) - workers - {faulty})
    assert WRONG_PATH in user_data(aws, faulty)
    assert user_data(aws, right) == USER_DATA
    assert group(cluster) == {**before, "DesiredCapacity": 4}


def test_workers_that_are_spot_instances_for_a_while_boot_like_all_others(cluster: Cluster, aws: Aws) -> None:
    before, workers = group(cluster), set(cluster.members()[0])
    with spot_workers(cluster):
        set_capacity(cluster, 3)
        (spot,) = eventually(lambda: set(cluster.members()[0]) - workers)
    assert user_data(aws, spot) == USER_DATA
    eventually(lambda: spot_members(cluster) == [spot])
    assert group(cluster) == {**before, "DesiredCapacity": 3}


def test_a_worker_that_is_stopped_is_not_replaced_meanwhile(cluster: Cluster, aws: Aws) -> None:
    before, members = group(cluster), cluster.members()
    with not_replaced(cluster):
        machine = min(members[0])
        aws.client("ec2").stop_instances(InstanceIds=[machine])
        eventually(lambda: aws.instance(machine)["State"]["Name"] == "stopped")
        aws.client("ec2").start_instances(InstanceIds=[machine])
        eventually(lambda: aws.instance(machine)["State"]["Name"] == "running")
    assert cluster.members() == members
    assert group(cluster) == before


def user_data(aws: Aws, machine: str) -> str:
    shown = aws.client("ec2").describe_instance_attribute(InstanceId=machine, Attribute="userData")
    return base64.b64decode(shown["UserData"]["Value"]).decode()


def test_a_resumed_group_launches_and_has_no_tag_that_says_otherwise(cluster: Cluster) -> None:
    before, api = group(cluster), cluster.client("autoscaling")
    api.suspend_processes(AutoScalingGroupName=cluster.worker_group, ScalingProcesses=["Launch"])
    tag = {"ResourceId": cluster.worker_group, "ResourceType": "auto-scaling-group", "PropagateAtLaunch": False}
    api.create_or_update_tags(Tags=[{**tag, "Key": SUSPENDED_UNTIL, "Value": "2026-01-01T13:00:00Z"}])
    assert group(cluster) != before
    resume(cluster)
    resume(cluster)  # nothing to resume is no error
    assert group(cluster) == before


def test_the_workers_are_behind_the_drills_target_group_as_long_as_it_is_there(cluster: Cluster) -> None:
    before = group(cluster)
    with target_group(cluster) as targets:
        first, second = sorted(cluster.members()[0])
        assert targets.machines() == {first, second}
        with protected(cluster, [second]):
            set_capacity(cluster, 1)
            eventually(lambda: targets.machines() == {second})
    assert group(cluster) == {**before, "DesiredCapacity": 1}
    assert cluster.client("elbv2").describe_target_groups()["TargetGroups"] == []


def test_only_the_terminate_hook_is_shorter_for_a_while(cluster: Cluster) -> None:
    before = hooks(cluster)
    with hook_timeout(cluster, 40):
        timeouts = {hook["LifecycleHookName"]: hook["HeartbeatTimeout"] for hook in hooks(cluster)}
    assert timeouts == {"regrow-launch": 600, "regrow-terminate": 40}
    assert hooks(cluster) == before


def test_the_strangers_machine_is_the_workers_twin_without_the_clusters_tag(aws: Aws, cluster: Cluster) -> None:
    with foreign_group(cluster) as foreign:
        machine = eventually(lambda: next(iter(foreign.members()), ""))
        eventually(lambda: foreign.state(machine) == "Pending:Wait")
        assert user_data(aws, machine) == USER_DATA
        assert "regrow:cluster" not in {tag["Key"] for tag in aws.instance(machine)["Tags"]}
        foreign.complete(machine, "arrives")
        eventually(lambda: foreign.state(machine) == "InService")
        foreign.scale(0)
        eventually(lambda: foreign.state(machine) == "Terminating:Wait")
        foreign.complete(machine, "leaves")
        eventually(lambda: foreign.state(machine) == "gone")
        assert aws.state(machine) == "terminated"
    eventually(lambda: not foreign.members())
    assert set(cluster.members()[0]) <= aws.machines.running()


def test_bundles_are_seen_by_their_names_and_other_parameters_are_not(cluster: Cluster) -> None:
    ssm = cluster.client("ssm")
    assert see_bundles(cluster) == ()
    for name in ("join/i-1", "kubeconfig/mint", "initialised-by"):
        ssm.put_parameter(Name=f"/regrow/{NAME}/{name}", Value="x", Type="String")
    assert see_bundles(cluster) == (f"/regrow/{NAME}/join/i-1",)
    assert cluster.initialised_by() == "x"
