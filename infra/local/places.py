"""Where worlds and machines keep their things on the host, and who holds them.

A world or a machine is alive exactly as long as somebody holds the lock in its directory. The kernel drops
a lock with its last holder, so no crash leaves a wrong answer behind.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DEFAULT_STATE = Path("/var/lib/regrow")
WORLD_NAME = re.compile(r"[a-z0-9-]{1,20}")
CHECKOUT = Path(__file__).resolve().parents[2]


class WorldError(Exception):
    """Something about a world that the person who asked can put right; the text says how."""


def state_directory() -> Path:
    return Path(os.environ.get("REGROW_STATE") or DEFAULT_STATE).absolute()


def group_suffix(state: Path) -> str:
    """Tells apart the control groups of worlds that have the same name in different state directories."""
    return "" if state == DEFAULT_STATE else "@" + hashlib.sha256(os.fsencode(state)).hexdigest()[:8]


@dataclass(frozen=True)
class MachinePlace:
    """One machine's directory: its disk outlives each of its lives, its log is readable from the host."""

    directory: Path

    @property
    def lock(self) -> Path:
        return self.directory / "lock"

    @property
    def pid(self) -> Path:
        """Its first process, as the world numbers processes; there only while the machine runs."""
        return self.directory / "pid"

    @property
    def settings(self) -> Path:
        return self.directory / "machine.json"

    @property
    def root(self) -> Path:
        """The mount point of its root, empty for everyone outside the machine."""
        return self.directory / "root"

    @property
    def disk(self) -> Path:
        return self.directory / "disk"

    @property
    def written(self) -> Path:
        """What the machine changed in its root file system."""
        return self.disk / "root"

    @property
    def storage(self) -> Path:
        """The volumes of its world."""
        return self.directory.parents[1] / "storage"

    @property
    def log(self) -> Path:
        return self.directory / "log"

    @property
    def console(self) -> Path:
        """What the firmware, the init and cloud-init say."""
        return self.log / "boot.log"


@dataclass(frozen=True)
class WorldPlace:
    """One world's directory."""

    state: Path
    name: str

    @classmethod
    def of(cls, name: str, state: Path | None = None) -> WorldPlace:
        if not WORLD_NAME.fullmatch(name):
            raise WorldError(f"{name!r} cannot name a world: use 1 to 20 of a-z, 0-9 and '-'.")
        return cls(state or state_directory(), name)

    @classmethod
    def every(cls, state: Path) -> Iterator[WorldPlace]:
        directory = state / "worlds"
        for entry in sorted(directory.iterdir()) if directory.is_dir() else ():
            if WORLD_NAME.fullmatch(entry.name):
                yield cls(state, entry.name)

    @property
    def directory(self) -> Path:
        return self.state / "worlds" / self.name

    @property
    def group(self) -> str:
        """The name of its control groups, which all state directories of the host share."""
        return self.name + group_suffix(self.state)

    @property
    def lock(self) -> Path:
        return self.directory / "lock"

    @property
    def pid(self) -> Path:
        """The world's first process, as the host numbers processes."""
        return self.directory / "pid"

    @property
    def settings(self) -> Path:
        return self.directory / "world.json"

    @property
    def log(self) -> Path:
        return self.directory / "log"

    @property
    def storage(self) -> Path:
        """What all its machines reach, for as long as each of them runs: a directory for each volume."""
        return self.directory / "storage"

    @property
    def admin_kubeconfig(self) -> Path:
        return self.directory / "admin.conf"

    def machine(self, instance_id: str) -> MachinePlace:
        if not re.fullmatch(r"[a-zA-Z0-9-]{1,40}", instance_id):
            raise WorldError(f"{instance_id!r} cannot name a machine: an instance id looks like i-0123456789abcdef0.")
        return MachinePlace(self.directory / "machines" / instance_id)

    def machines(self) -> Iterator[tuple[str, MachinePlace]]:
        directory = self.directory / "machines"
        for entry in sorted(directory.iterdir()) if directory.is_dir() else ():
            yield entry.name, MachinePlace(entry)


def take_lock(path: Path, within_s: float = 0.0) -> int | None:
    """A descriptor that holds the lock, or None while someone else does. Children may inherit it, and hold on."""
    deadline = time.monotonic() + within_s
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:  # a clean-up has just removed the directory
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            if time.monotonic() >= deadline:
                return None
            time.sleep(0.02)
            continue
        # The clean-up may also have come between the two calls: such a lock would protect nothing.
        if _still_there(descriptor, path):
            return descriptor
        os.close(descriptor)


def _still_there(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
