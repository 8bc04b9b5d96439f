"""One local cluster with three control planes for the whole run; see tests/e2e for how these tests are run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local.cluster import Cluster
from tests.e2e.worlds import alone, own_cluster


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    alone(items, Path(__file__).parent)


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    with own_cluster(request, workers=1, control_planes=3) as cluster:
        yield cluster
