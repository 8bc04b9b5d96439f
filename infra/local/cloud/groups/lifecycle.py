"""The way of a machine through its group: pending, in service, terminating, gone, and a wait wherever a hook is."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from moto.core.utils import utcnow

from infra.local.cloud.compute.ec2 import MachinesBackend
from infra.local.cloud.compute.instances import MachineInstance
from infra.local.cloud.events.happenings import LAUNCHING, TERMINATING, Place
from infra.local.cloud.groups.activities import Activity
from infra.local.cloud.groups.chronicle import Chronicle
from infra.local.cloud.groups.group import Group
from infra.local.cloud.groups.hooks import LifecycleAction, LifecycleHook
from infra.local.cloud.groups.members import RETAINED, Member
from infra.local.cloud.groups.notifications import Notifications
from infra.local.cloud.groups.registration import Registration
from infra.local.cloud.surroundings import Surroundings

log = logging.getLogger(__name__)


class Lifecycle:
    """Moves members one step at a time. Every method is called with the backend's lock held."""

    def __init__(
        self,
        surroundings: Surroundings,
        ec2: MachinesBackend,
        registration: Registration,
        lock: threading.RLock,
        wake: Callable[..., None],
    ) -> None:
        self._world = surroundings
        self._ec2 = ec2
        self._registration = registration
        self._lock = lock
        self._wake = wake
        place = Place(ec2.account_id, ec2.region_name)
        self.notifications = Notifications(surroundings, place)
        self.chronicle = Chronicle(surroundings.publish, place, self.notifications)

    def launch(self, group: Group, cause: str) -> None:
        """Order one machine. An order that EC2 refuses is a failed activity, and the group tries again later."""
        activity = self.chronicle.begin(group, "Launching a new EC2 instance", cause)
        try:
            instance = self._order(group)
        except Exception as error:
            log.warning("Group %s cannot launch: %s", group.name, error)
            self.chronicle.end(group, activity, LAUNCHING, failure=str(error))
            self._try_again(group)
            return
        member = Member(instance, group, "Pending", activity)
        activity.description += f": {instance.id}"
        activity.locate(member.subnet_id, member.availability_zone)
        group.members.append(member)

    def machine_runs(self, member: Member) -> None:
        """EC2 says running: wait for the launch hooks, if there are any."""
        if member.lifecycle_state != "Pending" or member.actions:
            return
        hooks = member.auto_scaling_group.hooks_for(LAUNCHING)
        if hooks:
            self._wait(member, "Pending:Wait", hooks)
        else:
            self.enter_service(member)

    def machine_failed(self, member: Member) -> None:
        """The machine ended before it was ever in service: the launch failed."""
        self._close_actions(member)
        message = f"Instance became {member.instance.state} before it was in service."
        self.chronicle.end_for(member, LAUNCHING, failure=message)
        self._try_again(member.auto_scaling_group)
        self._drop(member)

    def enter_service(self, member: Member) -> None:
        """Into service and into its target groups."""
        member.lifecycle_state = "InService"
        member.in_service_since = utcnow()
        self._registration.register(member)
        self.chronicle.end_for(member, LAUNCHING)
        self._wake(member.auto_scaling_group.name)

    def leave(self, member: Member, cause: str) -> Activity:
        """Begin to terminate it, by way of the terminate hooks, whether or not its machine still runs."""
        self._close_actions(member)
        self.chronicle.end_for(member, LAUNCHING, failure="The launch was given up.")
        member.activity = self.chronicle.begin(
            member.auto_scaling_group, f"Terminating EC2 instance: {member.instance_id}", cause, member
        )
        member.lifecycle_state = "Terminating"
        self._registration.deregister(member)
        self._world.timers.after(self._world.delays.autoscaling_step_s, self._locked, self._leave_or_wait, member)
        self._wake(member.auto_scaling_group.name)
        return member.activity

    def end_retained(self, member: Member) -> Activity:
        """Terminate one that was kept: its hooks have been asked before."""
        member.activity = self.chronicle.begin(
            member.auto_scaling_group,
            f"Terminating EC2 instance: {member.instance_id}",
            f"retained instance {member.instance_id} was terminated in response to a user request.",
            member,
        )
        self._proceed_to_end(member)
        return member.activity

    def machine_ended(self, member: Member) -> None:
        """EC2 says terminated. Only a member that no hook holds any more is gone with its machine."""
        if member.lifecycle_state in ("Terminating:Proceed", RETAINED):
            self._gone(member)

    def complete(self, member: Member, action: LifecycleAction, result: str) -> None:
        """One hook has its answer; the last one, or an ABANDON, moves the machine on."""
        member.actions.pop(action.hook.name)
        action.close()
        if result == "ABANDON":
            member.abandoned = True
            self._close_actions(member)
        if member.actions:
            return
        if member.lifecycle_state == "Terminating:Wait":
            if member.abandoned and member.auto_scaling_group.retains_abandoned:
                self._retain(member)
            else:
                self._proceed_to_end(member)
        elif member.lifecycle_state == "Pending:Wait" and member.abandoned:
            self.leave(member, f"At {_now()} a lifecycle action was abandoned for instance {member.instance_id}.")
        elif member.lifecycle_state == "Pending:Wait":
            member.lifecycle_state = "Pending:Proceed"
            step_s = self._world.delays.autoscaling_step_s
            self._world.timers.after(step_s, self._locked, self._proceed_to_service, member)

    def heartbeat(self, member: Member, action: LifecycleAction) -> None:
        """The hook's timeout begins anew, but never beyond the global one."""
        action.close()
        rest_s = action.rest_s(self._world.delays.hook_second_s)
        action.timer = self._world.timers.after(rest_s, self._locked, self._timed_out, member, action)

    def dismiss(self, member: Member) -> None:
        """Terminate it without asking any hook: its group is being deleted by force."""
        self._close_actions(member)
        if not member.leaving:
            self._registration.deregister(member)
        self._proceed_to_end(member)

    def release(self, member: Member) -> None:
        """It leaves the group and lives on."""
        self._close_actions(member)
        self._registration.deregister(member)
        member.auto_scaling_group.members.remove(member)
        self._wake(member.auto_scaling_group.name)

    def rest(self, member: Member) -> None:
        """Into standby."""
        self._registration.deregister(member)
        member.lifecycle_state = "Standby"
        self._wake(member.auto_scaling_group.name)

    def _order(self, group: Group) -> MachineInstance:
        subnet_id, zone = group.next_place()
        tags = {**group.instance_tags, **group.get_propagated_tags(), "aws:autoscaling:groupName": group.name}
        options: dict[str, Any] = {}
        configuration = group.launch_config
        if configuration:
            options["associate_public_ip"] = configuration.associate_public_ip_address
            options["iam_instance_profile_name"] = configuration.iam_instance_profile
        template = group.launched_with()
        if template is not None:
            options["launch_template"] = {key: template[key] for key in ("LaunchTemplateId", "Version")}
        reservation = self._ec2.run_instances(
            group.image_id,
            1,
            group.user_data,
            group.security_groups,
            instance_type=group.instance_type,
            is_instance_type_default=False,
            region_name=group.region,
            subnet_id=subnet_id,
            placement=zone,
            launch_config=configuration,
            tags={"instance": tags},
            **options,
        )
        instance = MachineInstance.of(reservation.instances[0])
        if options.get("iam_instance_profile_name"):
            self._ec2.associate_iam_instance_profile(
                instance.id, iam_instance_profile_name=options["iam_instance_profile_name"]
            )
        return instance

    def _wait(self, member: Member, state: str, hooks: list[LifecycleHook]) -> None:
        member.lifecycle_state = state
        member.abandoned = False
        for hook in hooks:
            action = LifecycleAction(hook)
            member.actions[hook.name] = action
            self.heartbeat(member, action)
            self.chronicle.waits(member, action)

    def _timed_out(self, member: Member, action: LifecycleAction) -> None:
        if member.actions.get(action.hook.name) is action:
            self.complete(member, action, action.hook.default_result)

    def _proceed_to_service(self, member: Member) -> None:
        if member.lifecycle_state == "Pending:Proceed":
            self.enter_service(member)

    def _leave_or_wait(self, member: Member) -> None:
        if member.lifecycle_state != "Terminating":
            return
        hooks = member.auto_scaling_group.hooks_for(TERMINATING)
        if hooks:
            self._wait(member, "Terminating:Wait", hooks)
        else:
            self._proceed_to_end(member)

    def _proceed_to_end(self, member: Member) -> None:
        member.lifecycle_state = "Terminating:Proceed"
        if member.instance.state == "terminated":
            self._gone(member)
        else:
            self._ec2.terminate_instances([member.instance_id])

    def _retain(self, member: Member) -> None:
        """It lives on, counts for nothing, and is ended by TerminateInstanceInAutoScalingGroup alone."""
        if member.instance.state == "terminated":
            self._proceed_to_end(member)
            return
        member.lifecycle_state = RETAINED
        self.chronicle.end_for(member, TERMINATING, failure="A terminate hook was abandoned: the instance is retained.")
        self._wake(member.auto_scaling_group.name)

    def _gone(self, member: Member) -> None:
        member.lifecycle_state = "Terminated"
        self.chronicle.end_for(member, TERMINATING)
        self._drop(member)

    def _try_again(self, group: Group) -> None:
        retry_s = self._world.delays.autoscaling_retry_s
        group.no_launch_before = time.monotonic() + retry_s
        self._wake(group.name, retry_s)

    def _drop(self, member: Member) -> None:
        group = member.auto_scaling_group
        if member in group.members:
            group.members.remove(member)
        self._wake(group.name)

    def _close_actions(self, member: Member) -> None:
        for action in member.actions.values():
            action.close()
        member.actions.clear()

    def _locked(self, step: Callable[..., None], *arguments: Any) -> None:
        with self._lock:
            step(*arguments)


def _now() -> str:
    return str(utcnow().strftime("%Y-%m-%dT%H:%M:%SZ"))
