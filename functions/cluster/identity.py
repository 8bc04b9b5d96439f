"""Say which Node is which machine's. Pure.

By what the Node says of itself first (its name or its providerID), then by our record of it, then by its address. Names
and addresses are used again: `assess.contradicts` has the last word on whatever is found here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from functions.cluster.facts import Record
from functions.cluster.machine import Instance, InstanceId, Node


def match(nodes: Iterable[Node], instances: Iterable[Instance], records: Iterable[Record]) -> Mapping[InstanceId, Node]:
    """Return the Node of each machine that has one. An address that two instances have tells nothing."""
    recorded = {(record.node_name, record.node_uid): record.instance for record in records}
    addressed: dict[str, list[InstanceId]] = {}
    for instance in instances:
        if instance.address:
            addressed.setdefault(instance.address, []).append(instance.id)
    found: dict[InstanceId, Node] = {}
    for node in nodes:
        machine = node.instance or recorded.get((node.name, node.uid)) or _by_address(node, addressed)
        if machine and (machine not in found or node.name == machine):
            found[machine] = node
    return found


def _by_address(node: Node, addressed: Mapping[str, list[InstanceId]]) -> InstanceId | None:
    if node.provider_id:
        return None  # it says what it is, and that is no instance
    machines = {machine for address in node.addresses for machine in addressed.get(address, ())}
    return machines.pop() if len(machines) == 1 else None
