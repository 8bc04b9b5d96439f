"""The Auto Scaling API with the actions and parameters that moto does not know."""

from __future__ import annotations

from functools import partial
from typing import Any, cast

from moto.autoscaling import models as moto_autoscaling
from moto.autoscaling import urls as autoscaling_urls
from moto.autoscaling.exceptions import ValidationError
from moto.autoscaling.models import autoscaling_backends
from moto.autoscaling.responses import AutoScalingResponse
from moto.core.responses import ActionResult, EmptyResult

from infra.local.cloud.groups.autoscaling import GroupsBackend
from infra.local.cloud.groups.group import Group
from infra.local.cloud.groups.notifications import TYPES
from infra.local.cloud.surroundings import Surroundings

PAGE = 50


class GroupsResponse(AutoScalingResponse):
    """Reads a request, calls the backend, and puts the answer into its published form."""

    @property
    def _groups(self) -> GroupsBackend:
        return cast(GroupsBackend, self.autoscaling_backend)

    def create_auto_scaling_group(self) -> ActionResult:
        specifications = self._get_param("LifecycleHookSpecificationList", [])
        name = self._get_param("AutoScalingGroupName")
        with self._groups.creating(name, specifications):
            answer = super().create_auto_scaling_group()
            self._groups.group(name).put_lifecycle_policy(self._get_param("InstanceLifecyclePolicy"))
            return answer

    def update_auto_scaling_group(self) -> ActionResult:
        answer = super().update_auto_scaling_group()
        group = self._groups.group(self._get_param("AutoScalingGroupName"))
        group.put_lifecycle_policy(self._get_param("InstanceLifecyclePolicy"))
        return answer

    def delete_auto_scaling_group(self) -> ActionResult:
        force = bool(self._get_bool_param("ForceDelete", False))
        self._groups.delete_auto_scaling_group(self._get_param("AutoScalingGroupName"), force=force)
        return EmptyResult()

    def put_lifecycle_hook(self) -> ActionResult:
        self._groups.put_lifecycle_hook(self._get_param("AutoScalingGroupName"), self._get_params())
        return EmptyResult()

    def describe_lifecycle_hooks(self) -> ActionResult:
        found = self._groups.hooks_of(
            self._get_param("AutoScalingGroupName"), self._get_param("LifecycleHookNames", [])
        )
        return ActionResult({"LifecycleHooks": [hook.described() for hook in found]})

    def put_notification_configuration(self) -> ActionResult:
        self._groups.put_notification_configuration(
            self._get_param("AutoScalingGroupName"),
            self._get_param("TopicARN"),
            self._get_param("NotificationTypes", []),
        )
        return EmptyResult()

    def describe_notification_configurations(self) -> ActionResult:
        names = self._get_param("AutoScalingGroupNames", [])
        found = [
            {"AutoScalingGroupName": group.name, "TopicARN": topic, "NotificationType": kind}
            for group in self._groups.groups()
            if not names or group.name in names
            for topic, kinds in group.topics.items()
            for kind in sorted(kinds)
        ]
        return ActionResult({"NotificationConfigurations": found})

    def delete_notification_configuration(self) -> ActionResult:
        self._groups.delete_notification_configuration(
            self._get_param("AutoScalingGroupName"), self._get_param("TopicARN")
        )
        return EmptyResult()

    def describe_auto_scaling_notification_types(self) -> ActionResult:
        return ActionResult({"AutoScalingNotificationTypes": list(TYPES)})

    def complete_lifecycle_action(self) -> ActionResult:
        self._groups.complete_lifecycle_action(
            self._get_param("AutoScalingGroupName"),
            self._get_param("LifecycleHookName"),
            self._get_param("LifecycleActionToken"),
            self._get_param("InstanceId"),
            self._get_param("LifecycleActionResult"),
        )
        return EmptyResult()

    def record_lifecycle_action_heartbeat(self) -> ActionResult:
        self._groups.record_heartbeat(
            self._get_param("AutoScalingGroupName"),
            self._get_param("LifecycleHookName"),
            self._get_param("LifecycleActionToken"),
            self._get_param("InstanceId"),
        )
        return EmptyResult()

    def set_instance_health(self) -> ActionResult:
        status = self._get_param("HealthStatus")
        if status not in ("Healthy", "Unhealthy"):
            raise ValidationError("Valid instance health states are: [Healthy, Unhealthy]")
        respect_grace = self._get_bool_param("ShouldRespectGracePeriod", True)
        self._groups.set_instance_health(self._get_param("InstanceId"), status, respect_grace is not False)
        return EmptyResult()

    def terminate_instance_in_auto_scaling_group(self) -> ActionResult:
        decrement = bool(self._get_bool_param("ShouldDecrementDesiredCapacity", False))
        activity = self._groups.terminate_instance(self._get_param("InstanceId"), decrement)
        return ActionResult({"Activity": activity.described()})

    def describe_instance_refreshes(self) -> ActionResult:
        """There never is one: nothing here can start it."""
        self._groups.group(self._get_param("AutoScalingGroupName"))
        return ActionResult({"InstanceRefreshes": []})

    def describe_auto_scaling_instances(self) -> ActionResult:
        members = self._groups.describe_auto_scaling_instances(self._get_param("InstanceIds", []))
        return self._paged("AutoScalingInstances", [member.described() for member in members], "InstanceId")

    def describe_scaling_activities(self) -> ActionResult:
        name, ids = self._get_param("AutoScalingGroupName"), self._get_param("ActivityIds", [])
        found = [
            activity.described()
            for activity in reversed(self._groups.lifecycle.chronicle.activities)
            if (not name or activity.group_name == name) and (not ids or activity.activity_id in ids)
        ]
        return self._paged("Activities", found, "ActivityId")

    def _paged(self, title: str, entries: list[dict[str, Any]], key: str) -> ActionResult:
        """One page; the token is the key of the last entry of the page before."""
        token, size = self._get_param("NextToken"), self._get_int_param("MaxRecords", PAGE) or PAGE
        start = 0
        if token:
            keys = [entry[key] for entry in entries]
            if token not in keys:
                raise ValidationError("The token is not valid.")
            start = keys.index(token) + 1
        page = entries[start : start + size]
        result: dict[str, Any] = {title: page}
        if start + size < len(entries):
            result["NextToken"] = page[-1][key]
        return ActionResult(result)


def install(surroundings: Surroundings) -> None:
    """Put this Auto Scaling in moto's place. To be called before the first backend is made."""
    moto_autoscaling.FakeAutoScalingGroup = Group
    autoscaling_backends.backend = partial(GroupsBackend, surroundings)
    autoscaling_urls.url_paths["{0}/$"] = GroupsResponse.dispatch
