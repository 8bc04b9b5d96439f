"""What the minter asks of the outside, as it sees it. The edges answer; tests hand in small ones of their own.

Every method raises RetryableError when the service does not answer as it should, ConflictError when a precondition
does not hold, and ConfigurationError when a person has to mend something first.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from functions.cluster.facts import Absent
from functions.cluster.joining import Admission, Approval, JoinRecord
from functions.cluster.machine import Group, Instance, InstanceId, Node
from functions.join.delivery import ApiServer, Bundle
from functions.join.token import Token


class Ec2(Protocol):
    def instance(self, instance: InstanceId) -> Instance | Absent: ...

    def image_tags(self, image: str) -> dict[str, str] | Absent: ...


class AutoScaling(Protocol):
    def groups(self, cluster: str) -> tuple[Group, ...]:
        """The groups that carry the cluster's tag."""


class Kubernetes(Protocol):
    def node(self, name: str) -> Node | Absent: ...

    def version(self) -> str: ...

    def approves_unseen(self, group: str) -> bool:
        """Whether a certificate request made with a token of that group is approved by the cluster itself."""

    def signing_tokens(self) -> tuple[str, ...]:
        """The ids of the tokens that sign kube-public/cluster-info."""

    def api_server(self) -> ApiServer:
        """The one that these answers come from."""

    def create_token(self, token: Token) -> str:
        """Create its Secret and return the Secret's uid; ConflictError when the id is taken."""

    def delete_token(self, token_id: str, uid: str | None) -> None:
        """Only under its uid where that is known; a token that is gone, or is another one by now, is success."""


class Bundles(Protocol):
    def put(self, bundle: Bundle) -> None:
        """Leave it where only its machine can read it; ConflictError when something lies there."""

    def holds(self, machine: InstanceId, token_id: str) -> bool:
        """Whether the machine's bundle is there, and of that token."""

    def delete(self, machine: InstanceId) -> bool:
        """Whether there was one; none is success."""


class Table(Protocol):
    def joins(self) -> tuple[JoinRecord, ...]:
        """The records of every machine."""

    def admission(self) -> Admission | Absent:
        """Which machine may join as a control plane; the remediator writes it."""

    def joins_of(self, instance: InstanceId) -> tuple[JoinRecord, ...]:
        """The records of all launches of an instance, the latest last."""

    def approvals_of(self, instance: InstanceId) -> tuple[Approval, ...]: ...

    def write_join(self, record: JoinRecord, *, instead_of: JoinRecord | None, keep_until: datetime | None) -> None:
        """Write it where there is none, or in the place of the one that was read; else ConflictError."""


@dataclass(frozen=True)
class MintingOutside:
    """Every edge that the minter may use."""

    ec2: Ec2
    autoscaling: AutoScaling
    kubernetes: Kubernetes
    bundles: Bundles
    table: Table
