"""Two clusters in one account: what one lets in, keeps and leaves for machines is nothing to the other."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from functions.cluster.facts import Absent
from functions.cluster.joining import TOKEN_GROUPS, JoinState
from functions.cluster.machine import VERSION_TAG, InstanceId, Node, Role
from functions.edges.autoscaling import AutoScalingEdge
from functions.edges.bundles import BundlesEdge
from functions.edges.ec2 import Ec2Edge
from functions.edges.keys import read_certificate, wrong_with_key
from functions.edges.table import TableEdge
from functions.join import approve, mint
from functions.join.approving_outside import Outside
from functions.join.certificate_request import CertificateRequest
from functions.join.delivery import ApiServer
from functions.join.minting_outside import MintingOutside
from functions.join.token import Token
from functions.settings import Settings
from infra.local.drills.csrs import client_csr
from tests.integration.functions.conftest import Clients
from tests.integration.functions.surroundings import IMAGE, a_table
from tests.unit.functions.builders import ENVIRONMENT

CA = b"-----BEGIN CERTIFICATE-----\n"
TOPIC = "arn:aws:sns:us-east-1:123456789012:regrow"


@dataclass
class Api:
    """The API server of one cluster, with nothing in it but what a test puts there."""

    name: str
    tokens: dict[str, Token] = field(default_factory=dict)
    pending: list[CertificateRequest] = field(default_factory=list)
    words: list[tuple[str, str]] = field(default_factory=list)

    def node(self, name: str) -> Node | Absent:
        return Absent()

    def version(self) -> str:
        return "v1.36.3"

    def approves_unseen(self, group: str) -> bool:
        return False

    def signing_tokens(self) -> tuple[str, ...]:
        return ()

    def api_server(self) -> ApiServer:
        return ApiServer(f"https://{self.name}.test:6443", CA)

    def create_token(self, token: Token) -> str:
        self.tokens[token.id] = token
        return f"uid-of-{token.id}"

    def delete_token(self, token_id: str, uid: str | None) -> None:
        self.tokens.pop(token_id, None)

    def requests(self) -> tuple[CertificateRequest, ...]:
        return tuple(self.pending)

    def approve(self, request: CertificateRequest, *, reason: str, message: str, at: datetime) -> None:
        self.words.append(("Approved", request.name))

    def deny(self, request: CertificateRequest, *, reason: str, message: str, at: datetime) -> None:
        self.words.append(("Denied", request.name))


class Journal:
    def __init__(self) -> None:
        self.told: list[str] = []

    def tell(self, what: str, **fields: object) -> None:
        self.told.append(what)

    def count(self, what: str) -> None:
        self.told.append(what)


@dataclass(frozen=True)
class Regrow:
    """One deployment: its own table, queue names, parameters and API server, in the account of both."""

    name: str
    clients: Clients
    api: Api

    @property
    def table(self) -> TableEdge:
        return TableEdge(self.clients("dynamodb"), table=f"regrow-{self.name}")

    def mint(self, machine: str) -> dict[str, Any]:
        aws = MintingOutside(
            ec2=Ec2Edge(self.clients("ec2")),
            autoscaling=AutoScalingEdge(self.clients("autoscaling")),
            kubernetes=self.api,
            bundles=BundlesEdge(self.clients("ssm"), cluster=self.name, beside_arn=TOPIC),
            table=self.table,
        )
        settings = Settings.from_env({**ENVIRONMENT, "REGROW_CLUSTER": self.name})
        return mint.answer({"machine": machine}, aws, settings, now=datetime.now(UTC), choose=secrets.choice)

    def approve(self) -> dict[str, Any]:
        outside = Outside(
            ec2=Ec2Edge(self.clients("ec2")),
            autoscaling=AutoScalingEdge(self.clients("autoscaling")),
            table=self.table,
            kubernetes=self.api,
            initialised_by=lambda: None,
            wrong_with_key=wrong_with_key,
            read_certificate=read_certificate,
            journal=Journal(),
        )
        return approve.answer({}, outside, cluster=self.name, now=datetime.now(UTC))


@dataclass(frozen=True)
class Both:
    a: Regrow
    b: Regrow
    of_a: list[str]
    of_b: list[str]


def launch(clients: Clients, name: str, cluster: str, *, instance_type: str, subnet: str) -> list[str]:
    """A group as infra/cluster makes it, of a family and in a subnet of its own."""
    ec2, autoscaling = clients("ec2"), clients("autoscaling")
    template = ec2.create_launch_template(
        LaunchTemplateName=name,
        LaunchTemplateData={
            "ImageId": IMAGE,
            "InstanceType": instance_type,
            "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
        },
    )["LaunchTemplate"]
    autoscaling.create_auto_scaling_group(
        AutoScalingGroupName=name,
        LaunchTemplate={"LaunchTemplateId": template["LaunchTemplateId"], "Version": "$Latest"},
        MinSize=1,
        MaxSize=1,
        DesiredCapacity=1,
        VPCZoneIdentifier=subnet,
        Tags=[
            {"Key": key, "Value": value, "PropagateAtLaunch": True}
            for key, value in {"regrow:cluster": cluster, "regrow:role": "worker"}.items()
        ],
    )
    found = autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"][0]
    machines = [member["InstanceId"] for member in found["Instances"]]
    for machine in machines:  # moto's groups leave these out of what they launch
        ec2.modify_instance_metadata_options(InstanceId=machine, HttpTokens="required", HttpPutResponseHopLimit=1)
    return machines


@pytest.fixture
def both(clients: Clients) -> Both:
    ec2 = clients("ec2")
    ec2.create_tags(Resources=[IMAGE], Tags=[{"Key": VERSION_TAG, "Value": "v1.36.3"}])
    subnets = [subnet["SubnetId"] for subnet in ec2.describe_subnets()["Subnets"]]
    for name in ("a", "b"):
        a_table(clients, f"regrow-{name}")
    of_a = launch(clients, "a-general", "a", instance_type="m7i.large", subnet=subnets[0])
    of_a += launch(clients, "a-memory", "a", instance_type="r8g.2xlarge", subnet=f"{subnets[1]},{subnets[2]}")
    of_b = launch(clients, "b-general", "b", instance_type="m7i.large", subnet=subnets[0])
    return Both(Regrow("a", clients, Api("a")), Regrow("b", clients, Api("b")), of_a, of_b)


def parameters(clients: Clients) -> set[str]:
    return {one["Name"] for one in clients("ssm").describe_parameters()["Parameters"]}


def test_every_group_of_a_cluster_is_let_in_whatever_its_family_and_subnets(both: Both, clients: Clients) -> None:
    assert [both.a.mint(machine)["did"] for machine in both.of_a] == ["minted", "minted"]
    assert parameters(clients) == {f"/regrow/a/join/{machine}" for machine in both.of_a}
    records = {record.instance: record for record in both.a.table.joins()}
    assert {record.group for record in records.values()} == {"a-general", "a-memory"}
    for machine, record in records.items():
        seen = clients("ec2").describe_instances(InstanceIds=[machine])["Reservations"][0]["Instances"][0]
        assert (record.subnet, record.vpc) == (seen["SubnetId"], seen["VpcId"])


def test_a_machine_of_another_cluster_gets_no_token_and_no_bundle(both: Both, clients: Clients) -> None:
    (theirs,) = both.of_b
    answer = both.a.mint(theirs)
    assert (answer["did"], answer["reason"]) == ("nothing", "no group of the cluster lists it")
    assert (both.a.api.tokens, parameters(clients), both.a.table.joins()) == ({}, set(), ())


def test_what_one_cluster_has_minted_the_other_neither_sees_nor_takes_away(both: Both, clients: Clients) -> None:
    (theirs,) = both.of_b
    assert both.b.mint(theirs)["did"] == "minted"
    assert both.a.mint(theirs)["did"] == "nothing"
    assert parameters(clients) == {f"/regrow/b/join/{theirs}"}
    assert [record.state for record in both.b.table.joins()] == [JoinState.ISSUED]
    assert len(both.b.api.tokens) == 1


def asks(token_id: str, node_name: str) -> CertificateRequest:
    return CertificateRequest(
        name="csr-1",
        uid="uid-1",
        created_at=datetime.now(UTC) + timedelta(seconds=1),
        signer="kubernetes.io/kube-apiserver-client-kubelet",
        username=f"system:bootstrap:{token_id}",
        user_uid="",
        groups=("system:bootstrappers", TOKEN_GROUPS[Role.WORKER], "system:authenticated"),
        extra={},
        usages=("digital signature", "client auth"),
        expiration_s=None,
        request=client_csr(node_name),
        whole={},
    )


def test_a_token_of_one_cluster_is_nobody_at_the_approver_of_the_other(both: Both) -> None:
    (theirs,) = both.of_b
    both.b.mint(theirs)
    (token,) = both.b.api.tokens.values()
    for regrow in (both.a, both.b):
        regrow.api.pending = [asks(token.id, theirs)]
    assert both.a.approve()["did"] == "nothing"
    assert both.b.approve()["did"] == "approved"
    assert (both.a.api.words, both.b.api.words) == ([], [("Approved", "csr-1")])


def test_a_machine_that_has_gone_over_to_another_cluster_is_given_up_by_the_first(both: Both, clients: Clients) -> None:
    """A person has changed the tag of its group after it was minted for."""
    machine = InstanceId(both.of_a[0])
    both.a.mint(machine)
    (token,) = both.a.api.tokens.values()
    tag = {"ResourceId": "a-general", "ResourceType": "auto-scaling-group", "PropagateAtLaunch": False}
    clients("autoscaling").create_or_update_tags(Tags=[{**tag, "Key": "regrow:cluster", "Value": "b"}])
    both.a.api.pending = [replace(asks(token.id, machine))]
    assert both.a.approve()["did"] == "held"
    assert both.a.api.words == []
