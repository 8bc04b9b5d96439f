from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from infra.local.cluster import Cluster
from infra.local.worlds.world import World
from tests.integration.cloud.worlds.conftest import Session, Site
from tests.integration.local.worlds.conftest import state

__all__ = ["state"]


@pytest.fixture(scope="module")
def site(state: Path) -> Iterator[Site]:  # noqa: ARG001 - whose directory the world is in
    world = World.up("commands")
    threads = ThreadPoolExecutor(max_workers=2, initializer=world.enter_network)
    yield Site(Cluster(world, Session()), threads)
    threads.shutdown()
    world.down()
