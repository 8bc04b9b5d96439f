"""What the approver asks of the outside, as it sees it. Errors are those of functions/remediate/outside.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from functions.cluster.facts import Absent, Record
from functions.cluster.joining import Approval, JoinRecord
from functions.cluster.machine import Group, Instance, InstanceId, Node
from functions.join.certificate_request import CertificateRequest
from functions.join.issued import Certificate

KeyCheck = Callable[[bytes, bytes], str | None]
"""Given a PKCS #10 request and the key in it, both in DER: what is wrong with key or signature, None for nothing."""

CertificateReader = Callable[[str], Certificate | str]
"""Reads a certificate as the API server shows it; the text says what is wrong with one that cannot be read."""


class Ec2(Protocol):
    def instance(self, instance: InstanceId) -> Instance | Absent: ...


class AutoScaling(Protocol):
    def groups(self, cluster: str) -> tuple[Group, ...]: ...


class Table(Protocol):
    def joins(self) -> tuple[JoinRecord, ...]: ...

    def joins_of(self, instance: InstanceId) -> tuple[JoinRecord, ...]: ...

    def records(self) -> tuple[Record, ...]:
        """What was written down of every machine that was seen well, however it has joined."""

    def approvals_of(self, instance: InstanceId) -> tuple[Approval, ...]: ...

    def write_approval(self, approval: Approval, *, instead_of: Approval | None, keep_until: datetime) -> None:
        """Raises ConflictError when the item is not, or no more, the one that was read."""

    def launch_of_key(self, key_sha256: str) -> str | None:
        """The launch that a client key was let through for."""

    def write_key(self, key_sha256: str, launch: str, *, keep_until: datetime) -> None:
        """Raises ConflictError when it was let through for another launch."""


class Kubernetes(Protocol):
    def requests(self) -> tuple[CertificateRequest, ...]:
        """The certificate signing requests that nobody has decided, and those that a certificate was issued for."""

    def version(self) -> str:
        """The API server's own."""

    def approve(self, request: CertificateRequest, *, reason: str, message: str, at: datetime) -> None:
        """Only the very object that was looked at; ConflictError when it is another one by now."""

    def deny(self, request: CertificateRequest, *, reason: str, message: str, at: datetime) -> None:
        """As `approve`. It is final: Kubernetes lets nobody take it back."""

    def node(self, name: str) -> Node | Absent: ...


class Journal(Protocol):
    def tell(self, what: str, **fields: object) -> None: ...

    def count(self, what: str) -> None: ...


@dataclass(frozen=True)
class Outside:
    """Every edge that the approver may need. `initialised_by` is the machine that began the cluster, if it has."""

    ec2: Ec2
    autoscaling: AutoScaling
    table: Table
    kubernetes: Kubernetes
    initialised_by: Callable[[], InstanceId | None]
    wrong_with_key: KeyCheck
    read_certificate: CertificateReader
    journal: Journal
