"""What one pass has seen of all control planes and of their etcd, and what that means for each. Pure.

All control planes of a cluster are one line: what is done to one depends on all others.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from functions.cluster.etcd import Etcd, EtcdMember, Tie
from functions.cluster.facts import Unknown
from functions.cluster.joining import Admission
from functions.cluster.machine import InstanceId


@dataclass(frozen=True)
class ControlPlane:
    """etcd and the API servers of one cluster, beside the facts about each machine.

    `asked` is the machine that answered for etcd. `joined` are the machines that are in the cluster for good, whatever
    becomes of them now; `joining` those that have what it takes to join and are not in it yet. `registered` are those
    whose health the API's load balancer asks for, `serving` those that it sends requests to. `snapshot_at` is None when
    none was ever taken.
    """

    at: datetime
    etcd: Etcd | Unknown
    asked: InstanceId | None
    ties: tuple[Tie, ...] | Unknown
    joined: frozenset[InstanceId] = frozenset()
    joining: frozenset[InstanceId] = frozenset()
    registered: frozenset[InstanceId] | Unknown = frozenset()
    serving: frozenset[InstanceId] | Unknown = frozenset()
    snapshot_at: datetime | Unknown | None = None
    admission: Admission | Unknown | None = None

    @property
    def member_of(self) -> Mapping[InstanceId, EtcdMember]:
        ties = () if isinstance(self.ties, Unknown) else self.ties
        return {one.instance: one.member for one in ties if one.instance}

    @property
    def orphans(self) -> tuple[EtcdMember, ...]:
        """Members of nobody, those without a vote first: as long as one is there, no voter is removed."""
        ties = () if isinstance(self.ties, Unknown) else self.ties
        return tuple(sorted((one.member for one in ties if one.orphan), key=lambda member: (member.voter, member.id)))

    @property
    def unknown(self) -> str | None:
        """Why nothing may be done to etcd's membership, None when all that is needed is known."""
        for fact in (self.etcd, self.ties):
            if isinstance(fact, Unknown):
                return fact.reason
        return None if self.asked else "no control plane could be asked about etcd"

    def ill(self, running: Collection[InstanceId]) -> tuple[EtcdMember, ...]:
        """Members that do not answer though their machines run and are in service, and all that raise an alarm."""
        if isinstance(self.etcd, Unknown):
            return ()
        silent = {member.id for one, member in self.member_of.items() if one in self.joined and one in running}
        return tuple(
            member
            for member in sorted(self.etcd.members, key=lambda member: member.id)
            if member.alarms or (not member.answers and member.id in silent)
        )
