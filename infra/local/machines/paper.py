"""Machines that only EC2 knows: switched on and off in a book, while nothing runs. For crowds that no host could bear.

Whatever EC2, Auto Scaling and their events say about them is as of any other; a Node of one is an object that somebody
else makes. EC2 gets one for an instance that is tagged so when it is ordered.
"""

from __future__ import annotations

from threading import Lock

from infra.local.machines.hardware import Hardware, MachineSpec

ON_PAPER_TAG = "regrow-local:on-paper"


class PaperBeside:
    """Hardware that keeps a book of the machines on paper, and leaves all others to the real one."""

    def __init__(self, real: Hardware) -> None:
        self._real = real
        self._known: set[str] = set()
        self._on: set[str] = set()
        self._cut: set[str] = set()
        self._writing = Lock()

    def start(self, spec: MachineSpec) -> None:
        if not spec.on_paper:
            self._real.start(spec)
            return
        with self._writing:
            self._known.add(spec.instance_id)
            self._on.add(spec.instance_id)
            self._cut.discard(spec.instance_id)

    def kill(self, instance_id: str) -> None:
        if not self._switch_off(instance_id):
            self._real.kill(instance_id)

    def shutdown(self, instance_id: str, grace_s: float) -> None:
        if not self._switch_off(instance_id):
            self._real.shutdown(instance_id, grace_s)

    def reboot(self, instance_id: str) -> None:
        if instance_id not in self._known:
            self._real.reboot(instance_id)

    def remove(self, instance_id: str) -> None:
        if not self._switch_off(instance_id):
            self._real.remove(instance_id)

    def console(self, instance_id: str, most_bytes: int) -> bytes:
        return b"" if instance_id in self._known else self._real.console(instance_id, most_bytes)

    def cut(self, instance_id: str) -> None:
        if instance_id not in self._known:
            self._real.cut(instance_id)
            return
        with self._writing:
            self._cut.add(instance_id)

    def mend(self, instance_id: str) -> None:
        if instance_id not in self._known:
            self._real.mend(instance_id)
            return
        with self._writing:
            self._cut.discard(instance_id)

    def running(self) -> frozenset[str]:
        with self._writing:
            return self._real.running() | self._on

    def reachable(self) -> frozenset[str]:
        with self._writing:
            return self._real.reachable() | (self._on - self._cut)

    def _switch_off(self, instance_id: str) -> bool:
        """Whether it was one on paper."""
        with self._writing:
            self._on.discard(instance_id)
            return instance_id in self._known
