"""The machines of one world: EC2's hardware, made of Linux namespaces.

Switching one off is the kernel's work: with a machine's first process end all others, its mounts and its network. What
is left to do here is to plug and route, and to remove the control groups. Machines belong to the process that
started them; they and it end with the world.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from infra.local.linux import namespaces
from infra.local.linux.cgroups import Cgroup
from infra.local.machines import image_store
from infra.local.machines.entrance import into_machine
from infra.local.machines.files import IMAGE, PROGRAMS
from infra.local.machines.hardware import MachineSpec
from infra.local.network import bridge
from infra.local.network.plan import AddressError, pod_subnet
from infra.local.places import CHECKOUT, MachinePlace, WorldPlace, take_lock

START_WITHIN_S = 30.0
REBOOT_GRACE_S = 20.0
_SHOWN_FROM_CHECKOUT = {"/opt/regrow/node": "infra/node", "/opt/regrow/kubernetes": "infra/kubernetes"}


class MachineError(Exception):
    """A machine did not do what was asked; the text says what happened."""


@dataclass
class _Running:
    spec: MachineSpec
    power: subprocess.Popen[str]
    """Holds the machine: it ends when the machine does, and the machine when it does."""
    pid: int
    cgroup: Cgroup
    lock: int
    has_network: bool
    switched_off: threading.Lock = field(default_factory=threading.Lock)


class Machines:
    """Safe to use from several threads. Calls about different machines do not wait for each other."""

    def __init__(self, world: WorldPlace, programs: Path | None, store: Path | None) -> None:
        self._world = world
        self._store = store
        image_root = Path(__file__).parent / "image_root"
        shown = {name: CHECKOUT / path for name, path in _SHOWN_FROM_CHECKOUT.items()}
        shown |= {IMAGE: image_root} | ({PROGRAMS: programs} if programs else {})
        self._shown: Mapping[str, Path] = {name: path for name, path in shown.items() if path.is_dir()}
        self._running: dict[str, _Running] = {}
        self._changing = threading.Lock()

    @classmethod
    def of_world(cls, name: str) -> Machines:
        place = WorldPlace.of(name)
        settings = json.loads(place.settings.read_text())
        programs, store = settings["programs"], settings["image_store"]
        return cls(place, programs and Path(programs), store and Path(store))

    def start(self, spec: MachineSpec) -> None:
        """Return once its init runs. The disk of an earlier life is used again."""
        self._start(spec, has_network=True)

    def _start(self, spec: MachineSpec, *, has_network: bool) -> None:
        place = self._world.machine(spec.instance_id)
        try:
            pod_subnet(spec.address)
        except AddressError as error:
            raise MachineError(f"{spec.instance_id} cannot be: {error}") from error
        self._forget_if_ended(spec.instance_id)
        lock = take_lock(place.lock)
        if lock is None:
            raise MachineError(f"{spec.instance_id} runs already.")
        cgroup = Cgroup.of(self._world.group, spec.instance_id)
        power: subprocess.Popen[str] | None = None
        try:
            cgroup.create()
            if self._store:
                place.disk.mkdir(parents=True, exist_ok=True)
                image_store.copy(self._store, place.disk / "containerd")
            self._write_settings(place, spec)
            power = self._switch_on(place, cgroup, lock)
            pid = _boot(power, spec, has_network=has_network)
            place.pid.write_text(f"{pid}\n")
        except BaseException as error:
            self._undo(power, spec, cgroup, lock)
            if isinstance(error, MachineError | KeyboardInterrupt):
                raise
            raise MachineError(f"{spec.instance_id} does not start: {error}") from error
        with self._changing:
            self._running[spec.instance_id] = _Running(spec, power, pid, cgroup, lock, has_network)

    def kill(self, instance_id: str) -> None:
        """Pull the plug: everything in the machine ends at once, with no chance to say goodbye."""
        if machine := self._find(instance_id):
            self._switch_off(machine)

    def shutdown(self, instance_id: str, grace_s: float) -> None:
        """Let its init end everything in order, and pull the plug when that takes longer than `grace_s`."""
        machine = self._find(instance_id)
        if machine is None:
            return
        _signal(machine.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            machine.power.wait(grace_s)
        self._switch_off(machine)

    def reboot(self, instance_id: str, grace_s: float = REBOOT_GRACE_S) -> None:
        machine = self._find(instance_id)
        if machine is None:
            raise MachineError(f"{instance_id} does not run and cannot be rebooted.")
        self.shutdown(instance_id, grace_s)
        self._start(machine.spec, has_network=machine.has_network)

    def remove(self, instance_id: str) -> None:
        """Throw it away with its disk. Its log stays until the world goes."""
        self.kill(instance_id)
        place = self._world.machine(instance_id)
        lock = take_lock(place.lock)
        if lock is None:
            raise MachineError(f"{instance_id} was started again and is not removed.")
        try:
            place.settings.unlink(missing_ok=True)
            for directory in (place.disk, place.root):
                if directory.exists():
                    shutil.rmtree(directory)
        finally:
            os.close(lock)

    def cut(self, instance_id: str) -> None:
        """Pull its network cable. Its programs run on and are not told."""
        machine = self._must_run(instance_id)
        bridge.set_cable(instance_id, up=False)
        machine.has_network = False

    def mend(self, instance_id: str) -> None:
        machine = self._must_run(instance_id)
        bridge.set_cable(instance_id, up=True)
        machine.has_network = True

    def freeze(self, instance_id: str) -> None:
        """Stop all its processes where they are, as a host in trouble does to its guests."""
        self._must_run(instance_id).cgroup.freeze()

    def thaw(self, instance_id: str) -> None:
        self._must_run(instance_id).cgroup.thaw()

    def console(self, instance_id: str, most_bytes: int) -> bytes:
        log = self._world.machine(instance_id).console
        if not log.exists():
            return b""
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - most_bytes))
            return file.read(most_bytes)

    def running(self) -> frozenset[str]:
        for instance_id in list(self._running):
            self._forget_if_ended(instance_id)
        with self._changing:
            return frozenset(self._running)

    def reachable(self) -> frozenset[str]:
        running = self.running()
        with self._changing:
            return frozenset(name for name in running & self._running.keys() if self._running[name].has_network)

    def exec_command(self, instance_id: str, argv: Sequence[str]) -> list[str]:
        """The command that runs `argv` as root inside the machine, for a caller inside the world."""
        machine = self._must_run(instance_id)
        return into_machine(machine.cgroup, machine.pid, argv)

    def _find(self, instance_id: str) -> _Running | None:
        with self._changing:
            return self._running.get(instance_id)

    def _must_run(self, instance_id: str) -> _Running:
        machine = self._find(instance_id)
        if machine is None or machine.power.poll() is not None:
            raise MachineError(f"{instance_id} does not run.")
        return machine

    def _forget_if_ended(self, instance_id: str) -> None:
        """A machine may also power itself off."""
        machine = self._find(instance_id)
        if machine and machine.power.poll() is not None:
            self._switch_off(machine)

    def _write_settings(self, place: MachinePlace, spec: MachineSpec) -> None:
        settings = {
            "instance_id": spec.instance_id,
            "hostname": spec.hostname,
            "address": str(spec.address),
            "role": spec.role_hint,
            "started_at": time.time(),
            "state": str(self._world.state),
            "shown": {name: str(path) for name, path in self._shown.items()},
        }
        place.settings.write_text(json.dumps(settings, indent=1) + "\n")

    def _switch_on(self, place: MachinePlace, cgroup: Cgroup, lock: int) -> subprocess.Popen[str]:
        firmware = [sys.executable, "-S", "-m", "infra.local.machines.firmware", str(place.settings)]
        place.log.mkdir(parents=True, exist_ok=True)
        with (place.log / "firmware.log").open("w") as log:
            return subprocess.Popen(
                namespaces.new_machine(cgroup.entering(), firmware),
                cwd=CHECKOUT,
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(CHECKOUT), "PYTHONDONTWRITEBYTECODE": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                pass_fds=[lock],
                start_new_session=True,
            )

    def _switch_off(self, machine: _Running) -> None:
        with machine.switched_off:
            spec = machine.spec
            with self._changing:
                if self._running.get(spec.instance_id) is not machine:
                    return
            self._undo(machine.power, spec, machine.cgroup, machine.lock, machine.pid)
            with self._changing:
                del self._running[spec.instance_id]

    def _undo(
        self, power: subprocess.Popen[str] | None, spec: MachineSpec, cgroup: Cgroup, lock: int, pid: int | None = None
    ) -> None:
        """Everything that a start has done, as far as it came; the lock last."""
        if power is not None:
            _signal(pid or namespaces.first_child(power.pid), signal.SIGKILL)
            power.kill()
            cgroup.kill()
            power.wait()
            bridge.unplug(spec.instance_id, spec.address)
        cgroup.remove()
        self._world.machine(spec.instance_id).pid.unlink(missing_ok=True)
        os.close(lock)


def _boot(power: subprocess.Popen[str], spec: MachineSpec, *, has_network: bool) -> int:
    """Go through the start with the firmware; the number of its process."""
    deadline = time.monotonic() + START_WITHIN_S
    _expect(power, "here", deadline)
    pid = namespaces.first_child(power.pid)
    if pid is None or power.stdin is None:
        raise MachineError(f"{spec.instance_id} ended while it was starting.")
    bridge.plug(spec.instance_id, spec.address, pid)
    if not has_network:
        bridge.set_cable(spec.instance_id, up=False)
    power.stdin.write("plugged\n")
    power.stdin.flush()
    _expect(power, "started", deadline)
    power.stdin.close()
    if power.stdout:
        power.stdout.close()
    return pid


def _expect(power: subprocess.Popen[str], word: str, deadline_s: float) -> None:
    said = "nothing in time"
    if power.stdout and select.select([power.stdout], [], [], max(0.0, deadline_s - time.monotonic()))[0]:
        said = power.stdout.readline().strip()
    if said != word:
        raise MachineError(f"its firmware did not come as far as {word!r} (it said {said!r}); see its log directory")


def _signal(pid: int | None, number: signal.Signals) -> None:
    if pid is None:
        return
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
