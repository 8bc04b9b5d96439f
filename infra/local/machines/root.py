"""A machine's file system: the host's own root under a layer of its own, and what an operating system mounts.

What is the host's alone stays out of reach: homes, the state of all worlds, and the settings of the kernel that are not
kept for each namespace. Those a kubelet would change are shown to it as it wants them, so it writes nothing.
"""

from __future__ import annotations

import os
import shutil
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path

from infra.local.linux import cgroups, namespaces
from infra.local.linux.namespaces import MS_NODEV, MS_NOEXEC, MS_NOSUID, bind, mount
from infra.local.places import MachinePlace

# What a kubelet insists on (and would write), and what must differ between machines that share one kernel.
KERNEL_SETTINGS: Mapping[str, str] = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
_OWN_DIRECTORIES = {"containerd": 0o711, "kubelet": 0o750, "etcd": 0o700, "regrow": 0o755}
_STORAGE = "opt/regrow/storage"
# A host that runs containers or Kubernetes itself must not show through.
_HIDDEN = ["etc/kubernetes", "etc/cni", "etc/containerd", "etc/regrow", "var/lib/cni", "var/lib/cloud"]
_DEVICES = ["null", "zero", "full", "random", "urandom", "tty", "kmsg"]


def build(
    place: MachinePlace, files: Mapping[str, str], shown: Mapping[str, Path], state: Path, python: Path, prefix: Path
) -> None:
    """Make the machine's root at `place.root` and move into it.

    `shown`: directory in the machine -> directory of the host, read-only. `python` is the interpreter that the machine
    has as `python3`, installed under `prefix`.
    """
    root = place.root
    _mount_disk(place, root)
    for path, text in files.items():
        _write(root / path, text)
    _hide_homes_and_state(root, state)
    for target, source in shown.items():
        _show(source, root / target.lstrip("/"))
    if _is_hidden(prefix, root):
        _show(prefix, root / prefix.relative_to("/"))
    link = root / "usr/local/bin/python3"
    link.unlink(missing_ok=True)
    link.symlink_to(python)
    _mount_system(root)
    _fix_kernel_settings(root)
    _mount_cgroups(root)
    namespaces.make_root(root)
    namespaces.share_mounts(Path("/"))


def _mount_disk(place: MachinePlace, root: Path) -> None:
    first_boot = not place.written.exists()
    work = place.disk / "work"
    for directory in (place.written, work, root, place.log):
        directory.mkdir(parents=True, exist_ok=True)
    mount("overlay", root, "overlay", 0, f"lowerdir=/,upperdir={place.written},workdir={work}")
    if first_boot:
        for name in _HIDDEN:
            if (root / name).is_dir():
                shutil.rmtree(root / name)
            (root / name).mkdir(parents=True)
    # An overlay's upper directory cannot lie on an overlay, and these hold just that, or must be quick.
    for name, mode in _OWN_DIRECTORIES.items():
        (place.disk / name).mkdir(mode=mode, exist_ok=True)
        (root / "var/lib" / name).mkdir(parents=True, exist_ok=True)
        bind(place.disk / name, root / "var/lib" / name)
    bind(place.log, root / "var/log")
    for directory in (place.storage, root / _STORAGE):
        directory.mkdir(parents=True, exist_ok=True)
    bind(place.storage, root / _STORAGE)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # it may be a link to something that lives elsewhere, as resolv.conf often is
    path.write_text(text)


def _hide_homes_and_state(root: Path, state: Path) -> None:
    for name in ("root", "home"):
        if (root / name).is_dir():
            mount("tmpfs", root / name, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    hidden = root / state.relative_to("/")
    if state != Path("/var/lib/regrow") and hidden.is_dir():
        mount("tmpfs", hidden, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")


def _show(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    bind(source.resolve(), target, read_only=True)


def _is_hidden(prefix: Path, root: Path) -> bool:
    """Under a home, or on another file system than /, which the overlay does not reach into."""
    return not (root / prefix.relative_to("/") / "lib").is_dir()


def _mount_system(root: Path) -> None:
    careful = MS_NOSUID | MS_NODEV | MS_NOEXEC
    mount("proc", root / "proc", "proc", careful)
    mount("sysfs", root / "sys", "sysfs", careful)
    mount("none", root / "sys", "", namespaces.MS_REMOUNT | namespaces.MS_BIND | namespaces.MS_RDONLY | careful)
    mount("tmpfs", root / "run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    mount("tmpfs", root / "tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    devices = root / "dev"
    mount("tmpfs", devices, "tmpfs", MS_NOSUID, "mode=755")
    for name in _DEVICES:
        (devices / name).touch()
        bind(Path("/dev") / name, devices / name)
    for name, kind, options in (
        ("pts", "devpts", "newinstance,ptmxmode=0666,mode=620"),
        ("shm", "tmpfs", "mode=1777"),
        ("mqueue", "mqueue", ""),
    ):
        (devices / name).mkdir()
        mount(kind, devices / name, kind, MS_NOSUID | MS_NOEXEC, options)
    links = {"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}
    for name, goal in links.items():
        (devices / name).symlink_to(goal)


def _fix_kernel_settings(root: Path) -> None:
    """Only what belongs to the machine's own namespaces can be written below /proc/sys."""
    settings = root / "proc/sys"
    network = settings / "net"
    bind(settings, settings, read_only=True)
    bind(network, network)
    mount("none", network, "", namespaces.MS_BIND | namespaces.MS_REMOUNT)
    shown = root / "run/kernel-settings"
    shown.mkdir()
    for name, value in {**KERNEL_SETTINGS, "kernel/random/boot_id": str(uuid.uuid4())}.items():
        file = shown / name.replace("/", ".")
        file.write_text(f"{value}\n")
        bind(file, settings / name, read_only=True)
    (network / "ipv4/ip_forward").write_text("1")


def _mount_cgroups(root: Path) -> None:
    """The machine's own groups look like the whole tree from inside."""
    top = root / "sys/fs/cgroup"
    trees = cgroups.hierarchies()
    if trees[0].unified:
        mount("cgroup2", top, "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC)
        (top / cgroups.LEAF).mkdir(exist_ok=True)
        (top / cgroups.LEAF / "cgroup.procs").write_text("0")
        cgroups.hand_on_controllers(top)
        return
    mount("tmpfs", top, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=755")
    for tree in trees:
        name = tree.controllers.removeprefix("name=")
        (top / name).mkdir()
        options = f"none,{tree.controllers}" if tree.controllers.startswith("name=") else tree.controllers
        mount("cgroup", top / name, "cgroup", MS_NOSUID | MS_NODEV | MS_NOEXEC, options)
        for part in name.split(",") if "," in name else ():
            (top / part).symlink_to(name)


def may_raise_limits() -> bool:
    """Whether this process has CAP_SYS_RESOURCE."""
    status = Path("/proc/self/status").read_text()
    effective = int(next(line for line in status.splitlines() if line.startswith("CapEff")).split()[1], 16)
    return bool(effective >> 24 & 1)


def interpreter() -> tuple[Path, Path]:
    """The Python that machines get, outside any virtual environment, and where it is installed."""
    base = Path(os.path.realpath(sys.executable))
    return base, Path(sys.base_prefix)
