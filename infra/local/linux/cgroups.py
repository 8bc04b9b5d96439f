"""Control groups: `regrow/<world>/<machine>` in every hierarchy of the host, whichever version it has.

Version 1 has a tree for each controller, all of which a process must enter; version 2 has one tree, where a group
that hands controllers on to its children cannot hold processes itself. Unlike everything else that belongs to a world,
the directories outlive its processes, so they are removed by whoever finds them ownerless.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TOP = "regrow"
_FOR_KUBELETS = frozenset({"cpu", "cpuset", "hugetlb", "io", "memory", "pids"})
LEAF = "init"
"""Where version 2 keeps a machine's own processes, beside the groups of its pods."""


class CgroupError(Exception):
    """The host's control groups do not do what a machine needs."""


@dataclass(frozen=True)
class Hierarchy:
    mount: Path
    controllers: str
    """As the kernel lists them: `cpu,cpuacct`, `name=systemd`; empty for version 2."""

    @property
    def unified(self) -> bool:
        return not self.controllers


def hierarchies() -> tuple[Hierarchy, ...]:
    """What is mounted under /sys/fs/cgroup: one tree of version 2, or all those of version 1."""
    names = [line.split(":", 2)[1] for line in Path("/proc/self/cgroup").read_text().splitlines()]
    found: dict[str, Hierarchy] = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        mounted_on, (kind, _, options) = Path(left.split()[4]), right.split()
        if kind == "cgroup2" and mounted_on == Path("/sys/fs/cgroup"):
            return (Hierarchy(mounted_on, ""),)
        if kind == "cgroup":
            for name in names:
                if name and set(name.split(",")) <= set(options.split(",")):
                    found.setdefault(name, Hierarchy(mounted_on, name))
    if not found:
        raise CgroupError("No control groups are mounted under /sys/fs/cgroup: mount them, or boot with systemd.")
    return tuple(found.values())


