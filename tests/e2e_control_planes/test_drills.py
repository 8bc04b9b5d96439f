"""Control planes are lost for real, and the deployed functions make the cluster whole, or leave it alone."""

from __future__ import annotations

import re
from typing import Any

import pytest

from infra.local.cluster import Cluster
from infra.local.drills.kinds import KINDS
from infra.local.drills.run import run

TIMED = re.compile(r" within \d+ s |longer than \d+ s")
"""How soon is told by the bench: here other tests' leftovers and the host's load would decide."""


def broken(record: dict[str, Any]) -> list[str]:
    """The promises that were not kept, with what was seen."""
    findings = [one for one in record["findings"] if not TIMED.search(one["promise"])]
    assert findings
    return [f"{one['promise']}: {one['seen']}" for one in findings if not one["kept"]]


@pytest.mark.parametrize("name", ["control-plane", "leader", "join-dies", "voter-without-node"])
def test_a_control_plane_is_lost_and_the_cluster_is_whole_again(cluster: Cluster, name: str) -> None:
    assert broken(run(cluster, KINDS[name], lambda _: None)) == []


def test_without_a_quorum_nothing_is_touched_and_one_person_is_told_once(cluster: Cluster) -> None:
    """The last one: only a restore could bring this cluster back."""
    assert broken(run(cluster, KINDS["quorum-lost"], lambda _: None)) == []
