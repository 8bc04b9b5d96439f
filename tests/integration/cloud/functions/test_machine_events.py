"""The circle inside AWS: a machine ends, its event reaches a function through a rule and a queue."""

from __future__ import annotations

import json

from tests.integration.cloud.functions.local_aws import LocalAws, eventually


def test_the_end_of_an_instance_reaches_functions_through_rule_and_queue(aws: LocalAws) -> None:
    ec2, events = aws.client("ec2"), aws.client("events")
    url, arn = aws.queue("ended.fifo", FifoQueue="true", ContentBasedDeduplication="true")
    aws.deploy("pass")
    aws.client("lambda").create_event_source_mapping(EventSourceArn=arn, FunctionName="pass", BatchSize=1)
    source = f"""
import boto3, json
sqs = boto3.client("sqs")
def handler(event, context):
    sqs.send_message(QueueUrl="{url}", MessageBody="{{}}", MessageGroupId=event["detail"]["instance-id"])
"""
    intake = aws.deploy("intake", source=source, Timeout=20)
    events.put_rule(Name="ends", EventPattern=json.dumps({"source": ["aws.ec2"], "detail": {"state": ["terminated"]}}))
    events.put_targets(Rule="ends", Targets=[{"Id": "1", "Arn": intake}])
    vpc = ec2.create_vpc(CidrBlock="127.79.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="127.79.1.0/24", AvailabilityZone="us-east-1a")["Subnet"][
        "SubnetId"
    ]
    ran = ec2.run_instances(ImageId="ami-0abcdef1234567890", MinCount=1, MaxCount=1, SubnetId=subnet)
    instance = ran["Instances"][0]["InstanceId"]
    ec2.terminate_instances(InstanceIds=[instance])
    (batch,) = eventually(lambda: aws.ledger("pass", "batch"), within_s=10)
    assert batch["records"][0]["attributes"]["MessageGroupId"] == instance
