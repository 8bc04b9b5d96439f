"""A machine as its Auto Scaling group sees it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from moto.core.utils import utcnow

from infra.local.cloud.compute.instances import MachineInstance
from infra.local.cloud.groups.activities import Activity
from infra.local.cloud.groups.hooks import LifecycleAction

if TYPE_CHECKING:
    from infra.local.cloud.groups.group import Group

PENDING = ("Pending", "Pending:Wait", "Pending:Proceed")
RETAINED = "Terminating:Retained"
"""A terminate hook was abandoned, and the group keeps the instance until somebody ends it."""
LEAVING = (RETAINED, "Terminating", "Terminating:Wait", "Terminating:Proceed", "Terminated")


class Member:
    """One instance of a group, with its lifecycle state and the actions that hold it there.

    Also what moto's own code expects to find in a group's `instance_states`.
    """

    def __init__(
        self, instance: MachineInstance, group: Group, lifecycle_state: str, activity: Activity | None
    ) -> None:
        self.instance = instance
        self.instance_id: str = instance.id
        self.instance_type = instance.instance_type
        self.availability_zone: str = instance.placement.zone or ""
        self.subnet_id: str = instance.subnet_id or ""
        self.auto_scaling_group = group
        self.auto_scaling_group_name = group.name
        self.lifecycle_state = lifecycle_state
        self.health_status = "Healthy"
        self.protected_from_scale_in: bool | None = group.new_instances_protected_from_scale_in
        self.launch_template = group.launched_with()
        self.launch_configuration_name = group.launch_configuration_name_or_none()
        self.activity = activity
        self.actions: dict[str, LifecycleAction] = {}
        self.abandoned = False
        self.launched_at: datetime = utcnow()
        self.in_service_since: datetime | None = None

    @property
    def counts(self) -> bool:
        """Whether it is part of the capacity that the group has or is about to have."""
        return self.lifecycle_state in PENDING or self.lifecycle_state == "InService"

    @property
    def leaving(self) -> bool:
        """Whether the group has begun to terminate it."""
        return self.lifecycle_state in LEAVING

    @property
    def target_state(self) -> str:
        """Where it is headed, as the metadata service calls it."""
        if self.leaving:
            return "Terminated"
        return "Standby" if self.lifecycle_state == "Standby" else "InService"

    def described(self) -> dict[str, Any]:
        """Its entry in DescribeAutoScalingInstances, which spells health in capitals."""
        return {
            "InstanceId": self.instance_id,
            "InstanceType": self.instance_type,
            "AutoScalingGroupName": self.auto_scaling_group_name,
            "AvailabilityZone": self.availability_zone,
            "LifecycleState": self.lifecycle_state,
            "HealthStatus": self.health_status.upper(),
            "LaunchConfigurationName": self.launch_configuration_name,
            "LaunchTemplate": self.launch_template,
            "ProtectedFromScaleIn": bool(self.protected_from_scale_in),
        }
