"""Small builders of facts: a test says only what matters to it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from functions.cluster.facts import Case, Facts, Fleet, Memory, Pause, Phase, Record
from functions.cluster.joining import Approval, JoinRecord, JoinState
from functions.cluster.machine import (
    CLUSTER_TAG,
    CONTROL_PLANE_LABEL,
    CORDONED_ANNOTATION,
    FENCED_ANNOTATION,
    GROUP_TAG,
    OUT_OF_SERVICE_TAINT,
    ROLE_TAG,
    Condition,
    Group,
    Instance,
    InstanceId,
    InstanceState,
    Member,
    Node,
    Pod,
    Role,
    Taint,
)
from functions.cluster.radius import Around
from functions.settings import Settings

CLUSTER = "drill"
WORKERS = "drill-worker"
TARGET_GROUP = "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/web/0123456789abcdef"
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
OUT_OF_SERVICE = Taint(OUT_OF_SERVICE_TAINT, "NoExecute", "nodeshutdown")

ENVIRONMENT = {
    "REGROW_CLUSTER": CLUSTER,
    "REGROW_PASS_QUEUE_URL": "http://queues.test/regrow-drill-pass.fifo",
    "REGROW_SNAPSHOT_BUCKET": "regrow-drill-123456789012-snapshots",
    "REGROW_INBOX_QUEUE_URL": "http://queues.test/regrow-drill-inbox",
    "REGROW_TABLE": "regrow-drill",
    "REGROW_TOPIC_ARN": "arn:aws:sns:us-east-1:123456789012:regrow-drill",
    "REGROW_KUBECONFIG_PATH": "/regrow/drill/kubeconfig",
}
SETTINGS = Settings.from_env(ENVIRONMENT)


def machine(number: int) -> InstanceId:
    return InstanceId(f"i-{number:017x}")


ONE, TWO, THREE = machine(1), machine(2), machine(3)


def instance(id_: InstanceId = ONE, state: InstanceState = InstanceState.RUNNING, **changes: Any) -> Instance:
    tags = {CLUSTER_TAG: CLUSTER, ROLE_TAG: "worker", GROUP_TAG: WORKERS}
    address = None if state is InstanceState.TERMINATED else f"10.77.1.{int(id_[2:], 16)}"
    launched_at = NOW - timedelta(days=1)
    whole = Instance(id_, state, address, launched_at, tags, zone="us-east-1a", image="ami-0123456789abcdef0")
    return replace(whole, **changes)


def launched(id_: InstanceId = ONE, age: timedelta = timedelta(seconds=30), **changes: Any) -> Instance:
    """An instance that has just been launched."""
    return instance(id_, **{"launched_at": NOW - age} | changes)


def join(id_: InstanceId = ONE, state: JoinState = JoinState.ISSUED, **changes: Any) -> JoinRecord:
    """The join record of `launched(id_)`."""
    issued_at = changes.get("issued_at", NOW)
    whole = JoinRecord(
        instance=id_,
        launched_at=NOW - timedelta(seconds=30),
        group=WORKERS,
        role=Role.WORKER,
        node_name=id_,
        zone="us-east-1a",
        image="ami-0123456789abcdef0",
        token_id="abc123",
        state=state,
        issued_at=issued_at,
        expires_at=issued_at + timedelta(minutes=15),
        busy_until=issued_at + timedelta(seconds=25),
    )
    return replace(whole, **changes)


def approval(id_: InstanceId = ONE, **changes: Any) -> Approval:
    return replace(Approval(id_, NOW - timedelta(seconds=30)), **changes)


def member(id_: InstanceId = ONE, lifecycle_state: str = "InService") -> Member:
    return Member(id_, lifecycle_state, "Healthy")


def group(*members: Member, **changes: Any) -> Group:
    whole = Group(
        name=WORKERS,
        cluster=CLUSTER,
        role=Role.WORKER,
        desired=2,
        members=members,
        target_groups=(TARGET_GROUP,),
    )
    return replace(whole, **changes)


def node(id_: InstanceId = ONE, **changes: Any) -> Node:
    """A Ready Node of a worker; `uid` tells it from other Nodes of its name."""
    whole = Node(
        name=id_,
        uid=f"uid-of-{id_}",
        resource_version="1",
        provider_id=f"aws:///us-east-1a/{id_}",
        addresses=(f"10.77.1.{int(id_[2:], 16)}", id_),
        ready=True,
        unschedulable=False,
        taints=(),
        labels={},
        annotations={},
    )
    return replace(whole, **changes)


def said(at: datetime) -> tuple[Condition, ...]:
    """The conditions of a Node whose kubelet said at that time that it is well."""
    return (Condition("Ready", "True", said_at=at),)


def not_ready(
    id_: InstanceId = ONE, since: datetime = NOW, status: str = "Unknown", *others: Condition, **changes: Any
) -> Node:
    """A Node whose kubelet is silent, as the controller manager says, or that says by itself (False) that it is ill."""
    ready = Condition("Ready", status, changes.pop("reason", "NodeStatusUnknown"), changes.pop("message", ""), since)
    return node(id_, ready=False, conditions=(ready, *others), **changes)


def silent(seconds: float, **changes: Any) -> Facts:
    """A worker whose kubelet was heard of last so long ago, which the controller manager has noticed 40 s later."""
    heard_at = NOW - timedelta(seconds=seconds)
    seen = {"node": not_ready(since=heard_at + timedelta(seconds=40)), "renewed_at": heard_at, "around": Around()}
    return facts(**seen | changes)


def fenced(id_: InstanceId = ONE, **changes: Any) -> Node:
    marks = {CORDONED_ANNOTATION: NOW.isoformat(), FENCED_ANNOTATION: NOW.isoformat()}
    whole = node(id_, ready=False, unschedulable=True, taints=(OUT_OF_SERVICE,), annotations=marks)
    return replace(whole, **changes)


def control_plane_node(id_: InstanceId = ONE) -> Node:
    return node(id_, labels={CONTROL_PLANE_LABEL: ""})


def pod(name: str = "web-0", *, finished: bool = False) -> Pod:
    return Pod("default", name, f"uid-of-{name}", finished)


def case(id_: InstanceId = ONE, phase: Phase = Phase.CLEANING, **changes: Any) -> Case:
    return replace(Case(id_, NOW, phase, WORKERS, id_), **changes)


def record(id_: InstanceId = ONE, age: timedelta = timedelta(days=1), **changes: Any) -> Record:
    whole = Record(
        instance=id_,
        group=WORKERS,
        role=Role.WORKER,
        node_name=id_,
        node_uid=f"uid-of-{id_}",
        first_seen=NOW - age,
    )
    return replace(whole, **changes)


def pause(of: str = CLUSTER, minutes: int = 60) -> Pause:
    return Pause(of, NOW + timedelta(minutes=minutes), "the network is being rebuilt")


def memory(**changes: Any) -> Memory:
    return replace(Memory(None, None, (), frozenset()), **changes)


def fleet(*groups: Group, others_known: bool = True) -> Fleet:
    return Fleet(groups or (group(member(ONE), member(TWO)),), others_known)


def facts(**changes: Any) -> Facts:
    """A healthy worker in a whole group, unless the changes say otherwise."""
    whole = Facts(
        cluster=CLUSTER,
        id=ONE,
        at=NOW,
        instance=instance(),
        fleet=fleet(),
        memory=memory(),
        node=node(),
        nodes_ready={ONE: True, TWO: True},
    )
    return replace(whole, **changes)
