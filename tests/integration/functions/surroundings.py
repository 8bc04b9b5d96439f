"""What the remediator finds in an account, made through the APIs: a group of tagged machines, queues, a table."""

from __future__ import annotations

from typing import Any

from functions.cluster.machine import CLUSTER_TAG, ROLE_TAG
from tests.integration.functions.conftest import Clients
from tests.unit.functions.builders import CLUSTER, WORKERS

IMAGE = "ami-12c6146b"  # one that moto has in every account


def a_group(clients: Clients, *, name: str = WORKERS, cluster: str = CLUSTER, size: int = 2, **more: Any) -> list[str]:
    """Create a group of `size` tagged workers; return its instances."""
    autoscaling = clients("autoscaling")
    autoscaling.create_launch_configuration(
        LaunchConfigurationName=name, ImageId=IMAGE, InstanceType="t3.micro", InstanceMonitoring={"Enabled": False}
    )
    tags = {CLUSTER_TAG: cluster, ROLE_TAG: "worker"}
    autoscaling.create_auto_scaling_group(
        AutoScalingGroupName=name,
        LaunchConfigurationName=name,
        MinSize=size,
        MaxSize=size,
        DesiredCapacity=size,
        VPCZoneIdentifier=a_subnet(clients),
        Tags=[{"Key": key, "Value": value, "PropagateAtLaunch": True} for key, value in tags.items()],
        **more,
    )
    found = autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"][0]
    return [member["InstanceId"] for member in found["Instances"]]


def a_subnet(clients: Clients) -> str:
    return str(clients("ec2").describe_subnets()["Subnets"][0]["SubnetId"])


def a_table(clients: Clients, name: str = "regrow-drill") -> str:
    keys = {"pk": "HASH", "sk": "RANGE"}
    clients("dynamodb").create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": key, "KeyType": kind} for key, kind in keys.items()],
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in keys],
    )
    return name


def queue_urls(clients: Clients) -> tuple[str, str]:
    """Create the queue of passes and the later queue; return their URLs."""
    sqs = clients("sqs")
    passes = sqs.create_queue(QueueName="regrow-drill-pass.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
    return passes, sqs.create_queue(QueueName="regrow-drill-later")["QueueUrl"]


def received(clients: Clients, url: str) -> list[dict[str, Any]]:
    """Take what the queue hands out now, as one message after the other."""
    answer = clients("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10, MessageSystemAttributeNames=["All"])
    return list(answer.get("Messages", []))
