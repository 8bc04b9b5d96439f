"""A world: one complete copy of everything, in one process tree with a network of its own. Up, down and ways in."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.local.linux import namespaces
from infra.local.linux.cgroups import Cgroup
from infra.local.machines import image_store
from infra.local.machines.entrance import into_machine
from infra.local.machines.files import ENVIRONMENT
from infra.local.places import CHECKOUT, WorldError, WorldPlace, state_directory, take_lock
from infra.local.worlds import leftovers

END_WITHIN_S = 20.0
_WHILE_OTHERS_LOOK_S = 0.5
"""Who asks whether a world is up holds its lock for a moment."""
_KEPT_VARIABLES = ("PATH", "HOME", "LANG", "TERM", "REGROW_STATE", "REGROW_CACHE")
AWS_VARIABLES: Mapping[str, str] = {
    **{name: value for name, value in ENVIRONMENT.items() if name.startswith("AWS_")},
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
}


@dataclass(frozen=True)
class World:
    """A world that is up; `pid` is its first process, as the host numbers processes."""

    place: WorldPlace
    pid: int

    @classmethod
    def up(
        cls,
        name: str,
        *,
        delays: str = "instant",
        programs: Path | None = None,
        cloud: Sequence[str] | None = None,
        within_s: float = 120.0,
        progress: Callable[[str], None] = lambda _text: None,
    ) -> World:
        """Bring an empty world up: network and AWS, no machine. It lives on after this process.

        `programs`: the directory of the programs that machines have; `cloud`: the command of the AWS process.
        """
        if os.geteuid() != 0:
            raise WorldError("A world needs root, for namespaces and mounts: run this with sudo.")
        place = WorldPlace.of(name)
        lock = take_lock(place.lock, within_s=_WHILE_OTHERS_LOOK_S)
        if lock is None:
            raise WorldError(f"World {name!r} is up already. `python -m infra.local down --world {name}` stops it.")
        try:
            _remove_former_life(place)
            leftovers.remove_dead_worlds(place.state)
            store = image_store.ensure(programs, place.state, progress) if programs else None
            settings = {"name": name, "delays": delays, "programs": _text(programs), "image_store": _text(store)}
            place.settings.write_text(json.dumps(settings, indent=1) + "\n")
            progress("starting the world's network and AWS")
            return cls._start(place, lock, list(cloud or [sys.executable, "-m", "infra.local.cloud", name]), within_s)
        finally:
            os.close(lock)

    @classmethod
    def _start(cls, place: WorldPlace, lock: int, cloud: list[str], within_s: float) -> World:
        ready, ready_inside = os.pipe()
        init = [
            sys.executable,
            "-m",
            "infra.local.worlds.first_process",
            "--ready",
            str(ready_inside),
            place.name,
            *cloud,
        ]
        place.log.mkdir()
        with (place.log / "world.log").open("wb") as log:
            holder = subprocess.Popen(
                namespaces.new_world(init),
                cwd=CHECKOUT,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[lock, ready_inside],
                start_new_session=True,
            )
        os.close(ready_inside)
        try:
            readable, _, _ = select.select([ready], [], [], within_s)
            answer = os.read(ready, 100) if readable else b""
        finally:
            os.close(ready)
        pid = namespaces.first_child(holder.pid)
        if answer and pid:
            place.pid.write_text(f"{pid}\n")
            return cls(place, pid)
        said = _last_words(place.log / "world.log")
        if pid:
            os.kill(pid, signal.SIGKILL)
        holder.kill()
        holder.wait()
        leftovers.empty_cgroups(place)
        what = "ended while it was starting" if readable else f"has no answer from its AWS after {within_s:g} s"
        raise WorldError(f"World {place.name!r} {what}: {said} (all of it: {place.log / 'world.log'})")

    @classmethod
    def find(cls, name: str) -> World:
        place = WorldPlace.of(name)
        if is_up(place):
            if place.pid.exists():
                return cls(place, int(place.pid.read_text()))
            raise WorldError(f"World {name!r} is just starting; try again in a moment.")
        raise WorldError(f"World {name!r} is not up. `python -m infra.local up --world {name}` starts it.")

    @property
    def name(self) -> str:
        return self.place.name

    def down(self) -> None:
        """End everything in it. Its directory, with logs and disks, stays until `clean` or the next `up`."""
        _send(self.pid, signal.SIGTERM)
        if not _wait_until_dead(self.place):
            _send(self.pid, signal.SIGKILL)
            Cgroup.of(self.place.group).kill()
            if not _wait_until_dead(self.place):
                raise WorldError(f"World {self.name!r} does not end; its first process is {self.pid}.")
        leftovers.empty_cgroups(self.place)
        self.place.pid.unlink(missing_ok=True)

    def enter_network(self) -> None:
        """The calling thread's new sockets are in the world from now on; there is no way back for it."""
        namespaces.enter(Path(f"/proc/{self.pid}/ns/net"))

    def command(self, argv: Sequence[str]) -> list[str]:
        """The command that runs `argv` inside the world: its network, its processes, its mounts."""
        return namespaces.in_world(self.pid, list(argv))

    def machine_command(self, instance_id: str, argv: Sequence[str]) -> list[str]:
        """The command that runs `argv` as root inside a machine of the world."""
        machine = self.place.machine(instance_id)
        if not machine.pid.exists():
            raise WorldError(f"{instance_id} does not run in world {self.name!r}.")
        group = Cgroup.of(self.place.group, instance_id)
        return self.command(into_machine(group, int(machine.pid.read_text()), argv))

    def environment(self) -> dict[str, str]:
        """For a command inside the world: its AWS endpoint, the admin's kubeconfig if there is one, the programs."""
        settings = json.loads(self.place.settings.read_text())
        variables = _environment()
        if settings["programs"]:
            variables["PATH"] = f"{settings['programs']}:{variables['PATH']}"
        if kubeconfig := self.admin_kubeconfig():
            variables["KUBECONFIG"] = str(kubeconfig)
        return variables

    def admin_kubeconfig(self) -> Path | None:
        """A copy of one that kubeadm wrote: they all name the load balancer, and any of them admits to the cluster.

        Of a control plane that runs, if there is one; of these the oldest, since a younger one's may be half written.
        """
        found = [
            (not machine.pid.exists(), original.stat().st_mtime, original)
            for _, machine in self.place.machines()
            if (original := machine.written / "etc/kubernetes/admin.conf").is_file()
        ]
        if not found:
            return None
        *_, original = min(found)
        copy = self.place.admin_kubeconfig.with_suffix(f".{os.getpid()}")
        shutil.copyfile(original, copy)
        copy.chmod(0o600)
        return copy.replace(self.place.admin_kubeconfig)

    def control_planes(self) -> list[str]:
        """The machines that run and have had an etcd set up, the oldest first."""
        found = [
            (manifest.stat().st_mtime, instance_id)
            for instance_id, machine in self.place.machines()
            if (manifest := machine.written / "etc/kubernetes/manifests/etcd.yaml").is_file() and machine.pid.exists()
        ]
        return [instance_id for _, instance_id in sorted(found)]


