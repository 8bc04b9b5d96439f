"""What a joining machine is given by a parameter of its own: only that machine may read it, in no way another one."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from tests.integration.cloud.access.account import ACCOUNT, CLUSTER, REGION, Account, instance_arn, outcome

ROLE, GENEROUS = "joining", "generous"
JOIN = f"/regrow/{CLUSTER}/join"
RESOURCE = f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter{JOIN}/*"
DENIED = "AccessDeniedException"
STATEMENTS: list[dict[str, Any]] = [
    {
        "Effect": "Allow",
        "Action": ["ssm:GetParameter", "ssm:DeleteParameter"],
        "Resource": RESOURCE,
        "Condition": {"StringEquals": {"aws:ResourceTag/InstanceArn": "${ec2:SourceInstanceARN}"}},
    },
    {
        "Effect": "Deny",
        "Action": "ssm:GetParameter*",
        "Resource": RESOURCE,
        "Condition": {"StringNotEquals": {"aws:ResourceTag/InstanceArn": "${ec2:SourceInstanceARN,'none'}"}},
    },
    {
        "Effect": "Allow",
        "Action": "kms:Decrypt",
        "Resource": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/*",
        "Condition": {
            "StringEquals": {"kms:ViaService": f"ssm.{REGION}.amazonaws.com"},
            "StringLike": {"kms:EncryptionContext:PARAMETER_ARN": RESOURCE},
        },
    },
    {
        "Effect": "Deny",
        "Action": "*",
        "Resource": "*",
        "Condition": {"NumericLessThan": {"ec2:RoleDelivery": "2.0"}},
    },
]
READS_ALL = {"Effect": "Allow", "Action": ["ssm:*", "kms:*"], "Resource": "*"}
"""More than AmazonSSMManagedInstanceCore gives: whoever attaches that must not open other machines' parameters."""
TEMPLATES_OWN = f"regrow-{CLUSTER}-worker"


