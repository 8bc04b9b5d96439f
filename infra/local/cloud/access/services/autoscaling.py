"""EC2 Auto Scaling. Describe calls know no resource; all others are about a group."""

from __future__ import annotations

from collections.abc import Iterable

from moto.autoscaling.models import FakeAutoScalingGroup, autoscaling_backends

from infra.local.cloud.access.access import Access, context_of, request_tags, tags_under
from infra.local.cloud.access.calls import Call

_TAG_PREFIXES = ("aws:ResourceTag", "autoscaling:ResourceTag")


def _on_group(call: Call) -> Iterable[Access]:
    yield _access(call, call.params["AutoScalingGroupName"])


def _on_members_group(call: Call) -> Iterable[Access]:
    """The call names an instance; what is decided about is the group that has it, or that it names beside several."""
    if group := call.params.get("AutoScalingGroupName"):
        yield _access(call, group)
        return
    instance = call.params["InstanceId"]
    found = (
        each.name for each in _groups(call).values() if any(m.instance_id == instance for m in each.instance_states)
    )
    yield _access(call, next(found, "*"))


def _tags(call: Call) -> Iterable[Access]:
    tags = call.params["Tags"]
    given = {tag["Key"]: tag.get("Value", "") for tag in tags}
    for name in sorted({tag["ResourceId"] for tag in tags}):
        access = _access(call, name)
        yield Access(access.action, access.resource, context_of(access.context, request_tags(given)))


def _access(call: Call, name: str) -> Access:
    group = _groups(call).get(name)
    arn = group.arn if group is not None else call.arn(f"autoScalingGroup:*:autoScalingGroupName/{name}")
    tags = {tag["Key"]: tag.get("Value", "") for tag in group.tags} if group is not None else {}
    return Access(f"autoscaling:{call.operation}", arn, context_of(tags_under(_TAG_PREFIXES, tags)))


def _groups(call: Call) -> dict[str, FakeAutoScalingGroup]:
    return dict(autoscaling_backends[call.account][call.region].autoscaling_groups)


OPERATIONS = {
    **dict.fromkeys(
        (
            "AttachInstances",
            "AttachLoadBalancerTargetGroups",
            "CancelInstanceRefresh",
            "CompleteLifecycleAction",
            "DeleteLifecycleHook",
            "DeleteNotificationConfiguration",
            "DetachInstances",
            "DetachLoadBalancerTargetGroups",
            "EnterStandby",
            "ExitStandby",
            "PutLifecycleHook",
            "PutNotificationConfiguration",
            "RecordLifecycleActionHeartbeat",
            "ResumeProcesses",
            "SetDesiredCapacity",
            "SetInstanceProtection",
            "StartInstanceRefresh",
            "SuspendProcesses",
            "UpdateAutoScalingGroup",
        ),
        _on_group,
    ),
    **dict.fromkeys(("SetInstanceHealth", "TerminateInstanceInAutoScalingGroup"), _on_members_group),
    **dict.fromkeys(("CreateOrUpdateTags", "DeleteTags"), _tags),
}
