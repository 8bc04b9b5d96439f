"""The circle inside AWS: a machine ends, its event reaches a function through a rule and a queue."""

from __future__ import annotations

import json

from tests.integration.cloud.functions.local_aws import LocalAws, eventually


def make_subnet(aws: LocalAws, network: str) -> str:
    ec2 = aws.client("ec2")
    vpc = ec2.create_vpc(CidrBlock=f"{network}.0.0/16")["Vpc"]["VpcId"]
    made = ec2.create_subnet(VpcId=vpc, CidrBlock=f"{network}.1.0/24", AvailabilityZone="us-east-1a")
    return str(made["Subnet"]["SubnetId"])


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
    subnet = make_subnet(aws, "127.79")
    ran = ec2.run_instances(ImageId="ami-0abcdef1234567890", MinCount=1, MaxCount=1, SubnetId=subnet)
    instance = ran["Instances"][0]["InstanceId"]
    ec2.terminate_instances(InstanceIds=[instance])
    (batch,) = eventually(lambda: aws.ledger("pass", "batch"), within_s=10)
    assert batch["records"][0]["attributes"]["MessageGroupId"] == instance


def test_a_launch_action_reaches_a_function_that_completes_it_by_its_token(aws: LocalAws) -> None:
    source = """
import boto3
def handler(event, context):
    told = event["detail"]
    assert (told["Origin"], told["Destination"]) == ("EC2", "AutoScalingGroup"), told
    boto3.client("autoscaling").complete_lifecycle_action(
        AutoScalingGroupName=told["AutoScalingGroupName"],
        LifecycleHookName=told["LifecycleHookName"],
        LifecycleActionToken=told["LifecycleActionToken"],
        LifecycleActionResult="CONTINUE",
    )
"""
    completing, events = aws.deploy("completing", source=source, Timeout=20), aws.client("events")
    pattern = {"source": ["aws.autoscaling"], "detail-type": ["EC2 Instance-launch Lifecycle Action"]}
    events.put_rule(Name="launches", EventPattern=json.dumps(pattern))
    events.put_targets(Rule="launches", Targets=[{"Id": "1", "Arn": completing}])
    data = {"ImageId": "ami-0abcdef1234567890", "InstanceType": "t3.medium"}
    aws.client("ec2").create_launch_template(LaunchTemplateName="arriving", LaunchTemplateData=data)
    autoscaling = aws.client("autoscaling")
    autoscaling.create_auto_scaling_group(
        AutoScalingGroupName="arriving",
        MinSize=0,
        MaxSize=1,
        DesiredCapacity=1,
        LaunchTemplate={"LaunchTemplateName": "arriving"},
        VPCZoneIdentifier=make_subnet(aws, "127.78"),
        LifecycleHookSpecificationList=[
            {"LifecycleHookName": "join", "LifecycleTransition": "autoscaling:EC2_INSTANCE_LAUNCHING"}
        ],
    )

    def states() -> list[str]:
        members = autoscaling.describe_auto_scaling_instances()["AutoScalingInstances"]
        return [member["LifecycleState"] for member in members]

    eventually(lambda: states() == ["InService"], within_s=10)
