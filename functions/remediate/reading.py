"""Read the whole cluster at once: what the sweep compares, and what a pass over the control planes begins with.

A read that fails leaves its part empty, and is said; only without Auto Scaling's groups is there nothing to go by.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime

from functions.cluster.doubt import Doubt, Impairment
from functions.cluster.etcd import EtcdPod
from functions.cluster.facts import Absent, Case, Facts, Fleet, Memory, Record, Unknown, known
from functions.cluster.identity import match
from functions.cluster.joining import JoinRecord
from functions.cluster.machine import Group, Instance, InstanceId, InstanceState, Member, Node, Role
from functions.cluster.notice import Cause, Notice, ScheduledEvent
from functions.cluster.radius import Around, Brake, Limits, Sighting, brakes
from functions.cluster.trouble import trouble_of
from functions.errors import RetryableError
from functions.remediate.outside import Outside

ASKED_AT_MOST = 100  # instances that one DescribeInstanceStatus names (EC2 API reference)


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
    renewals: Mapping[str, datetime] | Unknown = field(default_factory=dict)  # when each Node's lease was
    doubts: Mapping[InstanceId, Doubt] = field(default_factory=dict)
    brakes: tuple[Brake, ...] = ()
    impairments: Mapping[InstanceId, tuple[Impairment, ...]] | Unknown = field(default_factory=dict)
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
        renewals = together.submit(known, outside.kubernetes.renewals)
        doubts = together.submit(known, lambda: outside.table.doubts(now=now))
        held = together.submit(known, lambda: outside.table.brakes(now=now))
    groups, nodes, instances, cases = listed.result(), all_nodes.result(), fleet.result(), open_cases.result()
    records, joins = all_records.result(), all_joins.result()
    announced, scheduled = interruptions.result(), events.result()
    for part in (announced, scheduled):
        if isinstance(part, Unknown):  # what is dead is found without; events mostly bring these
            outside.journal.tell("announcements_unread", reason=part.reason)
            outside.journal.count("announcements_unread")
    remembered, braked = doubts.result(), held.result()
    parts = (instances, cases, records, joins, nodes, remembered, braked)
    unread = next((part.reason for part in parts if isinstance(part, Unknown)), None)
    there = {} if isinstance(instances, Unknown) else instances
    recorded = () if isinstance(records, Unknown) else records
    seen = Cluster(
        groups=groups,
        instances=there,
        nodes={} if isinstance(nodes, Unknown) else match(nodes, there.values(), recorded),
        cases={} if isinstance(cases, Unknown) else cases,
        records={record.instance: record for record in recorded},
        joins={} if isinstance(joins, Unknown) else joins,
        announced={} if isinstance(announced, Unknown) else announced,
        scheduled=scheduled,
        renewals=renewals.result(),
        doubts={} if isinstance(remembered, Unknown) else {doubt.instance: doubt for doubt in remembered},
        brakes=() if isinstance(braked, Unknown) else braked,
        etcd_pods=etcd_pods.result(),
        unread=unread,
        api_silent=isinstance(nodes, Unknown),
    )
    return replace(seen, impairments=_impairments(seen, outside, now))


def _impairments(
    cluster: Cluster, outside: Outside, now: datetime
) -> Mapping[InstanceId, tuple[Impairment, ...]] | Unknown:
    """Ask EC2 only about machines in trouble. When they are so many, it is not one of them that is at fault."""
    doubted = [one.instance for one in sightings(cluster, now) if one.doubted]
    if not doubted or len(doubted) > ASKED_AT_MOST:
        return {}
    return known(lambda: outside.ec2.impairments(doubted))


def sightings(cluster: Cluster, now: datetime) -> tuple[Sighting, ...]:
    """Return each machine that is meant to serve, as this reading saw it."""
    fleet = Fleet(cluster.groups, others_known=True)
    return tuple(
        _sighting(facts_of(member.id, cluster, group.cluster, now, fleet), group, member)
        for group in cluster.groups
        for member in group.members
        if not member.parked
    )


def _sighting(facts: Facts, group: Group, member: Member) -> Sighting:
    instance = facts.instance
    serves = isinstance(instance, Instance) and instance.state is InstanceState.RUNNING and member.in_service
    doubted = serves and trouble_of(facts) is not None
    zone = instance.zone if isinstance(instance, Instance) else ""
    return Sighting(member.id, group.name, zone, doubted=doubted, unwell=doubted or not serves)


def look_around(outside: Outside, cluster: str, group: Group | None, limits: Limits, *, now: datetime) -> Around:
    """Say what the state of all other machines means for repairing one of a group.

    Raises RetryableError when they cannot all be seen: then nobody knows how many are in trouble.
    """
    seen = read_cluster(outside, cluster, now=now)
    return around_of(seen, outside, group, limits, now=now)


def around_of(cluster: Cluster, outside: Outside, group: Group | None, limits: Limits, *, now: datetime) -> Around:
    """Put together what holds repairs back: what is seen now, and brakes that still hold from before."""
    if cluster.unread:
        raise RetryableError(cluster.unread)
    if isinstance(cluster.renewals, Unknown):
        raise RetryableError(cluster.renewals.reason)
    refreshing = group is not None and outside.autoscaling.refreshing(group.name)
    seen = brakes(sightings(cluster, now), limits, now)
    return Around((*seen, *cluster.brakes), tuple(cluster.doubts.values()), refreshing)


def _by_machine(joins: tuple[JoinRecord, ...]) -> Mapping[InstanceId, tuple[JoinRecord, ...]]:
    found: dict[InstanceId, tuple[JoinRecord, ...]] = {}
    for join in joins:
        found[join.instance] = (*found.get(join.instance, ()), join)
    return found


def facts_of(machine: InstanceId, cluster: Cluster, name: str, now: datetime, fleet: Fleet) -> Facts:
    node = cluster.nodes.get(machine)
    return Facts(
        cluster=name,
        id=machine,
        at=now,
        instance=cluster.instances.get(machine, Absent()),
        fleet=fleet,
        memory=Memory(  # pauses and machines in flight are weighed by the pass
            cluster.cases.get(machine),
            cluster.records.get(machine),
            (),
            frozenset(),
            cluster.joins.get(machine, ()),
            doubt=cluster.doubts.get(machine),
        ),
        node=node or Absent(),
        renewed_at=_renewed_at(node, cluster),
        impairments=_of_one(machine, cluster.impairments),
        told=_told(machine, cluster, now),
        scheduled=cluster.scheduled if isinstance(cluster.scheduled, Unknown) else cluster.scheduled.get(machine, ()),
    )


def _renewed_at(node: Node | None, cluster: Cluster) -> datetime | Absent | Unknown:
    if isinstance(cluster.renewals, Unknown):
        return cluster.renewals
    return cluster.renewals.get(node.name, Absent()) if node else Absent()


def _of_one(
    machine: InstanceId, impairments: Mapping[InstanceId, tuple[Impairment, ...]] | Unknown
) -> tuple[Impairment, ...] | Unknown:
    return impairments if isinstance(impairments, Unknown) else impairments.get(machine, ())


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
