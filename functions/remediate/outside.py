"""What the remediator asks of the outside, as it sees it. The edges answer; tests hand in small ones of their own.

Every method raises RetryableError when the service does not answer as it should, ConflictError when a precondition
does not hold, and ConfigurationError when a person has to mend something first. None of them retries for long.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from functions.cluster.doubt import Doubt, Impairment
from functions.cluster.etcd import Etcd, EtcdMember, EtcdPod, Snapshot, SnapshotBegun
from functions.cluster.facts import Abandoned, Absent, Case, Memory, Pause, Record
from functions.cluster.joining import Admission, JoinRecord
from functions.cluster.machine import Group, Instance, InstanceId, Node, Pod, Target, Transition
from functions.cluster.notice import Notice, ScheduledEvent
from functions.cluster.radius import Brake
from functions.messages import Look, Order


@dataclass(frozen=True)
class Answer:
    """What another function did, in one word, and why. Words: see functions/join."""

    did: str
    reason: str


@dataclass(frozen=True)
class Blocked:
    """A pod that may not be evicted now, and what the API server says why."""

    pod: Pod
    reason: str


class Ec2(Protocol):
    def instance(self, instance: InstanceId) -> Instance | Absent: ...

    def fleet(self, cluster: str) -> tuple[Instance, ...]:
        """Every instance that carries the cluster's tag, in whatever state EC2 still knows it."""

    def scheduled_events(self, instance: InstanceId) -> tuple[ScheduledEvent, ...]:
        """What EC2 has scheduled for it, and what it says has ended."""

    def all_scheduled_events(self) -> Mapping[InstanceId, tuple[ScheduledEvent, ...]]:
        """The same of every instance of the account that has any, with one paged call."""

    def spot_interruptions(self, *, now: datetime) -> Mapping[InstanceId, Notice]:
        """Every Spot instance of the account that is marked to be taken, with one paged call."""

    def impairments(self, instances: Iterable[InstanceId]) -> Mapping[InstanceId, tuple[Impairment, ...]]:
        """Which of EC2's status checks fail for these; one that passes all of them is not in it."""

    def reboot(self, instance: InstanceId) -> None:
        """Ask for it; EC2 does not say whether it happens. The instance stays `running`."""

    def console_output(self, instance: InstanceId) -> str:
        """The end of what the machine said while it booted; empty when EC2 has nothing yet."""


class AutoScaling(Protocol):
    def groups(self, cluster: str) -> tuple[Group, ...]:
        """The groups that carry the cluster's tag."""

    def complete_hooks(
        self, instance: InstanceId, group: str, transition: Transition, *, abandon: bool = False
    ) -> bool:
        """Let the instance go on if it waits in such a hook of ours right now, or abandon it; return whether it did."""

    def heartbeat(self, instance: InstanceId, group: str, transition: Transition) -> None:
        """Let the hooks that hold the instance now wait their time anew; none is success."""

    def replace(self, instance: InstanceId, group: str) -> bool:
        """End the instance and have another one started, if the group has it in service right now; return whether."""

    def refreshing(self, group: str) -> bool:
        """Whether an instance refresh of the group is under way."""

    def suspend_launch(self, group: str, reason: str, *, until: datetime) -> None:
        """Tag the group with reason and end, then suspend its Launch process."""

    def resume_launch(self, group: str) -> None:
        """Resume the Launch process, then take our tags off."""


class Joining(Protocol):
    """The two functions that let a machine in. Each is told an instance and finds out all else by itself."""

    def mint(self, instance: InstanceId) -> Answer:
        """Have the machine's token and bundle be as they must: there while it may join, gone before and after."""

    def approve(self, instance: InstanceId | None) -> Answer:
        """Have the pending certificate requests of one machine, or of all, decided."""


class LoadBalancing(Protocol):
    def targets(self, instance: InstanceId, load_balancers: Iterable[str]) -> tuple[Target, ...]:
        """Where, of target groups (by ARN) and classic load balancers (by name), the instance still is."""

    def register(self, instance: InstanceId, load_balancer: str) -> None:
        """An instance that is registered already, or a load balancer that is gone, is success."""

    def deregister(self, instance: InstanceId, load_balancer: str) -> None:
        """An instance that is not registered, or a load balancer that is gone, is success."""

    def health(self, target_group: str) -> Mapping[InstanceId, str]:
        """Every instance that is registered there, and its state, such as `healthy` or `draining`."""


class Kubernetes(Protocol):
    def node(self, name: str) -> Node | Absent: ...

    def nodes(self) -> tuple[Node, ...]: ...

    def pods_on(self, node_name: str) -> tuple[Pod, ...]: ...

    def attachments_of(self, node_name: str) -> tuple[str, ...]: ...

    def renewed_at(self, node_name: str) -> datetime | Absent:
        """When the kubelet renewed its Node's lease last."""

    def renewals(self) -> Mapping[str, datetime]:
        """The same of all Nodes, by name."""

    def etcd_pods(self) -> tuple[EtcdPod, ...]:
        """The static pods of etcd as the API server mirrors them."""

    def cordon(self, node: Node, notice: Notice | None, *, drains: bool, at: datetime) -> None:
        """Also write down why; when the Node is to be drained also since when, and keep load balancers away."""

    def fence(self, node: Node, *, at: datetime) -> None: ...

    def restore(self, node: Node) -> None: ...

    def delete_pods(self, pods: Iterable[Pod], *, grace_s: int | None) -> None:
        """Each only under its uid; a pod that is gone, or is another one by now, is success.

        `grace_s` is 0 only for a machine that is dead; None leaves each pod its own.
        """

    def evict(self, pods: Iterable[Pod], *, grace_s: int | None = None) -> tuple[Blocked, ...]:
        """Ask for the eviction of each under its uid, in parallel; return those that a disruption budget holds.

        A pod that is gone, or is another one by now, is success. `grace_s` stands in for the pods' own.
        """

    def delete_node(self, name: str, uid: str) -> None:
        """Only under its uid; a Node that is gone is success."""


