"""What runs in a world, read from its directory and its control groups; nothing in the world is asked."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass

from infra.local.linux.cgroups import Cgroup
from infra.local.places import MachinePlace
from infra.local.worlds.world import World


@dataclass(frozen=True)
class MachineStatus:
    instance_id: str
    state: str
    address: str
    role: str
    uptime_s: float | None


def read(world: World, now_s: float) -> list[MachineStatus]:
    """All machines that have a disk. `now_s` is the time since the epoch."""
    found = []
    for instance_id, place in world.place.machines():
        if place.settings.exists():
            found.append(_machine(world, instance_id, place, now_s))
    return found


def _machine(world: World, instance_id: str, place: MachinePlace, now_s: float) -> MachineStatus:
    settings = json.loads(place.settings.read_text())
    state, uptime_s = "stopped", None
    if place.pid.exists():
        frozen = Cgroup.of(world.place.group, instance_id).is_frozen()
        state, uptime_s = "frozen" if frozen else "running", now_s - settings["started_at"]
    return MachineStatus(instance_id, state, settings["address"], settings["role"], uptime_s)


def as_json(world: World) -> str:
    settings = json.loads(world.place.settings.read_text())
    machines = [asdict(machine) for machine in read(world, time.time())]
    return json.dumps({"world": world.name, "delays": settings["delays"], "machines": machines}, indent=2)


def as_table(world: World) -> str:
    rows = [("MACHINE", "STATE", "ADDRESS", "ROLE", "UP")]
    for machine in read(world, time.time()):
        uptime = "" if machine.uptime_s is None else f"{machine.uptime_s:.0f} s"
        rows.append((machine.instance_id, machine.state, machine.address, machine.role, uptime))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
