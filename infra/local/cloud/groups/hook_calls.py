"""The calls of Auto Scaling's API that are about hooks, the machines that wait for them, and who is told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from moto.autoscaling.exceptions import ValidationError
from moto.autoscaling.models import AutoScalingBackend

from infra.local.cloud.groups import hooks
from infra.local.cloud.groups.group import Group
from infra.local.cloud.groups.hooks import LifecycleAction, LifecycleHook
from infra.local.cloud.groups.lifecycle import Lifecycle
from infra.local.cloud.groups.members import Member
from infra.local.cloud.groups.notifications import TEST, TYPES


class HookCalls(AutoScalingBackend):
    """Part of the backend; the rest of it brings the lock, the lifecycle and the groups."""

    lock: threading.RLock
    lifecycle: Lifecycle

    def group(self, name: str) -> Group:
        """The group of this name, or ValidationError."""
        raise NotImplementedError

    @contextmanager
    def creating(self, group_name: str, specifications: list[dict[str, Any]]) -> Iterator[None]:
        """A group created inside has these hooks before its first machine is launched. One refused: no group."""
        with self.lock:
            for given in specifications:
                hooks.put(None, group_name, given)
            yield
            for given in specifications:
                self.put_lifecycle_hook(group_name, given)

    def put_lifecycle_hook(self, group_name: str, given: dict[str, Any]) -> LifecycleHook:
        with self.lock:
            group = self.group(group_name)
            before = group.hooks.get(given.get("LifecycleHookName", ""))
            hook = hooks.put(before, group_name, given)
            if given.get("NotificationTargetARN"):
                self.lifecycle.notifications.test_hook(hook, group.arn)
            group.hooks[hook.name] = hook
            return hook

    def put_notification_configuration(self, group_name: str, topic_arn: str, types: list[str]) -> None:
        """What is put replaces what the group told this topic before."""
        with self.lock:
            group = self.group(group_name)
            if unknown := set(types) - set(TYPES):
                raise ValidationError(f"{sorted(unknown)[0]} is not a valid Notification Type")
            if TEST in types:
                self.lifecycle.notifications.test_topic(topic_arn, group.name, group.arn)
            group.topics[topic_arn] = frozenset(types)

    def delete_notification_configuration(self, group_name: str, topic_arn: str) -> None:
        with self.lock:
            self.group(group_name).topics.pop(topic_arn, None)

    def hooks_of(self, group_name: str, names: list[str]) -> list[LifecycleHook]:
        return [hook for hook in self.group(group_name).hooks.values() if not names or hook.name in names]

    def delete_lifecycle_hook(self, as_name: str, name: str) -> None:
        """Machines that wait for it are let go, as AWS does it: CONTINUE for those that leave, ABANDON for new ones."""
        with self.lock:
            group = self.group(as_name)
            hook = group.hooks.pop(name, None)
            if hook is None:
                raise _no_hook(name, as_name)
            for member in list(group.members):
                if (action := member.actions.get(name)) is not None:
                    self.lifecycle.complete(member, action, "ABANDON" if hook.launching else "CONTINUE")

    def complete_lifecycle_action(
        self, group_name: str, hook: str, token: str | None, instance_id: str | None, result: str
    ) -> None:
        with self.lock:
            if result not in hooks.RESULTS:
                raise ValidationError(f"Invalid LifecycleActionResult: {result}. Choose CONTINUE or ABANDON.")
            member, action = self._action(group_name, hook, token, instance_id)
            self.lifecycle.complete(member, action, result)

    def record_heartbeat(self, group_name: str, hook: str, token: str | None, instance_id: str | None) -> None:
        with self.lock:
            self.lifecycle.heartbeat(*self._action(group_name, hook, token, instance_id))

    def _action(
        self, group_name: str, hook: str, token: str | None, instance_id: str | None
    ) -> tuple[Member, LifecycleAction]:
        group = self.group(group_name)
        if hook not in group.hooks:
            raise _no_hook(hook, group_name)
        if not token and not instance_id:
            raise ValidationError("Either LifecycleActionToken or InstanceId must be given.")
        for member in group.members:
            action = member.actions.get(hook)
            if action is not None and (action.token == token if token else member.instance_id == instance_id):
                return member, action
        which = f"token {token}" if token else f"instance ID {instance_id}"
        raise ValidationError(f"No active Lifecycle Action found with {which}")


def _no_hook(name: str, group_name: str) -> ValidationError:
    return ValidationError(f"No Lifecycle Hook found with the name {name} for the Auto Scaling group {group_name}")
