"""The metadata service, asked from a machine's own address."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.integration.cloud.machines.fleet import Fleet
from tests.integration.cloud.machines.rig import Aws, eventually

TOKEN, TTL = "X-aws-ec2-metadata-token", "X-aws-ec2-metadata-token-ttl-seconds"
USER_DATA = "#!/bin/sh\necho hello\n"


class Caller:
    """Somebody at this address."""

    def __init__(self, aws: Aws, address: str) -> None:
        port = urlsplit(aws.cloud.metadata_endpoint).port
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5, source_address=(address, 0))

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
        self.connection.request(method, path, headers=headers)
        response = self.connection.getresponse()
        return response.status, response.read().decode()

    def token(self) -> str:
        status, token = self.ask("/latest/api/token", "PUT", **{TTL: "60"})
        assert status == 200
        return token

    def get(self, path: str) -> tuple[int, str]:
        return self.ask(f"/latest/{path}", **{TOKEN: self.token()})

    def read(self, path: str) -> str:
        status, text = self.get(path)
        assert status == 200, (path, status)
        return text


@pytest.fixture
def instance_id(aws: Aws) -> str:
    """A machine with everything that the service tells of."""
    iam = aws.client("iam")
    iam.create_role(RoleName="worker", AssumeRolePolicyDocument="{}")
    iam.create_instance_profile(InstanceProfileName="worker")
    iam.add_role_to_instance_profile(InstanceProfileName="worker", RoleName="worker")
    return aws.run(
        UserData=USER_DATA,
        InstanceType="t3.medium",
        IamInstanceProfile={"Name": "worker"},
        MetadataOptions={"InstanceMetadataTags": "enabled"},
        TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "regrow:role", "Value": "worker"}]}],
    )


@pytest.fixture
def caller(aws: Aws, instance_id: str) -> Iterator[Caller]:
    found = Caller(aws, aws.instance(instance_id)["PrivateIpAddress"])
    yield found
    found.connection.close()


def test_a_machine_reads_about_itself(caller: Caller, instance_id: str, aws: Aws) -> None:
    expected = {
        "instance-id": instance_id,
        "local-ipv4": "127.77.1.11",
        "local-hostname": "ip-127-77-1-11.ec2.internal",
        "hostname": "ip-127-77-1-11.ec2.internal",
        "instance-type": "t3.medium",
        "ami-id": "ami-0abcdef1234567890",
        "placement/availability-zone": "us-east-1a",
        "placement/region": "us-east-1",
        "tags/instance": "regrow:role",
        "tags/instance/regrow:role": "worker",
        "iam/security-credentials/": "worker",
    }
    assert {path: caller.read(f"meta-data/{path}") for path in expected} == expected
    interface = aws.instance(instance_id)["NetworkInterfaces"][0]
    assert caller.read("meta-data/mac") == interface["MacAddress"]
    assert caller.read("user-data") == USER_DATA
    assert "instance-id" in caller.read("meta-data/").splitlines()


def test_the_identity_document_says_who_it_is(caller: Caller, instance_id: str) -> None:
    document = json.loads(caller.read("dynamic/instance-identity/document"))
    wanted = ("instanceId", "availabilityZone", "region", "privateIp", "accountId")
    assert [document[key] for key in wanted] == [instance_id, "us-east-1a", "us-east-1", "127.77.1.11", "123456789012"]


def test_without_a_token_nothing_is_told(caller: Caller) -> None:
    assert caller.ask("/latest/meta-data/instance-id")[0] == 401
    assert caller.ask("/latest/meta-data/instance-id", **{TOKEN: "guessed"})[0] == 401


@pytest.mark.parametrize("ttl", ["0", "21601", "soon", ""])
def test_a_token_needs_a_lifetime_within_bounds(caller: Caller, ttl: str) -> None:
    assert caller.ask("/latest/api/token", "PUT", **{TTL: ttl})[0] == 400


def test_a_token_is_refused_to_a_proxy(caller: Caller) -> None:
    headers = {TTL: "60", "X-Forwarded-For": "10.0.0.1"}
    assert caller.ask("/latest/api/token", "PUT", **headers)[0] == 403


def test_a_token_is_good_for_its_machine_alone(aws: Aws, caller: Caller) -> None:
    other = Caller(aws, aws.instance(aws.run())["PrivateIpAddress"])
    assert other.ask("/latest/meta-data/instance-id", **{TOKEN: caller.token()})[0] == 401
    other.connection.close()


@pytest.mark.usefixtures("instance_id")
def test_a_stranger_is_told_nothing(aws: Aws) -> None:
    stranger = Caller(aws, "127.77.1.200")
    assert stranger.ask("/latest/api/token", "PUT", **{TTL: "60"})[0] == 404
    stranger.connection.close()


@pytest.mark.parametrize("path", ["spot/instance-action", "autoscaling/target-lifecycle-state", "nothing"])
def test_what_does_not_apply_is_not_found(caller: Caller, path: str) -> None:
    assert caller.get(f"meta-data/{path}")[0] == 404


def test_credentials_are_those_of_the_profiles_role_in_the_machines_name(
    aws: Aws, caller: Caller, instance_id: str
) -> None:
    given = json.loads(caller.read("meta-data/iam/security-credentials/worker"))
    assert json.loads(caller.read("meta-data/iam/security-credentials/worker")) == given
    sts = aws.client(
        "sts",
        aws_access_key_id=given["AccessKeyId"],
        aws_secret_access_key=given["SecretAccessKey"],
        aws_session_token=given["Token"],
    )
    identity = sts.get_caller_identity()
    assert identity["Arn"] == f"arn:aws:sts::123456789012:assumed-role/worker/{instance_id}"
    assert caller.get("meta-data/iam/security-credentials/admin")[0] == 404


def test_a_machine_learns_that_its_group_lets_it_go(aws: Aws) -> None:
    fleet = Fleet.of(aws, size=1)
    instance_id = fleet.wait_in_service(1)[0]["InstanceId"]
    fleet.put_hook("wait", "TERMINATING")
    caller = Caller(aws, aws.instance(instance_id)["PrivateIpAddress"])
    assert caller.read("meta-data/autoscaling/target-lifecycle-state") == "InService"
    fleet.scale(0)
    eventually(lambda: fleet.state(instance_id) == "Terminating:Wait")
    assert caller.read("meta-data/autoscaling/target-lifecycle-state") == "Terminated"
    caller.connection.close()


def test_user_data_of_a_group_reaches_its_machines(aws: Aws) -> None:
    encoded = base64.b64encode(USER_DATA.encode()).decode()
    data: dict[str, Any] = {"ImageId": "ami-0abcdef1234567890", "UserData": encoded}
    aws.client("ec2").create_launch_template(LaunchTemplateName="talking", LaunchTemplateData=data)
    aws.client("autoscaling").create_auto_scaling_group(
        AutoScalingGroupName="talking",
        MinSize=1,
        MaxSize=1,
        LaunchTemplate={"LaunchTemplateName": "talking", "Version": "$Latest"},
        VPCZoneIdentifier=aws.subnets[0],
    )
    spec = eventually(lambda: list(aws.machines.specs.values()))[0]
    caller = Caller(aws, str(spec.address))
    assert caller.read("user-data") == USER_DATA
    caller.connection.close()
