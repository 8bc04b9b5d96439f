"""Say what the facts about a machine mean. Pure: the same facts give the same verdict.

What proves what (EC2 user guide, instance lifecycle; Kubernetes, non-graceful node shutdown):

- terminated, or stopped: the operating system has ended, so nothing of it can still write. Dead.
- shutting-down, stopping: the operating system may still run. Leaving, whatever else is seen.
- no such id: EC2 forgets a terminated instance after about an hour, but a wrong region or account looks the same.
  Dead only when we wrote the machine down long enough ago, Auto Scaling does not list it either, and the same
  answer knew other machines of the cluster.
- pending, running: arriving while Auto Scaling has not put it into service, or its joining is not ended; leaving when
  Auto Scaling takes it out, or AWS has announced that it will be taken; else healthy.
- in service, and its kubelet is silent or says that it cannot run pods: doubtful (`trouble.py` says what counts).
- standby, detaching, in a warm pool: parked. Somebody wants it out of service, running or stopped.
- a read that failed: nothing at all. Held.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum

from functions.cluster.doubt import Trouble
from functions.cluster.facts import Absent, Facts, Fleet, Memory, Record, Unknown
from functions.cluster.machine import (
    Group,
    Instance,
    InstanceId,
    InstanceState,
    Member,
    Node,
    Role,
    Transition,
    instance_of_provider_id,
)
from functions.cluster.notice import Cause, Notice
from functions.cluster.trouble import trouble_of

RECORD_MIN_AGE = timedelta(minutes=10)  # EC2 is eventually consistent: a new id may be unknown for a while
NEW_FOR = timedelta(minutes=10)  # an instance without a Node that no launch hook has held is new for this long


class Kind(Enum):
    """What a machine is, as far as the facts go."""

    DEAD = "dead"
    LEAVING = "leaving"
    ARRIVING = "arriving"
    PARKED = "parked"
    DOUBTFUL = "doubtful"
    HEALTHY = "healthy"
    FOREIGN = "foreign"
    HELD = "held"


@dataclass(frozen=True)
class Verdict:
    """What a machine is and why.

    `gone_for_good` is true only for a dead machine that cannot start again. `may_change` is true for a held
    machine when another look could tell more, `quarantined` when what is known of it contradicts itself. `notice` is
    what a leaving machine leaves for, or before, `trouble` what a doubtful one is in. `control_plane` says that it is
    judged with all others of those. `group` and `member` are set when they are known.
    """

    kind: Kind
    reason: str
    group: Group | None = None
    member: Member | None = None
    gone_for_good: bool = False
    may_change: bool = False
    quarantined: bool = False
    notice: Notice | None = None
    control_plane: bool = False
    trouble: Trouble | None = None

    def waits(self, transition: Transition) -> bool:
        """Whether a hook of this transition holds the machine."""
        return self.member is not None and self.member.waits(transition)


def assess(facts: Facts, line: Role = Role.WORKER) -> Verdict:
    """Return the verdict on one machine; see the module for the rules. A control plane's is given only in its line."""
    if isinstance(facts.fleet, Unknown):
        return _unknown(facts.fleet)
    place = facts.fleet.place_of(facts.id)
    if isinstance(facts.instance, Unknown):
        return _unknown(facts.instance, *(place or ()))
    if isinstance(facts.instance, Absent) and isinstance(facts.memory, Unknown):
        return _unknown(facts.memory, *(place or ()))  # only the table could still know it

    memory = facts.memory if isinstance(facts.memory, Memory) else None
    group, member = place if place else (facts.fleet.group(_group_name(facts, memory)), None)

    if not _belongs(facts, facts.fleet, memory):
        return Verdict(Kind.FOREIGN, f"no managed group of cluster {facts.cluster} has or had it")
    roles = _roles(facts, group, memory)
    if Role.CONTROL_PLANE in roles and line is Role.WORKER:
        reason = "it is a control plane, which is looked at with all others"
        return Verdict(Kind.HELD, reason, group, member, control_plane=True)
    if Role.WORKER in roles and line is Role.CONTROL_PLANE:
        reason = "some say that it is a control plane, some that it is a worker"
        return Verdict(Kind.HELD, reason, group, member, quarantined=True)
    if line not in roles:
        stray = isinstance(facts.instance, Absent) and isinstance(facts.node, Node)
        reason = "neither its group nor itself is tagged with a known regrow:role"
        return Verdict(Kind.HELD, reason, group, member, quarantined=stray)
    if isinstance(facts.node, Unknown):
        return _unknown(facts.node, group, member)
    if isinstance(facts.node, Node) and (contradiction := contradicts(facts.node, facts.id, facts.instance, memory)):
        if isinstance(facts.memory, Unknown):
            return _unknown(facts.memory, group, member)  # our record of it could tell better
        return Verdict(Kind.HELD, contradiction, group, member, quarantined=True)
    return _by_state(facts, memory, group, member)


