"""Read what is true about a machine now. A read that fails becomes Unknown with its reason; nothing here decides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime

from functions.cluster.facts import Absent, Facts, Fleet, Memory, Phase, Unknown, known
from functions.cluster.machine import Instance, InstanceId, InstanceState, Node, instance_of_provider_id
from functions.remediate.outside import Kubernetes, Outside

_ENDED = frozenset({InstanceState.TERMINATED, InstanceState.STOPPED})
_ENDING = frozenset({InstanceState.SHUTTING_DOWN, InstanceState.STOPPING})


def observe(machine: InstanceId, cluster: str, outside: Outside, *, now: datetime) -> Facts:
    """Gather the facts about one machine.

    Kubernetes is asked only about machines that belong to the cluster, for pods only when the machine is on its way out
    or has ended, for its volumes only when it has: most events of an account are about machines that are none of ours.
    """
    with ThreadPoolExecutor(max_workers=3) as together:
        instance = together.submit(known, lambda: outside.ec2.instance(machine))
        fleet = together.submit(known, lambda: observe_fleet(cluster, outside, instance.result()))
        memory = together.submit(known, lambda: outside.table.memory(machine, now=now))
        facts = Facts(cluster, machine, now, instance.result(), fleet.result(), memory.result())
        if not _concerns_cluster(facts):
            return facts
        facts = replace(facts, node=known(lambda: find_node(outside.kubernetes, machine, facts)))
        if isinstance(facts.node, Node) and (_ended(facts) or _leaving(facts)):
            name = facts.node.name
            pods = together.submit(known, lambda: outside.kubernetes.pods_on(name))
            if _ended(facts):
                facts = replace(facts, attachments=known(lambda: outside.kubernetes.attachments_of(name)))
            facts = replace(facts, pods=pods.result())
    if isinstance(facts.memory, Memory) and facts.memory.case and facts.memory.case.phase is Phase.REPLACING:
        facts = replace(facts, nodes_ready=known(lambda: readiness(outside.kubernetes.nodes())))
    return facts


def observe_fleet(cluster: str, outside: Outside, instance: Instance | Absent | Unknown) -> Fleet:
    """Read the cluster's groups; EC2 is asked for the other machines only when it does not know this one."""
    groups = outside.autoscaling.groups(cluster)
    if not isinstance(instance, Absent):
        return Fleet(groups, others_known=True)
    return Fleet(groups, others_known=bool(outside.ec2.fleet(cluster)))


def find_node(kubernetes: Kubernetes, machine: InstanceId, facts: Facts) -> Node | Absent:
    """Return the machine's Node: under the name on record, under the instance id, or by providerID in the list."""
    names: list[str] = [machine]
    if isinstance(facts.memory, Memory) and facts.memory.record:
        names.insert(0, facts.memory.record.node_name)
    for name in dict.fromkeys(names):
        node = kubernetes.node(name)
        if isinstance(node, Node):
            return node
    if isinstance(facts.memory, Memory) and (facts.memory.record or facts.memory.case):
        return Absent()  # its Node is known by name: the list could only bring a stranger
    return next((node for node in kubernetes.nodes() if node.instance == machine), Absent())


def readiness(nodes: Iterable[Node]) -> Mapping[InstanceId, bool]:
    """Return which instances have a Node that says so itself, and whether it is Ready and open for pods."""
    return {
        machine: node.ready and not node.unschedulable and not node.out_of_service
        for node in nodes
        if (machine := instance_of_provider_id(node.provider_id)) and machine == node.instance
    }


def _concerns_cluster(facts: Facts) -> bool:
    if isinstance(facts.instance, Instance) and facts.instance.cluster == facts.cluster:
        return True
    if isinstance(facts.fleet, Fleet) and facts.fleet.place_of(facts.id):
        return True
    return isinstance(facts.memory, Memory) and bool(facts.memory.case or facts.memory.record)


def _leaving(facts: Facts) -> bool:
    if isinstance(facts.instance, Instance) and facts.instance.state in _ENDING:
        return True
    place = facts.fleet.place_of(facts.id) if isinstance(facts.fleet, Fleet) else None
    return place is not None and place[1].terminating


def _ended(facts: Facts) -> bool:
    if isinstance(facts.instance, Instance):
        return facts.instance.state in _ENDED
    return isinstance(facts.instance, Absent)
