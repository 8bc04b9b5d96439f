"""What the remediator asks of the outside, as it sees it. The edges answer; tests hand in small ones of their own.

Every method raises RetryableError when the service does not answer as it should, ConflictError when a precondition
does not hold, and ConfigurationError when a person has to mend something first. None of them retries for long.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from functions.cluster.facts import Absent, Case, Memory, Pause, Record
from functions.cluster.machine import Group, Instance, InstanceId, Node, Pod
from functions.messages import Look


class Ec2(Protocol):
    def instance(self, instance: InstanceId) -> Instance | Absent: ...

    def fleet(self, cluster: str) -> tuple[Instance, ...]:
        """Every instance that carries the cluster's tag, in whatever state EC2 still knows it."""


class AutoScaling(Protocol):
    def groups(self, cluster: str) -> tuple[Group, ...]:
        """The groups that carry the cluster's tag."""

    def complete_terminate_hooks(self, instance: InstanceId, group: str) -> None:
        """Let the instance go on if it waits in a terminate hook right now; no such wait is success."""


class LoadBalancing(Protocol):
    def deregister(self, instance: InstanceId, target_group: str) -> None:
        """A target that is not registered is success."""


class Kubernetes(Protocol):
    def node(self, name: str) -> Node | Absent: ...

    def nodes(self) -> tuple[Node, ...]: ...

    def pods_on(self, node_name: str) -> tuple[Pod, ...]: ...

    def attachments_of(self, node_name: str) -> tuple[str, ...]: ...

    def cordon(self, node: Node, *, at: datetime) -> None: ...

    def fence(self, node: Node, *, at: datetime) -> None: ...

    def restore(self, node: Node) -> None: ...

    def delete_pods(self, pods: Iterable[Pod]) -> None:
        """With no grace, each only under its uid; a pod that is gone, or is another one by now, is success."""

    def delete_node(self, name: str, uid: str) -> None:
        """Only under its uid; a Node that is gone is success."""


class Table(Protocol):
    def memory(self, instance: InstanceId, *, now: datetime) -> Memory: ...

    def cases(self) -> tuple[Case, ...]: ...

    def pauses(self) -> tuple[Pause, ...]: ...

    def open_case(self, case: Case, *, max_in_flight: int) -> None:
        """Raises RefusedError when every place in flight is taken; an open case of this machine is success."""

    def await_replacement(self, instance: InstanceId) -> None:
        """Nothing is left of the machine: its place in flight is free."""

    def close_case(self, instance: InstanceId) -> None: ...

    def recorded(self) -> frozenset[InstanceId]:
        """The machines that have a record."""

    def remember(self, record: Record) -> None:
        """The first record of a machine stands; a later one is ignored."""

    def first_time(self, key: str, *, now: datetime, within: timedelta) -> bool:
        """Whether nobody has said `key` within that time; says it."""

    def unsay(self, key: str) -> None: ...

    def write_history(self, instance: InstanceId, at: datetime, entry: dict[str, object]) -> None: ...


class Queues(Protocol):
    def look_now(self, look: Look, deduplication_id: str) -> None: ...

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
    table: Table
    queues: Queues
    alerts: Alerts
    journal: Journal
