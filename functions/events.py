"""Any payload that AWS can send: which machines to look at, or why it is dropped. Pure.

An event is only a hint to look; the pass reads everything else anew. Only that AWS announces something about a machine
travels with the hint. Forms: Amazon EC2 Auto Scaling user guide, "Amazon EventBridge
event reference" and "Amazon SNS notification options"; Amazon EC2 user guide, "State change events", "Spot Instance
interruption notices", "EC2 instance rebalance recommendations"; AWS Health user guide, "AWS Health events Amazon
EventBridge schema"; Amazon CloudWatch user guide, "Alarm events and EventBridge".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from functions.cluster.machine import InstanceId, Transition, instance_id
from functions.cluster.notice import REBALANCE_HOLDS, SPOT_WARNS, Cause, Notice
from functions.messages import Look

LAUNCH_ACTION = "EC2 Instance-launch Lifecycle Action"
TERMINATE_ACTION = "EC2 Instance-terminate Lifecycle Action"
LAUNCH_UNSUCCESSFUL = "EC2 Instance Launch Unsuccessful"
STATE_CHANGE = "EC2 Instance State-change Notification"
SPOT_WARNING = "EC2 Spot Instance Interruption Warning"
REBALANCE = "EC2 Instance Rebalance Recommendation"
HEALTH = "AWS Health Event"
ALARM = "CloudWatch Alarm State Change"

TRANSITIONS = {LAUNCH_ACTION: Transition.LAUNCHING, TERMINATE_ACTION: Transition.TERMINATING}
ACTIVITIES = {
    "EC2 Instance Launch Successful": "launched it",
    LAUNCH_UNSUCCESSFUL: "could not launch it",
    "EC2 Instance Terminate Successful": "terminated it",
    "EC2 Instance Terminate Unsuccessful": "could not terminate it",
}
NOTIFIED_ACTIVITIES = {
    "autoscaling:EC2_INSTANCE_LAUNCH": "EC2 Instance Launch Successful",
    "autoscaling:EC2_INSTANCE_LAUNCH_ERROR": LAUNCH_UNSUCCESSFUL,
    "autoscaling:EC2_INSTANCE_TERMINATE": "EC2 Instance Terminate Successful",
    "autoscaling:EC2_INSTANCE_TERMINATE_ERROR": "EC2 Instance Terminate Unsuccessful",
}
"""Auto Scaling's notifications of SNS say the same as its events under other names."""
TEST_NOTIFICATION = "autoscaling:TEST_NOTIFICATION"
WARM_POOL = {
    (Transition.LAUNCHING, "EC2", "WarmPool"): "launches it into its warm pool",
    (Transition.LAUNCHING, "WarmPool", "AutoScalingGroup"): "takes it out of its warm pool",
    (Transition.TERMINATING, "AutoScalingGroup", "WarmPool"): "returns it to its warm pool",
    (Transition.TERMINATING, "WarmPool", "EC2"): "terminates it in its warm pool",
}
"""By origin and destination; only groups with a warm pool have others than EC2 and the group itself."""
TRANSITION_OF = {transition.value: transition for transition in Transition}
VERBS = {Transition.LAUNCHING: "launches it", Transition.TERMINATING: "terminates it"}
TELLING_STATES = ("running", "shutting-down", "terminated", "stopping", "stopped")
SPOT_ACTIONS = ("terminate", "stop", "hibernate")
MOST_WRAPPINGS = 2  # of a notification: by a topic, or by one behind another

_ID = re.compile("[A-Za-z0-9-]{1,64}")  # of what happened, in Amazon's forms; SQS takes no blanks and 128 characters


@dataclass(frozen=True)
class Dropped:
    """An event from which nothing follows, why, and as what it is counted."""

    reason: str
    counted: str = "event_dropped"


@dataclass(frozen=True)
class Hint:
    """A machine to look at, and an id from the event's content alone, which makes its delivery unique."""

    look: Look
    event_id: str


