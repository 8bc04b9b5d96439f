"""Whether a host can carry a world, told before anything starts, from the facts that `probe` gathers.

All problems are told at once, each in one sentence with its remedy.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

GIB = 1 << 30
MEMORY_BYTES = 4 * GIB
PYTHONS = ((3, 11), (3, 14))


@dataclass(frozen=True)
class Disk:
    """Room that a directory must have on its file system, told apart by its device number."""

    directory: Path
    device: int
    free_bytes: int
    needed_bytes: int


@dataclass(frozen=True)
class HostFacts:
    """What `problems` judges by. A trial's field is empty when it went well, else what the host answered."""

    system: str
    architecture: str
    python: tuple[int, int]
    missing_modules: tuple[str, ...]
    missing_tools: tuple[str, ...]
    root: bool
    namespaces_trial: str
    overlay_trial: str
    network_trial: str
    missing_controllers: tuple[str, ...]
    cgroup_trial: str
    disks: tuple[Disk, ...]
    memory_available_bytes: int
    inotify_free: int
    inotify_needed: int


def problems(facts: HostFacts) -> list[str]:
    """Every reason against a world on this host, each with its remedy; none means go ahead."""
    return [*_of_platform(facts), *_of_kernel(facts), *_of_room(facts)]


def _of_platform(facts: HostFacts) -> Iterator[str]:
    if (facts.system, facts.architecture) != ("Linux", "x86_64"):
        yield f"This is {facts.system} on {facts.architecture}: use a Linux machine with x86_64."
    oldest, newest = PYTHONS
    if not oldest <= facts.python <= newest:
        yield f"Python is {_dotted(facts.python)}: use Python {_dotted(oldest)} to {_dotted(newest)}."
    if facts.missing_modules:
        yield (
            f"Python modules are missing ({_listed(facts.missing_modules)}): use a virtual environment with "
            "pip and all of requirements-dev.txt; Debian and Ubuntu want the package python3-venv for it."
        )
    if facts.missing_tools:
        yield f"Programs are missing ({_listed(facts.missing_tools)}): install the package util-linux."


def _of_kernel(facts: HostFacts) -> Iterator[str]:
    if not facts.root:
        yield "You are not root: run this with sudo, or as root."
    if facts.namespaces_trial:
        yield (
            f"Namespaces cannot be made ({facts.namespaces_trial}): in a container, start it with "
            "--privileged; else use a virtual machine."
        )
        return  # the other trials need namespaces, and say nothing new
    if facts.overlay_trial:
        yield (
            f"No overlay can be mounted on the state directory ({facts.overlay_trial}): set REGROW_STATE to "
            "a directory on ext4, xfs or tmpfs, and load the kernel module overlay."
        )
    if facts.network_trial:
        yield (f"No bridge or veth pair can be made ({facts.network_trial}): load the kernel modules bridge and veth.")
    if facts.missing_controllers:
        yield (
            f"Cgroup controllers are missing ({_listed(facts.missing_controllers)}): enable them on the "
            "kernel's command line, or in a container share the host's cgroups (--cgroupns=host)."
        )
    if facts.cgroup_trial:
        yield (
            f"No cgroup can be made ({facts.cgroup_trial}): in a container, start it with --privileged; else "
            "use a virtual machine."
        )


def _of_room(facts: HostFacts) -> Iterator[str]:
    for disks in _by_device(facts.disks):
        free, needed = disks[0].free_bytes, sum(disk.needed_bytes for disk in disks)
        if free < needed:
            places = " and ".join(str(disk.directory) for disk in disks)
            yield (
                f"{_gib(free)} GiB are free for {places}, {_gib(needed)} are needed: make room, or set "
                "REGROW_CACHE and REGROW_STATE to a larger disk."
            )
    if facts.memory_available_bytes < MEMORY_BYTES:
        yield (
            f"{_gib(facts.memory_available_bytes)} GiB of memory are available, {_gib(MEMORY_BYTES)} are "
            "needed: end other programs, or use a larger machine."
        )
    if facts.inotify_free < facts.inotify_needed:
        yield (
            f"{facts.inotify_free} inotify instances are left, a world takes {facts.inotify_needed}: "
            "run `sysctl -w fs.inotify.max_user_instances=1024`."
        )


def _by_device(disks: tuple[Disk, ...]) -> Iterator[list[Disk]]:
    ordered = sorted(disks, key=lambda disk: disk.device)
    for _, group in itertools.groupby(ordered, key=lambda disk: disk.device):
        yield list(group)


def _gib(count: int) -> str:
    return f"{count / GIB:.1f}"


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names)
