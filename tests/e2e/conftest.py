"""One local cluster for the whole run, with Regrow deployed, on which every test finds all whole.

The process enters the world's network, which it cannot leave, so these tests are run by themselves: `make e2e`. To work
on one of them without waiting for a cluster each time: `REGROW_E2E_WORLD=NAME` uses a world that is up, and leaves it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local.places import WorldError
from tests.e2e.scene import Scene, scene_of
from tests.e2e.worlds import alone, own_cluster


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    alone(items, Path(__file__).parent)


@pytest.fixture(scope="session")
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    with own_cluster(request, workers=2, control_planes=1) as cluster:
        yield scene_of(cluster)


@pytest.fixture(autouse=True)
def _whole(request: pytest.FixtureRequest) -> None:
    """What one test has broken must not be the next one's trouble; what cannot become whole again ends the run."""
    if "scene" in request.fixturenames:
        scene: Scene = request.getfixturevalue("scene")
        try:
            scene.await_whole()
        except WorldError as error:
            pytest.exit(f"the cluster is not whole before {request.node.name}: {error}", returncode=1)
