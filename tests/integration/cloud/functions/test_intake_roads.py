"""The roads to intake in the local AWS: its rule on the bus, and the inbox with its topics."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from functions.cluster.machine import Transition
from functions.events import Dropped, read_message
from functions.messages import Look
from tests.integration.cloud.functions.local_aws import LocalAws, eventually
from tests.integration.cloud.functions.test_machine_events import make_subnet
from tests.templates import event_pattern
from tests.unit.functions.builders import ENVIRONMENT
from tests.unit.functions.samples import DROPPED, LET_IN, LOOKED_AT, bodies, sample

ROOT = Path(__file__).parents[4]
LIBRARIES = [path for path in sys.path if path.endswith("-packages")]
THE_APP = f"""
import importlib.util, os, sys
sys.path[:0] = {[str(ROOT), *LIBRARIES]!r}
spec = importlib.util.spec_from_file_location("the_app", {str(ROOT / "app.py")!r})
the_app = importlib.util.module_from_spec(spec)
spec.loader.exec_module(the_app)
handler = getattr(the_app, os.environ["ENTRY_POINT"])
"""
EVENTS = sorted(LOOKED_AT.keys() | DROPPED.keys())


@pytest.fixture(scope="module")
def woken(aws: LocalAws) -> set[str]:
    """The samples that came through the rule, told by their ids; each was published once."""
    _, arn = aws.queue("intake-of-events")
    events = aws.client("events")
    events.put_rule(Name="intake-of-events", EventPattern=json.dumps(event_pattern()))
    events.put_targets(Rule="intake-of-events", Targets=[{"Id": "1", "Arn": arn}])
    last = {**sample("ec2-terminated"), "id": "the-last-one"}
    for event in [*map(sample, EVENTS), last]:
        aws.bus.publish(event)

    def delivered() -> list[str]:
        own = aws.bus.deliveries(lambda delivery: delivery.rule == "intake-of-events" and delivery.error is None)
        return [delivery.event_id for delivery in own]

    eventually(lambda: len(delivered()) > len(LET_IN), within_s=20)
    ids = delivered()
    assert len(ids) == len(set(ids))
    return set(ids)


@pytest.mark.parametrize("name", EVENTS)
def test_the_bus_wakes_intake_with_what_it_has_a_use_for_and_with_nothing_else(woken: set[str], name: str) -> None:
    assert (sample(name)["id"] in woken) == (name in LET_IN)


def received(aws: LocalAws, url: str, number: int) -> list[str]:
    found: list[str] = []

    def enough() -> bool:
        answer = aws.client("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10)
        found.extend(message["Body"] for message in answer.get("Messages", []))
        return len(found) >= number

    eventually(enough, within_s=20)
    return found


def machines(body: str) -> list[str]:
    read = read_message(body)
    return [] if isinstance(read, Dropped) else [hint.look.machine for hint in read]


def test_what_topics_and_rules_put_into_the_inbox_is_read_in_their_own_envelopes(aws: LocalAws) -> None:
    url, arn = aws.queue("inbox-of-topics")
    sns, events = aws.client("sns"), aws.client("events")
    topic = sns.create_topic(Name="inbox-of-topics")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    pattern: dict[str, Any] = {"detail-type": ["AWS Health Event"], "detail": {"eventScopeCode": ["TO_THE_INBOX"]}}
    events.put_rule(Name="inbox-of-topics", EventPattern=json.dumps(pattern))
    events.put_targets(Rule="inbox-of-topics", Targets=[{"Id": "1", "Arn": arn}, {"Id": "2", "Arn": topic}])
    health = sample("health-scheduled")
    health["detail"]["eventScopeCode"] = "TO_THE_INBOX"
    aws.bus.publish(health)
    sns.publish(TopicArn=topic, Message=bodies("inbox-terminate-action")[0])
    sns.publish(TopicArn=topic, Message="not JSON")
    found = sorted(machines(body) for body in received(aws, url, 4))
    one, two = (f"i-0123456789abcdef{number}" for number in range(2))
    assert found == [[], [one], [one, two], [one, two]]


def inbox(aws: LocalAws, name: str, queue_arn: str, passes: str) -> None:
    """Our own function on that queue."""
    aws.deploy(name, source=THE_APP, Timeout=20, variables=variables("intake", passes))
    aws.client("lambda").create_event_source_mapping(EventSourceArn=queue_arn, FunctionName=name, BatchSize=10)


def variables(entry_point: str, passes: str) -> dict[str, str]:
    return {**ENVIRONMENT, "REGROW_PASS_QUEUE_URL": passes, "ENTRY_POINT": entry_point}


def test_a_batch_with_poison_in_it_becomes_a_pass_for_each_action_and_nothing_of_it_comes_back(aws: LocalAws) -> None:
    passes, _ = aws.queue("inbox-passes.fifo", FifoQueue="true")
    dead, dead_arn = aws.queue("inbox-dead")
    redrive = json.dumps({"deadLetterTargetArn": dead_arn, "maxReceiveCount": 1})
    url, arn = aws.queue("inbox-with-poison", VisibilityTimeout="30", RedrivePolicy=redrive)
    sqs = aws.client("sqs")
    batch = bodies("inbox-batch")
    for body in [*batch, "[" * 5000, batch[1]]:
        sqs.send_message(QueueUrl=url, MessageBody=body)
    inbox(aws, "poisoned-inbox", arn, passes)
    looks = [Look.from_json(body) for body in received(aws, passes, 2)]
    assert sorted(look.reason for look in looks) == ["drill-worker launches it", "drill-worker terminates it"]
    eventually(lambda: left(aws, url) == 0, within_s=20)
    assert (left(aws, dead), sqs.receive_message(QueueUrl=passes).get("Messages")) == (0, None)


def left(aws: LocalAws, url: str) -> int:
    """How many messages the queue holds, seen by somebody or not."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = aws.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return sum(int(found[name]) for name in names)


