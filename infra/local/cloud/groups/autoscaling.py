"""Auto Scaling with real machines: moto's backend with every call that moves a group or a machine replaced."""

from __future__ import annotations

import threading
from typing import Any, cast

from moto.autoscaling import urls as autoscaling_urls
from moto.autoscaling.exceptions import AutoscalingClientError, ValidationError
from moto.core.utils import utcnow

from infra.local.cloud.compute.ec2 import MachinesBackend
from infra.local.cloud.groups.activities import Activity
from infra.local.cloud.groups.group import Group
from infra.local.cloud.groups.hook_calls import HookCalls
from infra.local.cloud.groups.keeper import Keeper
from infra.local.cloud.groups.lifecycle import Lifecycle
from infra.local.cloud.groups.members import RETAINED, Member
from infra.local.cloud.groups.registration import Registration
from infra.local.cloud.surroundings import Surroundings


class GroupsBackend(HookCalls):
    """Auto Scaling of one region. Its lock is held by every call that changes a group and by the keeper."""

    def __init__(self, surroundings: Surroundings, region_name: str, account_id: str) -> None:
        super().__init__(region_name, account_id)
        ec2 = cast(MachinesBackend, self.ec2_backend)
        self.surroundings = surroundings
        self.lock = threading.RLock()
        self.registration = Registration(self.elbv2_backend, self.elb_backend)
        self.lifecycle = Lifecycle(surroundings, ec2, self.registration, self.lock, self.wake)
        self.keeper = Keeper(surroundings, self, self.lifecycle)
        surroundings.listeners.append(self.keeper.instance_changed)

    def reset(self) -> None:
        """Nothing: moto throws a backend away right after it has reset it."""

    @property
    def _url_module(self) -> Any:
        return autoscaling_urls

    def wake(self, group_name: str, delay_s: float | None = None) -> None:
        """Have the group looked at soon, at any rate after this delay."""
        self.keeper.wake(group_name, delay_s)

    def group(self, name: str) -> Group:
        """The group of this name, or ValidationError."""
        group = self.autoscaling_groups.get(name)
        if group is None:
            raise ValidationError(f"AutoScalingGroup name not found - null: {name}")
        return cast(Group, group)

    def groups(self) -> list[Group]:
        return [cast(Group, group) for group in list(self.autoscaling_groups.values())]

    def managed(self, instance_id: str) -> Member:
        """The member of this instance id, in whichever group, or ValidationError."""
        for group in self.groups():
            if (member := group.member(instance_id)) is not None:
                return member
        raise ValidationError(f"Instance Id not found - No managed instance found for instance ID: {instance_id}")

    def create_auto_scaling_group(self, *args: Any, **kwargs: Any) -> Group:
        name = kwargs["name"]
        with self.lock:
            if name in self.autoscaling_groups:
                raise AutoscalingClientError(
                    "AlreadyExists",
                    f"AutoScalingGroup by this name already exists - A group with the name {name} already exists",
                )
            group = cast(Group, super().create_auto_scaling_group(*args, **kwargs))
            group.health_check_grace_period = int(kwargs.get("health_check_period") or 0)
            return group

    def update_auto_scaling_group(self, *args: Any, **kwargs: Any) -> Group:
        with self.lock:
            group = cast(Group, super().update_auto_scaling_group(*args, **kwargs))
            least, most = group.min_size or 0, group.max_size or 0
            group.set_desired_capacity(max(least, min(most, group.desired_capacity or 0)))
            return group

    def delete_auto_scaling_group(self, group_name: str, *, force: bool = True) -> None:
        """By force the machines go without their hooks being asked; the group is gone when they are."""
        with self.lock:
            group = self.group(group_name)
            if group.members and not force:
                raise AutoscalingClientError(
                    "ResourceInUse",
                    "You cannot delete an AutoScalingGroup while there are instances or pending Spot instance "
                    "request(s) still in the group.",
                )
            group.status = "Delete in progress"
            group.min_size = group.max_size = 0
            group.set_desired_capacity(0)
            for member in list(group.members):
                self.lifecycle.dismiss(member)
            if not group.members:
                del self.autoscaling_groups[group_name]

    def set_desired_capacity(self, group_name: str, desired_capacity: int | None) -> None:
        with self.lock:
            self.group(group_name).resize(desired_capacity or 0)

    def change_capacity(self, group_name: str, scaling_adjustment: int | None) -> None:
        group = self.group(group_name)
        wanted = (group.desired_capacity or 0) + (scaling_adjustment or 0)
        self.set_desired_capacity(group_name, max(group.min_size or 0, min(group.max_size or 0, wanted)))

    def describe_auto_scaling_instances(self, instance_ids: list[str]) -> list[Any]:
        members = [member for group in self.groups() for member in list(group.members)]
        return [member for member in members if not instance_ids or member.instance_id in instance_ids]

    def set_instance_health(self, instance_id: str, health_status: str, respect_grace: bool = True) -> None:
        with self.lock:
            member = self.managed(instance_id)
            group = member.auto_scaling_group
            since = member.in_service_since
            young = since is not None and (utcnow() - since).total_seconds() < (group.health_check_grace_period or 0)
            if respect_grace and young and health_status == "Unhealthy":
                return
            member.health_status = health_status
            self.wake(group.name)

    def terminate_instance(self, instance_id: str, should_decrement: bool) -> Activity:
        with self.lock:
            member = self.managed(instance_id)
            if member.lifecycle_state == RETAINED and not should_decrement:
                return self.lifecycle.end_retained(member)
            if member.leaving:
                raise AutoscalingClientError(
                    "ScalingActivityInProgress", f"Instance {instance_id} is already being terminated."
                )
            if should_decrement:
                member.auto_scaling_group.decrement()
            cause = f"instance {instance_id} was taken out of service in response to a user request."
            return self.lifecycle.leave(member, cause)

    def attach_instances(self, group_name: str, instance_ids: list[str]) -> None:
        with self.lock:
            group = self.group(group_name)
            wanted = (group.desired_capacity or 0) + len(instance_ids)
            if wanted > (group.max_size or 0):
                raise ValidationError(
                    f"The sum of the number of instances being attached ({len(instance_ids)}) and the desired "
                    f"capacity exceeds the maximum size ({group.max_size}) of AutoScalingGroup {group_name}."
                )
            self.keeper.adopt(group, instance_ids)
            group.desired_capacity = wanted

    def detach_instances(self, group_name: str, instance_ids: list[str], should_decrement: bool) -> list[Any]:
        with self.lock:
            group = self.group(group_name)
            members = group.require(instance_ids)
            if should_decrement:
                group.decrement(len(members))
            return [self.keeper.detach(member) for member in members]

    def enter_standby_instances(self, group_name: str, instance_ids: list[str], should_decrement: bool) -> list[Any]:
        with self.lock:
            group = self.group(group_name)
            members = group.require(instance_ids)
            for member in members:
                _require_state(member, "InService", "Standby")
            if should_decrement:
                group.decrement(len(members))
            return [self.keeper.rest(member) for member in members]

    def exit_standby_instances(self, group_name: str, instance_ids: list[str]) -> list[Any]:
        with self.lock:
            group = self.group(group_name)
            members = group.require(instance_ids)
            for member in members:
                _require_state(member, "Standby", "InService")
            group.desired_capacity = (group.desired_capacity or 0) + len(members)
            return [self.keeper.resume(member) for member in members]

    def suspend_processes(self, group_name: str, scaling_processes: list[str]) -> None:
        with self.lock:
            self.group(group_name)
            super().suspend_processes(group_name, scaling_processes)

    def resume_processes(self, group_name: str, scaling_processes: list[str]) -> None:
        with self.lock:
            group = self.group(group_name)
            super().resume_processes(group_name, scaling_processes)
            self.keeper.look_again(group)

    def create_or_update_tags(self, tags: list[dict[str, str]]) -> None:
        with self.lock:
            for tag in tags:
                self.group(tag["ResourceId"])
            super().create_or_update_tags(tags)

    def delete_tags(self, tags: list[dict[str, str]]) -> None:
        with self.lock:
            for tag in tags:
                self.group(tag["ResourceId"])
            super().delete_tags(tags)

    def update_attached_elbs(self, group_name: str) -> None:
        self.update_attached_target_groups(group_name)

    def update_attached_target_groups(self, group_name: str) -> None:
        for member in self.group(group_name).members:
            if member.lifecycle_state == "InService":
                self.registration.register(member)

    def detach_load_balancer_target_groups(self, group_name: str, target_group_arns: list[str]) -> None:
        with self.lock:
            group = self.group(group_name)
            group.target_group_arns = [arn for arn in group.target_group_arns if arn not in target_group_arns]
            for member in group.members:
                self.registration.deregister(member, target_group_arns)

    def notify_terminate_instances(self, instance_ids: list[str]) -> None:
        """Groups learn of ended machines from EC2's state changes, in their own time."""


def _require_state(member: Member, state: str, towards: str) -> None:
    if member.lifecycle_state != state:
        raise ValidationError(f"The instance {member.instance_id} is not in {state} and cannot be moved to {towards}.")
