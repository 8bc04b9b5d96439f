"""What EC2 asks of the machines below it."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Protocol


@dataclass(frozen=True)
class MachineSpec:
    """One machine as EC2 orders it. `role_hint` is the group's `regrow:role` tag, for logs only.

    `on_paper`: nothing is to run (see paper.py).
    """

    instance_id: str
    address: IPv4Address
    hostname: str
    subnet: IPv4Network
    role_hint: str = ""
    on_paper: bool = False


class Hardware(Protocol):
    """Switches machines on and off. Calls for one machine come one by one; only `kill` may cut a `shutdown` short."""

    def start(self, spec: MachineSpec) -> None:
        """Return once the machine's first process runs. A machine that was stopped keeps its disk."""

    def kill(self, instance_id: str) -> None:
        """Pull the plug and wait until nothing of it runs. No error when nothing runs."""

    def shutdown(self, instance_id: str, grace_s: float) -> None:
        """Ask the operating system to end, pull the plug after `grace_s`; return when nothing runs."""

    def reboot(self, instance_id: str) -> None:
        """Shut down and start again, same disk, same address."""

    def remove(self, instance_id: str) -> None:
        """Kill if need be and delete the disk."""

    def console(self, instance_id: str, most_bytes: int) -> bytes:
        """The end of what the machine has written to its console in all its lives; it outlives the machine."""

    def cut(self, instance_id: str) -> None:
        """Take its network away, until `mend` or until it is started elsewhere; a reboot changes nothing about it."""

    def mend(self, instance_id: str) -> None:
        """Give its network back."""

    def running(self) -> frozenset[str]:
        """The machines whose first process lives."""

    def reachable(self) -> frozenset[str]:
        """Those of them that have a network."""
