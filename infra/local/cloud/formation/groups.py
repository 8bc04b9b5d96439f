"""CloudFormation's Auto Scaling groups and hooks: moto skips hooks and replaces a group where only a number changed."""

# ruff: noqa: ARG003 - moto fixes the arguments
from __future__ import annotations

from typing import Any, cast

from moto.autoscaling.models import FakeAutoScalingGroup, autoscaling_backends
from moto.core.common_models import CloudFormationModel

from infra.local.cloud.groups.autoscaling import GroupsBackend
from infra.local.cloud.groups.group import Group


def _backend(account_id: str, region_name: str) -> GroupsBackend:
    return cast(GroupsBackend, autoscaling_backends[account_id][region_name])


class GroupResource(CloudFormationModel):
    """`AWS::AutoScaling::AutoScalingGroup`: with its hooks from the first machine on, and updated in place."""

    @staticmethod
    def cloudformation_name_type() -> str:
        return "AutoScalingGroupName"

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::AutoScaling::AutoScalingGroup"

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str, **kwargs: Any
    ) -> FakeAutoScalingGroup:
        backend = _backend(account_id, region_name)
        specifications = cloudformation_json["Properties"].get("LifecycleHookSpecificationList", [])
        with backend.creating(resource_name, specifications):
            group = cast(
                Group,
                FakeAutoScalingGroup.create_from_cloudformation_json(
                    resource_name, cloudformation_json, account_id, region_name, **kwargs
                ),
            )
            group.stack_tags = frozenset(tag["Key"] for tag in group.tags)
            group.put_lifecycle_policy(cloudformation_json["Properties"].get("InstanceLifecyclePolicy"))
            _tell_topics(backend, group, cloudformation_json["Properties"])
            return group

    @classmethod
    def update_from_cloudformation_json(
        cls, original_resource: Any, new_resource_name: str, cloudformation_json: Any, account_id: str, region_name: str
    ) -> FakeAutoScalingGroup:
        backend = _backend(account_id, region_name)
        properties = cloudformation_json["Properties"]
        group = cast(Group, original_resource)
        backend.update_auto_scaling_group(
            name=group.name,
            availability_zones=properties.get("AvailabilityZones", []),
            desired_capacity=_number(properties.get("DesiredCapacity")),
            max_size=_number(properties.get("MaxSize")),
            min_size=_number(properties.get("MinSize")),
            launch_config_name=properties.get("LaunchConfigurationName"),
            launch_template=properties.get("LaunchTemplate", {}),
            vpc_zone_identifier=",".join(properties.get("VPCZoneIdentifier", [])) or None,
            health_check_period=_number(properties.get("HealthCheckGracePeriod")),
            health_check_type=properties.get("HealthCheckType"),
            new_instances_protected_from_scale_in=properties.get("NewInstancesProtectedFromScaleIn"),
            mixed_instances_policy=properties.get("MixedInstancesPolicy"),
        )
        with backend.lock:
            tags = properties.get("Tags", [])
            keys = frozenset(tag["Key"] for tag in tags)
            others = [tag for tag in group.tags if tag["Key"] not in group.stack_tags | keys]
            group.tags, group.stack_tags = [*tags, *others], keys
            group.put_lifecycle_policy(properties.get("InstanceLifecyclePolicy", {}))
            for given in properties.get("LifecycleHookSpecificationList", []):
                backend.put_lifecycle_hook(group.name, given)
            _tell_topics(backend, group, properties)
        return group


class HookResource(CloudFormationModel):
    """`AWS::AutoScaling::LifecycleHook`."""

    def __init__(self, name: str, group_name: str) -> None:
        self.name = name
        self.group_name = group_name

    @property
    def physical_resource_id(self) -> str:
        return self.name

    @staticmethod
    def cloudformation_name_type() -> str:
        return "LifecycleHookName"

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::AutoScaling::LifecycleHook"

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str, **kwargs: Any
    ) -> HookResource:
        properties = cloudformation_json["Properties"]
        group_name = properties["AutoScalingGroupName"]
        given = {**properties, "LifecycleHookName": resource_name}
        _backend(account_id, region_name).put_lifecycle_hook(group_name, given)
        return cls(resource_name, group_name)

    @classmethod
    def update_from_cloudformation_json(
        cls, original_resource: Any, new_resource_name: str, cloudformation_json: Any, account_id: str, region_name: str
    ) -> HookResource:
        properties = cloudformation_json["Properties"]
        name = properties.get("LifecycleHookName", original_resource.name)
        if (name, properties["AutoScalingGroupName"]) != (original_resource.name, original_resource.group_name):
            original_resource.delete(account_id, region_name)
        return cls.create_from_cloudformation_json(name, cloudformation_json, account_id, region_name)

    def delete(self, account_id: str, region_name: str) -> None:
        backend = _backend(account_id, region_name)
        if self.group_name in backend.autoscaling_groups:
            backend.delete_lifecycle_hook(self.group_name, self.name)


def _tell_topics(backend: GroupsBackend, group: Group, properties: dict[str, Any]) -> None:
    for given in properties.get("NotificationConfigurations", []):
        topic = given["TopicARN"]
        backend.put_notification_configuration(
            group.name, topic[0] if isinstance(topic, list) else topic, given.get("NotificationTypes", [])
        )


def _number(value: Any) -> int | None:
    return None if value is None else int(value)


RESOURCES = (GroupResource, HookResource)
