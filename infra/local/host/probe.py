"""The facts about this host that decide whether it can carry a world, by trying what a world will do.

`python -m infra.local.host.probe` tells what is amiss.
"""

import ctypes
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from infra.local.building import build
from infra.local.building.cache import cache_root
from infra.local.host.requirements import GIB, Disk, HostFacts, problems
from infra.local.places import state_directory

TOOLS = ("unshare", "nsenter", "mount", "umount", "setpriv")
MODULES = ("venv", "pip", "pyroute2")
NAMESPACES = ("--fork", "--pid", "--mount", "--net", "--uts", "--ipc", "--cgroup", "--mount-proc")
CONTROLLERS_V1 = frozenset({"cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids"})
CONTROLLERS_V2 = frozenset({"cpu", "cpuset", "memory", "io", "pids"})
CGROUPS = Path("/sys/fs/cgroup")
CONTROLLERS_FILE_V2 = CGROUPS / "cgroup.controllers"
STATE_BYTES = 3 * GIB
CACHE_BYTES = 9 * GIB
CACHE_BUILT_BYTES = 1 * GIB
# Counted on cgroup v1: 21 for a control plane, 8 for a worker, of which there are three while one is replaced.
# On cgroup v2 each container costs one more, as its out-of-memory events come through inotify.
INOTIFY_INSTANCES_V1 = 48
INOTIFY_INSTANCES_V2 = 160

MOUNT_OVERLAY = """
cd "$1" && mkdir upper work root && mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work root
"""
LINK_MACHINES = """
from pyroute2 import IPRoute
with IPRoute() as routes:
    routes.link("add", ifname="bridge0", kind="bridge")
    routes.link("add", ifname="veth0", kind="veth", peer="veth1")
"""


class UnfitHostError(Exception):
    """This host cannot carry a world; the text lists every reason with its remedy."""


def check() -> None:
    """Raise UnfitHostError unless a world can run on this host."""
    found = problems(probe())
    if found:
        reasons = "\n".join(f"  - {text}" for text in found)
        raise UnfitHostError(f"This host cannot carry a local world:\n{reasons}")


def probe() -> HostFacts:
    state, cache = state_directory(), cache_root()
    missing_tools = tuple(tool for tool in TOOLS if shutil.which(tool) is None)
    missing_modules = tuple(name for name in MODULES if importlib.util.find_spec(name) is None)
    may_try = os.geteuid() == 0 and not missing_tools and not missing_modules
    cache_bytes = CACHE_BUILT_BYTES if build.is_built() else CACHE_BYTES
    v2 = CONTROLLERS_FILE_V2.exists()
    inotify_needed = INOTIFY_INSTANCES_V2 if v2 else INOTIFY_INSTANCES_V1
    return HostFacts(
        system=platform.system(),
        architecture=platform.machine(),
        python=sys.version_info[:2],
        missing_modules=missing_modules,
        missing_tools=missing_tools,
        root=os.geteuid() == 0,
        namespaces_trial=_trial(["unshare", *NAMESPACES, "true"]) if may_try else "",
        overlay_trial=_try_overlay(state) if may_try else "",
        network_trial=_trial(["unshare", "--net", sys.executable, "-c", LINK_MACHINES]) if may_try else "",
        missing_controllers=_missing_controllers(v2=v2),
        cgroup_trial=_try_cgroup(CGROUPS if v2 else CGROUPS / "memory") if may_try else "",
        disks=(_disk(state, STATE_BYTES), _disk(cache, cache_bytes)),
        memory_available_bytes=_memory_available_bytes(),
        inotify_free=_inotify_free(inotify_needed),
        inotify_needed=inotify_needed,
    )


def _trial(command: Sequence[str | Path]) -> str:
    """Run the command; empty when it went well, else its last line (hints, indented, left out)."""
    outcome = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if outcome.returncode == 0:
        return ""
    lines = [line for line in outcome.stderr.splitlines() if line and not line[0].isspace()]
    return lines[-1].rstrip(".") if lines else f"exit code {outcome.returncode}"


def _try_overlay(directory: Path) -> str:
    """Mount an overlay as a machine's root is mounted; it goes with the mount namespace it was made in."""
    with tempfile.TemporaryDirectory(prefix=".regrow-try-", dir=_existing(directory)) as folder:
        return _trial(["unshare", "--mount", "sh", "-c", MOUNT_OVERLAY, "sh", folder])


def _try_cgroup(parent: Path) -> str:
    group = parent / f"regrow-try-{os.getpid()}"
    try:
        group.mkdir()
        group.rmdir()
    except OSError as error:
        return f"{parent}: {error.strerror}"
    return ""


def _existing(directory: Path) -> Path:
    """The directory, or the nearest one above that is there: what it will be made on."""
    return next(path for path in (directory, *directory.parents) if path.is_dir())


def _disk(directory: Path, needed_bytes: int) -> Disk:
    found = _existing(directory)
    space = os.statvfs(found)
    return Disk(directory, found.stat().st_dev, space.f_bavail * space.f_frsize, needed_bytes)


def _missing_controllers(*, v2: bool) -> tuple[str, ...]:
    if v2:
        present = set(CONTROLLERS_FILE_V2.read_text().split())
        return tuple(sorted(CONTROLLERS_V2 - present))
    mounted = (line.split() for line in Path("/proc/mounts").read_text().splitlines())
    present = {option for fields in mounted if fields[2] == "cgroup" for option in fields[3].split(",")}
    return tuple(sorted(CONTROLLERS_V1 - present))


def _memory_available_bytes() -> int:
    """Memory that programs can have without swapping, as the kernel estimates it."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024
    raise UnfitHostError("/proc/meminfo has no MemAvailable: use a kernel of this century.")


def _inotify_free(wanted: int) -> int:
    """How many inotify instances this user can still have, counted up to `wanted` by taking them."""
    libc = ctypes.CDLL(None)
    taken: list[int] = []
    try:
        while len(taken) < wanted and (descriptor := libc.inotify_init1(os.O_CLOEXEC)) >= 0:
            taken.append(descriptor)
        return len(taken)
    finally:
        for descriptor in taken:
            os.close(descriptor)


def main() -> int:
    try:
        check()
    except UnfitHostError as unfit:
        print(unfit, file=sys.stderr)
        return 1
    print("This host can carry a local world.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
