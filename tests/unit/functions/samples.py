"""The sample payloads in events/, and what must follow from each."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

EVENTS = Path(__file__).parents[3] / "events"
ONE, TWO, THREE = (f"i-0123456789abcdef{number}" for number in range(3))
REBOOT, RETIREMENT = "INSTANCE_REBOOT_MAINTENANCE_SCHEDULED", "PERSISTENT_INSTANCE_RETIREMENT_SCHEDULED"
NO_CAPACITY = (
    "drill-worker got no instance: "
    "We currently do not have sufficient m6i.large capacity in the Availability Zone you requested (us-ea"
)
SPOT, REBALANCE, MAINTENANCE = "spot-interruption", "rebalance-recommendation", "maintenance"

# Machine, reason, and of a notice: cause, what, and for how many seconds from its time on.
Followed = tuple[str, str, tuple[str, str, int] | None]


def look(reason: str, machine: str = ONE, notice: tuple[str, str, int] | None = None) -> Followed:
    return machine, reason, notice


def health(code: str, status: str, *machines: str) -> list[Followed]:
    reason = f"AWS Health: AWS_EC2_{code} is {status}"
    return [look(reason, machine, (MAINTENANCE, f"AWS_EC2_{code}", 0)) for machine in machines]


def spot(action: str) -> list[Followed]:
    return [look(f"Spot: AWS will {action} it at 12:02:00Z", notice=(SPOT, action, 120))]


LOOKED_AT: dict[str, list[Followed]] = {
    "autoscaling-terminate-action": [look("drill-worker terminates it")],
    "autoscaling-launch-action": [look("drill-worker launches it")],
    "autoscaling-launch-successful": [look("drill-worker launched it")],
    "autoscaling-launch-abandoned": [look("drill-worker could not launch it")],
    "autoscaling-terminate-successful": [look("drill-worker terminated it")],
    "autoscaling-terminate-unsuccessful": [look("drill-worker could not terminate it")],
    "warm-pool-launch-action": [look("drill-worker launches it into its warm pool")],
    "warm-pool-take-out-action": [look("drill-worker takes it out of its warm pool")],
    "warm-pool-return-action": [look("drill-worker returns it to its warm pool")],
    "warm-pool-terminate-action": [look("drill-worker terminates it in its warm pool")],
    "ec2-terminated": [look("EC2 says terminated")],
    "ec2-shutting-down": [look("EC2 says shutting-down")],
    "ec2-stopped": [look("EC2 says stopped")],
    "ec2-stopping": [look("EC2 says stopping")],
    "ec2-running": [look("EC2 says running")],
    "spot-interruption-terminate": spot("terminate"),
    "spot-interruption-stop": spot("stop"),
    "spot-interruption-hibernate": spot("hibernate"),
    "spot-rebalance": [
        look(
            "Spot: AWS recommends to leave it (heeded until 13:00:00Z)",
            notice=(REBALANCE, "rebalance", 3600),
        )
    ],
    "health-scheduled": health(REBOOT, "upcoming", ONE, TWO),
    "health-scheduled-page": health(RETIREMENT, "upcoming", THREE, ONE),
    "health-cancelled": health(REBOOT, "closed", ONE),
    "health-completed": health("SYSTEM_MAINTENANCE_EVENT", "closed", ONE),
    "alarm-status-check": [look("the alarm drill-status-check rings: StatusCheckFailed")],
    "alarm-metric-math": [look("the alarm drill-network rings: NetworkOut", each) for each in (ONE, TWO)],
}
DROPPED: dict[str, str] = {
    "autoscaling-launch-unsuccessful": NO_CAPACITY,
    "ec2-pending": f"state pending of {ONE} calls for nothing",
    "health-no-machine": "AWS Health: AWS_EC2_DEDICATED_HOST_MAINTENANCE_SCHEDULED names no machine",
    "health-issue": "AWS Health: AWS_EC2_OPERATIONAL_ISSUE changes no machine's schedule",
    "health-other-service": "AWS Health: AWS_RDS_MAINTENANCE_SCHEDULED changes no machine's schedule",
    "alarm-status-check-ok": "the alarm drill-status-check in state OK calls for nothing",
    "alarm-group": "the alarm drill-busy is about no machine",
    "alarm-composite": "the alarm drill-anything is about no machine",
    "unknown-source": "nothing follows from Order Placed of com.example.shop",
    "sweep": "nothing follows from Scheduled Event of aws.events",
}
NO_EVENTS = {
    *("look-due", "pass-message", "pass-message-unreadable", "mint", "approve", "approve-all", "drill"),
    *(
        "drill-dry-run",
        "report",
        "report-machine",
        "explain",
        "explain-cluster",
        "dead-letters",
        "put-back",
        "pause",
        "resume",
    ),
}
"""Payloads of other functions."""

LET_IN = LOOKED_AT.keys() | {"autoscaling-launch-unsuccessful", "health-no-machine"}
"""What the rule in front of intake takes: also failed launches, which are counted, and what it cannot tell apart."""

STRANGER = 'nothing follows from a message of this kind: {"order": 4711}'
INBOX: dict[str, list[list[Followed] | str]] = {
    "inbox-terminate-action": [[look("drill-worker terminates it")]],
    "inbox-launch-action-by-topic": [[look("drill-worker launches it")]],
    "inbox-terminate-action-by-two-topics": [[look("drill-worker terminates it")]],
    "inbox-warm-pool-return-action": [[look("drill-worker returns it to its warm pool")]],
    "inbox-launched": [[look("drill-worker launched it")]],
    "inbox-launch-error": [NO_CAPACITY],
    "inbox-terminated": [[look("drill-worker terminated it")]],
    "inbox-terminate-error": [[look("drill-worker could not terminate it")]],
    "inbox-test-notification": ["drill-worker tries whether it can send to the inbox"],
    "inbox-event": [spot("terminate")],
    "inbox-event-by-topic": [health(REBOOT, "upcoming", ONE, TWO)],
    "inbox-subscription": [
        "arn:aws:sns:us-east-1:123456789012:drill-machines asks whether the inbox shall hear from it: "
        "a person has to confirm it"
    ],
    "inbox-stranger": [STRANGER],
    "inbox-batch": [
        "a message that is not JSON: not JSON at all",
        [look("drill-worker terminates it")],
        'a message that is not JSON: {"cut": ',
        STRANGER,
        [look("drill-worker launches it", TWO)],
    ],
}
"""What follows from each message of a batch; a text is why nothing does."""


def sample(name: str) -> Any:
    return json.loads((EVENTS / f"{name}.json").read_text())


def bodies(name: str) -> list[str]:
    return [record["body"] for record in sample(name)["Records"]]


def changed(name: str, change: Callable[[Any], None]) -> Any:
    """The sample with a change that is made in place."""
    event = sample(name)
    change(event)
    return event
