"""What a world could leave on the host."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from infra.local.linux.cgroups import TOP, hierarchies
from infra.local.places import WorldPlace

SETTINGS = [
    "net/ipv4/ip_forward",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/hostname",
    "kernel/keys/root_maxkeys",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
]
"""Those that a kubelet, or a router, would change where it may."""


@dataclass(frozen=True)
class Traces:
    """All of it, of the worlds of one state directory."""

    mounts: tuple[str, ...]
    links: tuple[str, ...]
    groups: tuple[str, ...]
    processes: tuple[int, ...]
    settings: tuple[str, ...]
    files: tuple[str, ...]


def traces(state: Path) -> Traces:
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    suffix = WorldPlace(state, "").group
    groups = [str(path) for tree in hierarchies() for path in (tree.mount / TOP).rglob(f"*{suffix}*") if path.is_dir()]
    return Traces(
        tuple(mount for mount in mounts if "regrow" in mount),
        tuple(sorted(entry.name for entry in Path("/sys/class/net").iterdir())),
        tuple(groups),
        tuple(processes_of(state)),
        tuple(Path("/proc/sys", name).read_text() for name in SETTINGS),
        tuple(str(path) for path in state.rglob("*")),
    )


def processes_of(state: Path) -> list[int]:
    """Every process that a world of this state directory started has it in its environment, machines' or not."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                groups = (entry / "cgroup").read_text()
                about = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue  # it has just ended, or not even root may look into it, so it is not ours
            if os.fsencode(state) in about or WorldPlace(state, "").group in groups:
                found.append(int(entry.name))
    return found
