"""The state of one small world in memory, and what must never happen in it.

Every call to it is numbered and goes through `before` and `after`, by which a test lets calls fail, ends the function
in the middle (`Crash`), or lets something else happen at that very point. What calls really changed is in `effects`;
what must never happen is noticed the moment it does, in `violations`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import RLock
from typing import Any

from functions.cluster.doubt import Doubt, Rung
from functions.cluster.etcd import EtcdMember, SnapshotBegun
from functions.cluster.facts import Abandoned, Case, Pause, Record
from functions.cluster.joining import Admission, Approval, JoinRecord
from functions.cluster.machine import Group, Instance, InstanceId, InstanceState, Member, Node, Pod, Role, Transition
from functions.cluster.notice import Notice, ScheduledEvent
from functions.cluster.radius import Brake
from functions.dead_letters import DeadLetter
from functions.messages import Look
from tests.unit.functions.builders import NOW, SETTINGS

_ENDED = frozenset({InstanceState.TERMINATED, InstanceState.STOPPED})
_RUNS = frozenset({InstanceState.PENDING, InstanceState.RUNNING})
_PLANNED = SETTINGS.policy.planned_ahead + timedelta(minutes=1)


class Crash(BaseException):
    """The function is killed here; nothing after this point happens."""


@dataclass(frozen=True)
class Call:
    """One call to the outside; `number` counts from 1."""

    number: int
    service: str
    method: str


def _nothing(call: Call) -> None:
    """Let the call be."""


@dataclass
class World:
    """The state of every service. Tests set it up and read it directly; functions see `outside_of` it (fakes.py)."""

    now: datetime = NOW
    instances: dict[InstanceId, Instance] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    targets: set[tuple[InstanceId, str]] = field(default_factory=set)
    requests_end: dict[tuple[InstanceId, str], datetime] = field(default_factory=dict)  # of targets that were taken out
    requests_take: timedelta = timedelta(0)
    scheduled: dict[InstanceId, tuple[ScheduledEvent, ...]] = field(default_factory=dict)
    interrupted: dict[InstanceId, Notice] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    pods: dict[Pod, str] = field(default_factory=dict)
    attachments: dict[str, str] = field(default_factory=dict)
    etcd: dict[str, EtcdMember] = field(default_factory=dict)  # by id; named after their machines
    elected_at: datetime = NOW  # until then etcd has no other leader than the one that was said to lead
    etcd_pods_look_ready: bool = False  # whatever becomes of etcd in them
    lease: tuple[str, datetime] | None = None  # who is changing etcd's membership, and until when
    admission: Admission | None = None
    snapshots: list[tuple[datetime, str]] = field(default_factory=list)
    snapshot_begun: SnapshotBegun | None = None
    snapshot_begun_until: datetime = NOW
    snapshot_takes: timedelta = timedelta(0)
    snapshot_commands: dict[str, tuple[datetime, str]] = field(default_factory=dict)  # when each ends, and its key
    certificates_for: InstanceId | None = None  # what kubeadm's upload-certs has left, and for whom
    stuck: set[InstanceId] = field(default_factory=set)  # kubeadm gets no further in etcd; a worker asks for nothing
    runs_elsewhere: set[str] = field(default_factory=set)  # names of members that no machine of ours runs
    serving: set[InstanceId] = field(default_factory=set)  # healthy targets of the API's load balancer
    budgeted: set[str] = field(default_factory=set)  # names of pods that a disruption budget holds
    advised: dict[InstanceId, datetime] = field(default_factory=dict)  # to be left, as AWS recommends, and until when
    drains_on_advice: bool = False
    cordoned_by_people: set[str] = field(default_factory=set)  # uids of Nodes
    held_by_others: set[InstanceId] = field(default_factory=set)  # by a lifecycle hook that is not ours
    reused: set[InstanceId] = field(default_factory=set)  # machines that their group takes back into its warm pool
    lost: list[str] = field(default_factory=list)  # names of pods that still ran when AWS took their machine
    joins: dict[InstanceId, JoinRecord] = field(default_factory=dict)
    approvals: dict[InstanceId, Approval] = field(default_factory=dict)
    refused: dict[InstanceId, str] = field(default_factory=dict)  # machines that mint lets in for nothing, and why
    abandoned: set[Abandoned] = field(default_factory=set)
    heartbeats: list[tuple[InstanceId, Transition]] = field(default_factory=list)
    hooks_end: dict[tuple[InstanceId, Transition], datetime] = field(default_factory=dict)  # with their default result
    consoles: dict[InstanceId, str] = field(default_factory=dict)
    cases: dict[InstanceId, Case] = field(default_factory=dict)
    places: dict[int, InstanceId] = field(default_factory=dict)
    records: dict[InstanceId, Record] = field(default_factory=dict)
    pauses: dict[str, Pause] = field(default_factory=dict)
    silent: dict[InstanceId, datetime] = field(default_factory=dict)  # machines whose kubelet was heard of last then
    impaired: dict[InstanceId, datetime] = field(default_factory=dict)  # machines whose status checks fail since then
    mended_by: dict[InstanceId, Rung] = field(default_factory=dict)  # what brings a silent machine back; else nothing
    clocks_off: dict[InstanceId, timedelta] = field(default_factory=dict)  # machines whose clocks are wrong, by so much
    mends_at: dict[InstanceId, datetime] = field(default_factory=dict)  # machines that what was done brings back then
    doubts: dict[InstanceId, Doubt] = field(default_factory=dict)
    brakes: dict[str, Brake] = field(default_factory=dict)
    refreshing: set[str] = field(default_factory=set)  # groups with an instance refresh
    said: dict[str, datetime] = field(default_factory=dict)  # until when each counts as said
    said_at: dict[str, datetime] = field(default_factory=dict)
    history: list[tuple[InstanceId, dict[str, object]]] = field(default_factory=list)
    passes: list[Look] = field(default_factory=list)
    later: list[Look] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    inbox: list[str] = field(default_factory=list)  # what was put back into it
    deduplication: dict[str, datetime] = field(default_factory=dict)
    alerts: list[tuple[str, str]] = field(default_factory=list)
    told: list[tuple[str, dict[str, object]]] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    effects: list[tuple[str, str]] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    most_in_flight: int = 0
    most_control_planes_in_flight: int = 0
    before: Callable[[Call], None] = _nothing
    after: Callable[[Call], None] = _nothing
    lock: Any = field(default_factory=RLock)

    def mend(self) -> None:
        """Let those be heard of again that were brought back."""
        for one in [one for one, at in self.mends_at.items() if at <= self.now]:
            for wrong in (self.silent, self.impaired, self.mends_at):
                wrong.pop(one, None)

    def machine_of(self, node_name: str) -> Instance | None:
        return self.instances.get(InstanceId(node_name))

    def group_of(self, one: InstanceId) -> Group:
        return next(group for group in self.groups.values() if group.member(one))

    def member(self, one: InstanceId) -> Member | None:
        return next((there for group in self.groups.values() if (there := group.member(one))), None)

    def role_of(self, one: InstanceId) -> Role | None:
        return next((group.role for group in self.groups.values() if group.member(one)), None)

    def is_control_plane(self, one: InstanceId) -> bool:
        return self.role_of(one) is Role.CONTROL_PLANE

    def why_it_leaves(self, one: InstanceId) -> str | None:
        """Say what would justify emptying a machine now: only what AWS itself says about it counts."""
        machine = self.instances.get(one)
        if machine is None or machine.state not in _RUNS:
            return "it has ended, or ends"
        if one in self.doubts and any(there.rung is Rung.REPLACE for there in self.doubts[one].tried):
            return "it is replaced"
        if any(there.terminating for group in self.groups.values() if (there := group.member(one))):
            return "its group lets it go"
        if (notice := self.interrupted.get(one)) and machine.spot and notice.in_effect(self.now):
            return "Spot"
        if any(not event.over and event.not_before <= self.now + _PLANNED for event in self.scheduled.get(one, ())):
            return "maintenance"
        return "advice" if machine.spot and self.now < self.advised.get(one, self.now) else None

    def did(self, what: str, to: str, *, machine: Instance | None, only_if_ended: bool = True) -> None:
        """Note an effect, and that it was wrong when it took something from a machine that still runs."""
        self.effects.append((what, to))
        if only_if_ended and machine and machine.state not in _ENDED:
            self.violations.append(f"{what} {to} while its machine is {machine.state.value}")
