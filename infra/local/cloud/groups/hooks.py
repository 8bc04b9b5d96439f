"""Lifecycle hooks, and the actions that hold a machine until somebody, or the clock, completes them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

from moto.autoscaling.exceptions import ValidationError

from infra.local.cloud.events.happenings import LAUNCHING, TERMINATING
from infra.local.cloud.timers import Timer

LONGEST_WAIT_S = 172_800
"""Heartbeats or not, no action lasts longer than 48 hours or 100 timeouts, whichever is less."""

RESULTS = ("CONTINUE", "ABANDON")


@dataclass(frozen=True)
class LifecycleHook:
    """One hook of one group. Timeouts in seconds, as the API gives them."""

    name: str
    auto_scaling_group_name: str
    lifecycle_transition: str
    heartbeat_timeout: int = 3600
    default_result: str = "ABANDON"
    notification_metadata: str | None = None
    notification_target_arn: str | None = None
    role_arn: str | None = None

    @property
    def global_timeout(self) -> int:
        return min(LONGEST_WAIT_S, 100 * self.heartbeat_timeout)

    @property
    def launching(self) -> bool:
        return self.lifecycle_transition == LAUNCHING

    def described(self) -> dict[str, Any]:
        """Its entry in DescribeLifecycleHooks."""
        described = {
            "LifecycleHookName": self.name,
            "AutoScalingGroupName": self.auto_scaling_group_name,
            "LifecycleTransition": self.lifecycle_transition,
            "HeartbeatTimeout": self.heartbeat_timeout,
            "GlobalTimeout": self.global_timeout,
            "DefaultResult": self.default_result,
            "NotificationMetadata": self.notification_metadata,
            "NotificationTargetARN": self.notification_target_arn,
            "RoleARN": self.role_arn,
        }
        return {key: value for key, value in described.items() if value is not None}


def put(before: LifecycleHook | None, group_name: str, given: dict[str, Any]) -> LifecycleHook:
    """The hook that PutLifecycleHook, or a specification, asks for: `given` upon what it was before.

    ValidationError for what AWS refuses.
    """
    name = given.get("LifecycleHookName")
    if not name:
        raise ValidationError("A lifecycle hook needs a LifecycleHookName.")
    if before is None:
        transition = given.get("LifecycleTransition")
        if transition is None:
            raise ValidationError("A LifecycleTransition is required to create a lifecycle hook.")
        before = LifecycleHook(name, group_name, transition)
    fields = {
        "lifecycle_transition": given.get("LifecycleTransition"),
        "heartbeat_timeout": given.get("HeartbeatTimeout"),
        "default_result": given.get("DefaultResult"),
        "notification_metadata": given.get("NotificationMetadata"),
        "notification_target_arn": given.get("NotificationTargetARN"),
        "role_arn": given.get("RoleARN"),
    }
    changes: dict[str, Any] = {key: value for key, value in fields.items() if value is not None}
    if "heartbeat_timeout" in changes:
        changes["heartbeat_timeout"] = int(changes["heartbeat_timeout"])
    hook = replace(before, **changes)
    if hook.lifecycle_transition not in (LAUNCHING, TERMINATING):
        raise ValidationError(f"Invalid lifecycle transition: {hook.lifecycle_transition}")
    if not 30 <= hook.heartbeat_timeout <= 7200:
        raise ValidationError("HeartbeatTimeout must be between 30 and 7200 seconds.")
    if hook.default_result not in RESULTS:
        raise ValidationError(f"Invalid DefaultResult: {hook.default_result}. Choose CONTINUE or ABANDON.")
    return hook


@dataclass
class LifecycleAction:
    """One machine held by one hook. The clock that ends it is set by its group's lifecycle."""

    hook: LifecycleHook
    token: str = field(default_factory=lambda: str(uuid4()))
    opened: float = field(default_factory=time.monotonic)
    timer: Timer | None = None

    def rest_s(self, hook_second_s: float) -> float:
        """Seconds until it ends by itself, if the heartbeat were now."""
        longest_s = self.hook.global_timeout * hook_second_s - (time.monotonic() - self.opened)
        return max(0.0, min(self.hook.heartbeat_timeout * hook_second_s, longest_s))

    def close(self) -> None:
        """Nothing ends it by itself any more."""
        if self.timer is not None:
            self.timer.cancel()
