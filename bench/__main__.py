"""`python -m bench`: take the figures and write them to bench/figures.json, each part in a process of its own."""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import measure, memory, month
from bench.calls import CASES, count_cases
from bench.control_plane import lose_some
from bench.drain import drain
from bench.simulations import search_for_trouble, simulate
from bench.volume import volume, volume_alone
from infra.local import cluster as local_cluster
from infra.local.cluster import Cluster
from infra.local.drills.kinds import KINDS
from infra.local.drills.run import run
from infra.local.progress import Progress
from infra.local.worlds.world import World

FIGURES = Path(__file__).with_name("figures.json")
PRESETS = ("instant", "aws")
STORMS = 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--preset", choices=PRESETS, help="take one preset's figures only")
    parser.add_argument("--drills", type=int, default=5, help="how many drills a median stands on (default: 5)")
    parser.add_argument("--alone", action="store_true", help="also measure Kubernetes alone, which takes half an hour")
    parser.add_argument("--drain", action="store_true", help="take the drain's figures only")
    parser.add_argument("--volume", action="store_true", help="take the volume's figures only")
    parser.add_argument("--calls", action="store_true", help="count calls, price a month, and write docs/calls.md")
    parser.add_argument("--memory", action="store_true", help="take the memory's figures only")
    parser.add_argument("--storm", action="store_true", help="take the storm's figures only")
    parser.add_argument("--control-plane", action="store_true", help="take the figures of lost control planes only")
    parser.add_argument("--simulations", action="store_true", help="take the simulations' figures only")
    parser.add_argument("--state-machine", action="store_true", help="look for trouble that no test has yet")
    parser.add_argument("--seeds", type=int, default=5, help="with the last two: how many")
    parser.add_argument("--nodes", type=int, default=memory.NODES, help="with --memory: of how many Nodes")
    parser.add_argument("--rounds", type=int, default=5, help="how many drains, or losses, a median stands on")
    parser.add_argument("--world", help="with one part alone: use this world, which is up, and leave it so")
    arguments = parser.parse_args()
    if arguments.drain:
        write("drain", take_drain(arguments.rounds, arguments.world))
        return 0
    if arguments.volume:
        write("volume", take_volume(arguments.drills, arguments.world, alone=arguments.alone))
        return 0
    for part, take_part in PARTS.items():
        if getattr(arguments, part):
            write(part, take_part(arguments))
            return 0
    if arguments.preset is None:
        # A process that has entered a world cannot leave it: each preset is a process of its own.
        passed_on = ["--drills", str(arguments.drills), *(["--alone"] if arguments.alone else [])]
        for preset in PRESETS:
            subprocess.run([sys.executable, "-m", "bench", "--preset", preset, *passed_on], check=True)
        subprocess.run([sys.executable, "-m", "bench", "--volume", *passed_on], check=True)
        subprocess.run([sys.executable, "-m", "bench", "--drain", "--rounds", str(arguments.rounds)], check=True)
        for part in PARTS:
            subprocess.run([sys.executable, "-m", "bench", f"--{part.replace('_', '-')}"], check=True)
        return 0
    write(arguments.preset, take(arguments.preset, arguments.drills, alone=arguments.alone))
    return 0


def take_drain(rounds: int, lent: str | None) -> dict[str, Any]:
    """In a world of a control plane alone, unless one is lent: the drained Node is none of a machine's."""
    progress = Progress()
    if lent:
        return _about_it() | drain(local_cluster.enter(World.find(lent)), rounds, progress.say)
    cluster = local_cluster.up("bench-drain", delays="instant", workers=0, progress=progress)
    try:
        return _about_it() | drain(cluster, rounds, progress.say)
    finally:
        cluster.world.down()


def take_volume(count: int, lent: str | None, *, alone: bool) -> dict[str, Any]:
    """With and without Regrow side by side, in one world and one run."""
    progress = Progress()
    if lent:
        cluster = local_cluster.enter(World.find(lent))
        return _about_it() | _volume(cluster, count, progress, alone=alone)
    cluster = local_cluster.up("bench-volume", delays="instant", progress=progress)
    try:
        return _about_it() | _volume(cluster, count, progress, alone=alone)
    finally:
        cluster.world.down()


