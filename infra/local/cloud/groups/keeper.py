"""Keeps each group at its capacity: looks when something changed, launches what is missing, ends what is too much."""

from __future__ import annotations

import time
from threading import RLock
from typing import Any, Protocol

from moto.core.utils import utcnow

from infra.local.cloud.compute.instances import MachineInstance
from infra.local.cloud.groups.activities import Activity
from infra.local.cloud.groups.group import Group
from infra.local.cloud.groups.lifecycle import Lifecycle
from infra.local.cloud.groups.members import Member
from infra.local.cloud.surroundings import Surroundings

GROUP_TAG = "aws:autoscaling:groupName"


class Groups(Protocol):
    """The groups of a region, and the lock that everybody holds who changes one."""

    lock: RLock
    ec2_backend: Any
    autoscaling_groups: dict[str, Any]

    def groups(self) -> list[Group]: ...


class Keeper:
    """Woken by API calls, by EC2's state changes and by timers; never polls.

    `wake` and `instance_changed` only set a timer, so anybody may call them holding any lock.
    """

    def __init__(self, surroundings: Surroundings, backend: Groups, lifecycle: Lifecycle) -> None:
        self._world = surroundings
        self._backend = backend
        self._lifecycle = lifecycle

    def wake(self, group_name: str, delay_s: float | None = None) -> None:
        """Look at the group after this delay, or after the usual step."""
        wait_s = self._world.delays.autoscaling_step_s if delay_s is None else delay_s
        self._world.timers.after(wait_s, self._keep, group_name)

    def instance_changed(self, instance_id: str, state: str) -> None:
        """EC2 tells that an instance, of a group or not, has taken on this state."""
        self._world.timers.after(0.0, self._follow, instance_id, state)

    def look_again(self, group: Group) -> None:
        """Look at every machine afresh: health checks may have been suspended."""
        for member in group.members:
            self._world.timers.after(self._world.delays.autoscaling_notice_s, self._check, member.instance_id)
        self.wake(group.name)

    def adopt(self, group: Group, instance_ids: list[str]) -> None:
        """Running instances become members, in service at once: launch hooks are for launches."""
        for instance_id in instance_ids:
            instance = MachineInstance.of(self._backend.ec2_backend.get_instance(instance_id))
            self._backend.ec2_backend.create_tags([instance_id], {GROUP_TAG: group.name})
            member = Member(instance, group, "Pending", None)
            member.activity = self._note(member, f"Attaching an existing EC2 instance: {instance_id}", "was attached")
            group.members.append(member)
            member.activity.end()
            member.activity = None
            self._lifecycle.enter_service(member)

    def detach(self, member: Member) -> dict[str, object]:
        """It leaves the group and lives on, without the group's tag."""
        activity = self._note(member, f"Detaching EC2 instance: {member.instance_id}", "was detached")
        self._backend.ec2_backend.delete_tags([member.instance_id], {GROUP_TAG: member.auto_scaling_group_name})
        self._lifecycle.release(member)
        activity.end()
        return activity.described()

    def rest(self, member: Member) -> dict[str, object]:
        """Into standby."""
        activity = self._note(member, f"Moving EC2 instance to Standby: {member.instance_id}", "was moved to standby")
        self._lifecycle.rest(member)
        activity.end()
        return activity.described()

    def resume(self, member: Member) -> dict[str, object]:
        """Out of standby."""
        name = f"Moving EC2 instance out of Standby: {member.instance_id}"
        activity = self._note(member, name, "was moved out of standby")
        self._lifecycle.enter_service(member)
        activity.end()
        # It may have been stopped while nobody looked.
        self._world.timers.after(self._world.delays.autoscaling_notice_s, self._check, member.instance_id)
        return activity.described()

    def _note(self, member: Member, description: str, what: str) -> Activity:
        cause = f"instance {member.instance_id} {what} in response to a user request."
        return self._lifecycle.chronicle.begin(member.auto_scaling_group, description, cause, member)

    def _keep(self, group_name: str) -> None:
        with self._backend.lock:
            group = self._group(group_name)
            if group is None:
                return
            if group.status is not None:
                if not group.members:
                    del self._backend.autoscaling_groups[group_name]
                return
            if not group.suspended("Terminate"):
                self._end_the_ill(group)
                for member in group.too_many():
                    self._lifecycle.leave(member, f"{_at()} the capacity was lowered to {group.desired_capacity}.")
            for _ in range(group.missing()):
                if group.suspended("Launch") or time.monotonic() < group.no_launch_before:
                    break
                cause = f"{_at()} an instance was started to reach the desired capacity of {group.desired_capacity}."
                self._lifecycle.launch(group, cause)

    def _end_the_ill(self, group: Group) -> None:
        if group.suspended("ReplaceUnhealthy"):
            return
        for member in list(group.members):
            if member.counts and member.health_status == "Unhealthy":
                self._lifecycle.leave(
                    member, f"{_at()} an instance was taken out of service in response to a health check."
                )

    def _follow(self, instance_id: str, state: str) -> None:
        with self._backend.lock:
            member = self._member(instance_id)
            if member is None:
                return
            if state == "running":
                self._lifecycle.machine_runs(member)
            elif state == "terminated" and member.lifecycle_state == "Pending":
                self._lifecycle.machine_failed(member)
            elif state == "terminated" and member.leaving:
                self._lifecycle.machine_ended(member)
            elif state != "pending":
                self._world.timers.after(self._world.delays.autoscaling_notice_s, self._check, instance_id)

    def _check(self, instance_id: str) -> None:
        with self._backend.lock:
            member = self._member(instance_id)
            if member is None or not member.counts or member.auto_scaling_group.suspended("HealthCheck"):
                return
            if member.lifecycle_state != "Pending" and member.instance.state not in ("pending", "running"):
                member.health_status = "Unhealthy"
                self.wake(member.auto_scaling_group_name)

    def _group(self, name: str) -> Group | None:
        return next((group for group in self._backend.groups() if group.name == name), None)

    def _member(self, instance_id: str) -> Member | None:
        found = (group.member(instance_id) for group in self._backend.groups())
        return next((member for member in found if member is not None), None)


def _at() -> str:
    return f"At {utcnow().strftime('%Y-%m-%dT%H:%M:%SZ')}"
