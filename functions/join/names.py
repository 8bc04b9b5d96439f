"""The names and addresses that a machine may have in its serving certificate: those that EC2 says are its own.

The same set as the AWS cloud provider reports of a Node, of IPv4 and of IPv6, each address in the one form of bytes
that it has. Nothing of it comes from the Node itself.
"""

from __future__ import annotations

import re
from ipaddress import ip_address

from functions.cluster.machine import Instance
from functions.join.pkcs10 import DNS_NAME, IP_ADDRESS

GeneralName = tuple[int, bytes]
_LONGEST_SHOWN = 80
_OTHERS = re.compile(r"kubernetes|localhost|(?:kubernetes|.*\.svc|.*\.cluster)\..*|.*\.svc|.*\.localhost")
"""What no machine is called: the API server's names, and those of services."""


def names_of(instance: Instance, node_name: str) -> frozenset[GeneralName]:
    names = (node_name, instance.private_dns_name, instance.public_dns_name)
    addresses = (
        instance.address,
        instance.public_address,
        *instance.private_addresses,
        *instance.ipv6_addresses,
    )
    return frozenset(_dns(name) for name in names if name) | {_ip(address) for address in addresses if address}


def main_names_of(instance: Instance, node_name: str) -> frozenset[GeneralName]:
    """Return the names of which each certificate of the machine must have one: a machine may have IPv6 alone."""
    addresses = (instance.address, *instance.ipv6_addresses[:1])
    return frozenset({_dns(node_name)} | {_ip(address) for address in addresses if address})


def is_nodes_own(node_name: str) -> bool:
    """Whether a Node name that was not given by us can stand in a certificate."""
    return not _OTHERS.fullmatch(node_name)


def private_names_to_come(instance: Instance) -> frozenset[GeneralName]:
    """Return what EC2 may still name the machine, when it has not named it yet.

    The forms are those of the EC2 user guide, "EC2 instance hostnames and domains": by address or by instance id.
    """
    if instance.private_dns_name:
        return frozenset()
    hosts: list[str] = [instance.id]
    if instance.address:
        hosts.append("ip-" + instance.address.replace(".", "-"))
    domains = ("ec2.internal", f"{instance.zone[:-1]}.compute.internal")
    return frozenset(_dns(f"{host}.{domain}") for host in hosts for domain in domains)


def readable(name: GeneralName) -> str:
    tag, content = name
    if tag == IP_ADDRESS and len(content) in (4, 16):
        return str(ip_address(content))
    return repr(content[:_LONGEST_SHOWN])[1:]


def _dns(name: str) -> GeneralName:
    return DNS_NAME, name.encode()


def _ip(address: str) -> GeneralName:
    return IP_ADDRESS, ip_address(address).packed
