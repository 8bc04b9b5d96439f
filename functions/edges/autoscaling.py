"""Auto Scaling: the cluster's groups, the hooks that wait for us, and whether a group may launch."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from functions.cluster.machine import (
    API_TARGET_GROUP_TAG,
    CLUSTER_TAG,
    HOOK_PREFIX,
    LAUNCH_PROCESS,
    PAUSE_TAG,
    SUSPENDED_BECAUSE_TAG,
    SUSPENDED_UNTIL_TAG,
    WAITING,
    Group,
    InstanceId,
    Member,
    Transition,
    role_of,
)
from functions.edges.aws import code, speaking_to

_REFRESHING = frozenset({"Pending", "InProgress", "Cancelling", "RollbackInProgress", "Baking"})


class AutoScalingEdge:
    """`client` is a boto3 Auto Scaling client."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def groups(self, cluster: str) -> tuple[Group, ...]:
        with speaking_to("Auto Scaling", "DescribeAutoScalingGroups"):
            pages = self._client.get_paginator("describe_auto_scaling_groups").paginate(
                Filters=[{"Name": f"tag:{CLUSTER_TAG}", "Values": [cluster]}], PaginationConfig={"PageSize": 100}
            )
            found = [raw for page in pages for raw in page["AutoScalingGroups"]]
        return tuple(_group(raw, cluster, self._warm_pool(raw)) for raw in found)

    def complete_hooks(
        self, instance: InstanceId, group: str, transition: Transition, *, abandon: bool = False
    ) -> bool:
        """Complete by instance id, right after reading that it waits: no Describe call returns the token."""
        result, completed = "ABANDON" if abandon else "CONTINUE", False
        for hook in self._hooks_that_hold(instance, group, transition):
            with speaking_to("Auto Scaling", "CompleteLifecycleAction"), _no_action_is_success():
                self._client.complete_lifecycle_action(**hook, LifecycleActionResult=result)
                completed = True
        return completed

    def heartbeat(self, instance: InstanceId, group: str, transition: Transition) -> None:
        for hook in self._hooks_that_hold(instance, group, transition):
            with speaking_to("Auto Scaling", "RecordLifecycleActionHeartbeat"), _no_action_is_success():
                self._client.record_lifecycle_action_heartbeat(**hook)

    def replace(self, instance: InstanceId, group: str) -> bool:
        """End it only as long as it is in service in that group. Its terminate hooks hold it as for any other end."""
        with speaking_to("Auto Scaling", "DescribeAutoScalingInstances"):
            seen = self._client.describe_auto_scaling_instances(InstanceIds=[instance])["AutoScalingInstances"]
        if not any(one["LifecycleState"] == "InService" and one["AutoScalingGroupName"] == group for one in seen):
            return False
        with speaking_to("Auto Scaling", "TerminateInstanceInAutoScalingGroup"):
            self._client.terminate_instance_in_auto_scaling_group(
                InstanceId=instance, ShouldDecrementDesiredCapacity=False
            )
        return True

    def refreshing(self, group: str) -> bool:
        with speaking_to("Auto Scaling", "DescribeInstanceRefreshes"):
            latest = self._client.describe_instance_refreshes(AutoScalingGroupName=group, MaxRecords=1)
        return any(one["Status"] in _REFRESHING for one in latest["InstanceRefreshes"])

    def suspend_launch(self, group: str, reason: str, *, until: datetime) -> None:
        """Tag first: a suspension without an end would last until a person finds it."""
        tags = {SUSPENDED_UNTIL_TAG: f"{until:%Y-%m-%dT%H:%M:%SZ}", SUSPENDED_BECAUSE_TAG: tag_text(reason)}
        with speaking_to("Auto Scaling", "CreateOrUpdateTags"):
            self._client.create_or_update_tags(
                Tags=[{**_tag(group, key), "Value": value, "PropagateAtLaunch": False} for key, value in tags.items()]
            )
        with speaking_to("Auto Scaling", "SuspendProcesses"):
            self._client.suspend_processes(AutoScalingGroupName=group, ScalingProcesses=[LAUNCH_PROCESS])

    def resume_launch(self, group: str) -> None:
        with speaking_to("Auto Scaling", "ResumeProcesses"):
            self._client.resume_processes(AutoScalingGroupName=group, ScalingProcesses=[LAUNCH_PROCESS])
        with speaking_to("Auto Scaling", "DeleteTags"):
            self._client.delete_tags(Tags=[_tag(group, key) for key in (SUSPENDED_UNTIL_TAG, SUSPENDED_BECAUSE_TAG)])

    def _warm_pool(self, group: dict[str, Any]) -> list[dict[str, Any]]:
        """A group does not list its warm pool among its instances; most have none, and are not asked."""
        if "WarmPoolConfiguration" not in group:
            return []
        with speaking_to("Auto Scaling", "DescribeWarmPool"):
            pages = self._client.get_paginator("describe_warm_pool").paginate(
                AutoScalingGroupName=group["AutoScalingGroupName"]
            )
            return [instance for page in pages for instance in page["Instances"]]

    def _hooks_that_hold(self, instance: InstanceId, group: str, transition: Transition) -> list[dict[str, str]]:
        """Return what names each lifecycle action of ours that the instance may be waiting for now."""
        with speaking_to("Auto Scaling", "DescribeAutoScalingInstances"):
            seen = self._client.describe_auto_scaling_instances(InstanceIds=[instance])["AutoScalingInstances"]
        if not any(
            one["LifecycleState"] in WAITING[transition] and one["AutoScalingGroupName"] == group for one in seen
        ):
            return []
        with speaking_to("Auto Scaling", "DescribeLifecycleHooks"):
            hooks = self._client.describe_lifecycle_hooks(AutoScalingGroupName=group)["LifecycleHooks"]
        return [
            {"AutoScalingGroupName": group, "LifecycleHookName": hook["LifecycleHookName"], "InstanceId": instance}
            for hook in hooks
            if hook["LifecycleTransition"] == transition.value and hook["LifecycleHookName"].startswith(HOOK_PREFIX)
        ]