@dataclass(frozen=True)
class Cgroup:
    """The same group in every hierarchy."""

    name: str
    trees: tuple[Hierarchy, ...]

    @classmethod
    def of(cls, *names: str) -> Cgroup:
        return cls("/".join((TOP, *names)), hierarchies())

    def _directories(self) -> Iterator[tuple[Hierarchy, Path]]:
        for tree in self.trees:
            yield tree, tree.mount / self.name

    def create(self) -> None:
        for tree, directory in self._directories():
            for parent in reversed(directory.relative_to(tree.mount).parents):
                _make(tree, tree.mount / parent)
                if tree.unified:
                    hand_on_controllers(tree.mount / parent)
            _make(tree, directory)

    def enter(self) -> None:
        """Put this process into the group."""
        for _, directory in self._directories():
            (directory / "cgroup.procs").write_text("0")

    def leave(self) -> None:
        """Put this process at the top of each tree: a group with a process in it cannot be removed."""
        for tree in self.trees:
            (tree.mount / "cgroup.procs").write_text("0")

    def entering(self, *, settled: bool = False) -> str:
        """A shell script's beginning that puts the shell into the group; `settled`: it hands controllers on already."""
        leaf = f"/{LEAF}" if settled else ""
        paths = [f"{directory}{leaf if tree.unified else ''}" for tree, directory in self._directories()]
        return " ".join(f"echo 0 > '{path}/cgroup.procs';" for path in paths)

    def freeze(self, within_s: float = 5.0) -> None:
        """Nothing in the group runs any more once this returns, and nothing in it can tell."""
        self._switch("FROZEN", "1")
        deadline = time.monotonic() + within_s
        while not self.is_frozen():
            if time.monotonic() > deadline:
                self.thaw()
                raise CgroupError(f"The processes of {self.name} did not freeze within {within_s:g} s.")
            time.sleep(0.01)

    def thaw(self) -> None:
        self._switch("THAWED", "0")

    def thaw_all(self) -> None:
        """Thaw the groups below too: version 1 holds even SIGKILL back from frozen processes."""
        for tree, directory in self._directories():
            for place in _deepest_first(directory):
                Cgroup(str(place.relative_to(tree.mount)), (tree,)).thaw()

    def _switch(self, version_1: str, version_2: str) -> None:
        for tree, directory in self._directories():
            if tree.unified:
                _write_if_there(directory / "cgroup.freeze", version_2)
            elif tree.controllers == "freezer":
                _write_if_there(directory / "freezer.state", version_1)

    def is_frozen(self) -> bool:
        for tree, directory in self._directories():
            if tree.unified:
                return "frozen 1" in (directory / "cgroup.events").read_text()
            if tree.controllers == "freezer":
                return (directory / "freezer.state").read_text().strip() == "FROZEN"
        raise CgroupError("The host has no freezer control group, so a machine cannot be frozen.")

    def pids(self) -> frozenset[int]:
        """Everyone in the group or below, as far as this process can see them."""
        found: set[int] = set()
        for _, directory in self._directories():
            for place in _deepest_first(directory):
                try:
                    found.update(int(line) for line in (place / "cgroup.procs").read_text().split())
                except OSError as error:
                    if error.errno not in (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP):
                        raise
        return frozenset(found - {0})

    def kill(self, within_s: float = 10.0) -> None:
        """SIGKILL for everyone in the group, until nobody is left."""
        deadline = time.monotonic() + within_s
        while pids := self.pids():
            for pid in pids:
                _kill(pid)
            self.thaw_all()
            if time.monotonic() > deadline:
                raise CgroupError(f"Processes {sorted(pids)} in {self.name} survive SIGKILL; they hang in the kernel.")
            time.sleep(0.02)

    def remove(self, within_s: float = 5.0) -> None:
        """Take the directories away, deepest first. The last process may need a moment to be gone for good."""
        deadline = time.monotonic() + within_s
        for _, directory in self._directories():
            while busy := [place for place in _deepest_first(directory) if not _removed(place)]:
                if time.monotonic() > deadline:
                    raise CgroupError(f"Cannot remove {busy[0]}: it is still in use.")
                time.sleep(0.02)


def groups_of_worlds() -> frozenset[str]:
    """The names of the groups of all worlds, dead or alive."""
    tops = [tree.mount / TOP for tree in hierarchies()]
    return frozenset(entry.name for top in tops if top.is_dir() for entry in top.iterdir() if entry.is_dir())


def remove_top_if_empty() -> None:
    """The last world to go takes the common parent with it."""
    for tree in hierarchies():
        try:
            (tree.mount / TOP).rmdir()
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.EBUSY, errno.ENOTEMPTY):
                raise


def hand_on_controllers(directory: Path) -> None:
    """Version 2: let the children of a group have those controllers of it that a kubelet uses."""
    available = _FOR_KUBELETS & set((directory / "cgroup.controllers").read_text().split())
    missing = available - set((directory / "cgroup.subtree_control").read_text().split())
    try:
        (directory / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in sorted(missing)))
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        raise CgroupError(
            f"{directory} holds processes and so cannot have groups for machines below it: "
            "move them into a child group first (inside a container: the entry point's task)."
        ) from error


def _make(tree: Hierarchy, directory: Path) -> None:
    directory.mkdir(exist_ok=True)
    if "cpuset" in tree.controllers.split(","):
        for name in ("cpuset.cpus", "cpuset.mems"):  # empty at first, and then no process may enter
            if directory != tree.mount and not (directory / name).read_text().strip():
                (directory / name).write_text((directory.parent / name).read_text())


def _deepest_first(directory: Path) -> Iterator[Path]:
    for place, _, _ in os.walk(directory, topdown=False):
        yield Path(place)


def _removed(directory: Path) -> bool:
    try:
        directory.rmdir()
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
            raise
        return False
    return True


def _write_if_there(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENODEV):
            raise


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