def document(statements: list[dict[str, Any]]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def make(account: Account, role: str, statements: list[dict[str, Any]]) -> None:
    """A role that instances have by a profile of its name."""
    iam = account.client("iam")
    iam.create_role(RoleName=role, AssumeRolePolicyDocument="{}")
    iam.put_role_policy(RoleName=role, PolicyName="join", PolicyDocument=document(statements))
    iam.create_instance_profile(InstanceProfileName=role)
    iam.add_role_to_instance_profile(InstanceProfileName=role, RoleName=role)


@pytest.fixture(scope="module", params=[ROLE, GENEROUS, TEMPLATES_OWN])
def role(account: Account, request: pytest.FixtureRequest) -> str:
    """With the policy alone, with it and far too much beside it, and as the cluster's template makes it."""
    name = str(request.param)
    if name != TEMPLATES_OWN:
        make(account, name, [*STATEMENTS, READS_ALL] if name == GENEROUS else STATEMENTS)
    return name


class Pair:
    """Two machines of one role."""

    def __init__(self, account: Account, role: str) -> None:
        self.account = account
        self.a, self.b = account.run(role), account.run(role)

    def put(self, owner: str, **tags: str) -> str:
        """A parameter for that machine, tagged for it unless other tags are said; its name."""
        # A name of its own for each test: what a machine was given once is not given again.
        name = f"{JOIN}/{owner}-{uuid.uuid4()}"
        given = [{"Key": key, "Value": value} for key, value in (tags or {"InstanceArn": instance_arn(owner)}).items()]
        self.account.client("ssm").put_parameter(Name=name, Value="secret", Type="SecureString", Tags=given)
        return name

    def ssm(self, instance_id: str) -> Any:
        return self.account.client("ssm", self.account.machine(instance_id))


@pytest.fixture(scope="module")
def pair(account: Account, role: str) -> Pair:
    return Pair(account, role)


@pytest.fixture
def name(pair: Pair) -> str:
    """What A was given."""
    return pair.put(pair.a)


def test_a_machine_reads_its_own_parameter_and_deletes_it(pair: Pair, name: str) -> None:
    ssm = pair.ssm(pair.a)
    assert ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"] == "secret"
    assert outcome(ssm, "delete_parameter", Name=name) == "ok"
    assert outcome(ssm, "get_parameter", Name=name) == DENIED


READS: list[tuple[str, dict[str, Any]]] = [
    ("get_parameter", {"Name": "{name}"}),
    ("get_parameter", {"Name": "{name}", "WithDecryption": True}),
    ("get_parameter", {"Name": "{name}:1"}),
    ("get_parameter", {"Name": f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter{{name}}"}),
    ("get_parameters", {"Names": ["{name}"]}),
    ("get_parameters", {"Names": ["{own}", "{name}"]}),
    ("get_parameter_history", {"Name": "{name}"}),
    ("get_parameters_by_path", {"Path": f"{JOIN}/"}),
]


@pytest.mark.parametrize(("operation", "given"), READS)
def test_a_machine_reads_nothing_of_another_in_any_way(
    pair: Pair, name: str, operation: str, given: dict[str, Any]
) -> None:
    own = pair.put(pair.b)

    def filled(value: Any) -> Any:
        if isinstance(value, list):
            return [filled(each) for each in value]
        return value.format(name=name, own=own) if isinstance(value, str) else value

    arguments = {key: filled(value) for key, value in given.items()}
    assert outcome(pair.ssm(pair.b), operation, **arguments) == DENIED


@pytest.mark.usefixtures("name")
def test_whoever_may_read_a_path_above_reads_what_is_below(pair: Pair, role: str) -> None:
    """As in AWS, where only the path is decided about: the refusal for single parameters does not reach it."""
    above = {"Path": f"/regrow/{CLUSTER}", "Recursive": True, "WithDecryption": True}
    assert outcome(pair.ssm(pair.b), "get_parameters_by_path", **above) == ("ok" if role == GENEROUS else DENIED)


def test_a_machine_makes_a_parameter_its_own_only_where_its_role_may_tag(pair: Pair, role: str, name: str) -> None:
    expected = "ok" if role == GENEROUS else DENIED
    ssm, tags = pair.ssm(pair.b), [{"Key": "InstanceArn", "Value": instance_arn(pair.b)}]
    assert outcome(ssm, "add_tags_to_resource", ResourceType="Parameter", ResourceId=name, Tags=tags) == expected
    assert outcome(ssm, "put_parameter", Name=name, Value="mine", Type="SecureString", Overwrite=True) == expected
    assert outcome(ssm, "get_parameter", Name=name) == expected
    assert outcome(ssm, "delete_parameter", Name=name) == expected


def test_a_parameter_without_the_tag_is_nobodys(pair: Pair) -> None:
    name = pair.put(pair.a, instance=instance_arn(pair.a))
    assert outcome(pair.ssm(pair.a), "get_parameter", Name=name) == DENIED


def test_a_parameter_that_is_not_there_yet_is_denied_and_not_missing(pair: Pair) -> None:
    assert outcome(pair.ssm(pair.a), "get_parameter", Name=f"{JOIN}/i-0000000000000000f") == DENIED


def test_a_function_does_not_read_it(pair: Pair, name: str) -> None:
    for function in ("remediate", "sweep", "intake", "later", "drill"):
        client = pair.account.client("ssm", pair.account.function(function))
        assert outcome(client, "get_parameter", Name=name, WithDecryption=True) == DENIED


def test_the_role_is_worth_nothing_without_a_machine(pair: Pair, role: str, name: str) -> None:
    """Whoever may assume the role, under the name of a machine even, has no source instance."""
    sts, arn = pair.account.client("sts"), f"arn:aws:iam::{ACCOUNT}:role/{role}"
    given = sts.assume_role(RoleArn=arn, RoleSessionName=pair.a)["Credentials"]
    keys = {
        "aws_access_key_id": given["AccessKeyId"],
        "aws_secret_access_key": given["SecretAccessKey"],
        "aws_session_token": given["SessionToken"],
    }
    assert outcome(pair.account.client("ssm", keys), "get_parameter", Name=name) == DENIED


def test_a_value_is_decrypted_only_for_who_may_use_the_key(account: Account) -> None:
    iam, role = account.client("iam"), "keyless"
    make(account, role, [each for each in STATEMENTS if each["Action"] != "kms:Decrypt"])
    pair = Pair(account, role)
    name = pair.put(pair.a)
    ssm = pair.ssm(pair.a)
    assert outcome(ssm, "get_parameter", Name=name, WithDecryption=True) == DENIED
    assert outcome(ssm, "get_parameter", Name=name) == "ok"
    iam.put_role_policy(RoleName=role, PolicyName="join", PolicyDocument=document(STATEMENTS))
    assert outcome(ssm, "get_parameter", Name=name, WithDecryption=True) == "ok"
