"""Read the whole cluster at once: what the sweep compares, and what a pass over the control planes begins with.

A read that fails leaves its part empty, and is said; only without Auto Scaling's groups is there nothing to go by.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from functions.cluster.etcd import EtcdPod
from functions.cluster.facts import Absent, Case, Facts, Fleet, Memory, Record, Unknown, known
from functions.cluster.identity import match
from functions.cluster.joining import JoinRecord
from functions.cluster.machine import Group, Instance, InstanceId, Node, Role
from functions.cluster.notice import Cause, Notice, ScheduledEvent
from functions.remediate.outside import Outside


@dataclass(frozen=True)
class Cluster:
    """One bulk reading of everything that the sweep compares."""

    groups: tuple[Group, ...]
    instances: Mapping[InstanceId, Instance]
    nodes: Mapping[InstanceId, Node]
    cases: Mapping[InstanceId, Case]
    records: Mapping[InstanceId, Record]
    joins: Mapping[InstanceId, tuple[JoinRecord, ...]]
    announced: Mapping[InstanceId, Notice]
    scheduled: Mapping[InstanceId, tuple[ScheduledEvent, ...]] | Unknown
    etcd_pods: tuple[EtcdPod, ...] | Unknown = ()
    unread: str | None = None  # why part of it could not be read and is empty here
    api_silent: bool = False  # that part is Kubernetes'

    @property
    def machines(self) -> tuple[InstanceId, ...]:
        """Every machine that anything knows of."""
        listed = {member.id for group in self.groups for member in group.members}
        joining = {instance for instance, joins in self.joins.items() if any(join.open for join in joins)}
        return tuple(sorted(listed | set(self.nodes) | set(self.instances) | set(self.cases) | joining))


def read_cluster(outside: Outside, cluster: str, *, now: datetime) -> Cluster:
    with ThreadPoolExecutor(max_workers=4) as together:
        listed = together.submit(outside.autoscaling.groups, cluster)
        all_nodes = together.submit(known, outside.kubernetes.nodes)
        etcd_pods = together.submit(known, outside.kubernetes.etcd_pods)
        fleet = together.submit(known, lambda: {instance.id: instance for instance in outside.ec2.fleet(cluster)})
        open_cases = together.submit(known, lambda: {case.instance: case for case in outside.table.cases()})
        all_records = together.submit(known, outside.table.records)
        all_joins = together.submit(known, lambda: _by_machine(outside.table.joins()))
        interruptions = together.submit(known, lambda: outside.ec2.spot_interruptions(now=now))
        events = together.submit(known, outside.ec2.all_scheduled_events)
    groups, nodes, instances, cases = listed.result(), all_nodes.result(), fleet.result(), open_cases.result()
    records, joins = all_records.result(), all_joins.result()
    announced, scheduled = interruptions.result(), events.result()
    for part in (announced, scheduled):
        if isinstance(part, Unknown):  # what is dead is found without; events mostly bring these
            outside.journal.tell("announcements_unread", reason=part.reason)
            outside.journal.count("announcements_unread")
    unread = (part.reason for part in (instances, cases, records, joins, nodes) if isinstance(part, Unknown))
    there = {} if isinstance(instances, Unknown) else instances
    recorded = () if isinstance(records, Unknown) else records
    return Cluster(
        groups=groups,
        instances=there,
        nodes={} if isinstance(nodes, Unknown) else match(nodes, there.values(), recorded),
        cases={} if isinstance(cases, Unknown) else cases,
        records={record.instance: record for record in recorded},
        joins={} if isinstance(joins, Unknown) else joins,
        announced={} if isinstance(announced, Unknown) else announced,
        scheduled=scheduled,
        etcd_pods=etcd_pods.result(),
        unread=next(unread, None),
        api_silent=isinstance(nodes, Unknown),
    )


def _by_machine(joins: tuple[JoinRecord, ...]) -> Mapping[InstanceId, tuple[JoinRecord, ...]]:
    found: dict[InstanceId, tuple[JoinRecord, ...]] = {}
    for join in joins:
        found[join.instance] = (*found.get(join.instance, ()), join)
    return found


def facts_of(machine: InstanceId, cluster: Cluster, name: str, now: datetime, fleet: Fleet) -> Facts:
    return Facts(
        cluster=name,
        id=machine,
        at=now,
        instance=cluster.instances.get(machine, Absent()),
        fleet=fleet,
        memory=Memory(  # pauses and machines in flight are weighed by the pass
            cluster.cases.get(machine), cluster.records.get(machine), (), frozenset(), cluster.joins.get(machine, ())
        ),
        node=cluster.nodes.get(machine, Absent()),
        told=_told(machine, cluster, now),
        scheduled=cluster.scheduled if isinstance(cluster.scheduled, Unknown) else cluster.scheduled.get(machine, ()),
    )


def _told(machine: InstanceId, cluster: Cluster, now: datetime) -> Notice | None:
    """What EC2 says that it will do to a machine; that is as good as the event which may have been lost."""
    if notice := cluster.announced.get(machine):
        return notice
    events = () if isinstance(cluster.scheduled, Unknown) else cluster.scheduled.get(machine, ())
    return Notice(Cause.MAINTENANCE, events[0].code, now, events[0].not_before) if events else None


def control_planes(cluster: Cluster) -> tuple[InstanceId, ...]:
    """Return every machine that is, was or is to be a control plane, as far as anything says so."""
    groups = [group for group in cluster.groups if group.role is Role.CONTROL_PLANE]
    listed = {member.id for group in groups for member in group.members}
    tagged = {machine for machine, instance in cluster.instances.items() if instance.role is Role.CONTROL_PLANE}
    labelled = {machine for machine, node in cluster.nodes.items() if node.control_plane}
    recorded = {machine for machine, record in cluster.records.items() if record.role is Role.CONTROL_PLANE}
    open_cases = {machine for machine, case in cluster.cases.items() if case.role is Role.CONTROL_PLANE}
    joining = {machine for machine, joins in cluster.joins.items() for join in joins if join.role is Role.CONTROL_PLANE}
    return tuple(sorted(listed | tagged | labelled | recorded | open_cases | joining))
