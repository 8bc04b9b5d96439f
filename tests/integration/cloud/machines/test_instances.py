"""EC2's instances are machines: what the API says of them is what the hardware did."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import IPv4Address
from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra.local.cloud.delays import Delays
from tests.integration.cloud.machines.rig import QUICK, Aws, eventually, never


def code_of(error: pytest.ExceptionInfo[ClientError]) -> str:
    return str(error.value.response["Error"]["Code"])


def test_an_instance_runs_once_its_machine_does(aws: Aws) -> None:
    instance_id = aws.run()
    spec = aws.machines.specs[instance_id]
    described = aws.instance(instance_id)
    assert instance_id in aws.machines.running()
    assert spec.address == IPv4Address("127.77.1.11")
    assert described["PrivateIpAddress"] == "127.77.1.11"
    assert described["PrivateDnsName"] == spec.hostname == "ip-127-77-1-11.ec2.internal"


def test_an_instance_is_described_as_its_machine_is(aws: Aws) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    instance_id = aws.run(SubnetId=aws.subnets[1])
    described, spec = aws.instance(instance_id), aws.machines.specs[instance_id]
    (interface,) = described["NetworkInterfaces"]
    address = str(spec.address)
    assert interface["PrivateIpAddress"] == described["PrivateIpAddress"] == address
    assert [(each["PrivateIpAddress"], each["Primary"]) for each in interface["PrivateIpAddresses"]] == [
        (address, True)
    ]
    assert described["PrivateDnsName"] == spec.hostname
    assert interface["Status"] == "in-use"
    assert described["ImageId"] == "ami-0abcdef1234567890"
    assert described["Placement"]["AvailabilityZone"] == "us-east-1b"
    assert described["SubnetId"] == interface["SubnetId"] == aws.subnets[1]
    assert before <= described["LaunchTime"] <= datetime.now(UTC)


def test_a_start_after_a_stop_is_another_launch(aws: Aws) -> None:
    instance_id, ec2 = aws.run(), aws.client("ec2")
    first = aws.instance(instance_id)["LaunchTime"]
    ec2.stop_instances(InstanceIds=[instance_id])
    eventually(lambda: aws.state(instance_id) == "stopped")
    assert aws.instance(instance_id)["LaunchTime"] == first
    eventually(lambda: datetime.now(UTC).replace(microsecond=0) > first)  # EC2 tells whole seconds
    ec2.start_instances(InstanceIds=[instance_id])
    assert aws.instance(instance_id)["LaunchTime"] > first


def test_the_console_shows_the_end_of_what_the_machine_said_also_after_its_end(aws: Aws) -> None:
    instance_id, ec2 = aws.run(), aws.client("ec2")
    assert "Output" not in ec2.get_console_output(InstanceId=instance_id)
    aws.machines.consoles[instance_id] = b"early\n" + b"." * 64 * 1024 + b"kubeadm join failed\n"
    output = ec2.get_console_output(InstanceId=instance_id)["Output"]
    assert output.endswith("kubeadm join failed\n")
    assert len(output) == 64 * 1024
    ec2.terminate_instances(InstanceIds=[instance_id])
    eventually(lambda: aws.state(instance_id) == "terminated")
    assert ec2.get_console_output(InstanceId=instance_id)["Output"] == output


def test_an_image_shows_its_tags(aws: Aws) -> None:
    ec2 = aws.client("ec2")
    image = ec2.register_image(Name="regrow")["ImageId"]
    ec2.create_tags(Resources=[image], Tags=[{"Key": "regrow:kubernetes-version", "Value": "v1.36.3"}])
    for asked in ({"ImageIds": [image]}, {"Owners": ["self"]}):
        (described,) = ec2.describe_images(**asked)["Images"]
        assert described["ImageId"] == image
        assert described["Tags"] == [{"Key": "regrow:kubernetes-version", "Value": "v1.36.3"}]


def test_every_state_is_told_as_an_event(aws: Aws) -> None:
    instance_id = aws.run()
    aws.client("ec2").terminate_instances(InstanceIds=[instance_id])
    eventually(lambda: len(aws.events_of("EC2 Instance State-change Notification", instance_id)) == 4)
    told = aws.events_of("EC2 Instance State-change Notification", instance_id)
    assert [event["detail"]["state"] for event in told] == ["pending", "running", "shutting-down", "terminated"]
    assert told[0]["source"] == "aws.ec2"
    assert told[0]["resources"] == [f"arn:aws:ec2:us-east-1:123456789012:instance/{instance_id}"]


def test_a_terminated_machine_was_shut_down_and_its_disk_is_gone(aws: Aws) -> None:
    instance_id = aws.run()
    answer = aws.client("ec2").terminate_instances(InstanceIds=[instance_id])["TerminatingInstances"][0]
    assert answer["PreviousState"]["Name"] == "running"
    eventually(lambda: ("remove", instance_id) in aws.machines.calls)
    assert ("shutdown", instance_id, QUICK.os_shutdown_grace_s) in aws.machines.calls
    described = aws.instance(instance_id)
    assert described["State"]["Name"] == "terminated"
    assert "PrivateIpAddress" not in described


def test_skip_os_shutdown_pulls_the_plug(aws: Aws) -> None:
    instance_id = aws.run()
    aws.client("ec2").terminate_instances(InstanceIds=[instance_id], SkipOsShutdown=True)
    eventually(lambda: aws.state(instance_id) == "terminated")
    assert ("kill", instance_id) in aws.machines.calls
    assert not [call for call in aws.machines.calls if call[0] == "shutdown"]


def test_a_machine_that_cannot_start_is_terminated_with_the_reason(aws: Aws) -> None:
    aws.machines.broken = True
    ec2 = aws.client("ec2")
    answer = ec2.run_instances(ImageId="ami-0abcdef1234567890", MinCount=1, MaxCount=1, SubnetId=aws.subnets[0])
    instance_id = answer["Instances"][0]["InstanceId"]
    eventually(lambda: aws.state(instance_id) == "terminated")
    assert aws.instance(instance_id)["StateReason"]["Code"] == "Server.InternalError"


def test_stop_and_start_keep_the_disk_and_the_address(aws: Aws) -> None:
    instance_id, ec2 = aws.run(), aws.client("ec2")
    ec2.stop_instances(InstanceIds=[instance_id])
    eventually(lambda: aws.state(instance_id) == "stopped")
    assert instance_id not in aws.machines.running()
    ec2.start_instances(InstanceIds=[instance_id])
    eventually(lambda: aws.state(instance_id) == "running")
    assert aws.instance(instance_id)["PrivateIpAddress"] == "127.77.1.11"
    assert [call[0] for call in aws.machines.calls] == ["start", "shutdown", "start"]


def test_a_reboot_is_seen_by_the_machine_alone(aws: Aws) -> None:
    instance_id = aws.run()
    aws.client("ec2").reboot_instances(InstanceIds=[instance_id])
    eventually(lambda: ("reboot", instance_id) in aws.machines.calls)
    assert aws.state(instance_id) == "running"


def test_a_stopped_instance_can_be_terminated_but_not_rebooted(aws: Aws) -> None:
    instance_id, ec2 = aws.run(), aws.client("ec2")
    ec2.stop_instances(InstanceIds=[instance_id], Force=True)
    eventually(lambda: aws.state(instance_id) == "stopped")
    assert ("kill", instance_id) in aws.machines.calls
    with pytest.raises(ClientError) as refused:
        ec2.reboot_instances(InstanceIds=[instance_id])
    assert code_of(refused) == "IncorrectInstanceState"
    ec2.terminate_instances(InstanceIds=[instance_id])
    eventually(lambda: aws.state(instance_id) == "terminated")


@pytest.mark.parametrize(
    ("instance_id", "code"),
    [("i-0123456789abcdef0", "InvalidInstanceID.NotFound"), ("i-nonsense", "InvalidInstanceID.Malformed")],
)
def test_an_unknown_instance_is_told_as_aws_tells_it(aws: Aws, instance_id: str, code: str) -> None:
    ec2 = aws.client("ec2")
    asks: list[Callable[[], Any]] = [
        lambda: ec2.describe_instances(InstanceIds=[instance_id]),
        lambda: ec2.terminate_instances(InstanceIds=[instance_id]),
        lambda: ec2.get_console_output(InstanceId=instance_id),
    ]
    for ask in asks:
        with pytest.raises(ClientError) as refused:
            ask()
        assert code_of(refused) == code


def test_one_client_token_launches_once(aws: Aws) -> None:
    first = aws.run(ClientToken="once")
    assert aws.run(ClientToken="once") == first
    assert len(aws.machines.specs) == 1


def test_an_address_is_not_given_again_at_once(aws: Aws) -> None:
    first = aws.run()
    aws.client("ec2").terminate_instances(InstanceIds=[first])
    eventually(lambda: aws.state(first) == "terminated")
    assert aws.instance(aws.run())["PrivateIpAddress"] == "127.77.1.12"
    assert aws.instance(aws.run(PrivateIpAddress="127.77.1.11"))["PrivateIpAddress"] == "127.77.1.11"


def test_filters_follow_the_state(aws: Aws) -> None:
    gone, alive = aws.run(), aws.run()
    ec2 = aws.client("ec2")
    ec2.terminate_instances(InstanceIds=[gone])
    eventually(lambda: aws.state(gone) == "terminated")
    found = ec2.describe_instances(Filters=[{"Name": "instance-state-name", "Values": ["running"]}])
    assert [each["InstanceId"] for reservation in found["Reservations"] for each in reservation["Instances"]] == [alive]


def test_a_launch_template_gives_profile_user_data_and_tags(aws: Aws) -> None:
    iam, ec2 = aws.client("iam"), aws.client("ec2")
    arn = iam.create_instance_profile(InstanceProfileName="machines")["InstanceProfile"]["Arn"]
    data = {
        "ImageId": "ami-0abcdef1234567890",
        "InstanceType": "t3.medium",
        "UserData": "IyEvYmluL3NoCg==",
        "IamInstanceProfile": {"Name": "machines"},
        "TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "colour", "Value": "red"}]}],
    }
    ec2.create_launch_template(LaunchTemplateName="machines", LaunchTemplateData=data)
    instance_id = aws.run(LaunchTemplate={"LaunchTemplateName": "machines"})
    described = aws.instance(instance_id)
    assert described["IamInstanceProfile"]["Arn"] == arn
    assert {"Key": "colour", "Value": "red"} in described["Tags"]


def test_a_version_of_a_launch_template_keeps_what_its_source_has(aws: Aws) -> None:
    ec2 = aws.client("ec2")
    data = {"ImageId": "ami-0abcdef1234567890", "InstanceType": "t3.medium", "UserData": "IyEvYmluL3NoCg=="}
    ec2.create_launch_template(LaunchTemplateName="machines", LaunchTemplateData=data)
    made = ec2.create_launch_template_version(
        LaunchTemplateName="machines", SourceVersion="1", LaunchTemplateData={"UserData": "IyEvYmluL2Zhcwo="}
    )["LaunchTemplateVersion"]
    assert (made["VersionNumber"], made["LaunchTemplateData"]) == (2, {**data, "UserData": "IyEvYmluL2Zhcwo="})
    instance_id = aws.run(LaunchTemplate={"LaunchTemplateName": "machines", "Version": "2"})
    shown = ec2.describe_instance_attribute(InstanceId=instance_id, Attribute="userData")["UserData"]["Value"]
    assert shown == "IyEvYmluL2Zhcwo="


class TestWithTimeToLook:
    @pytest.fixture
    def delays(self) -> Delays:
        return dataclasses.replace(QUICK, pending_s=2.0, shutting_down_s=2.0, shutting_down_skip_os_s=0.0)

    def test_pending_lasts_as_long_as_told_and_nothing_runs_meanwhile(self, aws: Aws) -> None:
        ec2 = aws.client("ec2")
        answer = ec2.run_instances(ImageId="ami-0abcdef1234567890", MinCount=1, MaxCount=1, SubnetId=aws.subnets[0])
        instance_id = answer["Instances"][0]["InstanceId"]
        assert aws.state(instance_id) == "pending"
        assert not aws.machines.running()
        eventually(lambda: aws.state(instance_id) == "running")

    def test_terminated_while_pending_never_starts(self, aws: Aws) -> None:
        ec2 = aws.client("ec2")
        answer = ec2.run_instances(ImageId="ami-0abcdef1234567890", MinCount=1, MaxCount=1, SubnetId=aws.subnets[0])
        ec2.terminate_instances(InstanceIds=[answer["Instances"][0]["InstanceId"]])
        never(lambda: aws.machines.specs, for_s=2.5)

    def test_shutting_down_is_seen_before_terminated(self, aws: Aws) -> None:
        instance_id = aws.run()
        aws.client("ec2").terminate_instances(InstanceIds=[instance_id])
        assert aws.state(instance_id) == "shutting-down"
        eventually(lambda: aws.state(instance_id) == "terminated")


class TestAfterTheHour:
    @pytest.fixture
    def delays(self) -> Delays:
        return dataclasses.replace(QUICK, terminated_described_s=0.1)

    def test_a_terminated_instance_is_forgotten(self, aws: Aws) -> None:
        instance_id, ec2 = aws.run(), aws.client("ec2")
        ec2.terminate_instances(InstanceIds=[instance_id])

        def forgotten() -> bool:
            try:
                ec2.describe_instances(InstanceIds=[instance_id])
            except ClientError as error:
                return bool(error.response["Error"]["Code"] == "InvalidInstanceID.NotFound")
            return False

        eventually(forgotten)