class Commands(Protocol):
    """What a machine does for us. Of etcd and kubeadm never ask one that is dead or on its way out."""

    def restart(self, on: InstanceId, service: str) -> None:
        """Restart `kubelet` or `runtime` there. Raises RetryableError when the machine does not say that it did."""

    def etcd(self, on: InstanceId) -> Etcd:
        """The members as a linearizable read lists them, with what each answered about itself."""

    def remove_member(self, on: InstanceId, member: EtcdMember) -> str | None:
        """None when it is removed or gone already, else why the machine refused: it has looked again by itself."""

    def move_leader(self, on: InstanceId, to: EtcdMember) -> None:
        """One that leads already is success."""

    def begin_snapshot(self, on: InstanceId, *, bucket: str, key: str) -> str:
        """Return the command by which to ask for its outcome."""

    def snapshot(self, begun: SnapshotBegun, *, wait: bool) -> Snapshot | None:
        """One that was verified before it was stored; None while it is under way, some seconds later with `wait`.

        Raises PermanentError when it has failed.
        """

    def upload_certificates(self, on: InstanceId, *, for_instance: InstanceId) -> datetime:
        """For one machine, which alone can read the key; return when they expire."""

    def forget_certificates(self, on: InstanceId, *, for_instance: InstanceId) -> None:
        """And the key that was left for that machine. None there is success."""


class Table(Protocol):
    def memory(self, instance: InstanceId, *, now: datetime) -> Memory: ...

    def cases(self) -> tuple[Case, ...]: ...

    def pauses(self) -> tuple[Pause, ...]: ...

    def open_case(self, case: Case, *, max_in_flight: int) -> None:
        """Raises RefusedError when every place in flight is taken; an open case of this machine is success."""

    def await_replacement(self, instance: InstanceId) -> None:
        """Nothing is left of the machine: its place in flight is free."""

    def close_case(self, instance: InstanceId) -> None: ...

    def joins(self) -> tuple[JoinRecord, ...]: ...

    def note_abandoned(self, abandoned: Abandoned, *, at: datetime) -> None: ...

    def forget_abandoned(self, group: str) -> None: ...

    def records(self) -> tuple[Record, ...]: ...

    def forget(self, instance: InstanceId) -> None:
        """Delete a machine's record."""

    def remember(self, record: Record) -> None:
        """The first record of a machine stands; a later one is ignored."""

    def first_time(self, key: str, *, now: datetime, within: timedelta) -> bool:
        """Whether nobody has said `key` within that time; says it."""

    def said_since(self, key: str, *, now: datetime) -> datetime | None:
        """When `first_time` was last true for this key; None when it would be true now."""

    def unsay(self, key: str) -> None: ...

    def admission(self) -> Admission | Absent:
        """Which machine may join as a control plane, and until when."""

    def admit(self, admission: Admission, *, now: datetime) -> bool:
        """Write it unless another machine's holds; return whether it was written."""

    def end_admission(self, instance: InstanceId) -> None: ...

    def take_lease(self, holder: str, *, now: datetime, until: datetime) -> bool:
        """Whether nobody else is changing etcd's membership just now; who has it may take it again."""

    def end_lease(self, holder: str) -> None: ...

    def snapshot_at(self) -> datetime | None:
        """When the last snapshot of etcd was taken that was verified and stored."""

    def note_snapshot(self, snapshot: Snapshot, *, at: datetime) -> None: ...

    def doubts(self, *, now: datetime) -> tuple[Doubt, ...]:
        """Machines that are in trouble, and those that were lately."""

    def note_doubt(self, doubt: Doubt, *, at: datetime) -> None: ...

    def forget_doubt(self, instance: InstanceId) -> None: ...

    def brakes(self, *, now: datetime) -> tuple[Brake, ...]:
        """Those that hold."""

    def note_brake(self, brake: Brake) -> None: ...
    def snapshot_begun(self) -> SnapshotBegun | Absent: ...

    def begin_snapshot(self, begun: SnapshotBegun, *, now: datetime, until: datetime) -> bool:
        """Write it unless one may still be under way; once more, with its command, over the same one."""

    def end_snapshot(self, begun: SnapshotBegun) -> None: ...

    def write_history(self, instance: InstanceId, at: datetime, entry: dict[str, object]) -> None: ...


class Queues(Protocol):
    def look_now(self, *orders: Order) -> None:
        """Each is tried, whatever becomes of the others."""

    def look_later(self, look: Look, *, now: datetime, after: timedelta) -> None: ...


class Alerts(Protocol):
    def alert(self, subject: str, text: str) -> None: ...


class Journal(Protocol):
    """Structured log and metrics; `what` is a short fixed name, the fields say the rest."""

    def tell(self, what: str, **fields: object) -> None: ...

    def count(self, what: str) -> None: ...


@dataclass(frozen=True)
class Outside:
    """Every edge that a pass may need."""

    ec2: Ec2
    autoscaling: AutoScaling
    load_balancing: LoadBalancing
    kubernetes: Kubernetes
    joining: Joining
    table: Table
    commands: Commands
    queues: Queues
    alerts: Alerts
    journal: Journal
