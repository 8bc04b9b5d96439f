"""What dead worlds leave behind: control groups and a directory. Nothing of a world that lives is touched."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from infra.local.linux.cgroups import Cgroup, groups_of_worlds, remove_top_if_empty
from infra.local.places import WORLD_NAME, WorldPlace, group_suffix, take_lock


def remove_dead_worlds(state: Path) -> list[str]:
    """Remove them all; the names of those that left something.

    A world whose directory is gone may live on without it, so its groups go only when nobody is in them.
    """
    removed = [place.name for place in list(WorldPlace.every(state)) if remove_dead_world(place)]
    for name in sorted(_worlds_with_groups(state) - {place.name for place in WorldPlace.every(state)}):
        group = Cgroup.of(WorldPlace(state, name).group)
        if not group.pids():
            group.remove()
            removed.append(name)
    remove_top_if_empty()
    return removed


def remove_dead_world(place: WorldPlace) -> bool:
    """False if the world lives."""
    if not place.directory.is_dir():
        return True
    lock = take_lock(place.lock)
    if lock is None:
        return False
    try:
        empty_cgroups(place)
        shutil.rmtree(place.directory)
    finally:
        os.close(lock)
    return True


def _worlds_with_groups(state: Path) -> frozenset[str]:
    suffix = group_suffix(state)
    names = (name.removesuffix(suffix) for name in groups_of_worlds() if name.endswith(suffix))
    return frozenset(name for name in names if WORLD_NAME.fullmatch(name))


def empty_cgroups(place: WorldPlace) -> None:
    """End what is still in the world's groups, frozen processes above all, and remove them."""
    group = Cgroup.of(place.group)
    group.kill()
    group.remove()


def remove_state(state: Path) -> None:
    """After the last world: the image stores, and the directories themselves if nothing else is in them."""
    if any(WorldPlace.every(state)):
        return
    stores = state / "image-stores"
    if stores.is_dir():
        shutil.rmtree(stores)
    for directory in _empty(state / "worlds", state):
        directory.rmdir()


def _empty(*directories: Path) -> Iterator[Path]:
    for directory in directories:
        if directory.is_dir() and not any(directory.iterdir()):
            yield directory
