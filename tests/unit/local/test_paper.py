"""A machine on paper is switched on and off like any other, and real hardware never hears of it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

from infra.local.machines.hardware import MachineSpec
from infra.local.machines.paper import PaperBeside


class Recorded:
    """Real hardware that only writes down what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def start(self, spec: MachineSpec) -> None:
        self.asked.append(("start", spec.instance_id))

    def kill(self, instance_id: str) -> None:
        self.asked.append(("kill", instance_id))

    def shutdown(self, instance_id: str, grace_s: float) -> None:
        self.asked.append(("shutdown", instance_id))

    def reboot(self, instance_id: str) -> None:
        self.asked.append(("reboot", instance_id))

    def remove(self, instance_id: str) -> None:
        self.asked.append(("remove", instance_id))

    def console(self, instance_id: str, most_bytes: int) -> bytes:
        return b"booted"

    def cut(self, instance_id: str) -> None:
        self.asked.append(("cut", instance_id))

    def mend(self, instance_id: str) -> None:
        self.asked.append(("mend", instance_id))

    def running(self) -> frozenset[str]:
        return frozenset({"i-real"})

    def reachable(self) -> frozenset[str]:
        return self.running()


def spec(machine: str, *, on_paper: bool) -> MachineSpec:
    address, subnet = IPv4Address("10.77.64.11"), IPv4Network("10.77.64.0/18")
    return MachineSpec(machine, address, "host", subnet, on_paper=on_paper)


def test_one_on_paper_runs_until_it_is_ended_and_nothing_real_happens() -> None:
    real = Recorded()
    hardware = PaperBeside(real)
    hardware.start(spec("i-paper", on_paper=True))
    assert hardware.running() == {"i-real", "i-paper"}
    hardware.reboot("i-paper")
    hardware.cut("i-paper")
    assert hardware.running() == {"i-real", "i-paper"}
    assert hardware.reachable() == {"i-real"}
    hardware.mend("i-paper")
    assert hardware.reachable() == {"i-real", "i-paper"}
    assert hardware.console("i-paper", 100) == b""
    hardware.shutdown("i-paper", 2.0)
    assert hardware.running() == {"i-real"}
    hardware.remove("i-paper")
    assert real.asked == []


def test_all_others_are_the_real_hardwares() -> None:
    real = Recorded()
    hardware = PaperBeside(real)
    hardware.start(spec("i-real", on_paper=False))
    hardware.reboot("i-real")
    hardware.cut("i-real")
    hardware.mend("i-real")
    hardware.kill("i-real")
    hardware.remove("i-real")
    assert real.asked == [(verb, "i-real") for verb in ("start", "reboot", "cut", "mend", "kill", "remove")]
    assert hardware.console("i-real", 100) == b"booted"
