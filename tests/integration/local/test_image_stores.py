"""Unpacked images of earlier versions go, but not from under a world that is up."""

from __future__ import annotations

import json
import os
from pathlib import Path

from infra.local.machines.image_store import remove_unused
from infra.local.places import WorldPlace, take_lock


def test_only_stores_that_no_world_can_need_are_removed(tmp_path: Path) -> None:
    stores = tmp_path / "image-stores"
    for name in ("up", "ended", "nobodys"):
        (stores / name).mkdir(parents=True)
    (stores / "lock").touch()
    held = world_of(stores / "up", "one")
    os.close(world_of(stores / "ended", "two"))
    try:
        remove_unused(tmp_path)
    finally:
        os.close(held)
    assert {entry.name for entry in stores.iterdir()} == {"up", "lock"}
    remove_unused(tmp_path)
    assert {entry.name for entry in stores.iterdir()} == {"lock"}


def world_of(store: Path, name: str) -> int:
    """A world with this store; its lock, which is what being up means."""
    place = WorldPlace.of(name, store.parents[1])
    lock = take_lock(place.lock)
    assert lock is not None
    place.settings.write_text(json.dumps({"image_store": str(store)}))
    return lock
