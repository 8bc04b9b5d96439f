"""`python -m bench`: take the figures and write them to bench/figures.json, each part in a process of its own."""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import measure
from bench.drain import drain
from infra.local import cluster as local_cluster
from infra.local.progress import Progress
from infra.local.worlds.world import World

FIGURES = Path(__file__).with_name("figures.json")
PRESETS = ("instant", "aws")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--preset", choices=PRESETS, help="take one preset's figures only")
    parser.add_argument("--drills", type=int, default=5, help="how many drills a median stands on (default: 5)")
    parser.add_argument("--alone", action="store_true", help="also measure Kubernetes alone, which takes six minutes")
    parser.add_argument("--drain", action="store_true", help="take the drain's figures only")
    parser.add_argument("--rounds", type=int, default=5, help="how many drains a median stands on (default: 5)")
    parser.add_argument("--world", help="with --drain: use this world, which is up, and leave it so")
    arguments = parser.parse_args()
    if arguments.drain:
        write("drain", take_drain(arguments.rounds, arguments.world))
        return 0
    if arguments.preset is None:
        # A process that has entered a world cannot leave it: each preset is a process of its own.
        passed_on = ["--drills", str(arguments.drills), *(["--alone"] if arguments.alone else [])]
        for preset in PRESETS:
            subprocess.run([sys.executable, "-m", "bench", "--preset", preset, *passed_on], check=True)
        subprocess.run([sys.executable, "-m", "bench", "--drain", "--rounds", str(arguments.rounds)], check=True)
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
