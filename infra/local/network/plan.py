"""The addresses of a world: pure rules, which the machines' settings and the network both follow."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

VPC = IPv4Network("10.77.0.0/16")
ROUTER = IPv4Address("10.77.0.1")
AWS_ENDPOINT = IPv4Address("10.77.0.2")
API_BALANCER = IPv4Address("10.77.0.10")
METADATA = IPv4Address("169.254.169.254")


class AddressError(ValueError):
    """An address that no machine of a world can have."""


def pod_subnet(address: IPv4Address) -> IPv4Network:
    """The pods of machine 10.77.x.y live in 10.(200+x).y.0/24."""
    if address not in VPC:
        raise AddressError(f"{address} is not in the world's network {VPC}.")
    _, _, x, y = address.packed
    if x > 3:
        raise AddressError(f"{address} has no pod subnet: machines live in 10.77.0.0 to 10.77.3.255.")
    return IPv4Network(f"10.{200 + x}.{y}.0/24")


def mac(address: IPv4Address) -> str:
    """Made from the address, so that neighbours' caches stay right when a machine stops and starts."""
    return "02:00:" + ":".join(f"{byte:02x}" for byte in address.packed)
