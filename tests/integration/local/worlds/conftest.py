from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local.worlds.world import clean
from tests.integration.local.worlds.light import LightWorld, light_world


@pytest.fixture(scope="module")
def state() -> Iterator[Path]:
    """A state directory of this module's own: worlds that are up on this host are not disturbed."""
    before = os.environ.get("REGROW_STATE")
    directory = Path(tempfile.mkdtemp(prefix="regrow-state-", dir="/var/tmp"))
    os.environ["REGROW_STATE"] = str(directory)
    yield directory
    clean()
    if before is None:
        del os.environ["REGROW_STATE"]
    else:
        os.environ["REGROW_STATE"] = before
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def light(state: Path) -> Iterator[LightWorld]:
    world = light_world("light")
    assert world.world.place.state == state
    yield world
    world.end()
