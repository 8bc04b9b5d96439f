"""Read what is true about a machine now. A read that fails becomes Unknown with its reason; nothing here decides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime

from functions.cluster.assess import too_few
from functions.cluster.facts import Absent, Facts, Fleet, Memory, Phase, Record, Unknown, known
from functions.cluster.identity import match
from functions.cluster.machine import (
    PAUSE_ANNOTATION,
    Instance,
    InstanceId,
    InstanceState,
    Node,
    Role,
    instance_of_provider_id,
)
from functions.cluster.notice import Cause, Notice, ScheduledEvent
from functions.cluster.optout import holds_key
from functions.cluster.trouble import trouble_of
from functions.remediate.outside import Kubernetes, Outside

_ENDED = frozenset({InstanceState.TERMINATED, InstanceState.STOPPED})
_ENDING = frozenset({InstanceState.SHUTTING_DOWN, InstanceState.STOPPING})


def observe(
    machine: InstanceId,
    cluster: str,
    outside: Outside,
    *,
    now: datetime,
    told: Notice | None = None,
    line: Role = Role.WORKER,
) -> Facts:
    """Gather the facts about one machine; `told` is what AWS has just announced about it.

    Kubernetes is asked only about machines that belong to the cluster, for pods only when the machine is on its way out
    or has ended, for its volumes only when it has: most events of an account are about machines that are none of ours.
    EC2's status checks are asked for only beside a kubelet that is silent or not well. A control plane is read whole
    only in its line. Load balancers are asked when it leaves, and EC2 for what it has scheduled when somebody has
    spoken of such.
    """
    with ThreadPoolExecutor(max_workers=3) as together:
        instance = together.submit(known, lambda: outside.ec2.instance(machine))
        fleet = together.submit(known, lambda: observe_fleet(cluster, outside, instance.result()))
        memory = together.submit(known, lambda: outside.table.memory(machine, now=now))
        facts = Facts(cluster, machine, now, instance.result(), fleet.result(), memory.result(), told=told)
        if not _concerns_cluster(facts) or (line is Role.WORKER and _is_control_plane(facts)):
            return facts
        facts = replace(facts, node=known(lambda: find_node(outside.kubernetes, machine, facts)))
        facts = replace(facts, scheduled=_scheduled(facts, outside))
        if isinstance(facts.node, Node) and PAUSE_ANNOTATION in facts.node.annotations:
            since = known(lambda: outside.table.said_since(holds_key(machine), now=now))
            facts = replace(facts, annotation_holds_since=since)
        leaving, ended = _leaving(facts), _ended(facts)
        load_balancers = _load_balancers(facts) if leaving else ()
        ask = (lambda: outside.load_balancing.targets(machine, load_balancers)) if load_balancers else tuple
        targets = together.submit(known, ask)
        heard = together.submit(_heard, facts, outside)
        if isinstance(facts.node, Node) and (ended or (leaving and facts.node.draining_since(now))):
            name = facts.node.name  # of one that is not closed for new work yet, pods are the next pass's
            pods = together.submit(known, lambda: outside.kubernetes.pods_on(name))
            if ended:
                facts = replace(facts, attachments=known(lambda: outside.kubernetes.attachments_of(name)))
            facts = replace(facts, pods=pods.result())
        facts = replace(facts, targets=targets.result(), renewed_at=heard.result())
    if trouble_of(facts):
        facts = replace(facts, impairments=known(lambda: outside.ec2.impairments((machine,)).get(machine, ())))
    if _may_be_whole(facts):
        facts = replace(
            facts, nodes_ready=known(lambda: readiness(outside.kubernetes.nodes(), outside.table.records()))
        )
    return facts


def observe_fleet(cluster: str, outside: Outside, instance: Instance | Absent | Unknown) -> Fleet:
    """Read the cluster's groups; EC2 is asked for the other machines only when it does not know this one."""
    groups = outside.autoscaling.groups(cluster)
    if not isinstance(instance, Absent):
        return Fleet(groups, others_known=True)
    return Fleet(groups, others_known=bool(outside.ec2.fleet(cluster)))


