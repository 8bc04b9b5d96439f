"""The world that a run of these tests has for itself, and what is left of it when the run has failed."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.local import cluster as local_cluster
from infra.local.cluster import Cluster
from infra.local.places import CHECKOUT, WorldPlace, state_directory
from infra.local.progress import Progress
from infra.local.worlds.leftovers import remove_dead_world
from infra.local.worlds.world import World, is_up

KEPT_LOGS = CHECKOUT / "build" / "e2e-logs"
OWN_NAME = re.compile(r"e2e-(?P<pid>[0-9]+)")


@contextmanager
def own_cluster(request: pytest.FixtureRequest, *, workers: int, control_planes: int) -> Iterator[Cluster]:
    """A cluster of a world of its own; `REGROW_E2E_WORLD=NAME` lends one that is up, and stays."""
    lent = os.environ.get("REGROW_E2E_WORLD")
    if lent:
        yield local_cluster.enter(World.find(lent))
        return
    _remove_worlds_of_killed_runs()
    place = WorldPlace.of(f"e2e-{os.getpid()}")
    came_up = False
    try:
        progress = Progress(sys.__stderr__)
        cluster = local_cluster.up(
            place.name, delays="instant", workers=workers, control_planes=control_planes, progress=progress
        )
        came_up = True
        yield cluster
    finally:
        try:
            if request.session.testsfailed or not came_up:
                _keep_logs(place)
        finally:
            _remove(place)


def alone(items: list[pytest.Item], here: Path) -> None:
    """The process enters a world's network for good, so no other tests may run in it."""
    if any(here not in item.path.parents for item in items):
        raise pytest.UsageError(f"{here.name} enters a world's network for good: run it in a process of its own")


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
