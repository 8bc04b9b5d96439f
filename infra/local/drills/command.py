"""`python -m infra.local drill`: from nothing to a healed cluster, or against the one that is up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from infra.local import cluster as local_cluster
from infra.local.cluster import Cluster
from infra.local.drills.kinds import KINDS, Kind
from infra.local.drills.run import run
from infra.local.places import CHECKOUT, WorldError
from infra.local.progress import Progress
from infra.local.worlds.world import World

RECORDS = CHECKOUT / "build" / "drills"


def drill(name: str, world: str, delays: str, progress: Progress, *, control_planes: int | None = None) -> bool:
    """Run one drill, write its record, print its summary; whether the cluster healed.

    `control_planes`: how many there must be, None for as many as the drill needs.
    """
    kind = KINDS[name]
    cluster = _cluster(world, delays, kind, control_planes, progress)
    progress.say(f"drill {kind.name}: {kind.about}. It proves that {kind.proves}.")
    record = run(cluster, kind, progress.say)
    RECORDS.mkdir(parents=True, exist_ok=True)
    path = RECORDS / f"{kind.name}.json"
    path.write_text(json.dumps(record, indent=2) + "\n")
    print("\n".join(summary(record, path, ends_world=kind.ends_world)), flush=True)
    if kind.ends_world:
        cluster.world.down()
        progress.say(f"world {world!r} is ended: nothing can be put back after this drill")
    return bool(record["healed"])


def _cluster(name: str, delays: str, kind: Kind, control_planes: int | None, progress: Progress) -> Cluster:
    try:
        world = World.find(name)
    except WorldError:
        many = control_planes or kind.control_planes
        return local_cluster.up(name, delays=delays, workers=kind.workers, control_planes=many, progress=progress)
    cluster = local_cluster.enter(world)
    if cluster.delays != delays:
        raise WorldError(
            f"World {name!r} is up with delays {cluster.delays!r}: ask for these, or end it first with `make down`."
        )
    _, there = cluster.members(cluster.control_plane_group)
    if there < kind.control_planes or (control_planes and there != control_planes):
        raise WorldError(
            f"World {name!r} has {there} control planes and this needs {control_planes or kind.control_planes}: end it "
            "first with `make down`, or name another one with WORLD=."
        )
    progress.say(f"using world {name!r}, which is up")
    return cluster


def summary(record: dict[str, Any], path: Path, *, ends_world: bool = False) -> list[str]:
    """What a person reads at the end: each promise, the milestones, the verdict, and where all of it lies."""
    lines = ["", f"drill {record['drill']}, delays as in '{record['delays']}'", ""]
    lines += [f"  {'yes' if one['kept'] else 'NO':<4} {one['promise']} ({one['seen']})" for one in record["findings"]]
    milestones = sorted(record["milestones"].items(), key=lambda item: item[1])
    lines += ["", *(f"  {seconds:8.2f} s  {name}" for name, seconds in milestones)]
    healed = "healed: the cluster is whole again" if record["healed"] else "NOT healed"
    if ends_world:
        healed = "as promised: nothing was touched" if record["healed"] else "NOT as promised"
    figures = [
        f"  {value:8.2f} s  {name.removesuffix('_s')}" for name, value in record.items() if _is_figure(name, value)
    ]
    lines += ["", *figures] if figures else []
    return [*lines, "", f"{healed}. All of it: {path}"]


def _is_figure(name: str, value: object) -> bool:
    return name.endswith("_s") and isinstance(value, float)