def find_node(kubernetes: Kubernetes, machine: InstanceId, facts: Facts) -> Node | Absent:
    """Return the machine's Node: by the name on record or under the instance id, each with one GET; else from the list.

    The list is read page by page, and whole: what ties a Node to an instance (providerID, addresses) is no metadata.
    """
    memory = facts.memory if isinstance(facts.memory, Memory) else None
    record, case = (memory.record, memory.case) if memory else (None, None)
    names = (record.node_name if record else None, case.node_name if case else None, machine)
    for name in dict.fromkeys(name for name in names if name):
        node = kubernetes.node(name)
        if isinstance(node, Node) and not _is_successors(node, machine, record):
            return node
    if record or case or facts.joins:
        return Absent()  # its Node is known by name: the list could only bring a stranger
    known_instances = [facts.instance] if isinstance(facts.instance, Instance) else []
    return match(kubernetes.nodes(), known_instances, ()).get(machine, Absent())


def _is_successors(node: Node, machine: InstanceId, record: Record | None) -> bool:
    """Whether another machine has the name by now: the Node says so, and is not the one that we wrote down."""
    return node.instance not in (None, machine) and not (record and record.node_uid == node.uid)


def readiness(nodes: Iterable[Node], records: Iterable[Record]) -> Mapping[InstanceId, bool]:
    """Return which instances have a Node that is surely theirs, and whether it is Ready and open for pods."""
    return {
        machine: node.ready and not node.unschedulable and not node.out_of_service
        for machine, node in match(nodes, (), records).items()
        if node.instance is None or instance_of_provider_id(node.provider_id) == node.instance
    }


def _concerns_cluster(facts: Facts) -> bool:
    """Whether Kubernetes is asked: of one that EC2 does not know only a Node can tell whether it was its."""
    if isinstance(facts.instance, Instance) and facts.instance.cluster == facts.cluster:
        return True
    if isinstance(facts.instance, Absent) or (isinstance(facts.fleet, Fleet) and facts.fleet.place_of(facts.id)):
        return True
    return isinstance(facts.memory, Memory) and bool(facts.memory.case or facts.memory.record)


def _is_control_plane(facts: Facts) -> bool:
    """Whether AWS alone says so: the API server may be out of reach just because of this machine."""
    place = facts.fleet.place_of(facts.id) if isinstance(facts.fleet, Fleet) else None
    tagged = isinstance(facts.instance, Instance) and facts.instance.role is Role.CONTROL_PLANE
    return tagged or (place is not None and place[0].role is Role.CONTROL_PLANE)


def _heard(facts: Facts, outside: Outside) -> datetime | Absent | Unknown:
    """When its kubelet said last that it lives; of one that should not be running nobody asks."""
    node = facts.node
    if (
        isinstance(node, Node)
        and isinstance(facts.instance, Instance)
        and facts.instance.state is InstanceState.RUNNING
    ):
        return known(lambda: outside.kubernetes.renewed_at(node.name))
    return Absent()


def _may_be_whole(facts: Facts) -> bool:
    """Whether the Nodes of its group are worth a list: all that are wanted are in service."""
    case = facts.case
    if case is None or case.phase is not Phase.REPLACING or isinstance(facts.fleet, Unknown):
        return False
    group = facts.fleet.group(case.group)
    return group is None or too_few(group) is None


def _leaving(facts: Facts) -> bool:
    """Whether it may be leaving: what is announced is weighed later, so any word of it counts."""
    if isinstance(facts.instance, Instance) and facts.instance.state in _ENDING:
        return True
    if facts.told or (isinstance(facts.node, Node) and facts.node.notice):
        return True
    place = facts.fleet.place_of(facts.id) if isinstance(facts.fleet, Fleet) else None
    return place is not None and place[1].terminating


def _scheduled(facts: Facts, outside: Outside) -> tuple[ScheduledEvent, ...] | Unknown:
    marked = facts.node.notice if isinstance(facts.node, Node) else None
    if any(notice and notice.cause is Cause.MAINTENANCE for notice in (facts.told, marked)):
        return known(lambda: outside.ec2.scheduled_events(facts.id))
    return facts.scheduled


def _load_balancers(facts: Facts) -> tuple[str, ...]:
    place = facts.fleet.place_of(facts.id) if isinstance(facts.fleet, Fleet) else None
    return place[0].load_balancers if place else ()


def _ended(facts: Facts) -> bool:
    if isinstance(facts.instance, Instance):
        return facts.instance.state in _ENDED
    return isinstance(facts.instance, Absent)