def read_event(event: object) -> tuple[Hint, ...] | Dropped:
    """Return what follows from one EventBridge event, one hint for each machine; never raises, whatever comes in."""
    if not isinstance(event, Mapping):
        return Dropped(f"not an event but {type(event).__name__}")
    kind, detail, event_id = event.get("detail-type"), event.get("detail"), _id(event.get("id"))
    if not isinstance(detail, Mapping) or event_id is None:
        return Dropped(f"an event without an id or a detail: {_said(kind)}")
    match event.get("source"), kind:
        case "aws.autoscaling", str() if kind in TRANSITIONS:
            return _lifecycle_action(event_id, TRANSITIONS[kind], detail)
        case "aws.autoscaling", str() if kind in ACTIVITIES:
            return _activity(event_id, kind, detail)
        case "aws.ec2", str() if kind == STATE_CHANGE:
            return _state_change(event_id, detail)
        case "aws.ec2", str() if kind == SPOT_WARNING:
            return _spot_warning(event_id, event.get("time"), detail)
        case "aws.ec2", str() if kind == REBALANCE:
            notice = _notice(Cause.REBALANCE, "rebalance", event.get("time"), REBALANCE_HOLDS)
            return _announced(event_id, notice, detail)
        case "aws.health", str() if kind == HEALTH:
            return _health(event_id, event.get("time"), detail)
        case "aws.cloudwatch", str() if kind == ALARM:
            return _alarm(event_id, detail)
        case source, _:
            return Dropped(f"nothing follows from {_said(kind)} of {_said(source)}")


def read_message(body: str) -> tuple[Hint, ...] | Dropped:
    """Return the same for the body of a message that a rule, Auto Scaling or a topic has sent to the inbox."""
    for _ in range(MOST_WRAPPINGS + 1):
        try:
            content = json.loads(body)
        except (ValueError, RecursionError):
            return Dropped(f"a message that is not JSON: {_said(body)}")
        match content:
            case {"Type": "Notification", "Message": str(message)}:
                body = message
            case {"Type": "SubscriptionConfirmation", "TopicArn": topic}:
                return Dropped(f"{_said(topic)} asks whether the inbox shall hear from it: a person has to confirm it")
            case {"detail-type": _}:
                return read_event(content)
            case {"Event": str(kind)} if kind == TEST_NOTIFICATION:
                return Dropped(f"{_said(content.get('AutoScalingGroupName'))} tries whether it can send to the inbox")
            case {"Event": str(kind)} if kind in NOTIFIED_ACTIVITIES:
                return _activity(None, NOTIFIED_ACTIVITIES[kind], content)
            case {"LifecycleTransition": str(value)} if value in TRANSITION_OF:
                return _lifecycle_action(None, TRANSITION_OF[value], content)
            case {}:
                return Dropped(f"nothing follows from a message of this kind: {_said(body)}")
            case _:
                return Dropped(f"not an object but {type(content).__name__}: {_said(body)}")
    return Dropped(f"a notification in a notification, more than {MOST_WRAPPINGS} deep")


def _lifecycle_action(
    event_id: str | None, transition: Transition, detail: Mapping[str, Any]
) -> tuple[Hint, ...] | Dropped:
    """The token names the action, however often and on whichever road it is told."""
    machine, action = instance_id(detail.get("EC2InstanceId")), _id(detail.get("LifecycleActionToken")) or event_id
    if machine is None or action is None:
        told = f"{_said(detail.get('EC2InstanceId'))}, {_said(detail.get('LifecycleActionToken'))}"
        return Dropped(f"a lifecycle action with no instance id or no token: {told}")
    if detail.get("LifecycleTransition") != transition.value:
        return Dropped(f"a lifecycle action of transition {_said(detail.get('LifecycleTransition'))}")
    way = (transition, _said(detail.get("Origin")), _said(detail.get("Destination")))
    verb = WARM_POOL.get(way, VERBS[transition])
    return (Hint(Look(machine, f"{_said(detail.get('AutoScalingGroupName'))} {verb}"), action),)


def _activity(event_id: str | None, kind: str, detail: Mapping[str, Any]) -> tuple[Hint, ...] | Dropped:
    """A launch that brought no instance leaves nothing to look at: it is counted, with Auto Scaling's own words."""
    group, machine = _said(detail.get("AutoScalingGroupName")), instance_id(detail.get("EC2InstanceId"))
    activity = _id(detail.get("ActivityId")) or event_id
    if kind == LAUNCH_UNSUCCESSFUL and not detail.get("EC2InstanceId"):
        return Dropped(f"{group} got no instance: {_said(detail.get('StatusMessage'))}", "launch_unsuccessful")
    if machine is None or activity is None:
        told = f"{_said(detail.get('EC2InstanceId'))}, {_said(detail.get('ActivityId'))}"
        return Dropped(f"{_said(kind)} with no instance id or no activity: {told}")
    return (Hint(Look(machine, f"{group} {ACTIVITIES[kind]}"), activity),)


def _state_change(event_id: str, detail: Mapping[str, Any]) -> tuple[Hint, ...] | Dropped:
    machine, state = instance_id(detail.get("instance-id")), detail.get("state")
    if machine is None:
        return Dropped(f"a state change with no instance id: {_said(detail.get('instance-id'))}")
    if state not in TELLING_STATES:
        return Dropped(f"state {_said(state)} of {machine} calls for nothing")
    return (Hint(Look(machine, f"EC2 says {state}"), event_id),)


