"""A world's network: one bridge as its VPC, a cable for each machine, and the routes that a VPC's table would have."""

from __future__ import annotations

import socket
import threading
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute

from infra.local.linux import namespaces
from infra.local.network.plan import API_BALANCER, AWS_ENDPOINT, METADATA, ROUTER, VPC, mac, pod_subnet

BRIDGE = "rg0"
_BRIDGE_MAC = "02:00:0a:4d:00:01"


class NetworkError(Exception):
    """A cable or a route could not be put where it belongs."""


def cable(instance_id: str) -> str:
    """The name of the cable's end at the bridge; the kernel allows 15 characters."""
    return f"m-{instance_id[-13:]}"


def build() -> None:
    """Everything that is there before the first machine, in the network namespace of the caller."""
    with IPRoute() as ip:
        ip.link("set", index=_index(ip, "lo"), state="up")
        # An address of its own: it would otherwise change whenever a cable is plugged or pulled.
        ip.link("add", ifname=BRIDGE, kind="bridge", address=_BRIDGE_MAC)
        bridge = _index(ip, BRIDGE)
        ip.link("set", index=bridge, state="up")
        for address in (ROUTER, AWS_ENDPOINT, API_BALANCER):
            ip.addr("add", index=bridge, address=str(address), prefixlen=VPC.prefixlen)
        ip.addr("add", index=bridge, address=str(METADATA), prefixlen=32)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")  # the kernel keeps this one for each network namespace


def plug(instance_id: str, address: IPv4Address, pid: int) -> None:
    """Connect the network namespace of process `pid` to the bridge, and route its pods' addresses to it."""
    with IPRoute() as ip:
        peer = {"ifname": "eth0", "net_ns_pid": pid, "address": mac(address)}
        ip.link("add", ifname=cable(instance_id), kind="veth", peer=peer)
        ip.link("set", index=_index(ip, cable(instance_id)), master=_index(ip, BRIDGE), state="up")
        ip.route("replace", dst=str(pod_subnet(address)), gateway=str(address))
    _run_in_network(pid, lambda: _configure(address))


def _configure(address: IPv4Address) -> None:
    with IPRoute() as ip:
        ip.link("set", index=_index(ip, "lo"), state="up")
        card = _index(ip, "eth0")
        ip.addr("add", index=card, address=str(address), prefixlen=VPC.prefixlen)
        ip.link("set", index=card, state="up")
        ip.route("add", dst="default", gateway=str(ROUTER))


def unplug(instance_id: str, address: IPv4Address) -> None:
    """Take cable and route away, whatever of them is there. The cable's other end goes with it."""
    with IPRoute() as ip:
        for index in ip.link_lookup(ifname=cable(instance_id)):
            ip.link("del", index=index)
        if ip.get_routes(family=socket.AF_INET, dst=str(pod_subnet(address))):
            ip.route("del", dst=str(pod_subnet(address)))


def set_cable(instance_id: str, *, up: bool) -> None:
    """Down is a pulled cable: nothing gets through either way, and the machine is not told."""
    with IPRoute() as ip:
        ip.link("set", index=_index(ip, cable(instance_id)), state="up" if up else "down")


def _index(ip: Any, name: str) -> int:
    found = list(ip.link_lookup(ifname=name))
    if not found:
        raise NetworkError(f"There is no network interface {name}.")
    return int(found[0])


def _run_in_network(pid: int, work: Any) -> None:
    """A thread of its own: a thread that has changed its network namespace is not to be used for anything else."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            namespaces.enter(Path(f"/proc/{pid}/ns/net"))
            work()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, name=f"network of {pid}")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
