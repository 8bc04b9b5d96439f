"""A bundle is left under its machine's name, bound to it by a tag, and never over another one."""

from __future__ import annotations

import json
import secrets
from typing import Any

import pytest

from functions.cluster.machine import Role
from functions.edges.aws import CONFIG
from functions.edges.bundles import BundlesEdge
from functions.errors import ConfigurationError, ConflictError, RetryableError
from functions.join.delivery import Bundle
from functions.join.token import draw
from tests.integration.functions.answering import Answer, answering
from tests.integration.functions.conftest import Clients
from tests.unit.functions.builders import CLUSTER, NOW, ONE, TWO
from tests.unit.functions.join.mint.launches import API_SERVER

TOPIC = "arn:aws:sns:us-east-1:123456789012:regrow-drill"
PARAMETER = f"/regrow/{CLUSTER}/join/{ONE}"


def edge(client: Any) -> BundlesEdge:
    return BundlesEdge(client, cluster=CLUSTER, beside_arn=TOPIC)


def bundle() -> Bundle:
    return Bundle(CLUSTER, API_SERVER, draw(ONE, Role.WORKER, secrets.choice, now=NOW))


def test_a_bundle_is_one_encrypted_parameter_that_is_tagged_with_its_machine_from_the_start(clients: Clients) -> None:
    ssm, one = clients("ssm"), bundle()
    edge(ssm).put(one)
    kept = ssm.get_parameter(Name=PARAMETER, WithDecryption=True)["Parameter"]
    assert (kept["Type"], kept["Version"]) == ("SecureString", 1)
    assert json.loads(kept["Value"])["token"] == one.token.whole
    tags = ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId=PARAMETER)["TagList"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == {
        "InstanceArn": f"arn:aws:ec2:us-east-1:123456789012:instance/{ONE}",
        "regrow:cluster": CLUSTER,
        "regrow:token": one.token.id,
    }


@pytest.mark.parametrize(
    ("beside", "instance_arn"),
    [
        ("arn:aws-cn:sns:cn-north-1:210987654321:t", f"arn:aws-cn:ec2:cn-north-1:210987654321:instance/{ONE}"),
        ("arn:aws-us-gov:sqs:us-gov-west-1:1:q", f"arn:aws-us-gov:ec2:us-gov-west-1:1:instance/{ONE}"),
    ],
)
def test_the_machine_is_named_as_its_own_partition_names_it(clients: Clients, beside: str, instance_arn: str) -> None:
    ssm = clients("ssm")
    BundlesEdge(ssm, cluster=CLUSTER, beside_arn=beside).put(bundle())
    tags = ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId=PARAMETER)["TagList"]
    assert {"Key": "InstanceArn", "Value": instance_arn} in tags


@pytest.mark.parametrize("arn", ["", "arn:", "arn:aws:s3:::bucket", "arn:aws:sns:us-east-1::t", "us-east-1:1:2:3:4:5"])
def test_an_arn_that_says_no_account_is_named(clients: Clients, arn: str) -> None:
    with pytest.raises(ConfigurationError, match="is no ARN with a region and an account"):
        BundlesEdge(clients("ssm"), cluster=CLUSTER, beside_arn=arn)


def test_what_lies_there_is_never_overwritten(clients: Clients) -> None:
    ssm = clients("ssm")
    ssm.put_parameter(Name=PARAMETER, Type="SecureString", Value="somebody's")
    with pytest.raises(ConflictError, match=f"there is a parameter {PARAMETER} already"):
        edge(ssm).put(bundle())
    assert ssm.get_parameter(Name=PARAMETER, WithDecryption=True)["Parameter"]["Value"] == "somebody's"


def test_a_bundle_is_deleted_and_the_deletion_says_whether_there_was_one(clients: Clients) -> None:
    ssm = clients("ssm")
    edge(ssm).put(bundle())
    other = f"/regrow/{CLUSTER}/join/{TWO}"
    ssm.put_parameter(Name=other, Type="SecureString", Value="another machine's")
    assert edge(ssm).delete(ONE) is True
    assert edge(ssm).delete(ONE) is False
    names = [one["Name"] for one in ssm.get_parameters_by_path(Path=f"/regrow/{CLUSTER}/join")["Parameters"]]
    assert names == [other]


@pytest.mark.parametrize(
    ("code", "error"), [("AccessDeniedException", ConfigurationError), ("ThrottlingException", RetryableError)]
)
def test_an_error_of_the_service_is_told_by_call_and_parameter(code: str, error: type[Exception]) -> None:
    import boto3

    body = json.dumps({"__type": code, "message": "no"}).encode()
    with answering(Answer(400, body, "application/x-amz-json-1.1")) as server:
        ssm = boto3.client(
            "ssm",
            region_name="us-east-1",
            endpoint_url=server.url,
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
            config=CONFIG,
        )
        with pytest.raises(error, match=f"SSM PutParameter {PARAMETER}: {code}"):
            edge(ssm).put(bundle())
        with pytest.raises(error, match=f"SSM DeleteParameter {PARAMETER}: {code}"):
            edge(ssm).delete(ONE)


def test_a_bundle_is_there_from_its_making_to_its_end(clients: Clients) -> None:
    bundles, one = edge(clients("ssm")), bundle()
    assert not bundles.holds(ONE, one.token.id)
    bundles.put(one)
    assert bundles.holds(ONE, one.token.id)
    assert not bundles.holds(ONE, "zzzzzz")
    assert not bundles.holds(TWO, one.token.id)
    bundles.delete(ONE)
    assert not bundles.holds(ONE, one.token.id)