def taken(aws: LocalAws, url: str) -> Look:
    """The next look on the queue, which is then done with."""
    (message,) = eventually(lambda: aws.client("sqs").receive_message(QueueUrl=url).get("Messages"), within_s=20)
    aws.client("sqs").delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return Look.from_json(message["Body"])


def told(aws: LocalAws, function: str) -> int:
    """How many looks the function says it has ordered."""
    return (aws.state / "log" / "functions" / f"{function}.log").read_text().count('"message":"event",')


def test_a_launch_that_auto_scaling_tells_on_all_roads_at_once_is_one_pass_for_each_thing_that_happened(
    aws: LocalAws,
) -> None:
    passes, _ = aws.queue("launch-passes.fifo", FifoQueue="true")
    url, arn = aws.queue("launch-inbox", VisibilityTimeout="30")
    sns, events, autoscaling = aws.client("sns"), aws.client("events"), aws.client("autoscaling")
    topic = sns.create_topic(Name="launches")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    pattern = {**event_pattern(), "source": ["aws.autoscaling"]}  # EC2's own events are others, about the same machine
    events.put_rule(Name="launch-intake", EventPattern=json.dumps(pattern))
    events.put_targets(Rule="launch-intake", Targets=[{"Id": "1", "Arn": arn}])
    data = {"ImageId": "ami-0abcdef1234567890", "InstanceType": "t3.medium"}
    aws.client("ec2").create_launch_template(LaunchTemplateName="launches", LaunchTemplateData=data)
    autoscaling.create_auto_scaling_group(
        AutoScalingGroupName="launches",
        MinSize=0,
        MaxSize=1,
        DesiredCapacity=0,
        LaunchTemplate={"LaunchTemplateName": "launches"},
        VPCZoneIdentifier=make_subnet(aws, "127.77"),
    )
    hook = {"AutoScalingGroupName": "launches", "LifecycleHookName": "regrow-launch"}
    role = "arn:aws:iam::123456789012:role/worker"
    autoscaling.put_lifecycle_hook(
        **hook, LifecycleTransition=Transition.LAUNCHING.value, NotificationTargetARN=arn, RoleARN=role
    )
    kinds = ["autoscaling:EC2_INSTANCE_LAUNCH", "autoscaling:TEST_NOTIFICATION"]
    autoscaling.put_notification_configuration(AutoScalingGroupName="launches", TopicARN=topic, NotificationTypes=kinds)
    tests = [json.loads(body) for body in received(aws, url, 2)]  # Auto Scaling has tried both
    assert [machines(json.dumps(body)) for body in tests] == [[], []]

    aws.client("sqs").purge_queue(QueueUrl=url)
    inbox(aws, "launch-inbox", arn, passes)
    autoscaling.set_desired_capacity(AutoScalingGroupName="launches", DesiredCapacity=1)
    first = taken(aws, passes)
    assert first.reason == "launches launches it"
    autoscaling.complete_lifecycle_action(**hook, InstanceId=first.machine, LifecycleActionResult="CONTINUE")
    second = taken(aws, passes)
    assert (second.machine, second.reason) == (first.machine, "launches launched it")
    # Each came by the bus, and by the hook's queue or the topic; all were ordered.
    eventually(lambda: told(aws, "launch-inbox") == 4, within_s=20)
    assert aws.client("sqs").receive_message(QueueUrl=passes).get("Messages") is None
