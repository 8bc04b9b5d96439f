"""etcd of a kubeadm control plane: its members as they were seen, and which of them is whose. Pure.

kubeadm gives a member the name of its Node and the peer URL https://ADDRESS:2380 of its machine. A name is kept for
good; an address is given to another machine once its own is terminated, perhaps to the very replacement. So a name that
says a machine comes first, and an address counts only for a machine that can have joined.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from ipaddress import ip_address
from urllib.parse import urlsplit

from functions.cluster.facts import Record, Unknown
from functions.cluster.joining import JoinRecord
from functions.cluster.machine import (
    Instance,
    InstanceId,
    InstanceState,
    Node,
    Role,
    instance_id,
    instance_of_provider_id,
)

_WRITTEN_EACH = timedelta(minutes=6)  # a kubelet writes its Node's state each 5 minutes, changed or not


@dataclass(frozen=True)
class EtcdMember:
    """A member as etcd lists it, and what it said of itself. `id` is hexadecimal as etcdctl prints it."""

    id: str
    name: str  # "" while it has never started
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]
    learner: bool
    leads: bool
    answers: bool
    alarms: tuple[str, ...] = ()
    raft_index: int = 0  # how far its log goes; 0 while it does not answer
    size_bytes: int = 0  # of its database file
    version: str = ""

    @property
    def voter(self) -> bool:
        return not self.learner

    @property
    def healthy(self) -> bool:
        return self.answers and not self.alarms

    def __str__(self) -> str:
        return f"{self.name or 'a member that has never started'} ({self.id}, {', '.join(self.peer_urls)})"


@dataclass(frozen=True)
class Etcd:
    """The membership as one machine answered it. `stray_alarms` were raised by members that are listed no more.

    Not `linearizable`: no quorum confirmed it, it is what the member that was asked remembers.
    """

    asked: str  # name of that member, and so of its Node
    members: tuple[EtcdMember, ...]
    cluster_id: str = ""
    linearizable: bool = True
    stray_alarms: tuple[str, ...] = ()

    @property
    def voters(self) -> tuple[EtcdMember, ...]:
        return tuple(member for member in self.members if member.voter)

    @property
    def learners(self) -> tuple[EtcdMember, ...]:
        return tuple(member for member in self.members if member.learner)

    @property
    def leader(self) -> EtcdMember | None:
        """The voter that leads, when exactly one is said to."""
        leading = [member for member in self.voters if member.leads]
        return leading[0] if len(leading) == 1 else None

    def member(self, id_: str) -> EtcdMember | None:
        return next((member for member in self.members if member.id == id_), None)


@dataclass(frozen=True)
class EtcdPod:
    """etcd's mirror pod as the API server shows it; it stays, and looks Ready for a while, when its machine is dead."""

    node_name: str
    client_url: str  # from kubeadm's annotation; "" when it has none
    uid: str
    ready: bool = True  # as its kubelet said last


@dataclass(frozen=True)
class Snapshot:
    """A snapshot that was verified and stored under this key."""

    key: str
    size_bytes: int
    hash: str
    revision: int


@dataclass(frozen=True)
class SnapshotBegun:
    """A snapshot that may be under way on a machine. `command` is "" while nobody knows whether it was told so."""

    on: InstanceId
    key: str
    at: datetime
    command: str = ""


@dataclass(frozen=True)
class Tie:
    """Whose a member is. `instance` None: nobody's that is known; `node_name` None: it has no Node.

    `orphan` says that it may be removed as nobody's, as long as no machine that could own it is on its way.
    """

    member: EtcdMember
    instance: InstanceId | None
    node_name: str | None
    reason: str
    orphan: bool = False


def tie(
    etcd: Etcd | Unknown,
    pods: Iterable[EtcdPod] | Unknown,
    nodes: Iterable[Node] | Unknown,
    instances: Iterable[Instance] | Unknown,
    *,
    records: Iterable[Record] = (),
    joins: Iterable[JoinRecord] = (),
) -> tuple[Tie, ...] | Unknown:
    """Return whose every member is, or why that cannot be said: one road is silent, or they contradict each other.

    `instances` are the cluster's as EC2 lists them, terminated ones too; `nodes` and `pods` its control plane's.
    """
    if isinstance(etcd, Unknown):
        return etcd
    if isinstance(pods, Unknown):
        return pods
    if isinstance(nodes, Unknown):
        return nodes
    if isinstance(instances, Unknown):
        return instances
    seen = _Seen(tuple(pods), tuple(nodes), tuple(instances), tuple(records), tuple(joins))
    try:
        return seen.ties(sorted(etcd.members, key=lambda member: member.id))
    except _ContradictionError as contradiction:
        return Unknown(f"whose etcd's members are is not certain: {contradiction}")


