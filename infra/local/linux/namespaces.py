"""The kernel's namespace calls that Python lacks, and the commands that start something in new namespaces."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_REC, MS_SHARED = 4096, 16384, 1 << 20
MNT_DETACH = 2

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")


def mount(source: str, target: Path, kind: str, flags: int = 0, options: str = "") -> None:
    result = _libc.mount(
        source.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), options.encode() or None
    )
    _check(result, f"cannot mount {kind or source} on {target}")


def bind(source: Path, target: Path, *, read_only: bool = False) -> None:
    """Show `source` at `target` too; `read_only` holds for this view alone."""
    mount(str(source), target, "", MS_BIND | MS_REC)
    if read_only:
        mount("none", target, "", MS_BIND | MS_REMOUNT | MS_RDONLY)


def share_mounts(target: Path) -> None:
    """Mounts that appear below `target` are seen by the containers that were given it, and the other way round."""
    mount("none", target, "", MS_SHARED | MS_REC)


def make_root(root: Path) -> None:
    """The directory becomes this mount namespace's root; the host's file system is out of reach afterwards."""
    os.chdir(root)
    # Both names may be the same: the old root then lies on top of the new one, and is taken off.
    _check(_libc.pivot_root(b".", b"."), f"cannot make {root} the root")
    _check(_libc.umount2(b".", MNT_DETACH), "cannot leave the host's root")
    os.chdir("/")


def enter(path: Path) -> None:
    """Join the namespace that a /proc/PID/ns file stands for, with the calling thread alone."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.setns(descriptor, 0), f"cannot enter {path}")
    finally:
        os.close(descriptor)


def first_child(pid: int) -> int | None:
    """The process that `unshare --fork` made: pid 1 of the new namespace, by its number out here."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return None
    return int(children[0]) if children else None


def new_world(argv: list[str]) -> list[str]:
    """The command's processes all end with its first one, and everything it mounts or plugs goes with them."""
    return ["unshare", "--fork", "--kill-child", "--pid", "--mount", "--net", "--mount-proc", "--", *argv]


def new_machine(enter_cgroup: str, argv: list[str]) -> list[str]:
    """As `new_world`, with a host name, IPC and a cgroup root of its own: where the script `enter_cgroup` leads."""
    inside = f'{enter_cgroup} exec unshare --cgroup -- "$@"'
    separate = ["--pid", "--mount", "--net", "--uts", "--ipc"]
    return ["unshare", "--fork", "--kill-child", *separate, "--", "sh", "-ec", inside, "sh", *argv]


def in_world(pid: int, argv: list[str]) -> list[str]:
    return ["nsenter", "--target", str(pid), "--mount", "--net", "--pid", "--", *argv]


def in_machine(pid: int, enter_cgroup: str, argv: list[str]) -> list[str]:
    """For a caller in the world's namespaces. What is run is frozen and killed together with the machine."""
    spaces = ["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd"]
    inside = f'{enter_cgroup} exec nsenter --target {pid} {" ".join(spaces)} -- "$@"'
    return ["sh", "-ec", inside, "sh", *argv]