def _volume(cluster: Cluster, count: int, progress: Progress, *, alone: bool) -> dict[str, Any]:
    figures = {"with_regrow": volume(cluster, count, progress.say)}
    return figures | ({"alone": volume_alone(cluster, progress)} if alone else {})


def take_calls(arguments: argparse.Namespace) -> dict[str, Any]:
    """With the delays of AWS, which decide how often a pass looks again."""
    with _world("bench-calls", "aws", arguments.world) as (cluster, progress):
        counted, delays = count_cases(cluster, CASES, progress.say), cluster.delays
    figures = month.figures(counted, delays)
    month.write_docs(figures)
    return _about_it() | figures


def take_memory(arguments: argparse.Namespace) -> dict[str, Any]:
    with _world("bench-memory", "instant", arguments.world, workers=0) as (cluster, progress):
        return _about_it() | memory.measure(cluster, arguments.nodes, progress.say)


def take_storm(arguments: argparse.Namespace) -> dict[str, Any]:
    with _world("bench-storm", "aws", arguments.world) as (cluster, progress):
        runs = [run(cluster, KINDS["storm"], progress.say) for _ in range(STORMS)]
    left_out = ("milestones", "timeline")
    return _about_it() | {"runs": [{name: one[name] for name in one if name not in left_out} for one in runs]}


def take_control_plane(arguments: argparse.Namespace) -> dict[str, Any]:
    with _world("bench-quorum", "instant", arguments.world, workers=1, control_planes=3) as (cluster, progress):
        return _about_it() | lose_some(cluster, arguments.rounds, progress.say)


def take_state_machine(arguments: argparse.Namespace) -> dict[str, Any]:
    return _about_it() | search_for_trouble(arguments.seeds, Progress().say)


def take_simulations(arguments: argparse.Namespace) -> dict[str, Any]:
    return _about_it() | simulate(arguments.seeds, Progress().say)


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "calls": take_calls,
    "memory": take_memory,
    "storm": take_storm,
    "control_plane": take_control_plane,
    "simulations": take_simulations,
    "state_machine": take_state_machine,
}
"""Each of them is taken in a world of its own, or in none, and has a flag of its name."""


@contextmanager
def _world(
    name: str, delays: str, lent: str | None, *, workers: int = 2, control_planes: int = 1
) -> Iterator[tuple[Cluster, Progress]]:
    """A world for one part, ended after it; a lent one stays."""
    progress = Progress()
    if lent:
        yield local_cluster.enter(World.find(lent)), progress
        return
    cluster = local_cluster.up(name, delays=delays, workers=workers, control_planes=control_planes, progress=progress)
    try:
        yield cluster, progress
    finally:
        cluster.world.down()


def take(preset: str, count: int, *, alone: bool) -> dict[str, Any]:
    progress = Progress()
    started = time.monotonic()
    cluster = local_cluster.up(f"bench-{preset}", delays=preset, progress=progress)
    try:
        figures: dict[str, Any] = {
            **_about_it(),
            "up_s": round(time.monotonic() - started, 1),
            "drills": measure.drills(cluster, count, progress.say),
        }
        if preset == "instant":
            figures["cold_start_s"] = measure.cold_starts(cluster, count)
            figures["package_bytes"] = measure.package_bytes(cluster)
        if alone:
            figures["kubernetes_alone_s"] = measure.alone(cluster, progress.say)
    finally:
        cluster.world.down()
    return figures


def _about_it() -> dict[str, Any]:
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
    }


def write(part: str, figures: dict[str, Any]) -> None:
    kept = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    kept[part] = {**kept.get(part, {}), **figures}
    FIGURES.write_text(json.dumps(kept, indent=2) + "\n")
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    sys.exit(main())
