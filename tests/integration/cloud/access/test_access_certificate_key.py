"""The key to the encrypted authorities: left by one control plane for the next one, and read by that machine alone."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.integration.cloud.access.account import CLUSTER, Account, instance_arn, outcome

MASTER, WORKER = f"regrow-{CLUSTER}-control-plane", f"regrow-{CLUSTER}-worker"
KEYS = f"/regrow/{CLUSTER}/certificate-key"
DENIED = "AccessDeniedException"
FUNCTIONS = ("remediate", "sweep", "intake", "drill", "mint", "approve")


class Machines:
    """Three control planes, of which one has joined, and a worker."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.joined, self.joining, self.other = (account.run(MASTER) for _ in range(3))
        self.worker = account.run(WORKER)

    def ssm(self, instance_id: str) -> Any:
        return self.account.client("ssm", self.account.machine(instance_id))

    def leave_key(self, reader: str) -> str:
        """As the one that has joined leaves it; its name."""
        name = f"{KEYS}/{reader}-{uuid.uuid4()}"  # a name of its own for each test
        tags = [{"Key": "InstanceArn", "Value": instance_arn(reader)}]
        self.ssm(self.joined).put_parameter(Name=name, Value="key", Type="SecureString", Tags=tags)
        return name


@pytest.fixture(scope="module")
def machines(account: Account) -> Machines:
    return Machines(account)


@pytest.fixture
def name(machines: Machines) -> str:
    return machines.leave_key(machines.joining)


def reads(ssm: Any, name: str) -> set[str]:
    """What comes of every way to read it."""
    return {
        outcome(ssm, "get_parameter", Name=name, WithDecryption=True),
        outcome(ssm, "get_parameter", Name=f"{name}:1"),
        outcome(ssm, "get_parameters", Names=[name], WithDecryption=True),
        outcome(ssm, "get_parameter_history", Name=name, WithDecryption=True),
        outcome(ssm, "get_parameters_by_path", Path=KEYS, Recursive=True, WithDecryption=True),
    }


def test_the_joining_control_plane_reads_its_key_and_deletes_it(machines: Machines, name: str) -> None:
    ssm = machines.ssm(machines.joining)
    assert ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"] == "key"
    assert outcome(ssm, "delete_parameter", Name=name) == "ok"
    assert outcome(ssm, "get_parameter", Name=name) == DENIED


def test_j19_a_worker_reads_no_key_though_it_were_its_own(machines: Machines, name: str) -> None:
    ssm = machines.ssm(machines.worker)
    assert reads(ssm, name) == {DENIED}
    assert reads(ssm, machines.leave_key(machines.worker)) == {DENIED}


def test_no_other_control_plane_reads_it_not_even_the_one_that_left_it(machines: Machines, name: str) -> None:
    for machine in (machines.other, machines.joined):
        assert reads(machines.ssm(machine), name) == {DENIED}


def test_no_machine_makes_it_its_own(machines: Machines, name: str) -> None:
    for machine in (machines.other, machines.worker):
        ssm, tags = machines.ssm(machine), [{"Key": "InstanceArn", "Value": instance_arn(machine)}]
        about = {"ResourceType": "Parameter", "ResourceId": name}
        written = {"Name": name, "Value": "mine", "Type": "SecureString"}
        assert outcome(ssm, "add_tags_to_resource", **about, Tags=tags) == DENIED
        assert outcome(ssm, "remove_tags_from_resource", **about, TagKeys=["InstanceArn"]) == DENIED
        assert outcome(ssm, "put_parameter", **written, Overwrite=True) == DENIED
        assert reads(ssm, name) == {DENIED}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_no_function_ever_sees_it(machines: Machines, name: str, function: str) -> None:
    ssm = machines.account.client("ssm", machines.account.function(function))
    assert reads(ssm, name) == {DENIED}
