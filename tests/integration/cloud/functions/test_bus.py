"""Rules: who gets an event, who does not, and what is on record about it."""

from __future__ import annotations

import json
from typing import Any

from tests.integration.cloud.functions.local_aws import LocalAws, eventually

TERMINATED = {
    "detail-type": "EC2 Instance State-change Notification",
    "source": "aws.ec2",
    "detail": {"instance-id": "i-0123456789abcdef0", "state": "terminated"},
}


def rule(aws: LocalAws, name: str, pattern: dict[str, Any], target_arn: str, **target: Any) -> None:
    events = aws.client("events")
    events.put_rule(Name=name, EventPattern=json.dumps(pattern))
    events.put_targets(Rule=name, Targets=[{"Id": "1", "Arn": target_arn, **target}])


def test_an_event_reaches_the_function_of_a_matching_rule_alone(aws: LocalAws) -> None:
    states = {"source": ["aws.ec2"], "detail": {"state": ["terminated", "stopped"]}}
    rule(aws, "ended", states, aws.deploy("ended"))
    rule(aws, "begun", {**states, "detail": {"state": ["running"]}}, aws.deploy("begun"))
    aws.bus.publish(TERMINATED)
    (note,) = eventually(lambda: aws.ledger("ended", "event"))
    assert note["event"]["detail"] == TERMINATED["detail"]
    assert note["event"].keys() == {
        *("version", "id", "detail-type", "source", "account", "time", "region", "resources", "detail")
    }
    delivered = aws.bus.deliveries(lambda delivery: delivery.event_id == note["event"]["id"])
    assert [(delivery.rule, delivery.error) for delivery in delivered] == [("ended", None)]
    assert note["event"]["id"] in (aws.state / "log/events.log").read_text()


def test_nothing_is_delivered_through_a_disabled_rule_and_it_can_be_told(aws: LocalAws) -> None:
    rule(aws, "off", {"source": ["test.off"]}, aws.deploy("off"))
    aws.client("events").disable_rule(Name="off")
    aws.bus.publish({"detail-type": "t", "source": "test.off", "detail": {}})
    aws.bus.publish({"detail-type": "t", "source": "test.after", "detail": {}})
    rule(aws, "after", {"source": ["test.last"]}, aws.deploy("after"))
    aws.bus.publish({"detail-type": "t", "source": "test.last", "detail": {}})
    eventually(lambda: aws.ledger("after", "event"))
    assert [event["source"] for event in aws.bus.published()][-3:] == ["test.off", "test.after", "test.last"]
    assert not aws.bus.deliveries(lambda delivery: delivery.rule == "off")
    assert not aws.ledger("off")


def test_put_events_takes_the_same_road(aws: LocalAws) -> None:
    rule(aws, "own", {"source": ["mine"]}, aws.deploy("own"), Input='{"answer": "constant"}')
    response = aws.client("events").put_events(
        Entries=[
            {"Source": "mine", "DetailType": "t", "Detail": "{}"},
            {"Source": "aws.ec2", "DetailType": "t", "Detail": "{}"},
            {"Source": "mine", "DetailType": "t", "Detail": "no JSON"},
        ]
    )
    assert response["FailedEntryCount"] == 2
    assert [entry.get("ErrorCode") for entry in response["Entries"]] == [
        None,
        "NotAuthorizedForSourceException",
        "MalformedDetail",
    ]
    (note,) = eventually(lambda: aws.ledger("own", "end"))
    assert note["order"] == {"answer": "constant"}


def test_queues_and_topics_are_targets_too(aws: LocalAws) -> None:
    url, arn = aws.queue("target")
    topic = aws.client("sns").create_topic(Name="target")["TopicArn"]
    aws.client("sns").subscribe(TopicArn=topic, Protocol="lambda", Endpoint=aws.deploy("subscriber"))
    rule(aws, "to-queue", {"source": ["test.queue"]}, arn)
    rule(aws, "to-topic", {"source": ["test.queue"]}, topic)
    aws.bus.publish({"detail-type": "t", "source": "test.queue", "detail": {"x": 1}})
    (message,) = eventually(lambda: aws.client("sqs").receive_message(QueueUrl=url).get("Messages"))
    assert json.loads(message["Body"])["detail"] == {"x": 1}
    (note,) = eventually(lambda: aws.ledger("subscriber", "event"))
    assert json.loads(note["event"]["Records"][0]["Sns"]["Message"])["detail"] == {"x": 1}
    assert note["event"]["Records"][0]["Sns"]["TopicArn"] == topic


def test_a_delivery_that_fails_is_on_record_with_its_reason(aws: LocalAws) -> None:
    rule(aws, "nowhere", {"source": ["test.nowhere"]}, "arn:aws:lambda:us-east-1:123456789012:function:nobody")
    aws.bus.publish({"detail-type": "t", "source": "test.nowhere", "detail": {}})
    (failed,) = eventually(lambda: aws.bus.deliveries(lambda delivery: delivery.rule == "nowhere"))
    assert "Function not found" in (failed.error or "")
