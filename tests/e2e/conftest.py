"""One local cluster for the whole run, with Regrow deployed, on which every test finds all whole.

The process enters the world's network, which it cannot leave, so these tests are run by themselves: `make e2e`. To work
on one of them without waiting for a cluster each time: `REGROW_E2E_WORLD=NAME` uses a world that is up, and leaves it.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local import cluster as local_cluster
from infra.local.places import CHECKOUT, WorldError, WorldPlace, state_directory
from infra.local.progress import Progress
from infra.local.worlds.leftovers import remove_dead_world
from infra.local.worlds.world import World, is_up
from tests.e2e.scene import Scene, scene_of

KEPT_LOGS = CHECKOUT / "build" / "e2e-logs"
OWN_NAME = re.compile(r"e2e-(?P<pid>[0-9]+)")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    if any(here not in item.path.parents for item in items):
        raise pytest.UsageError("tests/e2e enters a world's network for good: run it in a process of its own")


@pytest.fixture(scope="session")
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    lent = os.environ.get("REGROW_E2E_WORLD")
    if lent:
        yield scene_of(local_cluster.enter(World.find(lent)))
        return
    _remove_worlds_of_killed_runs()
    place = WorldPlace.of(f"e2e-{os.getpid()}")
    came_up = False
    try:
        scene = scene_of(local_cluster.up(place.name, delays="instant", progress=Progress(sys.__stderr__)))
        came_up = True
        yield scene
    finally:
        try:
            if request.session.testsfailed or not came_up:
                _keep_logs(place)
        finally:
            _remove(place)


@pytest.fixture(autouse=True)
def _whole(request: pytest.FixtureRequest) -> None:
    """What one test has broken must not be the next one's trouble; what cannot become whole again ends the run."""
    if "scene" in request.fixturenames:
        scene: Scene = request.getfixturevalue("scene")
        try:
            scene.await_whole()
        except WorldError as error:
            pytest.exit(f"the cluster is not whole before {request.node.name}: {error}", returncode=1)


def _remove_worlds_of_killed_runs() -> None:
    for place in list(WorldPlace.every(state_directory())):
        found = OWN_NAME.fullmatch(place.name)
        if found and not Path("/proc", found["pid"]).exists():
            _remove(place)


def _remove(place: WorldPlace) -> None:
    if is_up(place):
        World.find(place.name).down()
    remove_dead_world(place)


def _keep_logs(place: WorldPlace) -> None:
    kept = KEPT_LOGS / place.name
    for directory in (place.log, *(machine.log for _, machine in place.machines())):
        if directory.is_dir():
            shutil.copytree(directory, kept / directory.relative_to(place.directory), symlinks=True, dirs_exist_ok=True)
    print(f"\nthe logs of world {place.name} are in {kept}", file=sys.__stderr__)
