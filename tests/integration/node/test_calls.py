"""A machine's own AWS calls against moto's server: the answers that the boot rests on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from infra.node.aws import Api
from infra.node.configuration import JoinSecret
from infra.node.failures import AwsError, NodeError, UnreachableError
from infra.node.initialise import refuse_a_second_cluster
from infra.node.join import wait_for_secret
from infra.node.machine import Image, Machine
from infra.node.metadata import Identity
from infra.node.signing import Credentials
from tests.integration.deploy.plain_aws import plain_aws

CREDENTIALS = Credentials("AKIDEXAMPLE", "secret", "session")
SECRET = JoinSecret("abcdef.0123456789abcdef", "sha256:" + "0" * 64, "10.77.0.10:6443")
MACHINE = Machine(Identity("i-0abc", "us-east-1a", "us-east-1", "10.77.1.5"), Image(), "drill", "10.77.0.10:6443")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with plain_aws() as url:
        yield url


@pytest.fixture
def api(endpoint: str) -> Api:
    return Api("us-east-1", lambda: CREDENTIALS, endpoint)


def client(service: str, endpoint: str) -> Any:
    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="secret",
    )


def test_a_parameter_that_is_not_there_is_no_error(api: Api) -> None:
    assert api.parameter("/regrow/none/join") is None


def test_what_is_published_is_encrypted_and_read_back(api: Api, endpoint: str) -> None:
    assert api.publish("/regrow/a/join", "hidden")
    assert api.parameter("/regrow/a/join") == "hidden"
    stored = client("ssm", endpoint).get_parameter(Name="/regrow/a/join")["Parameter"]
    assert stored["Type"] == "SecureString"


def test_a_published_cluster_is_never_overwritten(api: Api) -> None:
    assert api.publish("/regrow/b/join", "first")
    assert not api.publish("/regrow/b/join", "second")
    assert api.parameter("/regrow/b/join") == "first"


def test_publishing_the_same_again_is_success(api: Api) -> None:
    assert api.publish("/regrow/c/join", "same")
    assert api.publish("/regrow/c/join", "same")


def test_a_machine_puts_itself_behind_its_load_balancer_once(api: Api, endpoint: str) -> None:
    ec2, elb = client("ec2", endpoint), client("elbv2", endpoint)
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    image = ec2.describe_images()["Images"][0]["ImageId"]
    instance = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    group = elb.create_target_group(Name="api", Protocol="TCP", Port=6443, VpcId=vpc)["TargetGroups"][0]
    api.register_target(group["TargetGroupArn"], instance, 6443)
    api.register_target(group["TargetGroupArn"], instance, 6443)
    health = elb.describe_target_health(TargetGroupArn=group["TargetGroupArn"])["TargetHealthDescriptions"]
    assert [entry["Target"] for entry in health] == [{"Id": instance, "Port": 6443}]


def test_a_refused_registration_says_awss_reason(api: Api) -> None:
    arn = "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/none/0123456789abcdef"
    with pytest.raises(AwsError, match="RegisterTargets was refused: TargetGroupNotFound"):
        api.register_target(arn, "i-0abc", 6443)


def test_an_endpoint_that_does_not_answer_is_tried_again_before_it_is_an_error() -> None:
    waited: list[float] = []
    with pytest.raises(UnreachableError, match="does not answer"):
        Api("us-east-1", lambda: CREDENTIALS, "http://127.0.0.1:1", sleep=waited.append).parameter("/a")
    assert len(waited) > 2


def test_a_worker_waits_until_its_cluster_is_published(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    waits = 0

    def publish_at_the_third_wait(_: float) -> None:
        nonlocal waits
        waits += 1
        if waits == 3:
            api.publish(MACHINE.join_parameter, SECRET.to_json())

    assert wait_for_secret(MACHINE, api, sleep=publish_at_the_third_wait) == SECRET
    said = capsys.readouterr().out
    assert said.count("/regrow/drill/join is not published yet") == 1  # once, however long it takes
    assert SECRET.token not in said


def test_a_worker_gives_up_at_its_deadline_and_says_where_to_look(api: Api) -> None:
    machine = Machine(MACHINE.identity, Image(), "never", MACHINE.endpoint)
    with pytest.raises(NodeError, match="control plane's boot log"):
        wait_for_secret(machine, api, wait_s=0, sleep=lambda _: None)


def test_a_machine_does_not_make_a_cluster_whose_name_is_taken(api: Api) -> None:
    machine = Machine(MACHINE.identity, Image(), "taken", MACHINE.endpoint)
    refuse_a_second_cluster(machine, api)
    api.publish(machine.join_parameter, SECRET.to_json())
    with pytest.raises(NodeError, match="/regrow/taken/"):
        refuse_a_second_cluster(machine, api)