def seems_ill(pods: Iterable[EtcdPod] | Unknown, nodes: Collection[Node], *, at: datetime) -> str | None:
    """Say what the API server shows that is worth a look at etcd itself; it proves nothing.

    Of an etcd that takes no writes any more it shows only that all stays as it was.
    """
    pods = () if isinstance(pods, Unknown) else tuple(pods)
    ready = {pod.node_name for pod in pods if pod.ready}
    if silent := sorted(node.name for node in nodes if node.control_plane and node.name not in ready) if pods else []:
        return f"etcd is not ready on {', '.join(silent)}"
    written_at = max((node.reported_at for node in nodes if node.reported_at), default=None)
    if written_at and at - written_at > _WRITTEN_EACH:
        return f"no Node's state has been written since {written_at:%FT%TZ}"
    return None


class _ContradictionError(Exception):
    """Two things that were seen cannot both be so."""


@dataclass(frozen=True)
class _Seen:
    """All that says whose a member may be."""

    pods: tuple[EtcdPod, ...]
    nodes: tuple[Node, ...]
    instances: tuple[Instance, ...]
    records: tuple[Record, ...]
    joins: tuple[JoinRecord, ...]

    def ties(self, members: list[EtcdMember]) -> tuple[Tie, ...]:
        if not self._living:
            raise _ContradictionError("etcd answers, and EC2 has no machine of this cluster that could run it")
        _once((member.name for member in members if member.name), "members are named")
        _once((host for member in members for host in _hosts(member.peer_urls)), "members have the peer address")
        named = {member.id: self._named(member) for member in members if member.name}
        owners = {instance for instance in named.values() if instance}
        found = []
        for member in members:
            instance = named.get(member.id)
            found.append(self._by_name(member, instance, owners) if instance else self._by_address(member))
        _once((one.instance for one in found if one.instance), "members are tied to")
        return tuple(found)

    def _named(self, member: EtcdMember) -> InstanceId | None:
        """Return the machine that the member is named after, when anything else knows of it too."""
        said = {instance.id for instance in self.instances if instance.id == member.name}
        said |= {record.instance for record in self.records if record.node_name == member.name}
        said |= {join.instance for join in self.joins if join.node_name == member.name}
        node = self._node(member.name)
        if node and node.instance:
            said |= {node.instance, instance_of_provider_id(node.provider_id) or node.instance}
        if len(said) > 1:
            raise _ContradictionError(f"{member} is said to be of {' and '.join(sorted(said))}")
        return said.pop() if said else None

    def _by_name(self, member: EtcdMember, instance: InstanceId, owners: set[InstanceId]) -> Tie:
        hosts = _hosts(member.peer_urls)
        node, own = self._node(member.name), self._having.get(instance, frozenset())
        for what, addresses in (
            (instance, own),
            (f"Node {member.name}", _addresses(node.addresses) if node else frozenset()),
        ):
            if hosts and addresses and not hosts & addresses:
                raise _ContradictionError(
                    f"{member} is named after {what}, whose address is {', '.join(sorted(addresses))}"
                )
        for other in self._at(hosts) - {instance}:
            runs_etcd = other in owners or any(self._of(pod) == other for pod in self.pods)
            if instance in self._living or member.answers or runs_etcd:
                raise _ContradictionError(f"{member} is named after {instance}, and its address is {other}'s")
        self._check_pods(member, instance)
        return Tie(member, instance, node.name if node else None, f"it is named after {instance}{self._end(instance)}")

    def _check_pods(self, member: EtcdMember, instance: InstanceId) -> None:
        """Hold against it what the API server says of etcd on each Node; a dead machine's pod says nothing of now."""
        ours = _hosts((*member.client_urls, *member.peer_urls))
        for pod in self.pods:
            theirs = _hosts((pod.client_url,))
            if pod.node_name == member.name:
                if theirs and ours and not theirs & ours:
                    raise _ContradictionError(f"{member} is named after a Node whose etcd is at {pod.client_url}")
            elif theirs & ours and self._of(pod) in self._living - {instance}:
                raise _ContradictionError(f"{member} is at {pod.client_url}, where Node {pod.node_name} has its etcd")

    def _by_address(self, member: EtcdMember) -> Tie:
        """Tie a member whose name says nothing to the machine at its address, if that one can have joined."""
        hosts = _hosts(member.peer_urls)
        holders = self._at(hosts)
        said = {node.instance for node in self.nodes if node.instance and hosts & _addresses(node.addresses)}
        said |= {of for pod in self.pods if (of := self._of(pod)) and hosts & _hosts((pod.client_url,))}
        claiming = holders | (said & set(self._having))
        if len(claiming) > 1:
            raise _ContradictionError(f"the address of {member} is that of {' and '.join(sorted(claiming))}")
        if claiming - holders:
            raise _ContradictionError(f"{member} is at an address that only Kubernetes says to be {min(claiming)}'s")
        named_after_another = instance_id(member.name) is not None
        candidates = set() if named_after_another else (holders & self._joined) or (said - set(self._having))
        if len(candidates) > 1:
            raise _ContradictionError(f"the address of {member} is that of {' and '.join(sorted(candidates))}")
        what = f"no machine of ours is named {member.name}" if member.name else "it has never started"
        if candidates:
            instance = candidates.pop()
            node = next((node for node in self.nodes if node.instance == instance), None)
            reason = f"{what}; its address is that of {instance}{self._end(instance)}"
            return Tie(member, instance, node.name if node else None, reason)
        if member.answers:
            return Tie(member, None, None, f"{what}; some machine runs it, since it answers")
        if holders:
            what += f"; its address is now that of {min(holders)}, which cannot be its own"
        return Tie(member, None, None, f"{what}; EC2 has no machine that it can be of", orphan=True)

    def _node(self, name: str) -> Node | None:
        return next((node for node in self.nodes if node.name == name), None)

    def _of(self, pod: EtcdPod) -> InstanceId | None:
        """Return the machine that the pod is, or was, on."""
        node = self._node(pod.node_name)
        return node.instance if node else instance_id(pod.node_name)

    def _at(self, hosts: frozenset[str]) -> set[InstanceId]:
        """Return the machines that have one of these addresses now."""
        return {instance for instance, addresses in self._having.items() if hosts & addresses}

    def _end(self, instance: InstanceId) -> str:
        return "" if instance in self._living else ", which is gone"

    @cached_property
    def _living(self) -> frozenset[InstanceId]:
        return frozenset(one.id for one in self.instances if one.state is not InstanceState.TERMINATED)

    @cached_property
    def _joined(self) -> frozenset[InstanceId]:
        """Those that have, or were given, what it takes to join; a worker never has what it takes to join etcd."""
        with_node = {node.instance for node in self.nodes if node.instance}
        with_token = {join.instance for join in self.joins}
        workers = {one.id for one in self.instances if one.role is Role.WORKER}
        return frozenset((with_node | with_token | {record.instance for record in self.records}) - workers)

    @cached_property
    def _having(self) -> Mapping[InstanceId, frozenset[str]]:
        """The addresses of each machine that has any now."""
        addresses = (
            (one.id, _addresses((one.address or "", *one.private_addresses, *one.ipv6_addresses)))
            for one in self.instances
            if one.id in self._living
        )
        return {id_: its for id_, its in addresses if its}


def _once(things: Iterable[str], what: str) -> None:
    for thing, times in sorted(Counter(things).items()):
        if times > 1:
            raise _ContradictionError(f"{times} {what} {thing}")


def _hosts(urls: Iterable[str]) -> frozenset[str]:
    """Return the addresses that URLs name; a host name says nothing here."""
    return _addresses(_host(url) for url in urls)


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _addresses(texts: Iterable[str]) -> frozenset[str]:
    found = set()
    for text in texts:
        try:
            found.add(str(ip_address(text)))
        except ValueError:
            continue  # a name, or nothing
    return frozenset(found)
