"""Stacks make queues, tables, topics and alarms in full, change them with what is in them, and take them away."""

from __future__ import annotations

import json
from typing import Any

from tests.integration.cloud.machines.rig import Aws

ACCOUNT = "123456789012"


def template(
    *, visibility_s: int = 40, threshold: int = 0, time_to_live: bool = True, endpoint: str = "a@example.com"
) -> str:
    queue_policy = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": "*"}],
    }
    resources: dict[str, Any] = {
        "Dead": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": "dead.fifo", "FifoQueue": True}},
        "Queue": {
            "Type": "AWS::SQS::Queue",
            "Properties": {
                "QueueName": "pass.fifo",
                "FifoQueue": True,
                "VisibilityTimeout": visibility_s,
                "RedrivePolicy": {"deadLetterTargetArn": {"Fn::GetAtt": ["Dead", "Arn"]}, "maxReceiveCount": 5},
            },
        },
        "QueuePolicy": {
            "Type": "AWS::SQS::QueuePolicy",
            "Properties": {"Queues": [{"Ref": "Queue"}], "PolicyDocument": queue_policy},
        },
        "Table": {
            "Type": "AWS::DynamoDB::Table",
            "Properties": {
                "TableName": "records",
                "BillingMode": "PAY_PER_REQUEST",
                "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
                "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
                "TimeToLiveSpecification": {"AttributeName": "expires_at", "Enabled": time_to_live},
            },
        },
        "Topic": {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": "alarms", "DisplayName": endpoint}},
        "Subscription": {
            "Type": "AWS::SNS::Subscription",
            "Properties": {"TopicArn": {"Ref": "Topic"}, "Protocol": "email", "Endpoint": endpoint},
        },
        "Alarm": {
            "Type": "AWS::CloudWatch::Alarm",
            "Properties": {
                "AlarmName": "dead-letters",
                "Namespace": "AWS/SQS",
                "MetricName": "ApproximateNumberOfMessagesVisible",
                "Dimensions": [{"Name": "QueueName", "Value": {"Fn::GetAtt": ["Dead", "QueueName"]}}],
                "Statistic": "Maximum",
                "Period": 60,
                "EvaluationPeriods": 1,
                "Threshold": threshold,
                "ComparisonOperator": "GreaterThanThreshold",
                "TreatMissingData": "notBreaching",
                "AlarmActions": [{"Ref": "Topic"}],
            },
        },
    }
    return json.dumps({"Resources": resources})


def attributes(aws: Aws) -> dict[str, str]:
    sqs = aws.client("sqs")
    url = sqs.get_queue_url(QueueName="pass.fifo")["QueueUrl"]
    found: dict[str, str] = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    return found


def subscribers(aws: Aws) -> list[str]:
    return [each["Endpoint"] for each in aws.client("sns").list_subscriptions()["Subscriptions"]]


def alarm(aws: Aws) -> dict[str, Any]:
    found: dict[str, Any] = aws.client("cloudwatch").describe_alarms(AlarmNames=["dead-letters"])["MetricAlarms"][0]
    return found


def time_to_live(aws: Aws) -> str:
    described = aws.client("dynamodb").describe_time_to_live(TableName="records")["TimeToLiveDescription"]
    return str(described["TimeToLiveStatus"])


def test_everything_is_made_as_the_template_says(aws: Aws) -> None:
    aws.client("cloudformation").create_stack(StackName="s", TemplateBody=template())
    queue = attributes(aws)
    assert json.loads(queue["RedrivePolicy"]) == {
        "deadLetterTargetArn": f"arn:aws:sqs:us-east-1:{ACCOUNT}:dead.fifo",
        "maxReceiveCount": 5,
    }
    assert json.loads(queue["Policy"])["Statement"][0]["Action"] == "sqs:SendMessage"
    assert time_to_live(aws) == "ENABLED"
    assert subscribers(aws) == ["a@example.com"]
    assert alarm(aws)["Dimensions"] == [{"Name": "QueueName", "Value": "dead.fifo"}]
    assert alarm(aws)["AlarmActions"] == [f"arn:aws:sns:us-east-1:{ACCOUNT}:alarms"]


def test_an_update_changes_settings_and_keeps_contents(aws: Aws) -> None:
    formation, sqs, table = aws.client("cloudformation"), aws.client("sqs"), aws.client("dynamodb")
    formation.create_stack(StackName="s", TemplateBody=template())
    url = sqs.get_queue_url(QueueName="pass.fifo")["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="kept", MessageGroupId="one", MessageDeduplicationId="one")
    table.put_item(TableName="records", Item={"pk": {"S": "kept"}})
    body = template(visibility_s=50, threshold=3, time_to_live=False, endpoint="b@example.com")
    formation.update_stack(StackName="s", TemplateBody=body)
    assert attributes(aws)["VisibilityTimeout"] == "50"
    assert attributes(aws)["ApproximateNumberOfMessages"] == "1"
    assert table.get_item(TableName="records", Key={"pk": {"S": "kept"}})["Item"]
    assert time_to_live(aws) == "DISABLED"
    assert alarm(aws)["Threshold"] == 3
    assert subscribers(aws) == ["b@example.com"]


def test_deleting_the_stack_takes_everything_away(aws: Aws) -> None:
    formation = aws.client("cloudformation")
    formation.create_stack(StackName="s", TemplateBody=template())
    formation.delete_stack(StackName="s")
    assert "QueueUrls" not in aws.client("sqs").list_queues()
    assert not aws.client("dynamodb").list_tables()["TableNames"]
    assert not aws.client("sns").list_topics()["Topics"]
    assert not aws.client("cloudwatch").describe_alarms()["MetricAlarms"]
