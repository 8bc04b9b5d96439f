"""Auto Scaling tells queues and topics: of machines that wait for a hook, of activities that ended, and once to try."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.integration.cloud.machines.fleet import Fleet
from tests.integration.cloud.machines.rig import Aws, eventually

TEST = "autoscaling:TEST_NOTIFICATION"


class Inbox:
    """A queue, what has come into it so far, and the role in whose name Auto Scaling may write to it."""

    def __init__(self, aws: Aws, action: str | None = None) -> None:
        self.sqs = aws.client("sqs")
        self.url = self.sqs.create_queue(QueueName="inbox")["QueueUrl"]
        self.arn = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=["QueueArn"])["Attributes"][
            "QueueArn"
        ]
        iam = aws.client("iam")
        self.role = iam.create_role(RoleName="notifying", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
        if action is not None:
            may = {"Effect": "Allow", "Action": action, "Resource": "*"}
            document = json.dumps({"Version": "2012-10-17", "Statement": [may]})
            iam.put_role_policy(RoleName="notifying", PolicyName="send", PolicyDocument=document)
        self._bodies: list[dict[str, Any]] = []

    def bodies(self) -> list[dict[str, Any]]:
        for message in self.sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10).get("Messages", []):
            self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
            self._bodies.append(json.loads(message["Body"]))
        return self._bodies

    def wait(self, key: str, value: str) -> dict[str, Any]:
        """The first message with this value."""
        return eventually(lambda: next((body for body in self.bodies() if body.get(key) == value), None)) or {}


def subscribed(aws: Aws, inbox: Inbox) -> str:
    """A topic whose messages come into the inbox, wrapped."""
    sns = aws.client("sns")
    topic = str(sns.create_topic(Name="news")["TopicArn"])
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=inbox.arn)
    return topic


def test_a_hooks_queue_is_tried_and_then_told_of_what_waits(aws: Aws) -> None:
    fleet, inbox = Fleet.of(aws, size=1), Inbox(aws, "sqs:SendMessage")
    machine = fleet.wait_in_service(1)[0]["InstanceId"]
    target = {"NotificationTargetARN": inbox.arn, "RoleARN": inbox.role, "NotificationMetadata": "more"}
    fleet.put_hook("regrow-terminate", "TERMINATING", **target)
    assert inbox.wait("Event", TEST)["AutoScalingGroupName"] == fleet.name
    fleet.scale(0)
    told = inbox.wait("LifecycleHookName", "regrow-terminate")
    assert {key: told[key] for key in ("LifecycleTransition", "AutoScalingGroupName", "Service", "EC2InstanceId")} == {
        "LifecycleTransition": "autoscaling:EC2_INSTANCE_TERMINATING",
        "AutoScalingGroupName": fleet.name,
        "Service": "AWS Auto Scaling",
        "EC2InstanceId": machine,
    }
    assert told["NotificationMetadata"] == "more"
    fleet.complete("regrow-terminate", LifecycleActionToken=told["LifecycleActionToken"])
    eventually(lambda: aws.state(machine) == "terminated")


def test_a_hooks_topic_hands_the_same_on_to_who_listens(aws: Aws) -> None:
    fleet, inbox = Fleet.of(aws, size=0), Inbox(aws, "sns:Publish")
    topic = subscribed(aws, inbox)
    fleet.put_hook("regrow-launch", "LAUNCHING", NotificationTargetARN=topic, RoleARN=inbox.role)
    fleet.scale(1)
    waiting = fleet.wait_state("Pending:Wait")

    def told() -> list[dict[str, Any]]:
        inner = [json.loads(body["Message"]) for body in inbox.bodies() if body.get("TopicArn") == topic]
        return [body for body in inner if body.get("EC2InstanceId") == waiting]

    (message,) = eventually(told)
    assert message["LifecycleTransition"] == "autoscaling:EC2_INSTANCE_LAUNCHING"
    assert (message["Origin"], message["Destination"]) == ("EC2", "AutoScalingGroup")


@pytest.mark.parametrize("action", ["sns:Publish", "sqs:ReceiveMessage", None])
def test_a_hook_is_refused_when_its_role_may_not_send(aws: Aws, action: str | None) -> None:
    fleet, inbox = Fleet.of(aws, size=0), Inbox(aws, action)
    with pytest.raises(ClientError, match="Unable to publish test message"):
        fleet.put_hook("regrow-terminate", "TERMINATING", NotificationTargetARN=inbox.arn, RoleARN=inbox.role)
    assert fleet.api.describe_lifecycle_hooks(AutoScalingGroupName=fleet.name)["LifecycleHooks"] == []
    assert inbox.bodies() == []


def test_a_groups_topic_is_told_of_the_ends_that_it_wants_to_know(aws: Aws) -> None:
    fleet, inbox = Fleet.of(aws, size=0), Inbox(aws)
    topic, wanted = subscribed(aws, inbox), ["autoscaling:EC2_INSTANCE_LAUNCH", TEST]
    which = {"AutoScalingGroupName": fleet.name, "TopicARN": topic}
    fleet.api.put_notification_configuration(**which, NotificationTypes=wanted)
    fleet.scale(1)
    machine = fleet.wait_in_service(1)[0]["InstanceId"]
    fleet.scale(0)
    eventually(lambda: aws.events_of("EC2 Instance Terminate Successful", machine))

    def kinds() -> list[str]:
        return [json.loads(body["Message"])["Event"] for body in inbox.bodies()]

    eventually(lambda: len(kinds()) == 2)
    assert kinds() == [TEST, "autoscaling:EC2_INSTANCE_LAUNCH"]
    assert json.loads(inbox.bodies()[1]["Message"])["EC2InstanceId"] == machine
    listed = fleet.api.describe_notification_configurations(AutoScalingGroupNames=[fleet.name])
    assert {each["NotificationType"] for each in listed["NotificationConfigurations"]} == set(wanted)
    fleet.api.delete_notification_configuration(**which)
    assert not fleet.api.describe_notification_configurations()["NotificationConfigurations"]


def test_a_launch_that_fails_is_told_as_an_error(aws: Aws) -> None:
    fleet, inbox = Fleet.of(aws, size=0), Inbox(aws)
    topic, kind = subscribed(aws, inbox), "autoscaling:EC2_INSTANCE_LAUNCH_ERROR"
    fleet.api.put_notification_configuration(AutoScalingGroupName=fleet.name, TopicARN=topic, NotificationTypes=[kind])
    aws.machines.broken = True
    fleet.scale(1)
    body = eventually(lambda: next(iter(inbox.bodies()), None))
    assert body is not None
    told = json.loads(body["Message"])
    assert (told["Event"], told["StatusCode"]) == (kind, "Failed")


def test_a_topic_that_is_not_there_is_refused(aws: Aws) -> None:
    fleet = Fleet.of(aws, size=0)
    with pytest.raises(ClientError, match="Unable to publish test message"):
        fleet.api.put_notification_configuration(
            AutoScalingGroupName=fleet.name,
            TopicARN="arn:aws:sns:us-east-1:123456789012:none",
            NotificationTypes=[TEST],
        )
