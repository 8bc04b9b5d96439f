"""Rules that fire by the clock. The clock is handed in: a minute takes no time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from infra.local.cloud.events.schedules import Schedules
from tests.integration.cloud.functions.local_aws import LocalAws, eventually

NOON = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


def test_a_rate_fires_its_function_one_period_after_it_was_made_and_then_each_period(aws: LocalAws) -> None:
    events, schedules = aws.client("events"), Schedules(aws.bus)
    events.put_rule(Name="minutely", ScheduleExpression="rate(1 minute)")
    events.put_targets(Rule="minutely", Targets=[{"Id": "1", "Arn": aws.deploy("minutely")}])
    for seconds in (0, 59.9, 60, 61, 119.9, 120.3):
        schedules.look(NOON + timedelta(seconds=seconds))
    notes = eventually(lambda: len(found := aws.ledger("minutely", "event")) == 2 and found)
    event = notes[0]["event"]
    assert (event["detail-type"], event["source"], event["detail"]) == ("Scheduled Event", "aws.events", {})
    assert event["resources"] == ["arn:aws:events:us-east-1:123456789012:rule/minutely"]
    assert {note["event"]["time"] for note in notes} == {"2026-03-01T12:01:00Z", "2026-03-01T12:02:00Z"}


def test_a_disabled_rule_rests_and_counts_anew_when_enabled(aws: LocalAws) -> None:
    events, schedules = aws.client("events"), Schedules(aws.bus)
    events.put_rule(Name="resting", ScheduleExpression="rate(1 minute)")
    events.put_targets(Rule="resting", Targets=[{"Id": "1", "Arn": aws.deploy("resting-schedule")}])
    schedules.look(NOON)
    events.disable_rule(Name="resting")
    schedules.look(NOON + timedelta(seconds=30))
    schedules.look(NOON + timedelta(seconds=90))
    events.enable_rule(Name="resting")
    schedules.look(NOON + timedelta(seconds=100))
    schedules.look(NOON + timedelta(seconds=159))
    assert not aws.bus.deliveries(lambda delivery: delivery.rule == "resting")
    schedules.look(NOON + timedelta(seconds=160))
    assert len(aws.bus.deliveries(lambda delivery: delivery.rule == "resting")) == 1


def test_time_that_was_slept_through_fires_once(aws: LocalAws) -> None:
    events, schedules = aws.client("events"), Schedules(aws.bus)
    events.put_rule(Name="slept", ScheduleExpression="cron(0/5 * * * ? *)")
    events.put_targets(Rule="slept", Targets=[{"Id": "1", "Arn": aws.deploy("slept")}])
    schedules.look(NOON)
    schedules.look(NOON + timedelta(hours=1))
    schedules.look(NOON + timedelta(hours=1, seconds=1))
    assert len(aws.bus.deliveries(lambda delivery: delivery.rule == "slept")) == 1
