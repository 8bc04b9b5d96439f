"""The trail has each call that a role's session was allowed to make, under its caller's name, and no other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local.cloud.access import trail
from tests.integration.cloud.access.account import CLUSTER, REFUSALS, Account, outcome

SWEEP = f"regrow-{CLUSTER}-sweep"


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Path]:
    file = tmp_path / "trail.log"
    trail.write_to(file)
    yield file
    handler = trail.trail.handlers[-1]
    trail.trail.removeHandler(handler)
    handler.close()


def entries(file: Path) -> list[tuple[str, str, str]]:
    return [(one.caller, one.service, one.operation) for one in trail.read(file.read_text().splitlines())]


def test_a_functions_call_is_kept_under_its_name(account: Account, kept: Path) -> None:
    assert outcome(account.client("autoscaling", account.function("sweep")), "describe_auto_scaling_groups") == "ok"
    assert entries(kept) == [(SWEEP, "autoscaling", "DescribeAutoScalingGroups")]


def test_a_refused_call_is_not(account: Account, kept: Path) -> None:
    client = account.client("autoscaling", account.function("sweep"))
    assert outcome(client, "suspend_processes", AutoScalingGroupName="any") in REFUSALS
    assert entries(kept) == []


def test_nor_is_the_administrators(account: Account, kept: Path) -> None:
    assert outcome(account.client("autoscaling"), "describe_auto_scaling_groups") == "ok"
    assert entries(kept) == []