def _spot_warning(event_id: str, time: object, detail: Mapping[str, Any]) -> tuple[Hint, ...] | Dropped:
    action = detail.get("instance-action")
    if action not in SPOT_ACTIONS:
        return Dropped(f"a Spot interruption with the action {_said(action)}")
    return _announced(event_id, _notice(Cause.SPOT, str(action), time, SPOT_WARNS), detail)


def _announced(event_id: str, notice: Notice | None, detail: Mapping[str, Any]) -> tuple[Hint, ...] | Dropped:
    machine = instance_id(detail.get("instance-id"))
    if machine is None:
        return Dropped(f"an announcement with no instance id: {_said(detail.get('instance-id'))}")
    if notice is None:
        return Dropped(f"an announcement about {machine} of an unknown time")
    return (Hint(Look(machine, str(notice), notice=notice), event_id),)


def _health(event_id: str, time: object, detail: Mapping[str, Any]) -> tuple[Hint, ...] | Dropped:
    """Every machine that is named on this page: each page is an event of its own.

    What is planned, and whether it is over or cancelled, the pass asks EC2; so `until` says no more than `heard_at`.
    """
    code = _said(detail.get("eventTypeCode"))
    if (detail.get("service"), detail.get("eventTypeCategory")) != ("EC2", "scheduledChange"):
        return Dropped(f"AWS Health: {code} changes no machine's schedule")
    notice = _notice(Cause.MAINTENANCE, code, time, timedelta(0))
    if notice is None:
        return Dropped(f"AWS Health: {code} of an unknown time")
    named = (one.get("entityValue") for one in _objects(detail.get("affectedEntities")))
    # An id, or an ARN that ends with it.
    machines = _machines(value.rpartition("/")[2] for value in named if isinstance(value, str))
    if not machines:
        return Dropped(f"AWS Health: {code} names no machine")
    return _each(machines, f"AWS Health: {code} is {_said(detail.get('statusCode'))}", event_id, notice)


def _alarm(event_id: str, detail: Mapping[str, Any]) -> tuple[Hint, ...] | Dropped:
    """Every machine whose metric is in it. One made of other alarms has no metrics: those tell for themselves."""
    name, state, configuration = _said(detail.get("alarmName")), detail.get("state"), detail.get("configuration")
    value = state.get("value") if isinstance(state, Mapping) else None
    if value != "ALARM":
        return Dropped(f"the alarm {name} in state {_said(value)} calls for nothing")
    queries = _objects(configuration.get("metrics") if isinstance(configuration, Mapping) else None)
    stats = _objects([query.get("metricStat") for query in queries])  # none of those that only calculate
    metrics = list(_objects([stat.get("metric") for stat in stats]))
    machines = _machines(own.get("InstanceId") for one in metrics for own in _objects([one.get("dimensions")]))
    if not machines:
        return Dropped(f"the alarm {name} is about no machine")
    about = ", ".join(sorted({_said(metric.get("name")) for metric in metrics})[:3])
    return _each(machines, f"the alarm {name} rings: {about}", event_id)


def _each(machines: Iterable[InstanceId], reason: str, event_id: str, notice: Notice | None = None) -> tuple[Hint, ...]:
    return tuple(Hint(Look(machine, reason, notice=notice), f"{event_id}-{machine}") for machine in machines)


def _objects(among: object) -> Iterator[Mapping[str, Any]]:
    """Those of a list's elements that are objects; of no list, none."""
    return (one for one in among if isinstance(one, Mapping)) if isinstance(among, list) else iter(())


def _machines(values: Iterable[object]) -> tuple[InstanceId, ...]:
    """Each machine once, in the order in which they are named."""
    return tuple(dict.fromkeys(machine for value in values if (machine := instance_id(value))))


def _notice(cause: Cause, what: str, time: object, lasts: timedelta) -> Notice | None:
    """None when the event does not say when it was, or says what no clock can be compared with."""
    try:
        heard_at = datetime.fromisoformat(time if isinstance(time, str) else "")
    except ValueError:
        return None
    if heard_at.tzinfo is None or not 1970 <= heard_at.year < 9999:
        return None
    heard_at = heard_at.astimezone(UTC)
    return Notice(cause, what[:64], heard_at, heard_at + lasts)


def _id(value: object) -> str | None:
    return value if isinstance(value, str) and _ID.fullmatch(value) else None


def _said(value: object) -> str:
    """What came in, as short and printable as a log and a queue need it."""
    if not isinstance(value, str):
        return "None" if value is None else type(value).__name__
    return (value if value.isprintable() else ascii(value[:100]))[:100]