def is_up(place: WorldPlace) -> bool:
    if not place.lock.exists():
        return False
    lock = take_lock(place.lock)
    if lock is None:
        return True
    os.close(lock)
    return False


def clean() -> list[str]:
    """Stop and remove every world of this state directory; the names of those that were there."""
    state = state_directory()
    names = [place.name for place in WorldPlace.every(state)]
    for place in WorldPlace.every(state):
        if is_up(place):
            World.find(place.name).down()
    removed = leftovers.remove_dead_worlds(state)
    leftovers.remove_state(state)
    return sorted({*names, *removed})


def _remove_former_life(place: WorldPlace) -> None:
    """With the lock in hand: all that the directory holds, except the lock."""
    leftovers.empty_cgroups(place)
    for entry in place.directory.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry != place.lock:
            entry.unlink()


def _environment() -> dict[str, str]:
    """Nothing of the caller's own AWS account or cluster gets in. Root writes no byte code into the checkout."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    return {"PATH": os.defpath, **kept, **AWS_VARIABLES, "PYTHONPATH": str(CHECKOUT), "PYTHONDONTWRITEBYTECODE": "1"}


def _wait_until_dead(place: WorldPlace) -> bool:
    deadline = time.monotonic() + END_WITHIN_S
    while is_up(place):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _last_words(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return "; ".join(line.strip() for line in lines[-2:]) or "it wrote nothing"


def _text(path: Path | None) -> str | None:
    return str(path) if path else None
