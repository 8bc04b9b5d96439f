"""A group in a test, made and asked through the API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.integration.cloud.machines.rig import Aws, eventually


@dataclass(frozen=True)
class Fleet:
    """One Auto Scaling group over both subnets."""

    name: str
    api: Any

    @classmethod
    def of(cls, aws: Aws, size: int, minimum: int = 0, **options: Any) -> Fleet:
        """A new group of this size, from 0 (or `minimum`) to 5 machines."""
        name = "workers"
        data = {"ImageId": "ami-0abcdef1234567890", "InstanceType": "t3.medium"}
        aws.client("ec2").create_launch_template(LaunchTemplateName=name, LaunchTemplateData=data)
        api = aws.client("autoscaling")
        api.create_auto_scaling_group(
            AutoScalingGroupName=name,
            MinSize=minimum,
            MaxSize=5,
            DesiredCapacity=size,
            LaunchTemplate={"LaunchTemplateName": name},
            VPCZoneIdentifier=",".join(aws.subnets),
            Tags=[
                {"Key": "regrow:role", "Value": "worker", "PropagateAtLaunch": True},
                {"Key": "private", "Value": "yes", "PropagateAtLaunch": False},
            ],
            **options,
        )
        return cls(name, api)

    def group(self) -> dict[str, Any]:
        described = self.api.describe_auto_scaling_groups(AutoScalingGroupNames=[self.name])
        found: dict[str, Any] = described["AutoScalingGroups"][0]
        return found

    def members(self) -> list[dict[str, Any]]:
        members: list[dict[str, Any]] = self.group()["Instances"]
        return members

    def ids(self) -> set[str]:
        return {member["InstanceId"] for member in self.members()}

    def state(self, instance_id: str) -> str:
        """Its lifecycle state, or an empty string when it is no member."""
        found = self.api.describe_auto_scaling_instances(InstanceIds=[instance_id])["AutoScalingInstances"]
        return str(found[0]["LifecycleState"]) if found else ""

    def wait_in_service(self, count: int) -> list[dict[str, Any]]:
        """Until the group has exactly this many members and all are in service."""

        def settled() -> list[dict[str, Any]]:
            members = self.members()
            calm = len(members) == count and all(member["LifecycleState"] == "InService" for member in members)
            return members if calm else []

        return eventually(settled)

    def wait_state(self, state: str) -> str:
        """The id of the first member in this state, as soon as there is one."""

        def found() -> str:
            return next((each["InstanceId"] for each in self.members() if each["LifecycleState"] == state), "")

        return eventually(found)

    def scale(self, size: int) -> None:
        self.api.set_desired_capacity(AutoScalingGroupName=self.name, DesiredCapacity=size)

    def activities(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.api.describe_scaling_activities(AutoScalingGroupName=self.name)["Activities"]
        return found

    def put_hook(self, name: str, transition: str, timeout_s: int = 3600, **options: Any) -> None:
        self.api.put_lifecycle_hook(
            AutoScalingGroupName=self.name,
            LifecycleHookName=name,
            LifecycleTransition=f"autoscaling:EC2_INSTANCE_{transition}",
            HeartbeatTimeout=timeout_s,
            **options,
        )

    def complete(self, hook: str, result: str = "CONTINUE", **which: str) -> None:
        self.api.complete_lifecycle_action(
            AutoScalingGroupName=self.name, LifecycleHookName=hook, LifecycleActionResult=result, **which
        )
