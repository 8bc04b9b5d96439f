"""What one pass has seen of a machine. A fact is a value, Absent, or Unknown: a failed read is never a value."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from functools import cached_property
from typing import TypeVar

from functions.cluster.doubt import Doubt, Impairment
from functions.cluster.joining import Approval, JoinRecord
from functions.cluster.machine import Group, Instance, InstanceId, Member, Node, Pod, Role, Target
from functions.cluster.notice import Notice, ScheduledEvent
from functions.cluster.radius import Around
from functions.errors import ConfigurationError, RetryableError

Fact = TypeVar("Fact")
UNTIL_MENDED = datetime.max.replace(tzinfo=UTC)
"""The end of a pause whose own end cannot be read: it holds until a person has put it right."""


@dataclass(frozen=True)
class Absent:
    """The service answered, and it has no such thing."""


@dataclass(frozen=True)
class Unknown:
    """The service did not answer, or not in a way that can be trusted."""

    reason: str


def known(read: Callable[[], Fact]) -> Fact | Unknown:
    """Return what was read, or Unknown with the reason when the other side did not answer."""
    try:
        return read()
    except (RetryableError, ConfigurationError) as error:
        return Unknown(str(error))


class Phase(Enum):
    """How far an open case has come."""

    CLEANING = "cleaning"  # the machine's remains are still in the cluster; counts as in flight
    REPLACING = "replacing"  # nothing is left of it; the group is not whole yet


@dataclass(frozen=True)
class Case:
    """What is open about one machine. Kept in the table from the first step until the cluster is whole again."""

    instance: InstanceId
    opened_at: datetime
    phase: Phase
    group: str | None
    node_name: str | None
    role: Role = Role.WORKER


def in_flight(cases: Iterable[Case]) -> frozenset[InstanceId]:
    """Return the workers whose remains are being removed. Control planes wait for each other; no worker does."""
    return frozenset(case.instance for case in cases if case.phase is Phase.CLEANING and case.role is Role.WORKER)


@dataclass(frozen=True)
class Record:
    """What we wrote down about a machine while it was well, to know it again when EC2 has forgotten it."""

    instance: InstanceId
    group: str
    role: Role
    node_name: str
    node_uid: str
    first_seen: datetime


@dataclass(frozen=True)
class Pause:
    """A person's word to leave the cluster, a group or a machine alone; ends by itself.

    `source` is the tag or annotation that it was read from; empty when it was written into the table.
    """

    of: str
    until: datetime
    reason: str
    source: str = ""

    def holds(self, subjects: Iterable[str], at: datetime) -> bool:
        """Whether it is of one of these (cluster, group, machine) and has not ended at that time."""
        return self.of in subjects and at < self.until

    def __str__(self) -> str:
        end = "it is put right" if self.until == UNTIL_MENDED else f"{self.until:%Y-%m-%d %H:%M:%SZ}"
        by = f" by its {self.source}" if self.source else ""
        return f"{self.of} is paused{by} until {end}: {self.reason}"


@dataclass(frozen=True)
class Abandoned:
    """A launch that was given up, since the last one of its group that joined."""

    group: str
    instance: InstanceId


@dataclass(frozen=True)
class Memory:
    """What the table knows that matters to one machine. `joins` are its launches' join records, the latest last.

    `doubt` is what is remembered of trouble that it was in.
    """

    case: Case | None
    record: Record | None
    pauses: tuple[Pause, ...]
    in_flight: frozenset[InstanceId]  # workers whose remains are being removed
    joins: tuple[JoinRecord, ...] = ()
    approvals: tuple[Approval, ...] = ()
    abandoned: tuple[Abandoned, ...] = ()
    doubt: Doubt | None = None


@dataclass(frozen=True)
class Fleet:
    """The cluster as Auto Scaling and EC2 list it, whichever machine is looked at."""

    groups: tuple[Group, ...]
    others_known: bool  # EC2 answered with at least one other machine of this cluster

    def place_of(self, instance: InstanceId) -> tuple[Group, Member] | None:
        """Return the managed group that lists the instance, with its entry there."""
        return self._places.get(instance)

    @cached_property
    def _places(self) -> Mapping[InstanceId, tuple[Group, Member]]:
        """Looked up for every machine of a sweep, so each entry is looked at once."""
        listed = ((group, member) for group in reversed(self.groups) for member in group.members)
        return {member.id: (group, member) for group, member in listed}

    def group(self, name: str | None) -> Group | None:
        return next((group for group in self.groups if group.name == name), None)


@dataclass(frozen=True)
class Facts:
    """Everything that one pass knows about one machine, and when it was read."""

    cluster: str
    id: InstanceId
    at: datetime
    instance: Instance | Absent | Unknown
    fleet: Fleet | Unknown
    memory: Memory | Unknown
    node: Node | Absent | Unknown = Absent()
    pods: tuple[Pod, ...] | Unknown = ()
    attachments: tuple[str, ...] | Unknown = ()  # names of VolumeAttachments that name the Node
    targets: tuple[Target, ...] | Unknown = ()  # where load balancers still have the instance
    told: Notice | None = None  # what AWS has just announced about it
    notice: Notice | None = None  # what of all that was announced counts now, see `heed`
    scheduled: tuple[ScheduledEvent, ...] | Unknown = Unknown("EC2 was not asked for scheduled events")
    nodes_ready: Mapping[InstanceId, bool] | Unknown = Unknown("the Nodes of the group were not asked for")
    renewed_at: datetime | Absent | Unknown = Absent()  # when its kubelet renewed its lease last
    impairments: tuple[Impairment, ...] | Unknown = ()  # what of EC2's status checks fails; asked for beside silence
    around: Around | Unknown = Unknown("the other machines were not looked at")
    annotation_holds_since: datetime | Unknown | None = None  # when its Node's opt-out first held something back

    @property
    def case(self) -> Case | None:
        """The open case, as far as the table could be read."""
        return self.memory.case if isinstance(self.memory, Memory) else None

    @property
    def joins(self) -> tuple[JoinRecord, ...]:
        return self.memory.joins if isinstance(self.memory, Memory) else ()

    @property
    def record(self) -> Record | None:
        return self.memory.record if isinstance(self.memory, Memory) else None

    @property
    def doubt(self) -> Doubt | None:
        return self.memory.doubt if isinstance(self.memory, Memory) else None

    @property
    def abandoned(self) -> tuple[Abandoned, ...]:
        return self.memory.abandoned if isinstance(self.memory, Memory) else ()

    def join_of(self, launched_at: datetime) -> JoinRecord | None:
        return next((join for join in self.joins if join.launched_at == launched_at), None)

    def approval_of(self, launched_at: datetime) -> Approval | None:
        approvals = self.memory.approvals if isinstance(self.memory, Memory) else ()
        return next((approval for approval in approvals if approval.launched_at == launched_at), None)

    @property
    def known_pods(self) -> tuple[Pod, ...]:
        return () if isinstance(self.pods, Unknown) else self.pods

    @property
    def unknowns(self) -> tuple[str, ...]:
        """The reasons of every fact that could not be read, in the order of the fields."""
        seen = (self.instance, self.fleet, self.memory, self.node, self.pods, self.attachments, self.targets)
        fields = (*seen, self.renewed_at, self.impairments)
        return tuple(fact.reason for fact in fields if isinstance(fact, Unknown))
