"""Small builders of what the minter sees: a machine that was just launched and may join, unless a test says more."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import timedelta
from typing import Any

from functions.cluster.facts import Absent
from functions.cluster.joining import Admission, Approval, JoinRecord, JoinState
from functions.cluster.machine import VERSION_TAG, Instance, Role
from functions.join.admit import ClusterFacts, JoinFacts
from functions.join.delivery import ApiServer
from functions.join.token import TOKEN_LIFE
from tests.unit.functions.builders import NOW, ONE, TWO, WORKERS, group, instance, member

IMAGE = "ami-0123456789abcdef0"
DEADLINE = timedelta(seconds=480)
LATER = NOW + timedelta(minutes=2)
API_SERVER = ApiServer("https://api.drill.test:6443", b"-----BEGIN CERTIFICATE-----\n")


def launched(**changes: Any) -> Instance:
    whole: dict[str, Any] = {"launched_at": NOW, "image": IMAGE, "zone": "us-east-1a"}
    return instance(**(whole | changes))


def join(state: JoinState = JoinState.ISSUED, **changes: Any) -> JoinRecord:
    """The record of a mint that began when the machine was launched."""
    issued = JoinRecord(
        instance=ONE,
        launched_at=NOW,
        group=WORKERS,
        role=Role.WORKER,
        node_name=ONE,
        zone="us-east-1a",
        image=IMAGE,
        token_id="abc123",
        state=state,
        issued_at=NOW,
        expires_at=NOW + TOKEN_LIFE,
        busy_until=NOW + timedelta(seconds=25),
        secret_uid=None if state is JoinState.MINTING else "uid-of-abc123",
        ended_because="it has joined" if state is JoinState.ENDED else None,
    )
    return replace(issued, **changes)


def denied(**changes: Any) -> Approval:
    return replace(Approval(ONE, NOW, denied="it asked for the name of another machine"), **changes)


def admission(**changes: Any) -> Admission:
    """Of ONE, after its launch, and still good for a while at LATER."""
    return replace(Admission(ONE, until=LATER + timedelta(minutes=5), written_at=NOW), **changes)


def seen(**changes: Any) -> ClusterFacts:
    whole = ClusterFacts(
        node=Absent(),
        version="v1.36.3",
        signing=(),
        approved_unseen=(),
        api_server=API_SERVER,
        image_tags={VERSION_TAG: "v1.36.3"},
    )
    return replace(whole, **changes)


def launch(**changes: Any) -> JoinFacts:
    """Facts about ONE; a change may be of what AWS and the table say, or of what the cluster says."""
    whole = JoinFacts(
        id=ONE,
        instance=launched(),
        groups=(group(member(ONE, "Pending:Wait"), member(TWO)),),
        joins=(),
        approvals=(),
        cluster_facts=seen(),
    )
    of_cluster = {field.name for field in fields(ClusterFacts)}
    cluster_facts = replace(seen(), **{name: fact for name, fact in changes.items() if name in of_cluster})
    own = {name: fact for name, fact in changes.items() if name not in of_cluster}
    return replace(whole, **({"cluster_facts": cluster_facts} | own))
