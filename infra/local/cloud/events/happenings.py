"""The events that EC2 and Auto Scaling publish, in their documented form. Pure: facts come in, a dict goes out.

Forms: https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-event-reference.html and
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/monitoring-instance-state-changes.html, for Spot instances
spot-instance-termination-notices.html and rebalance-recommendations.html beside it, and for AWS Health
https://docs.aws.amazon.com/health/latest/ug/aws-health-events-eventbridge-schema.html
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
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


@dataclass(frozen=True)
class ScheduledChangeNews:
    """AWS Health's news of maintenance that was scheduled for several instances, or is over for them."""

    event_arn: str
    type_code: str
    description: str
    instance_ids: tuple[str, ...]
    starts: datetime
    ends: datetime
    over: bool


def stamp(moment: datetime) -> str:
    """The time as events carry it: UTC, whole seconds."""
    return utc(moment).strftime("%Y-%m-%dT%H:%M:%SZ")


def utc(moment: datetime) -> datetime:
    """With its zone; moto leaves it away and means UTC."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


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


def rebalance_recommendation(place: Place, instance_id: str, at: datetime) -> Event:
    """EC2: the Spot instance has become more likely to be interrupted than others."""
    detail = {"instance-id": instance_id}
    return _envelope(
        place, "aws.ec2", "EC2 Instance Rebalance Recommendation", [place.instance_arn(instance_id)], detail, at
    )


def interruption_warning(place: Place, instance_id: str, zone: str, action: str, at: datetime) -> Event:
    """EC2: the Spot instance is about to be taken. Here, and nowhere else, the ARN has the zone and no account."""
    detail = {"instance-id": instance_id, "instance-action": action}
    resources = [f"arn:aws:ec2:{zone}:instance/{instance_id}"]
    return _envelope(place, "aws.ec2", "EC2 Spot Instance Interruption Warning", resources, detail, at)


def scheduled_change(place: Place, news: ScheduledChangeNews, at: datetime) -> Event:
    """AWS Health: one event for all instances that the change is about."""
    entity_status, last = ("RESOLVED" if news.over else "PENDING"), _http_date(at)
    detail = {
        "eventArn": news.event_arn,
        "service": "EC2",
        "eventTypeCode": news.type_code,
        "eventTypeCategory": "scheduledChange",
        "eventScopeCode": "ACCOUNT_SPECIFIC",
        "communicationId": str(uuid4()),
        "startTime": _http_date(news.starts),
        "endTime": _http_date(news.ends),
        "lastUpdatedTime": last,
        "statusCode": "closed" if news.over else "upcoming",
        "eventRegion": place.region,
        "eventDescription": [{"language": "en_US", "latestDescription": news.description}],
        "affectedEntities": [
            {"entityValue": instance_id, "status": entity_status, "lastUpdatedTime": last}
            for instance_id in news.instance_ids
        ],
        "affectedAccount": place.account,
        "page": "1",
        "totalPages": "1",
    }
    return _envelope(place, "aws.health", "AWS Health Event", list(news.instance_ids), detail, at)


def _http_date(moment: datetime) -> str:
    return format_datetime(utc(moment), usegmt=True)


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
