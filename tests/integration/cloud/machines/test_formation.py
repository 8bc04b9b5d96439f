"""Stacks make groups that really launch, and change them in place."""

from __future__ import annotations

import json
from typing import Any

from tests.integration.cloud.machines.fleet import Fleet
from tests.integration.cloud.machines.rig import Aws, eventually


def template(
    aws: Aws, *, size: int = 2, instance_type: str = "t3.medium", timeout_s: int = 600, hook: bool = True
) -> str:
    resources: dict[str, Any] = {
        "Template": {
            "Type": "AWS::EC2::LaunchTemplate",
            "Properties": {
                "LaunchTemplateData": {
                    "ImageId": "ami-0abcdef1234567890",
                    "InstanceType": instance_type,
                    "UserData": {"Fn::Base64": "#!/bin/sh\n"},
                }
            },
        },
        "Group": {
            "Type": "AWS::AutoScaling::AutoScalingGroup",
            "Properties": {
                "AutoScalingGroupName": "workers",
                "MinSize": "0",
                "MaxSize": "5",
                "DesiredCapacity": str(size),
                "VPCZoneIdentifier": list(aws.subnets),
                "LaunchTemplate": {
                    "LaunchTemplateId": {"Ref": "Template"},
                    "Version": {"Fn::GetAtt": ["Template", "LatestVersionNumber"]},
                },
                "LifecycleHookSpecificationList": [
                    {
                        "LifecycleHookName": "join",
                        "LifecycleTransition": "autoscaling:EC2_INSTANCE_LAUNCHING",
                        "HeartbeatTimeout": 600,
                    }
                ],
                "Tags": [{"Key": "regrow:role", "Value": "worker", "PropagateAtLaunch": True}],
            },
        },
    }
    if hook:
        resources["Hook"] = {
            "Type": "AWS::AutoScaling::LifecycleHook",
            "Properties": {
                "AutoScalingGroupName": {"Ref": "Group"},
                "LifecycleHookName": "leave",
                "LifecycleTransition": "autoscaling:EC2_INSTANCE_TERMINATING",
                "HeartbeatTimeout": timeout_s,
                "DefaultResult": "CONTINUE",
            },
        }
    return json.dumps({"Resources": resources, "Outputs": {"Name": {"Value": {"Ref": "Group"}}}})


def make(aws: Aws) -> Fleet:
    """A stack whose two machines are in service."""
    aws.client("cloudformation").create_stack(StackName="s", TemplateBody=template(aws))
    fleet = Fleet("workers", aws.client("autoscaling"))
    eventually(lambda: [each["LifecycleState"] for each in fleet.members()] == ["Pending:Wait"] * 2)
    for instance_id in fleet.ids():
        fleet.complete("join", InstanceId=instance_id)
    fleet.wait_in_service(2)
    return fleet


def hooks(fleet: Fleet) -> dict[str, int]:
    described = fleet.api.describe_lifecycle_hooks(AutoScalingGroupName=fleet.name)["LifecycleHooks"]
    return {hook["LifecycleHookName"]: hook["HeartbeatTimeout"] for hook in described}


def test_a_stack_launches_real_machines_and_its_hooks_hold_them(aws: Aws) -> None:
    fleet = make(aws)
    assert fleet.ids() == aws.machines.running()
    assert hooks(fleet) == {"join": 600, "leave": 600}


def test_a_stack_update_changes_the_group_and_keeps_its_machines(aws: Aws) -> None:
    fleet = make(aws)
    before = fleet.ids()
    body = template(aws, size=3, instance_type="t3.large", timeout_s=300)
    aws.client("cloudformation").update_stack(StackName="s", TemplateBody=body)
    new = fleet.wait_state("Pending:Wait")
    assert fleet.ids() == before | {new}
    assert aws.instance(new)["InstanceType"] == "t3.large"
    assert hooks(fleet) == {"join": 600, "leave": 300}


def test_a_group_follows_its_launch_template_though_its_own_text_is_unchanged(aws: Aws) -> None:
    fleet = make(aws)
    aws.client("cloudformation").update_stack(StackName="s", TemplateBody=template(aws, instance_type="t3.large"))
    assert fleet.group()["LaunchTemplate"]["Version"] == "2"


def test_a_stack_update_leaves_tags_that_are_not_the_stacks(aws: Aws) -> None:
    fleet = make(aws)
    tag = {"ResourceId": fleet.name, "ResourceType": "auto-scaling-group", "Key": "ours", "Value": "kept"}
    fleet.api.create_or_update_tags(Tags=[{**tag, "PropagateAtLaunch": False}])
    aws.client("cloudformation").update_stack(StackName="s", TemplateBody=template(aws, size=1))
    tags = {each["Key"]: each["Value"] for each in fleet.group()["Tags"]}
    assert {"ours": "kept", "regrow:role": "worker"}.items() <= tags.items()


def test_a_hook_that_leaves_the_stack_leaves_the_group(aws: Aws) -> None:
    fleet = make(aws)
    aws.client("cloudformation").update_stack(StackName="s", TemplateBody=template(aws, hook=False))
    assert hooks(fleet) == {"join": 600}


def test_a_stack_tells_its_topics_of_what_the_group_does(aws: Aws) -> None:
    topic = aws.client("sns").create_topic(Name="news")["TopicArn"]
    body = json.loads(template(aws, size=0))
    kinds = ["autoscaling:EC2_INSTANCE_LAUNCH", "autoscaling:EC2_INSTANCE_TERMINATE"]
    told = {"TopicARN": topic, "NotificationTypes": kinds}
    body["Resources"]["Group"]["Properties"]["NotificationConfigurations"] = [told]
    aws.client("cloudformation").create_stack(StackName="s", TemplateBody=json.dumps(body))
    listed = aws.client("autoscaling").describe_notification_configurations()["NotificationConfigurations"]
    assert [(each["TopicARN"], each["NotificationType"]) for each in listed] == [(topic, kind) for kind in kinds]


def test_deleting_the_stack_ends_its_machines(aws: Aws) -> None:
    fleet = make(aws)
    aws.client("cloudformation").delete_stack(StackName="s")
    eventually(lambda: not aws.machines.running())
    eventually(lambda: not fleet.api.describe_auto_scaling_groups()["AutoScalingGroups"])
