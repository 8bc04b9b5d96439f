"""The events that EC2 and Auto Scaling publish, in their documented form. Pure: facts come in, a dict goes out.

Forms: https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-event-reference.html and
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/monitoring-instance-state-changes.html
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

Event = dict[str, Any]
Publish = Callable[[Event], None]
"""Takes an event and returns at once: it is called by the threads that serve the API."""

LAUNCHING = "autoscaling:EC2_INSTANCE_LAUNCHING"
TERMINATING = "autoscaling:EC2_INSTANCE_TERMINATING"
_WORD = {LAUNCHING: "launch", TERMINATING: "terminate"}


@dataclass(frozen=True)
class Place:
    """Whose events these are."""

    account: str
    region: str

    def instance_arn(self, instance_id: str) -> str:
        return f"arn:aws:ec2:{self.region}:{self.account}:instance/{instance_id}"


@dataclass(frozen=True)
class ActionNews:
    """A machine entered a wait state for one hook."""

    token: str
    group: str
    group_arn: str
    hook: str
    instance_id: str
    transition: str
    metadata: str | None
    origin: str
    destination: str


@dataclass(frozen=True)
class ActivityNews:
    """A launch or a termination by a group has ended."""

    activity_id: str
    request_id: str
    group: str
    group_arn: str
    instance_id: str
    transition: str
    successful: bool
    description: str
    cause: str
    status_message: str
    zone: str
    subnet_id: str
    started: datetime
    ended: datetime


def stamp(moment: datetime) -> str:
    """The time as events carry it: UTC, whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _envelope(place: Place, source: str, detail_type: str, resources: list[str], detail: Event, at: datetime) -> Event:
    return {
        "version": "0",
        "id": str(uuid4()),
        "detail-type": detail_type,
        "source": source,
        "account": place.account,
        "time": stamp(at),
        "region": place.region,
        "resources": resources,
        "detail": detail,
    }


def state_change(place: Place, instance_id: str, state: str, at: datetime) -> Event:
    """EC2: the instance is now in this state."""
    return _envelope(
        place,
        "aws.ec2",
        "EC2 Instance State-change Notification",
        [place.instance_arn(instance_id)],
        {"instance-id": instance_id, "state": state},
        at,
    )


def lifecycle_action(place: Place, news: ActionNews, at: datetime) -> Event:
    """Auto Scaling: somebody is to act on this machine and then complete the action."""
    detail = {
        "LifecycleActionToken": news.token,
        "AutoScalingGroupName": news.group,
        "LifecycleHookName": news.hook,
        "EC2InstanceId": news.instance_id,
        "LifecycleTransition": news.transition,
        "Origin": news.origin,
        "Destination": news.destination,
    }
    if news.metadata is not None:
        detail["NotificationMetadata"] = news.metadata
    title = f"EC2 Instance-{_WORD[news.transition]} Lifecycle Action"
    return _envelope(place, "aws.autoscaling", title, [news.group_arn], detail, at)


def activity_ended(place: Place, news: ActivityNews) -> Event:
    """Auto Scaling: a launch or termination succeeded, or failed."""
    launching = news.transition == LAUNCHING
    ends = ("EC2", "AutoScalingGroup") if launching else ("AutoScalingGroup", "EC2")
    outcome = "Successful" if news.successful else "Unsuccessful"
    detail = {
        "StatusCode": "InProgress" if news.successful else "Failed",
        "Description": news.description,
        "AutoScalingGroupName": news.group,
        "ActivityId": news.activity_id,
        "Details": {"Availability Zone": news.zone, "Subnet ID": news.subnet_id},
        "RequestId": news.request_id,
        "StatusMessage": news.status_message,
        "EndTime": stamp(news.ended),
        "EC2InstanceId": news.instance_id,
        "StartTime": stamp(news.started),
        "Cause": news.cause,
        "Origin": ends[0],
        "Destination": ends[1],
    }
    title = f"EC2 Instance {_WORD[news.transition].capitalize()} {outcome}"
    resources = [news.group_arn]
    if news.instance_id:
        resources.append(place.instance_arn(news.instance_id))
    return _envelope(place, "aws.autoscaling", title, resources, detail, news.ended)
