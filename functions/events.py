"""Any payload that AWS can send: which machine to look at, or why it is dropped. Pure.

An event is only a hint to look; the pass reads everything else anew. Forms: Amazon EC2 Auto Scaling user guide, "Amazon
EventBridge event reference"; Amazon EC2 user guide, "State change events".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from functions.cluster.machine import Transition, instance_id
from functions.messages import Look

LAUNCH_ACTION = "EC2 Instance-launch Lifecycle Action"
TERMINATE_ACTION = "EC2 Instance-terminate Lifecycle Action"
STATE_CHANGE = "EC2 Instance State-change Notification"
TRANSITIONS = {LAUNCH_ACTION: Transition.LAUNCHING, TERMINATE_ACTION: Transition.TERMINATING}
TELLING_STATES = ("shutting-down", "terminated", "stopping", "stopped")

# What EventBridge hands to intake. An account's machines start and stop all day: what calls for nothing wakes nobody.
PATTERN: dict[str, Any] = {
    "source": ["aws.autoscaling", "aws.ec2"],
    "detail-type": [LAUNCH_ACTION, TERMINATE_ACTION, STATE_CHANGE],
    "$or": [
        {"detail": {"state": list(TELLING_STATES)}},
        {"detail": {"LifecycleTransition": [transition.value for transition in Transition]}},
    ],
}


@dataclass(frozen=True)
class Dropped:
    """An event from which nothing follows, and why."""

    reason: str


@dataclass(frozen=True)
class Hint:
    """A machine to look at, and the event's own id, which makes its delivery unique."""

    look: Look
    event_id: str


def read_event(event: object) -> Hint | Dropped:
    """Return what follows from one EventBridge event; never raises, whatever comes in."""
    if not isinstance(event, Mapping):
        return Dropped(f"not an event but {type(event).__name__}")
    kind, detail = event.get("detail-type"), event.get("detail")
    event_id = event.get("id")
    if not isinstance(detail, Mapping) or not isinstance(event_id, str) or not event_id:
        return Dropped(f"an event without an id or a detail: {kind!r}")
    match event.get("source"), kind:
        case "aws.autoscaling", str() if kind in TRANSITIONS:
            return _lifecycle_action(event_id, TRANSITIONS[kind], detail)
        case "aws.ec2", "EC2 Instance State-change Notification":
            return _state_change(event_id, detail)
        case source, _:
            return Dropped(f"nothing follows from {kind!r} of {source!r}")


def _lifecycle_action(event_id: str, transition: Transition, detail: Mapping[str, Any]) -> Hint | Dropped:
    machine = instance_id(detail.get("EC2InstanceId"))
    if machine is None:
        return Dropped(f"a lifecycle action with no instance id: {detail.get('EC2InstanceId')!r}")
    if detail.get("LifecycleTransition") != transition.value:
        return Dropped(f"a lifecycle action of transition {detail.get('LifecycleTransition')!r}")
    verb = "launches" if transition is Transition.LAUNCHING else "terminates"
    return Hint(Look(machine, f"{detail.get('AutoScalingGroupName')} {verb} it"), event_id)


def _state_change(event_id: str, detail: Mapping[str, Any]) -> Hint | Dropped:
    machine, state = instance_id(detail.get("instance-id")), detail.get("state")
    if machine is None:
        return Dropped(f"a state change with no instance id: {detail.get('instance-id')!r}")
    if not isinstance(state, str) or state not in TELLING_STATES:
        return Dropped(f"state {state!r} of {machine} calls for nothing")
    return Hint(Look(machine, f"EC2 says {state}"), event_id)
