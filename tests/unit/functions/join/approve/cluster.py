"""A small cluster as the approver sees it. Each call to it is numbered and goes through `before` and `after`, by which
a test lets calls fail, or ends the function in the middle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from functions.cluster.facts import Absent, Record
from functions.cluster.joining import (
    AUTHENTICATED_GROUP,
    BOOTSTRAPPERS_GROUP,
    CLIENT_SIGNER,
    NODES_GROUP,
    SERVING_SIGNER,
    TOKEN_GROUPS,
    Approval,
    JoinRecord,
    JoinState,
)
from functions.cluster.machine import Group, Instance, InstanceId, Member, Node, Role
from functions.edges.keys import read_certificate, wrong_with_key
from functions.errors import ConflictError
from functions.join.approve import answer
from functions.join.approving_outside import Outside
from functions.join.certificate_request import CertificateRequest
from infra.local.drills.csrs import client_csr, dns, ip, serving_csr
from tests.unit.functions.builders import CLUSTER, NOW, ONE, TWO, WORKERS, group, instance, member

ADDRESS, PRIVATE_NAME = "10.77.1.1", "ip-10-77-1-1.ec2.internal"
PROFILE = "arn:aws:iam::123456789012:instance-profile/regrow-drill-worker"
LAUNCHED_AT = NOW - timedelta(minutes=2)
TOKENS = {ONE: "aaaaaa", TWO: "bbbbbb"}


def a_machine(id_: InstanceId = ONE, **changes: Any) -> Instance:
    address = instance(id_).address or ""
    own: dict[str, Any] = {
        "launched_at": LAUNCHED_AT,
        "zone": "us-east-1a",
        "image": "ami-1",
        "profile": PROFILE,
        "vpc": "vpc-1",
        "subnet": "subnet-1",
        "private_addresses": (address,),
        "private_dns_name": f"ip-{address.replace('.', '-')}.ec2.internal",
    }
    return instance(id_, **(own | changes))


def a_record(id_: InstanceId = ONE, **changes: Any) -> JoinRecord:
    """Of a machine whose token was minted a minute ago."""
    whole = JoinRecord(
        instance=id_,
        launched_at=LAUNCHED_AT,
        group=WORKERS,
        role=Role.WORKER,
        node_name=id_,
        zone="us-east-1a",
        image="ami-1",
        token_id=TOKENS[id_],
        state=JoinState.ISSUED,
        issued_at=NOW - timedelta(minutes=1),
        expires_at=NOW + timedelta(minutes=14),
        busy_until=NOW - timedelta(seconds=35),
        secret_uid="uid-of-the-secret",
        profile=PROFILE,
        vpc="vpc-1",
        subnet="subnet-1",
    )
    return replace(whole, **changes)


def an_approval(id_: InstanceId = ONE, **changes: Any) -> Approval:
    """Of a launch that was let in, with the certificate that its node shows."""
    let_in = Approval(
        id_,
        LAUNCHED_AT,
        client_uid="earlier",
        client_key_sha256="0" * 64,
        client_at=NOW,
        certificates=("0" * 64,),
        certified_at=NOW - timedelta(minutes=5),
        certified_until=NOW + timedelta(days=365),
    )
    return replace(let_in, **changes)


def client_request(csr: str | None = None, of: InstanceId = ONE, **changes: Any) -> CertificateRequest:
    whole = CertificateRequest(
        name="csr-client",
        uid="",
        created_at=NOW - timedelta(seconds=2),
        signer=CLIENT_SIGNER,
        username=f"system:bootstrap:{TOKENS[of]}",
        user_uid="",
        groups=(BOOTSTRAPPERS_GROUP, TOKEN_GROUPS[Role.WORKER], AUTHENTICATED_GROUP),
        extra={},
        usages=("digital signature", "client auth"),
        expiration_s=None,
        request=client_csr(of) if csr is None else csr,
        whole={},
    )
    return _with_uid(replace(whole, **changes))


def serving_request(csr: str | None = None, of: InstanceId = ONE, **changes: Any) -> CertificateRequest:
    names = (dns(of), ip(str(a_machine(of).address)))
    whole = CertificateRequest(
        name="csr-serving",
        uid="",
        created_at=NOW - timedelta(seconds=2),
        signer=SERVING_SIGNER,
        username=f"system:node:{of}",
        user_uid="",
        groups=(NODES_GROUP, AUTHENTICATED_GROUP),
        extra={"authentication.kubernetes.io/credential-id": ("X509SHA256=" + "0" * 64,)},
        usages=("digital signature", "server auth"),
        expiration_s=None,
        request=serving_csr(of, *names) if csr is None else csr,
        whole={},
    )
    return _with_uid(replace(whole, **changes))


def _with_uid(request: CertificateRequest) -> CertificateRequest:
    return replace(request, uid=request.uid or f"uid-of-{request.name}")


@dataclass(frozen=True)
class Call:
    """One call to the outside; `number` counts from 1."""

    number: int
    method: str


def _nothing(call: Call) -> None:
    """Let the call be."""


@dataclass
class Cluster:
    """What is there, and what was done: `decided` holds the word on each request, `told` what the journal got."""

    requests: dict[str, CertificateRequest] = field(default_factory=dict)
    instances: dict[InstanceId, Instance] = field(default_factory=lambda: {ONE: a_machine()})
    groups: tuple[Group, ...] = (group(member(ONE, "Pending:Wait"), member(TWO)),)
    nodes: dict[str, Node] = field(default_factory=dict)
    joins: tuple[JoinRecord, ...] = (a_record(),)
    approvals: dict[str, Approval] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    kept_until: dict[str, datetime] = field(default_factory=dict)  # each key
    approval_kept_until: datetime | None = None
    founder: InstanceId | None = None
    records: tuple[Record, ...] = ()
    version: str = "v1.36.3"
    decided: dict[str, tuple[str, str]] = field(default_factory=dict)
    conditions: dict[str, tuple[str, datetime]] = field(default_factory=dict)  # what else Kubernetes was told with it
    told: list[tuple[str, dict[str, object]]] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    before: Callable[[Call], None] = _nothing
    after: Callable[[Call], None] = _nothing

    @contextmanager
    def call(self, method: str) -> Iterator[None]:
        call = Call(len(self.calls) + 1, method)
        self.calls.append(call)
        self.before(call)
        yield
        self.after(call)

    def outside(self) -> Outside:
        edges = _Edges(self)
        return Outside(edges, edges, edges, edges, edges.initialised_by, wrong_with_key, read_certificate, edges)

    def approve(self, machine: InstanceId | None = None, now: datetime = NOW) -> dict[str, Any]:
        return answer({"machine": machine} if machine else {}, self.outside(), cluster=CLUSTER, now=now)

    def word_on(self, request: CertificateRequest) -> str:
        """Approved, Denied or Pending."""
        return self.decided[request.name][0] if request.name in self.decided else "Pending"

    @property
    def convicted(self) -> set[InstanceId]:
        return {approval.instance for approval in self.approvals.values() if approval.denied}


def cluster(*requests: CertificateRequest, **changes: Any) -> Cluster:
    return Cluster({request.name: request for request in requests}, **changes)


def lists(*members: Member, **changes: Any) -> tuple[Group, ...]:
    """The one group of workers, with these in it."""
    return (group(*members, **changes),)


@dataclass
class _Edges:
    """All edges of the approver in one."""

    world: Cluster

    def instance(self, instance: InstanceId) -> Instance | Absent:
        with self.world.call("instance"):
            return self.world.instances.get(instance, Absent())

    def groups(self, cluster: str) -> tuple[Group, ...]:
        with self.world.call("groups"):
            return tuple(one for one in self.world.groups if one.cluster == cluster)

    def joins(self) -> tuple[JoinRecord, ...]:
        with self.world.call("joins"):
            return self.world.joins

    def joins_of(self, instance: InstanceId) -> tuple[JoinRecord, ...]:
        with self.world.call("joins_of"):
            return tuple(one for one in self.world.joins if one.instance == instance)

    def approvals_of(self, instance: InstanceId) -> tuple[Approval, ...]:
        with self.world.call("approvals_of"):
            return tuple(one for one in self.world.approvals.values() if one.instance == instance)

    def write_approval(self, approval: Approval, *, instead_of: Approval | None, keep_until: datetime) -> None:
        with self.world.call("write_approval"):
            if self.world.approvals.get(approval.launch) != instead_of:
                raise ConflictError("it is another one by now")
            self.world.approvals[approval.launch] = approval
            self.world.approval_kept_until = keep_until

    def launch_of_key(self, key_sha256: str) -> str | None:
        with self.world.call("launch_of_key"):
            return self.world.keys.get(key_sha256)

    def write_key(self, key_sha256: str, launch: str, *, keep_until: datetime) -> None:
        with self.world.call("write_key"):
            if self.world.keys.setdefault(key_sha256, launch) != launch:
                raise ConflictError("the key is another launch's")
            self.world.kept_until[key_sha256] = keep_until

    def requests(self) -> tuple[CertificateRequest, ...]:
        with self.world.call("requests"):
            decided = self.world.decided
            return tuple(one for name, one in self.world.requests.items() if name not in decided or one.issued)

    def version(self) -> str:
        with self.world.call("version"):
            return self.world.version

    def records(self) -> tuple[Record, ...]:
        with self.world.call("records"):
            return self.world.records

    def approve(self, request: CertificateRequest, *, reason: str, message: str, at: datetime) -> None:
        self._decide("Approved", request, message)
        self.world.conditions[request.name] = (reason, at)

    def deny(self, request: CertificateRequest, *, reason: str, message: str, at: datetime) -> None:
        self._decide("Denied", request, message)
        self.world.conditions[request.name] = (reason, at)

    def _decide(self, word: str, request: CertificateRequest, message: str) -> None:
        assert message, "the API server takes a condition only with its words"
        with self.world.call(word):
            if self.world.requests.get(request.name) != request or request.name in self.world.decided:
                raise ConflictError("the object has been modified")
            self.world.decided[request.name] = (word, message)

    def node(self, name: str) -> Node | Absent:
        with self.world.call("node"):
            return self.world.nodes.get(name, Absent())

    def initialised_by(self) -> InstanceId | None:
        with self.world.call("initialised_by"):
            return self.world.founder

    def tell(self, what: str, **fields: object) -> None:
        assert what, "nothing is told without what it is"
        assert isinstance(fields["reason"], str), "nothing is told without why"
        self.world.told.append((what, fields))

    def count(self, what: str) -> None:
        self.world.told.append((what, {}))