@contextmanager
def _no_action_is_success() -> Iterator[None]:
    """Auto Scaling says ValidationError when no such action is active any more: somebody else was first."""
    try:
        yield
    except ClientError as error:
        if code(error) != "ValidationError" or "No active Lifecycle Action" not in str(error):
            raise


def tag_text(text: str) -> str:
    """Return text as a tag's value may be: at most 256 of the characters that AWS allows (EC2 user guide, tags)."""
    return re.sub(r"[^A-Za-z0-9 +\-=._:/@]", " ", text)[:256]


def _tag(group: str, key: str) -> dict[str, str]:
    return {"ResourceId": group, "ResourceType": "auto-scaling-group", "Key": key}


def _group(raw: dict[str, Any], cluster: str, warm_pool: list[dict[str, Any]]) -> Group:
    tags = {tag["Key"]: tag["Value"] for tag in raw.get("Tags", [])}
    return Group(
        name=raw["AutoScalingGroupName"],
        cluster=cluster,
        role=role_of(tags),
        desired=raw["DesiredCapacity"],
        members=tuple(
            Member(
                InstanceId(member["InstanceId"]),
                member["LifecycleState"],
                member["HealthStatus"],
                protected=member.get("ProtectedFromScaleIn", False),
            )
            for member in [*raw["Instances"], *warm_pool]
        ),
        target_groups=tuple(raw.get("TargetGroupARNs", [])),
        classic_load_balancers=tuple(raw.get("LoadBalancerNames", [])),
        suspended=frozenset(process["ProcessName"] for process in raw.get("SuspendedProcesses", [])),
        launch_suspended_until=_moment(tags.get(SUSPENDED_UNTIL_TAG)),
        pause_until=tags.get(PAUSE_TAG),
        api_target_group=tags.get(API_TARGET_GROUP_TAG),
        tags=tags,
    )


def _moment(text: str | None) -> datetime | None:
    """Return the time that our tag says; None when there is no tag, or a person has made something else of it."""
    try:
        return datetime.strptime(text or "", "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None