def _by_state(facts: Facts, memory: Memory | None, group: Group | None, member: Member | None) -> Verdict:
    if isinstance(facts.instance, Absent):
        missing = _lacks_proof(facts, memory, member)
        if missing:
            reason = f"EC2 does not know the instance, but {missing}"
            unknown = isinstance(facts.node, Node) and _record(memory) is None and member is None
            return Verdict(Kind.HELD, reason, group, member, may_change=True, quarantined=unknown)
        return _dead(facts, Verdict(Kind.DEAD, "EC2 no longer knows the instance", group, member, gone_for_good=True))

    assert isinstance(facts.instance, Instance)
    match facts.instance.state:
        case InstanceState.TERMINATED:
            return _dead(facts, Verdict(Kind.DEAD, "EC2: terminated", group, member, gone_for_good=True))
        case InstanceState.STOPPED if member and member.parked and isinstance(facts.pods, Unknown):
            return _unknown(facts.pods, group, member)
        case InstanceState.STOPPED if member and member.parked and not any(pod.awaited for pod in facts.known_pods):
            return Verdict(Kind.PARKED, f"Auto Scaling: {member.lifecycle_state}", group, member)
        case InstanceState.STOPPED:
            return _dead(facts, Verdict(Kind.DEAD, "EC2: stopped", group, member))
        case InstanceState.SHUTTING_DOWN | InstanceState.STOPPING as state:
            reason = f"EC2: {state.value}, its operating system may still run"
            return Verdict(Kind.LEAVING, reason, group, member)
        case InstanceState.PENDING | InstanceState.RUNNING as state:
            notice = facts.notice
            if member and member.parked:
                return Verdict(Kind.PARKED, f"Auto Scaling: {member.lifecycle_state}", group, member)
            if member and member.terminating:
                reason = f"Auto Scaling: {member.lifecycle_state}"
                return Verdict(Kind.LEAVING, reason, group, member, notice=notice)
            arriving = _arriving(facts, facts.instance, memory, member) if member else None
            joins = arriving and not (member and member.in_service and isinstance(facts.node, Node))
            if notice and (notice.cause is Cause.SPOT or not joins):
                return Verdict(Kind.LEAVING, str(notice), group, member, notice=notice)
            if arriving:
                return Verdict(Kind.ARRIVING, arriving, group, member)
            if state is InstanceState.RUNNING and member and member.in_service and (trouble := trouble_of(facts)):
                return Verdict(Kind.DOUBTFUL, str(trouble), group, member, trouble=trouble)
            return Verdict(Kind.HEALTHY, f"EC2: {state.value}", group, member)


def _arriving(facts: Facts, instance: Instance, memory: Memory | None, member: Member) -> str | None:
    """Say why a machine is to join; None for one that has joined, or that nobody expects to."""
    if member.pending:
        return f"Auto Scaling: {member.lifecycle_state}"
    if not member.in_service or memory is None:
        return None
    join = facts.join_of(instance.launched_at)
    if join and join.open:
        return "it is in service, and its joining is not ended"
    new = memory.record is None and join is None and facts.at - instance.launched_at < NEW_FOR
    return "it is in service, new, and without a Node" if new and isinstance(facts.node, Absent) else None


def _dead(facts: Facts, verdict: Verdict) -> Verdict:
    """Hold a dead machine whose remains could not be read: a plan made on half of them could do harm."""
    for remains in (facts.pods, facts.attachments):
        if isinstance(remains, Unknown):
            return _unknown(remains, verdict.group, verdict.member)
    return verdict


