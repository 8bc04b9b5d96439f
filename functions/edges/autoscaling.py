"""Auto Scaling: the cluster's groups, and the terminate hooks that wait for us."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError

from functions.cluster.machine import CLUSTER_TAG, Group, InstanceId, Member, role_of
from functions.edges.aws import code, speaking_to

_TERMINATING = "autoscaling:EC2_INSTANCE_TERMINATING"


class AutoScalingEdge:
    """`client` is a boto3 Auto Scaling client."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def groups(self, cluster: str) -> tuple[Group, ...]:
        with speaking_to("Auto Scaling", "DescribeAutoScalingGroups"):
            pages = self._client.get_paginator("describe_auto_scaling_groups").paginate(
                Filters=[{"Name": f"tag:{CLUSTER_TAG}", "Values": [cluster]}], PaginationConfig={"PageSize": 100}
            )
            return tuple(_group(raw, cluster) for page in pages for raw in page["AutoScalingGroups"])

    def complete_terminate_hooks(self, instance: InstanceId, group: str) -> None:
        """Complete by instance id, right after reading that it waits: no Describe call returns the token.

        No active action any more is success (Auto Scaling then says ValidationError): somebody else was first.
        """
        with speaking_to("Auto Scaling", "DescribeAutoScalingInstances"):
            seen = self._client.describe_auto_scaling_instances(InstanceIds=[instance])["AutoScalingInstances"]
        waits = [
            one for one in seen if one["LifecycleState"] == "Terminating:Wait" and one["AutoScalingGroupName"] == group
        ]
        if not waits:
            return
        with speaking_to("Auto Scaling", "DescribeLifecycleHooks"):
            hooks = self._client.describe_lifecycle_hooks(AutoScalingGroupName=group)["LifecycleHooks"]
        for hook in hooks:
            if hook["LifecycleTransition"] == _TERMINATING:
                self._complete(instance, group, hook["LifecycleHookName"])

    def _complete(self, instance: InstanceId, group: str, hook: str) -> None:
        with speaking_to("Auto Scaling", "CompleteLifecycleAction"):
            try:
                self._client.complete_lifecycle_action(
                    AutoScalingGroupName=group,
                    LifecycleHookName=hook,
                    InstanceId=instance,
                    LifecycleActionResult="CONTINUE",
                )
            except ClientError as error:
                if code(error) != "ValidationError" or "No active Lifecycle Action" not in str(error):
                    raise


def _group(raw: dict[str, Any], cluster: str) -> Group:
    return Group(
        name=raw["AutoScalingGroupName"],
        cluster=cluster,
        role=role_of({tag["Key"]: tag["Value"] for tag in raw.get("Tags", [])}),
        desired=raw["DesiredCapacity"],
        members=tuple(
            Member(InstanceId(member["InstanceId"]), member["LifecycleState"], member["HealthStatus"])
            for member in raw["Instances"]
        ),
        target_groups=tuple(raw.get("TargetGroupARNs", [])),
    )
