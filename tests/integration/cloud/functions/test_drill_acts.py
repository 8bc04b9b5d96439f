"""What drills do to functions is what these then see, and is undone to the letter."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from infra.local.cluster import Cluster
from infra.local.drills.acts import configured, invoke
from infra.local.places import WorldError, WorldPlace
from infra.local.worlds.world import World
from tests.integration.cloud.functions.local_aws import LocalAws


@dataclass(frozen=True)
class Session:
    aws: LocalAws

    def client(self, service: str) -> Any:
        return self.aws.client(service)


def cluster_of(aws: LocalAws, directory: Path, name: str) -> Cluster:
    return Cluster(World(WorldPlace(directory, name), 0), Session(aws))


def test_a_function_has_other_variables_for_a_while(aws: LocalAws, tmp_path: Path) -> None:
    cluster = cluster_of(aws, tmp_path, "t")
    aws.deploy("regrow-t-mint", variables={"REGROW_TABLE": "t"})
    wanted = {"show": ["REGROW_TABLE", "REGROW_JOIN_DEADLINE_S"]}
    with configured(cluster, ["mint"], {"REGROW_JOIN_DEADLINE_S": "60"}):
        assert invoke(cluster, "mint", wanted) == {"REGROW_TABLE": "t", "REGROW_JOIN_DEADLINE_S": "60"}
    assert invoke(cluster, "mint", wanted) == {"REGROW_TABLE": "t", "REGROW_JOIN_DEADLINE_S": None}


def test_a_refusal_is_told_in_the_functions_own_words(aws: LocalAws, tmp_path: Path) -> None:
    aws.deploy("regrow-u-drill")
    with pytest.raises(WorldError, match="The drill function says: the cluster is not whole"):
        invoke(cluster_of(aws, tmp_path, "u"), "drill", {"raise": "the cluster is not whole"})