def _unknown(fact: Unknown, group: Group | None = None, member: Member | None = None) -> Verdict:
    return Verdict(Kind.HELD, f"unknown: {fact.reason}", group, member, may_change=True)


def _record(memory: Memory | None) -> Record | None:
    return memory.record if memory else None


def _group_name(facts: Facts, memory: Memory | None) -> str | None:
    if isinstance(facts.instance, Instance) and facts.instance.group:
        return facts.instance.group
    if record := _record(memory):
        return record.group
    return memory.case.group if memory and memory.case else None


def _belongs(facts: Facts, fleet: Fleet, memory: Memory | None) -> bool:
    if fleet.place_of(facts.id):
        return True
    if isinstance(facts.instance, Instance):
        return facts.instance.cluster == facts.cluster and facts.instance.group is not None
    return bool(memory and (memory.case or memory.record)) or isinstance(facts.node, Node)


def _roles(facts: Facts, group: Group | None, memory: Memory | None) -> set[Role]:
    """Every role that anything gives the machine: one voice for control plane is enough not to treat it as a worker."""
    roles = {group.role if group else None}
    if isinstance(facts.instance, Instance):
        roles.add(facts.instance.role)
    if record := _record(memory):
        roles.add(record.role)
    if isinstance(facts.node, Node) and facts.node.control_plane:
        roles.add(Role.CONTROL_PLANE)
    return {role for role in roles if role}


def contradicts(
    node: Node, id_: InstanceId, instance: Instance | Absent | Unknown, memory: Memory | None
) -> str | None:
    """Say why a Node that was found for a machine may be another machine's, None when all that is known agrees.

    A Node that names an instance must name this one. One that names none is the machine's when it is the very Node that
    we wrote down, or when it is no older than the instance and has its address.
    """
    if node.provider_id and instance_of_provider_id(node.provider_id) != id_:
        return f"Node {node.name} says it is {node.provider_id}, not this instance"
    if node.instance and node.instance != id_:
        return f"Node {node.name} is named after another instance than it says it is ({node.provider_id})"
    if node.instance:
        if not node.provider_id and isinstance(instance, Instance) and not _has_address(node, instance):
            return f"Node {node.name} has no providerID, and its addresses are not the instance's"
        return None
    record = _record(memory)
    if record and (record.node_name, record.node_uid) == (node.name, node.uid):
        return None
    if isinstance(instance, Instance) and instance.address and _has_address(node, instance):
        if node.created_at and node.created_at >= instance.launched_at:
            return None
        return f"Node {node.name} has the instance's address, but is older than the instance"
    return f"Node {node.name} has no providerID, is not named after the instance and not the one on record"


def _has_address(node: Node, instance: Instance) -> bool:
    return instance.address is None or instance.address in node.addresses


def _lacks_proof(facts: Facts, memory: Memory | None, member: Member | None) -> str | None:
    """Say which part of the proof is missing that an unknown id is a dead machine's."""
    record = _record(memory)
    if member:
        return f"Auto Scaling lists it as {member.lifecycle_state}"
    if isinstance(facts.fleet, Fleet) and not facts.fleet.others_known:
        return "it knows no other machine of this cluster either: wrong region or account?"
    if record is None:
        return "we have no record of it"
    if facts.at - record.first_seen < RECORD_MIN_AGE:
        return f"our record of it is younger than {RECORD_MIN_AGE}"
    return None


def too_few(group: Group) -> str | None:
    """Say how many machines of a group are not in service; None when as many are as it wants."""
    in_service = sum(member.in_service for member in group.members)
    if in_service < group.desired:
        return f"{in_service} of {group.desired} machines of {group.name} are in service"
    return None


def not_whole(group: Group, nodes_ready: Mapping[InstanceId, bool]) -> str | None:
    """Say what a group still lacks: as many members in service as it wants, each with a Ready Node. None: whole."""
    if missing := too_few(group):
        return missing
    for instance in (member.id for member in group.members if member.in_service):
        if not nodes_ready.get(instance, False):
            return f"{instance} of {group.name} is in service, but its Node is not Ready"
    return None
