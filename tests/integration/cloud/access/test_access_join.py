"""What a joining machine is given by a parameter of its own: only that machine may read it, in no way another one."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from moto.iam.models import iam_backends

from tests.integration.cloud.access.account import ACCOUNT, CLUSTER, REGION, Account, instance_arn, outcome

OWN, GENEROUS = f"regrow-{CLUSTER}-worker", "generous"
JOIN = f"/regrow/{CLUSTER}/join"
DENIED = "AccessDeniedException"
TOO_MUCH = {"Effect": "Allow", "Action": ["ssm:*", "kms:*"], "Resource": "*"}
"""More than AmazonSSMManagedInstanceCore gives: whoever attaches that must not open what is other machines'."""


def workers_statements(account: Account) -> list[dict[str, Any]]:
    """The policy that the cluster's template gives to its workers, as the account has it.

    Not by IAM's API: moto answers GetRolePolicy about what a stack made with something that is no JSON.
    """
    assert account.outputs["WorkerRoleArn"].endswith(f"/{OWN}")
    statements: list[dict[str, Any]] = iam_backends[ACCOUNT]["aws"].get_role(OWN).policies["join"]["Statement"]
    return statements


def document(statements: list[dict[str, Any]]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def make(account: Account, role: str, statements: list[dict[str, Any]]) -> None:
    """A role that instances have by a profile of its name."""
    iam = account.client("iam")
    iam.create_role(RoleName=role, AssumeRolePolicyDocument="{}")
    iam.put_role_policy(RoleName=role, PolicyName="join", PolicyDocument=document(statements))
    iam.create_instance_profile(InstanceProfileName=role)
    iam.add_role_to_instance_profile(InstanceProfileName=role, RoleName=role)


def give_too_much(account: Account, role: str) -> None:
    """Attach another policy beside the role's own, as a person may."""
    iam = account.client("iam")
    policy = iam.create_policy(PolicyName=f"{role}-has-too-much", PolicyDocument=document([TOO_MUCH]))
    iam.attach_role_policy(RoleName=role, PolicyArn=policy["Policy"]["Arn"])


@pytest.fixture(scope="module", params=[OWN, GENEROUS])
def role(account: Account, request: pytest.FixtureRequest) -> str:
    """As the cluster's template makes it, and with far too much attached beside that."""
    name = str(request.param)
    if name == GENEROUS:
        make(account, name, workers_statements(account))
        give_too_much(account, name)
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
@pytest.mark.parametrize("recursive", [True, False])
@pytest.mark.parametrize(
    "path",
    [
        *("/", "/regrow", "/regrow/", f"/regrow/{CLUSTER}", f"/regrow/{CLUSTER}/"),
        *(JOIN, f"{JOIN}/", f"/regrow/{CLUSTER}/kubeconfig", f"/regrow/{CLUSTER}/kubeconfig/"),
    ],
)
def test_a_machine_reads_no_path_above_what_is_not_its_own(pair: Pair, path: str, recursive: bool) -> None:
    for decrypted in (True, False):
        asked = {"Path": path, "Recursive": recursive, "WithDecryption": decrypted}
        assert outcome(pair.ssm(pair.b), "get_parameters_by_path", **asked) == DENIED


def test_without_that_refusal_whoever_has_too_much_would_read_all_below_a_path(account: Account) -> None:
    """As in AWS, where only the path is decided about: the refusals for single parameters do not reach it."""
    name = "pathfinder"
    make(account, name, [one for one in workers_statements(account) if one["Action"] != "ssm:GetParametersByPath"])
    give_too_much(account, name)
    pair = Pair(account, name)
    bundle = pair.put(pair.a)
    pages = pair.ssm(pair.b).get_paginator("get_parameters_by_path")
    found = pages.paginate(Path=f"/regrow/{CLUSTER}", Recursive=True, WithDecryption=True)
    assert bundle in [parameter["Name"] for page in found for parameter in page["Parameters"]]


def test_a_machine_makes_no_parameter_its_own(pair: Pair, name: str) -> None:
    ssm, tags = pair.ssm(pair.b), [{"Key": "InstanceArn", "Value": instance_arn(pair.b)}]
    about = {"ResourceType": "Parameter", "ResourceId": name}
    written = {"Name": name, "Value": "mine", "Type": "SecureString"}
    assert outcome(ssm, "add_tags_to_resource", **about, Tags=tags) == DENIED
    assert outcome(ssm, "remove_tags_from_resource", **about, TagKeys=["InstanceArn"]) == DENIED
    assert outcome(ssm, "put_parameter", **written, Overwrite=True) == DENIED
    assert outcome(ssm, "put_parameter", **{**written, "Name": f"{JOIN}/{uuid.uuid4()}"}, Tags=tags) == DENIED
    assert outcome(ssm, "get_parameter", Name=name) == DENIED
    assert pair.ssm(pair.a).get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"] == "secret"


def test_a_machine_does_not_even_change_what_is_its_own(pair: Pair, name: str) -> None:
    """Else it could hand its bundle on to another machine, or leave that one something else to join."""
    ssm, tags = pair.ssm(pair.a), [{"Key": "InstanceArn", "Value": instance_arn(pair.b)}]
    assert outcome(ssm, "add_tags_to_resource", ResourceType="Parameter", ResourceId=name, Tags=tags) == DENIED
    assert outcome(ssm, "put_parameter", Name=name, Value="v", Type="SecureString", Overwrite=True) == DENIED


@pytest.mark.parametrize("identity", ["remediate", "mint", "approve"])
def test_a_machine_does_nothing_with_the_functions_identities(pair: Pair, identity: str) -> None:
    name = f"/regrow/{CLUSTER}/kubeconfig/{identity}"
    secret = {"Value": "secret", "Type": "SecureString", "Overwrite": True}
    pair.account.client("ssm").put_parameter(Name=name, **secret)
    ssm, about = pair.ssm(pair.a), {"ResourceType": "Parameter", "ResourceId": name}
    tags = [{"Key": "InstanceArn", "Value": instance_arn(pair.a)}]
    asked: list[tuple[str, dict[str, Any]]] = [
        ("get_parameter", {"Name": name, "WithDecryption": True}),
        ("get_parameter", {"Name": f"{name}:1"}),
        ("get_parameter", {"Name": f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter{name}"}),
        ("get_parameters", {"Names": [name]}),
        ("get_parameter_history", {"Name": name}),
        ("put_parameter", {"Name": name, **secret}),
        ("add_tags_to_resource", {**about, "Tags": tags}),
        ("delete_parameter", {"Name": name}),
        ("delete_parameters", {"Names": [name]}),
    ]
    assert {outcome(ssm, operation, **given) for operation, given in asked} == {DENIED}


def test_a_parameter_without_the_tag_is_nobodys(pair: Pair) -> None:
    name = pair.put(pair.a, instance=instance_arn(pair.a))
    assert outcome(pair.ssm(pair.a), "get_parameter", Name=name) == DENIED


def test_a_parameter_that_is_not_there_yet_is_denied_and_not_missing(pair: Pair) -> None:
    assert outcome(pair.ssm(pair.a), "get_parameter", Name=f"{JOIN}/i-0000000000000000f") == DENIED


def test_a_function_does_not_read_it(pair: Pair, name: str) -> None:
    for function in ("remediate", "sweep", "intake", "drill", "mint", "approve"):
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
    statements = workers_statements(account)
    make(account, role, [each for each in statements if each["Action"] != "kms:Decrypt"])
    pair = Pair(account, role)
    name = pair.put(pair.a)
    ssm = pair.ssm(pair.a)
    assert outcome(ssm, "get_parameter", Name=name, WithDecryption=True) == DENIED
    assert outcome(ssm, "get_parameter", Name=name) == "ok"
    iam.put_role_policy(RoleName=role, PolicyName="join", PolicyDocument=document(statements))
    assert outcome(ssm, "get_parameter", Name=name, WithDecryption=True) == "ok"
