"""Spot instances are interrupted as AWS does it: announced, given two minutes, told to shut down, and then taken."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from infra.local.cloud.delays import AWS, INSTANT, Delays
from infra.local.cluster import Cluster
from infra.local.drills import announcing
from infra.local.places import WorldError, WorldPlace
from infra.local.worlds.world import World
from tests.integration.cloud.machines.fleet import Fleet
from tests.integration.cloud.machines.rig import QUICK, Aws, eventually, never

WARNING, REBALANCE = "EC2 Spot Instance Interruption Warning", "EC2 Instance Rebalance Recommendation"


@dataclasses.dataclass(frozen=True)
class Session:
    aws: Aws

    def client(self, service: str) -> Any:
        return self.aws.client(service)


@pytest.fixture
def delays() -> Delays:
    """Two minutes last 240 ms."""
    return dataclasses.replace(QUICK, notice_second_s=0.002)


@pytest.fixture
def cluster(aws: Aws, tmp_path: Path) -> Cluster:
    return Cluster(World(WorldPlace(tmp_path, "t"), 0), Session(aws))


def spot(aws: Aws, **options: str) -> str:
    return aws.run(InstanceMarketOptions={"MarketType": "spot", "SpotOptions": options})


def request_of(aws: Aws, instance_id: str) -> dict[str, Any]:
    filters = [{"Name": "instance-id", "Values": [instance_id]}]
    (found,) = aws.client("ec2").describe_spot_instance_requests(Filters=filters)["SpotInstanceRequests"]
    request: dict[str, Any] = found
    return request


def code(aws: Aws, instance_id: str) -> str:
    return str(request_of(aws, instance_id)["Status"]["Code"])


def test_an_instance_says_that_it_is_a_spot_one_and_of_which_request(aws: Aws) -> None:
    instance_id, other = spot(aws), aws.run()
    request = request_of(aws, instance_id)
    shown = aws.instance(instance_id)
    assert (shown["InstanceLifecycle"], shown["SpotInstanceRequestId"]) == ("spot", request["SpotInstanceRequestId"])
    assert (request["State"], request["Status"]["Code"], request["Type"]) == ("active", "fulfilled", "one-time")
    assert "InstanceLifecycle" not in aws.instance(other)


def test_a_group_launches_spot_instances_when_its_launch_template_says_so(aws: Aws) -> None:
    data = {"ImageId": "ami-0abcdef1234567890", "InstanceType": "t3.medium"}
    options = {"InstanceMarketOptions": {"MarketType": "spot"}}
    aws.client("ec2").create_launch_template(LaunchTemplateName="spot", LaunchTemplateData={**data, **options})
    autoscaling = aws.client("autoscaling")
    autoscaling.create_auto_scaling_group(
        AutoScalingGroupName="spot",
        MinSize=0,
        MaxSize=2,
        DesiredCapacity=1,
        LaunchTemplate={"LaunchTemplateName": "spot"},
        VPCZoneIdentifier=",".join(aws.subnets),
    )
    member = eventually(lambda: Fleet("spot", autoscaling).wait_in_service(1))[0]["InstanceId"]
    assert aws.instance(member)["InstanceLifecycle"] == "spot"


def test_it_is_recommended_warned_of_and_then_really_shut_down(aws: Aws, cluster: Cluster) -> None:
    instance_id = spot(aws)
    announcing.interrupt(cluster, [instance_id])
    kinds = [event["detail-type"] for event in aws.events if event["detail-type"] in (REBALANCE, WARNING)]
    assert kinds == [REBALANCE, WARNING]
    assert aws.events_of(REBALANCE)[0]["detail"] == {"instance-id": instance_id}
    warning = aws.events_of(WARNING)[0]
    assert warning["detail"] == {"instance-id": instance_id, "instance-action": "terminate"}
    assert warning["resources"] == [f"arn:aws:ec2:us-east-1a:instance/{instance_id}"]
    assert (aws.state(instance_id), code(aws, instance_id)) == ("running", "instance-terminated-by-experiment")
    eventually(lambda: aws.state(instance_id) == "terminated")
    assert ("shutdown", instance_id) in [call[:2] for call in aws.machines.calls]
    assert aws.instance(instance_id)["StateReason"]["Code"] == "Server.SpotInstanceTermination"


def test_with_more_time_the_recommendation_comes_first_alone(aws: Aws, cluster: Cluster) -> None:
    instance_id = spot(aws)
    announcing.interrupt(cluster, [instance_id], before=timedelta(minutes=15))
    assert aws.events_of(REBALANCE, instance_id)
    never(lambda: aws.events_of(WARNING))
    assert code(aws, instance_id) == "fulfilled"
    eventually(lambda: aws.events_of(WARNING, instance_id))
    eventually(lambda: aws.state(instance_id) == "terminated")


@pytest.mark.parametrize("behavior", ["stop", "hibernate"])
def test_what_is_to_be_stopped_is_stopped_and_can_come_back(aws: Aws, cluster: Cluster, behavior: str) -> None:
    instance_id = spot(aws, InstanceInterruptionBehavior=behavior, SpotInstanceType="persistent")
    announcing.interrupt(cluster, [instance_id])
    assert aws.events_of(WARNING)[0]["detail"]["instance-action"] == behavior
    eventually(lambda: aws.state(instance_id) == "stopped")
    assert (code(aws, instance_id), request_of(aws, instance_id)["State"]) == (
        "instance-stopped-by-experiment",
        "disabled",
    )
    aws.client("ec2").start_instances(InstanceIds=[instance_id])
    eventually(lambda: aws.state(instance_id) == "running")
    eventually(lambda: code(aws, instance_id) == "fulfilled")


def test_what_a_stopped_interruption_marks_is_found_by_its_code(aws: Aws, cluster: Cluster) -> None:
    marked, _ = spot(aws, InstanceInterruptionBehavior="stop", SpotInstanceType="persistent"), spot(aws)
    announcing.interrupt(cluster, [marked])
    filters = [{"Name": "status-code", "Values": ["marked-for-stop-by-experiment"]}]
    pages = aws.client("ec2").get_paginator("describe_spot_instance_requests").paginate(Filters=filters)
    assert [request["InstanceId"] for page in pages for request in page["SpotInstanceRequests"]] == [marked]


def test_the_machine_itself_can_read_when_it_will_be_taken(aws: Aws, cluster: Cluster) -> None:
    instance_id = spot(aws)
    tree = aws.cloud._metadata._server.tree  # type: ignore[union-attr]
    machine = tree.instance_at(aws.instance(instance_id)["PrivateIpAddress"])
    assert machine is not None
    assert tree.get(machine, "latest/meta-data/spot/instance-action") is None
    announcing.interrupt(cluster, [instance_id])
    told = json.loads(str(tree.get(machine, "latest/meta-data/spot/instance-action")))
    assert told["action"] == "terminate"
    assert tree.get(machine, "latest/meta-data/spot/termination-time") == told["time"]
    assert "noticeTime" in str(tree.get(machine, "latest/meta-data/events/recommendations/rebalance"))


def test_fifty_are_interrupted_at_once(aws: Aws, cluster: Cluster) -> None:
    image = {"ImageId": "ami-0abcdef1234567890", "SubnetId": aws.subnets[0]}
    ran = aws.client("ec2").run_instances(
        **image, MinCount=50, MaxCount=50, InstanceMarketOptions={"MarketType": "spot"}
    )
    instances = [instance["InstanceId"] for instance in ran["Instances"]]
    eventually(lambda: aws.machines.running() >= set(instances))
    eventually(lambda: len(aws.events_of("EC2 Instance State-change Notification")) >= 100)
    assert len(announcing.interrupt(cluster, instances)) == 1
    assert {event["detail"]["instance-id"] for event in aws.events_of(WARNING)} == set(instances)
    eventually(lambda: not aws.machines.running())


def test_its_group_replaces_it_when_it_has_ended_and_not_before(aws: Aws, cluster: Cluster) -> None:
    data = {"ImageId": "ami-0abcdef1234567890", "InstanceType": "t3.medium"}
    aws.client("ec2").create_launch_template(LaunchTemplateName="workers", LaunchTemplateData=data)
    autoscaling = aws.client("autoscaling")
    fleet = Fleet(cluster.worker_group, autoscaling)
    autoscaling.create_auto_scaling_group(
        AutoScalingGroupName=fleet.name,
        MinSize=0,
        MaxSize=2,
        DesiredCapacity=0,
        LaunchTemplate={"LaunchTemplateName": "workers", "Version": "1"},
        VPCZoneIdentifier=",".join(aws.subnets),
    )
    with announcing.spot_workers(cluster):
        fleet.scale(1)
        taken = fleet.wait_in_service(1)[0]["InstanceId"]
    assert fleet.group()["LaunchTemplate"]["Version"] == "1"
    announcing.interrupt(cluster, [taken])
    assert fleet.ids() == {taken}
    eventually(lambda: taken not in fleet.ids())
    (replacement,) = fleet.wait_in_service(1)
    assert "InstanceLifecycle" not in aws.instance(replacement["InstanceId"])


def test_an_instance_that_is_no_spot_one_is_not_interrupted_and_none_beside_it(aws: Aws, cluster: Cluster) -> None:
    instances: Sequence[str] = [spot(aws), aws.run()]
    with pytest.raises(WorldError, match=f"no Spot instances: {instances[1]}"):
        announcing.interrupt(cluster, instances)
    assert not aws.events_of(WARNING)


def test_without_the_right_to_interrupt_nothing_happens(aws: Aws) -> None:
    instance_id, iam, fis = spot(aws), aws.client("iam"), aws.client("fis")
    role = iam.create_role(RoleName="powerless", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    arn = f"arn:aws:ec2:us-east-1:123456789012:instance/{instance_id}"
    template = fis.create_experiment_template(
        clientToken="once",
        description="in vain",
        stopConditions=[{"source": "none"}],
        roleArn=role,
        targets={"it": {"resourceType": "aws:ec2:spot-instance", "resourceArns": [arn], "selectionMode": "ALL"}},
        actions={
            "take": {
                "actionId": announcing.INTERRUPT,
                "parameters": {"durationBeforeInterruption": "PT2M"},
                "targets": {"SpotInstances": "it"},
            }
        },
    )["experimentTemplate"]["id"]
    state = fis.start_experiment(clientToken="once", experimentTemplateId=template)["experiment"]["state"]
    assert state["status"] == "failed"
    assert "ec2:SendSpotInstanceInterruptions" in state["reason"]
    assert not aws.events_of(WARNING)


def test_a_one_time_spot_instance_cannot_be_stopped_by_hand(aws: Aws) -> None:
    ec2, instance_id = aws.client("ec2"), spot(aws)
    with pytest.raises(ec2.exceptions.ClientError, match="UnsupportedOperation"):
        ec2.stop_instances(InstanceIds=[instance_id])
    assert aws.state(instance_id) == "running"


@pytest.mark.parametrize("preset", [INSTANT, AWS])
def test_two_minutes_are_two_minutes_with_every_preset(preset: Delays) -> None:
    assert preset.notice_second_s == 1.0
