"""A group keeps its capacity with real machines, whatever happens to them."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra.local.cloud.delays import Delays
from tests.integration.cloud.machines.fleet import Fleet
from tests.integration.cloud.machines.rig import QUICK, Aws, eventually, never


def test_a_group_launches_its_capacity_over_its_zones(aws: Aws) -> None:
    fleet = Fleet.of(aws, size=4)
    members = fleet.wait_in_service(4)
    assert Counter(member["AvailabilityZone"] for member in members) == {"us-east-1a": 2, "us-east-1b": 2}
    assert {member["InstanceId"] for member in members} == aws.machines.running()


def test_machines_of_a_group_carry_its_tags_and_template(aws: Aws) -> None:
    fleet = Fleet.of(aws, size=1)
    member = fleet.wait_in_service(1)[0]
    tags = {tag["Key"]: tag["Value"] for tag in aws.instance(member["InstanceId"])["Tags"]}
    assert tags["aws:autoscaling:groupName"] == fleet.name
    assert tags["regrow:role"] == "worker"
    assert "private" not in tags
    assert member["LaunchTemplate"]["Version"] == "1"
    assert aws.machines.specs[member["InstanceId"]].role_hint == "worker"


def test_a_machine_killed_behind_the_groups_back_is_replaced(aws: Aws) -> None:
    fleet = Fleet.of(aws, size=2)
    killed = fleet.wait_in_service(2)[0]["InstanceId"]
    aws.client("ec2").terminate_instances(InstanceIds=[killed], SkipOsShutdown=True)
    eventually(lambda: killed not in fleet.ids())
    assert killed not in {member["InstanceId"] for member in fleet.wait_in_service(2)}
    eventually(lambda: aws.events_of("EC2 Instance Terminate Successful", killed))


def test_a_stopped_machine_is_terminated_and_replaced(aws: Aws) -> None:
    fleet = Fleet.of(aws, size=1)
    stopped = fleet.wait_in_service(1)[0]["InstanceId"]
    aws.client("ec2").stop_instances(InstanceIds=[stopped])
    eventually(lambda: fleet.ids() and stopped not in fleet.ids())
    assert aws.state(stopped) == "terminated"


def test_scaling_in_ends_the_oldest_of_the_fuller_zone(aws: Aws) -> None:
    fleet = Fleet.of(aws, size=3)
    fleet.wait_in_service(3)
    fleet.scale(2)
    assert {member["AvailabilityZone"] for member in fleet.wait_in_service(2)} == {"us-east-1a", "us-east-1b"}
    eventually(lambda: len(aws.machines.running()) == 2)


def test_a_protected_machine_is_not_scaled_in(aws: Aws) -> None:
    fleet = Fleet.of(aws, size=2, minimum=0)
    protected = fleet.wait_in_service(2)[0]["InstanceId"]
    fleet.api.set_instance_protection(
        AutoScalingGroupName=fleet.name, InstanceIds=[protected], ProtectedFromScaleIn=True
    )
    fleet.scale(0)
    eventually(lambda: fleet.ids() == {protected})
    never(lambda: fleet.ids() != {protected})


def test_capacity_outside_the_limits_is_refused(aws: Aws) -> None:
    fleet = Fleet.of(aws, size=1)
    with pytest.raises(ClientError, match="above max value 5"):
        fleet.scale(6)


def test_terminate_in_group_with_decrement_does_not_replace(aws: Aws) -> None:
    fleet = Fleet.of(aws, size=2)
    ended = fleet.wait_in_service(2)[0]["InstanceId"]
    activity = fleet.api.terminate_instance_in_auto_scaling_group(
        InstanceId=ended, ShouldDecrementDesiredCapacity=True
    )["Activity"]
    assert activity["Description"] == f"Terminating EC2 instance: {ended}"
    eventually(lambda: len(fleet.ids()) == 1)
    assert fleet.group()["DesiredCapacity"] == 1
    assert ("shutdown", ended, QUICK.os_shutdown_grace_s) in aws.machines.calls


def test_decrement_below_the_least_is_refused(aws: Aws) -> None:
    fleet = Fleet.of(aws, size=1, minimum=1)
    only = fleet.wait_in_service(1)[0]["InstanceId"]
    with pytest.raises(ClientError, match="desiredSize equals minSize"):
        fleet.api.terminate_instance_in_auto_scaling_group(InstanceId=only, ShouldDecrementDesiredCapacity=True)
    assert fleet.ids() == {only}


def test_an_unhealthy_machine_is_replaced(aws: Aws) -> None:
    fleet = Fleet.of(aws, size=1)
    ill = fleet.wait_in_service(1)[0]["InstanceId"]
    fleet.api.set_instance_health(InstanceId=ill, HealthStatus="Unhealthy")
    eventually(lambda: fleet.ids() and ill not in fleet.ids())


def test_the_grace_period_holds_back_a_call_that_respects_it(aws: Aws) -> None:
    fleet = Fleet.of(aws, size=1, HealthCheckGracePeriod=300)
    young = fleet.wait_in_service(1)[0]["InstanceId"]
    fleet.api.set_instance_health(InstanceId=young, HealthStatus="Unhealthy")
    never(lambda: fleet.ids() != {young})
    fleet.api.set_instance_health(InstanceId=young, HealthStatus="Unhealthy", ShouldRespectGracePeriod=False)
    eventually(lambda: fleet.ids() and young not in fleet.ids())


@pytest.mark.parametrize("process", ["HealthCheck", "ReplaceUnhealthy", "Terminate"])
def test_a_suspended_process_leaves_a_dead_machine_alone_until_resumed(aws: Aws, process: str) -> None:
    fleet = Fleet.of(aws, size=1)
    dead = fleet.wait_in_service(1)[0]["InstanceId"]
    fleet.api.suspend_processes(AutoScalingGroupName=fleet.name, ScalingProcesses=[process])
    aws.client("ec2").terminate_instances(InstanceIds=[dead])
    eventually(lambda: aws.state(dead) == "terminated")
    never(lambda: fleet.ids() != {dead})
    fleet.api.resume_processes(AutoScalingGroupName=fleet.name, ScalingProcesses=[process])
    eventually(lambda: fleet.ids() and dead not in fleet.ids())


def test_a_suspended_launch_replaces_nothing_until_resumed(aws: Aws) -> None:
    fleet = Fleet.of(aws, size=1)
    dead = fleet.wait_in_service(1)[0]["InstanceId"]
    fleet.api.suspend_processes(AutoScalingGroupName=fleet.name, ScalingProcesses=["Launch"])
    aws.client("ec2").terminate_instances(InstanceIds=[dead])
    eventually(lambda: not fleet.ids())
    never(lambda: fleet.ids())
    fleet.api.resume_processes(AutoScalingGroupName=fleet.name)
    fleet.wait_in_service(1)


def test_a_suspended_launch_does_not_grow_the_group_and_is_described(aws: Aws) -> None:
    fleet = Fleet.of(aws, size=1)
    fleet.wait_in_service(1)
    fleet.api.suspend_processes(AutoScalingGroupName=fleet.name, ScalingProcesses=["Launch"])
    assert [each["ProcessName"] for each in fleet.group()["SuspendedProcesses"]] == ["Launch"]
    fleet.scale(2)
    never(lambda: len(fleet.ids()) != 1)
    fleet.api.resume_processes(AutoScalingGroupName=fleet.name, ScalingProcesses=["Launch"])
    fleet.wait_in_service(2)
    assert not fleet.group()["SuspendedProcesses"]


def test_tags_put_on_a_group_are_described_changed_and_taken_off(aws: Aws) -> None:
    fleet = Fleet.of(aws, size=0)
    of_group = {"ResourceId": fleet.name, "ResourceType": "auto-scaling-group"}

    def described(key: str) -> list[str]:
        return [tag["Value"] for tag in fleet.group()["Tags"] if tag["Key"] == key]

    for value in ("until noon", "until one"):
        fleet.api.create_or_update_tags(
            Tags=[{**of_group, "Key": "regrow:launch-suspended", "Value": value, "PropagateAtLaunch": False}]
        )
        assert described("regrow:launch-suspended") == [value]
    fleet.scale(1)
    member = fleet.wait_in_service(1)[0]["InstanceId"]
    assert "regrow:launch-suspended" not in {tag["Key"] for tag in aws.instance(member)["Tags"]}
    fleet.api.delete_tags(Tags=[{**of_group, "Key": "regrow:launch-suspended"}])
    assert described("regrow:launch-suspended") == []
    assert described("regrow:role") == ["worker"]


def test_an_unknown_group_is_told_as_aws_tells_it(aws: Aws) -> None:
    api = aws.client("autoscaling")
    tag = {"ResourceId": "nobody", "ResourceType": "auto-scaling-group", "Key": "k"}
    calls: list[Callable[[], Any]] = [
        lambda: api.suspend_processes(AutoScalingGroupName="nobody"),
        lambda: api.resume_processes(AutoScalingGroupName="nobody"),
        lambda: api.create_or_update_tags(Tags=[{**tag, "Value": "v", "PropagateAtLaunch": False}]),
        lambda: api.delete_tags(Tags=[tag]),
    ]
    for call in calls:
        with pytest.raises(ClientError) as refused:
            call()
        assert refused.value.response["Error"]["Code"] == "ValidationError"


def test_a_failed_launch_is_told_and_tried_again(aws: Aws) -> None:
    aws.machines.broken = True
    fleet = Fleet.of(aws, size=1)
    failed = eventually(lambda: aws.events_of("EC2 Instance Launch Unsuccessful"))[0]
    assert failed["detail"]["StatusCode"] == "Failed"
    aws.machines.broken = False
    fleet.wait_in_service(1)
    outcomes = [activity["StatusCode"] for activity in fleet.activities()]
    assert outcomes[0] == "Successful"
    assert "Failed" in outcomes


def test_launch_and_termination_are_told_as_documented(aws: Aws) -> None:
    fleet = Fleet.of(aws, size=1, minimum=0)
    instance_id = fleet.wait_in_service(1)[0]["InstanceId"]
    launched = eventually(lambda: aws.events_of("EC2 Instance Launch Successful", instance_id))[0]
    assert launched["source"] == "aws.autoscaling"
    assert launched["resources"][0] == fleet.group()["AutoScalingGroupARN"]
    assert launched["detail"]["Description"] == f"Launching a new EC2 instance: {instance_id}"
    assert launched["detail"]["Details"] == {"Availability Zone": "us-east-1a", "Subnet ID": aws.subnets[0]}
    assert (launched["detail"]["Origin"], launched["detail"]["Destination"]) == ("EC2", "AutoScalingGroup")
    fleet.scale(0)
    ended = eventually(lambda: aws.events_of("EC2 Instance Terminate Successful", instance_id))[0]
    assert (ended["detail"]["Origin"], ended["detail"]["Destination"]) == ("AutoScalingGroup", "EC2")


def test_standby_with_replacement_and_back(aws: Aws) -> None:
    fleet = Fleet.of(aws, size=1)
    rested = fleet.wait_in_service(1)[0]["InstanceId"]
    fleet.api.enter_standby(AutoScalingGroupName=fleet.name, InstanceIds=[rested], ShouldDecrementDesiredCapacity=False)
    eventually(lambda: len(fleet.ids()) == 2)
    assert fleet.state(rested) == "Standby"
    fleet.api.exit_standby(AutoScalingGroupName=fleet.name, InstanceIds=[rested])
    fleet.wait_in_service(2)
    assert fleet.group()["DesiredCapacity"] == 2


def test_a_machine_in_standby_may_stop_and_come_back_and_is_judged_again_in_service(aws: Aws) -> None:
    fleet, ec2 = Fleet.of(aws, size=1), aws.client("ec2")
    rested = fleet.wait_in_service(1)[0]["InstanceId"]
    which = {"AutoScalingGroupName": fleet.name, "InstanceIds": [rested]}
    fleet.api.enter_standby(**which, ShouldDecrementDesiredCapacity=True)
    ec2.stop_instances(InstanceIds=[rested])
    eventually(lambda: aws.state(rested) == "stopped")
    never(lambda: fleet.state(rested) != "Standby")
    ec2.start_instances(InstanceIds=[rested])
    eventually(lambda: aws.state(rested) == "running")
    assert (fleet.ids(), fleet.state(rested)) == ({rested}, "Standby")
    ec2.stop_instances(InstanceIds=[rested])
    eventually(lambda: aws.state(rested) == "stopped")
    fleet.api.exit_standby(**which)
    eventually(lambda: fleet.ids() and rested not in fleet.ids())
    assert aws.state(rested) == "terminated"


def test_a_stopped_member_comes_back_as_it_was_when_health_checks_are_suspended(aws: Aws) -> None:
    fleet, ec2 = Fleet.of(aws, size=1), aws.client("ec2")
    member = fleet.wait_in_service(1)[0]["InstanceId"]
    address = aws.instance(member)["PrivateIpAddress"]
    processes = ["HealthCheck", "ReplaceUnhealthy", "AZRebalance", "Terminate"]
    fleet.api.suspend_processes(AutoScalingGroupName=fleet.name, ScalingProcesses=processes)
    ec2.stop_instances(InstanceIds=[member])
    eventually(lambda: aws.state(member) == "stopped")
    ec2.start_instances(InstanceIds=[member])
    eventually(lambda: aws.state(member) == "running")
    fleet.api.resume_processes(AutoScalingGroupName=fleet.name)
    never(lambda: fleet.ids() != {member} or fleet.state(member) != "InService")
    assert aws.instance(member)["PrivateIpAddress"] == address


def test_classic_load_balancers_hold_what_is_in_service(aws: Aws) -> None:
    elb = aws.client("elb")
    listener = {"Protocol": "TCP", "LoadBalancerPort": 80, "InstancePort": 80}
    elb.create_load_balancer(LoadBalancerName="old", Listeners=[listener], Subnets=[aws.subnets[0]])
    fleet = Fleet.of(aws, size=1, LoadBalancerNames=["old"])
    instance_id = fleet.wait_in_service(1)[0]["InstanceId"]

    def behind() -> list[str]:
        shown = elb.describe_load_balancers(LoadBalancerNames=["old"])["LoadBalancerDescriptions"][0]
        return [each["InstanceId"] for each in shown["Instances"]]

    assert fleet.group()["LoadBalancerNames"] == ["old"]
    assert behind() == [instance_id]
    for _ in range(2):  # again is no error
        elb.deregister_instances_from_load_balancer(LoadBalancerName="old", Instances=[{"InstanceId": instance_id}])
    assert behind() == []
    elb.register_instances_with_load_balancer(LoadBalancerName="old", Instances=[{"InstanceId": instance_id}])
    fleet.scale(0)
    eventually(lambda: not behind())
    with pytest.raises(ClientError, match="LoadBalancerNotFound"):
        elb.deregister_instances_from_load_balancer(LoadBalancerName="none", Instances=[{"InstanceId": instance_id}])


def test_a_killed_machine_is_behind_no_classic_load_balancer(aws: Aws) -> None:
    elb, alone = aws.client("elb"), aws.run()
    listener = {"Protocol": "TCP", "LoadBalancerPort": 80, "InstancePort": 80}
    elb.create_load_balancer(LoadBalancerName="old", Listeners=[listener], Subnets=[aws.subnets[0]])
    elb.register_instances_with_load_balancer(LoadBalancerName="old", Instances=[{"InstanceId": alone}])
    aws.client("ec2").terminate_instances(InstanceIds=[alone], SkipOsShutdown=True)
    eventually(lambda: not elb.describe_load_balancers()["LoadBalancerDescriptions"][0]["Instances"])


def test_a_detached_machine_lives_on_and_an_attached_one_is_kept(aws: Aws) -> None:
    fleet = Fleet.of(aws, size=1, minimum=0)
    detached = fleet.wait_in_service(1)[0]["InstanceId"]
    fleet.api.detach_instances(
        AutoScalingGroupName=fleet.name, InstanceIds=[detached], ShouldDecrementDesiredCapacity=True
    )
    never(lambda: fleet.ids())
    assert aws.state(detached) == "running"
    fleet.api.attach_instances(AutoScalingGroupName=fleet.name, InstanceIds=[detached])
    assert [member["InstanceId"] for member in fleet.wait_in_service(1)] == [detached]
    assert fleet.group()["DesiredCapacity"] == 1


def test_target_groups_hold_what_is_in_service(aws: Aws) -> None:
    elb = aws.client("elbv2")
    made = elb.create_target_group(Name="api", Protocol="TCP", Port=6443, VpcId=aws.vpc)
    arn = made["TargetGroups"][0]["TargetGroupArn"]
    fleet = Fleet.of(aws, size=1, minimum=0, TargetGroupARNs=[arn])
    instance_id = fleet.wait_in_service(1)[0]["InstanceId"]

    def targets() -> list[tuple[str, int]]:
        found = elb.describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"]
        return [(each["Target"]["Id"], each["Target"]["Port"]) for each in found]

    assert targets() == [(instance_id, 6443)]
    fleet.scale(0)
    eventually(lambda: not targets())


def test_policies_move_the_capacity_within_the_limits(aws: Aws) -> None:
    fleet = Fleet.of(aws, size=1)
    fleet.api.put_scaling_policy(
        AutoScalingGroupName=fleet.name,
        PolicyName="more",
        AdjustmentType="ChangeInCapacity",
        ScalingAdjustment=50,
    )
    fleet.api.execute_policy(AutoScalingGroupName=fleet.name, PolicyName="more")
    fleet.wait_in_service(5)


def test_a_group_in_use_is_deleted_only_by_force(aws: Aws) -> None:
    fleet = Fleet.of(aws, size=2)
    fleet.wait_in_service(2)
    with pytest.raises(ClientError) as refused:
        fleet.api.delete_auto_scaling_group(AutoScalingGroupName=fleet.name)
    assert refused.value.response["Error"]["Code"] == "ResourceInUse"
    fleet.api.delete_auto_scaling_group(AutoScalingGroupName=fleet.name, ForceDelete=True)
    eventually(lambda: not fleet.api.describe_auto_scaling_groups()["AutoScalingGroups"])
    assert not aws.machines.running()


def test_instances_are_described_page_by_page(aws: Aws) -> None:
    fleet = Fleet.of(aws, size=3)
    fleet.wait_in_service(3)
    seen: list[str] = []
    more: dict[str, Any] = {}
    while True:
        page = fleet.api.describe_auto_scaling_instances(MaxRecords=2, **more)
        seen += [entry["InstanceId"] for entry in page["AutoScalingInstances"]]
        if "NextToken" not in page:
            break
        more = {"NextToken": page["NextToken"]}
    assert sorted(seen) == sorted(fleet.ids())
    assert len(seen) == 3


class TestBeforeTheGroupNotices:
    @pytest.fixture
    def delays(self) -> Delays:
        return dataclasses.replace(QUICK, autoscaling_notice_s=1.0)

    def test_a_dead_machine_is_still_in_service(self, aws: Aws) -> None:
        fleet = Fleet.of(aws, size=1)
        dead = fleet.wait_in_service(1)[0]["InstanceId"]
        aws.client("ec2").terminate_instances(InstanceIds=[dead], SkipOsShutdown=True)
        eventually(lambda: aws.state(dead) == "terminated")
        assert fleet.state(dead) == "InService"
        eventually(lambda: fleet.ids() and dead not in fleet.ids())
