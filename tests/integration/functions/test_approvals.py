"""What the approver keeps in the table, and how it knows the machine that the cluster began on."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from functions.cluster.joining import Approval
from functions.edges.parameters import read_initialised_by
from functions.edges.table import TableEdge
from functions.errors import ConfigurationError, ConflictError
from tests.integration.functions.conftest import Clients
from tests.integration.functions.surroundings import a_table
from tests.unit.functions.builders import CLUSTER, NOW, ONE, TWO

LET_IN = Approval(ONE, NOW, client_uid="1", client_key_sha256="aa", client_at=NOW)
WHOLE = replace(
    LET_IN,
    serving_uid="2",
    serving_key_sha256="bb",
    serving_at=NOW + timedelta(seconds=9, microseconds=7),
    denied="it asked for another's name",
    earlier_client_keys=("cc", "dd"),
    certificates=("ee", "ff"),
    certified_at=NOW - timedelta(minutes=5),
    certified_until=NOW + timedelta(days=365),
)


@pytest.fixture
def table(clients: Clients) -> TableEdge:
    return TableEdge(clients("dynamodb"), table=a_table(clients))


@pytest.mark.parametrize("approval", [Approval(ONE, NOW), LET_IN, WHOLE])
def test_an_approval_comes_back_as_it_was_written(table: TableEdge, approval: Approval) -> None:
    table.write_approval(approval, instead_of=None, keep_until=NOW + timedelta(days=400))
    assert table.approvals_of(ONE) == (approval,)
    assert table.approvals_of(TWO) == ()


@pytest.mark.parametrize(
    "change",
    [
        {"client_uid": "9"},
        {"client_key_sha256": "99"},
        {"serving_uid": "9", "serving_key_sha256": "99", "serving_at": NOW},
        {"denied": "meanwhile"},
        {"earlier_client_keys": ("99",)},
        {"certificates": ("99",), "certified_at": NOW, "certified_until": NOW + timedelta(days=9)},
    ],
    ids=str,
)
@pytest.mark.parametrize("before", [Approval(ONE, NOW), LET_IN, WHOLE])
def test_an_approval_is_written_only_over_the_very_one_that_was_read(
    table: TableEdge, before: Approval, change: dict[str, Any]
) -> None:
    """What another call has added counts as a change: it must not get lost."""
    meanwhile = replace(before, **change)
    table.write_approval(before, instead_of=None, keep_until=NOW + timedelta(days=400))
    table.write_approval(meanwhile, instead_of=before, keep_until=NOW + timedelta(days=400))
    for read in (before, None):
        with pytest.raises(ConflictError):
            table.write_approval(
                replace(before, client_at=NOW + timedelta(minutes=1)),
                instead_of=read,
                keep_until=NOW + timedelta(days=400),
            )
    assert table.approvals_of(ONE) == (meanwhile,)


def test_what_was_set_can_be_taken_back(table: TableEdge) -> None:
    table.write_approval(WHOLE, instead_of=None, keep_until=NOW + timedelta(days=400))
    table.write_approval(LET_IN, instead_of=WHOLE, keep_until=NOW + timedelta(days=400))
    assert table.approvals_of(ONE) == (LET_IN,)


KEY = "ab" * 32
YEAR = timedelta(days=400)


def test_a_key_is_of_the_first_launch_that_it_was_written_for_and_of_no_other(table: TableEdge) -> None:
    again = replace(LET_IN, launched_at=NOW + timedelta(days=1))
    assert table.launch_of_key(KEY) is None
    for _ in range(2):
        table.write_key(KEY, LET_IN.launch, keep_until=NOW + YEAR)
    for other in (Approval(TWO, NOW).launch, again.launch):
        with pytest.raises(ConflictError, match="the key abababababab is of another launch than i-"):
            table.write_key(KEY, other, keep_until=NOW + YEAR)
    assert table.launch_of_key(KEY) == LET_IN.launch
    assert table.launch_of_key("cd" * 32) is None


def test_a_key_is_forgotten_when_its_approval_is(table: TableEdge, clients: Clients) -> None:
    table.write_key(KEY, LET_IN.launch, keep_until=NOW + YEAR)
    table.write_key(KEY, LET_IN.launch, keep_until=NOW + 2 * YEAR)
    table.write_approval(LET_IN, instead_of=None, keep_until=NOW + 2 * YEAR)
    items = clients("dynamodb").scan(TableName="regrow-drill")["Items"]
    assert {item["pk"]["S"]: item["expires_at"]["N"] for item in items} == dict.fromkeys(
        ("key", "approval"), str(int((NOW + 2 * YEAR).timestamp()))
    )


def test_the_machine_that_a_cluster_began_on_is_read_from_its_parameter(clients: Clients) -> None:
    ssm = clients("ssm")
    assert read_initialised_by(ssm, CLUSTER) is None
    ssm.put_parameter(Name=f"/regrow/{CLUSTER}/initialised-by", Type="String", Value=ONE)
    assert read_initialised_by(ssm, CLUSTER) == ONE


def test_a_parameter_that_names_no_machine_is_for_a_person_to_mend(clients: Clients) -> None:
    clients("ssm").put_parameter(Name=f"/regrow/{CLUSTER}/initialised-by", Type="String", Value="soon")
    with pytest.raises(ConfigurationError, match="/regrow/drill/initialised-by holds 'soon'"):
        read_initialised_by(clients("ssm"), CLUSTER)
