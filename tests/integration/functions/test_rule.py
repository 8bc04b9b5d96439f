"""The rule in front of intake lets through what intake makes something of, and next to nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from moto.events.models import EventPattern

from infra.local.cloud.events.patterns import matches
from tests.templates import event_pattern
from tests.unit.functions.samples import DROPPED, INBOX, LET_IN, LOOKED_AT, NO_EVENTS, ONE, changed, sample

RULE = EventPattern.load(json.dumps(event_pattern()))


@pytest.mark.parametrize("name", sorted(LOOKED_AT.keys() | DROPPED.keys() | INBOX.keys() | NO_EVENTS))
def test_intake_is_woken_by_what_it_has_a_use_for_and_by_nothing_else(name: str) -> None:
    assert matches(RULE, sample(name)) == (name in LET_IN)


@pytest.mark.parametrize(
    ("name", "part", "change"),
    [
        ("health-scheduled", "detail", {"eventTypeCategory": "accountNotification"}),
        ("health-scheduled", "detail", {"service": "EBS"}),
        ("alarm-status-check", "detail", {"state": {"value": "INSUFFICIENT_DATA"}}),
        ("alarm-status-check", "detail", {"configuration": {"metrics": []}}),
        ("alarm-status-check", "", {"detail-type": "CloudWatch Alarm Configuration Change"}),
        ("spot-rebalance", "", {"source": "com.example"}),
        ("autoscaling-launch-action", "detail", {"LifecycleTransition": "autoscaling:EC2_INSTANCE_PAUSING"}),
        ("ec2-terminated", "", {"detail-type": "EC2 Fast Launch State-change Notification"}),
    ],
)
def test_what_only_resembles_them_stays_out(name: str, part: str, change: dict[str, Any]) -> None:
    def apply(event: dict[str, Any]) -> None:
        (event[part] if part else event).update(change)

    assert not matches(RULE, changed(name, apply))


def test_an_alarm_comes_in_for_a_machine_anywhere_among_its_metrics() -> None:
    def bury(event: dict[str, Any]) -> None:
        metrics = event["detail"]["configuration"]["metrics"]
        metrics[1:1] = [{"id": "g", "metricStat": {"metric": {"dimensions": {"AutoScalingGroupName": "g"}}}}]

    event = changed("alarm-metric-math", bury)
    assert ONE in json.dumps(event)
    assert matches(RULE, event)
