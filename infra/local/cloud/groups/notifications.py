"""What Auto Scaling sends to queues and topics by itself: of hooks that hold a machine, and of activities that ended.

Forms: Auto Scaling user guide, "Lifecycle hook notifications" and "Amazon SNS notification options".
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from moto.autoscaling.exceptions import ValidationError

from infra.local.cloud.access.access import Access
from infra.local.cloud.access.authority import Authority
from infra.local.cloud.access.policies import Decision
from infra.local.cloud.events.happenings import LAUNCHING, ActionNews, ActivityNews, Place, utc
from infra.local.cloud.groups.hooks import LifecycleHook
from infra.local.cloud.queues.destinations import send, service_of
from infra.local.cloud.surroundings import Surroundings

log = logging.getLogger(__name__)

TEST = "autoscaling:TEST_NOTIFICATION"
TYPES = (
    "autoscaling:EC2_INSTANCE_LAUNCH",
    "autoscaling:EC2_INSTANCE_LAUNCH_ERROR",
    "autoscaling:EC2_INSTANCE_TERMINATE",
    "autoscaling:EC2_INSTANCE_TERMINATE_ERROR",
    TEST,
)
_SENDING = {"sqs": "sqs:SendMessage", "sns": "sns:Publish"}
"""What a hook's role must be allowed, by the service of its target."""


class Notifications:
    """Sent from a timer: who tells holds locks, and who is told may be gone. Tests are sent at once."""

    def __init__(self, surroundings: Surroundings, place: Place) -> None:
        self._timers = surroundings.timers
        self._place = place
        self._authority = Authority()

    def test_hook(self, hook: LifecycleHook, group_arn: str) -> None:
        """Try the target in the role's name; ValidationError when it cannot be reached, as AWS refuses the hook."""
        target, role = hook.notification_target_arn or "", hook.role_arn
        action = _SENDING.get(service_of(target))
        if action is None:
            raise ValidationError(f"The notification target {target} is neither a queue nor a topic.")
        if not role:
            raise ValidationError("A RoleARN is required with a NotificationTargetARN.")
        failed = f"Unable to publish test message to notification target {target} using IAM role {role}."
        if self._authority.decision(role, role, Access(action, target), {}) is not Decision.ALLOWED:
            raise ValidationError(f"{failed} {action} is not allowed.")
        self._test(target, hook.auto_scaling_group_name, group_arn, failed)

    def test_topic(self, topic_arn: str, group_name: str, group_arn: str) -> None:
        """ValidationError when there is no such topic."""
        self._test(topic_arn, group_name, group_arn, f"Unable to publish test message to {topic_arn}.")

    def tell_waiting(self, news: ActionNews, hook: LifecycleHook) -> None:
        """To the hook's target, if it has one."""
        if not hook.notification_target_arn:
            return
        body = {
            **self._common(news.group),
            "LifecycleHookName": news.hook,
            "LifecycleTransition": news.transition,
            "LifecycleActionToken": news.token,
            "EC2InstanceId": news.instance_id,
            "Origin": news.origin,
            "Destination": news.destination,
        }
        if news.metadata is not None:
            body["NotificationMetadata"] = news.metadata
        self._timers.after(0.0, _send, hook.notification_target_arn, body, f"Lifecycle action of {news.group}")

    def tell_ended(self, news: ActivityNews, topics: Mapping[str, frozenset[str]]) -> None:
        """To those of a group's topics that want to know such an end."""
        launching = news.transition == LAUNCHING
        word = "launch" if launching else "termination"
        kind = f"autoscaling:EC2_INSTANCE_{'LAUNCH' if launching else 'TERMINATE'}{'' if news.successful else '_ERROR'}"
        body = {
            **self._common(news.group),
            "AutoScalingGroupARN": news.group_arn,
            "Event": kind,
            "ActivityId": news.activity_id,
            "RequestId": news.request_id,
            "StatusCode": "InProgress" if news.successful else "Failed",
            "StatusMessage": news.status_message,
            "Progress": 50,
            "Description": news.description,
            "Cause": news.cause,
            "StartTime": _millis(news.started),
            "EndTime": _millis(news.ended),
            "EC2InstanceId": news.instance_id,
            "Details": {"Subnet ID": news.subnet_id, "Availability Zone": news.zone},
            "Origin": "EC2" if launching else "AutoScalingGroup",
            "Destination": "AutoScalingGroup" if launching else "EC2",
        }
        subject = f'Auto Scaling: {word} for group "{news.group}"'
        for topic, kinds in topics.items():
            if kind in kinds:
                self._timers.after(0.0, _send, topic, body, subject)

    def _test(self, target: str, group_name: str, group_arn: str, failed: str) -> None:
        body = {**self._common(group_name), "AutoScalingGroupARN": group_arn, "Event": TEST}
        subject = f'Auto Scaling: test notification for group "{group_name}"'
        try:
            send(target, json.dumps(body), subject=subject)
        except Exception as error:
            raise ValidationError(f"{failed} {error}") from error

    def _common(self, group_name: str) -> dict[str, Any]:
        return {
            "AccountId": self._place.account,
            "AutoScalingGroupName": group_name,
            "RequestId": str(uuid4()),
            "Service": "AWS Auto Scaling",
            "Time": _millis(datetime.now(UTC)),
        }


def _send(target: str, body: dict[str, Any], subject: str) -> None:
    try:
        send(target, json.dumps(body), subject=subject)
    except Exception as error:
        log.warning("A notification of %s did not reach %s: %s", body["AutoScalingGroupName"], target, error)


def _millis(moment: datetime) -> str:
    return f"{utc(moment):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"
