"""Pending certificate requests are read as the API server has them, and only what was looked at is decided."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from functions.cluster.facts import Absent
from functions.edges.certificate_requests import CertificateRequestsEdge
from functions.edges.kubernetes_api import Credentials
from functions.errors import ConflictError, RetryableError
from functions.join.certificate_request import CertificateRequest
from infra.local.drills.csrs import client_csr
from tests.integration.functions.answering import Answer, Request, Server, answer_json, answering
from tests.integration.functions.kubernetes_objects import node_json, not_found, status
from tests.unit.functions.builders import NOW, ONE

PATH = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
CSR = client_csr(ONE)
REASON, MESSAGE = "RegrowInstanceVerified", f"{ONE} in group workers"
APPROVED = {
    "type": "Approved",
    "status": "True",
    "reason": REASON,
    "message": MESSAGE,
    "lastUpdateTime": "2026-11-21T12:00:00Z",
}


def request_json(name: str = "csr-abcde", **status_: Any) -> dict[str, Any]:
    """An item of a list: without kind and apiVersion."""
    return {
        "metadata": {
            "name": name,
            "generateName": "csr-",
            "uid": f"uid-of-{name}",
            "resourceVersion": "517",
            "creationTimestamp": "2026-11-21T11:59:58Z",
            "managedFields": [{"manager": "kubelet", "operation": "Update", "apiVersion": "certificates.k8s.io/v1"}],
        },
        "spec": {
            "request": CSR,
            "signerName": "kubernetes.io/kube-apiserver-client-kubelet",
            "usages": ["digital signature", "client auth"],
            "username": "system:bootstrap:aaaaaa",
            "groups": ["system:bootstrappers", "system:authenticated"],
        },
        "status": status_,
    }


def list_json(*items: dict[str, Any]) -> Answer:
    return answer_json({"kind": "CertificateSigningRequestList", "metadata": {}, "items": list(items)})


def edge(server: Server) -> CertificateRequestsEdge:
    return CertificateRequestsEdge(lambda: Credentials(server.url, b"", b"", b""))


def the_pending_one(raw: dict[str, Any]) -> CertificateRequest:
    with answering(list_json(raw)) as server:
        (request,) = edge(server).requests()
    return request


def test_a_pending_request_is_read_whole() -> None:
    assert the_pending_one(request_json()) == CertificateRequest(
        name="csr-abcde",
        uid="uid-of-csr-abcde",
        created_at=datetime(2026, 11, 21, 11, 59, 58, tzinfo=UTC),
        signer="kubernetes.io/kube-apiserver-client-kubelet",
        username="system:bootstrap:aaaaaa",
        user_uid="",
        groups=("system:bootstrappers", "system:authenticated"),
        extra={},
        usages=("digital signature", "client auth"),
        expiration_s=None,
        request=CSR,
        whole={},
    )


def test_what_a_node_brings_with_it_is_read_too() -> None:
    raw = request_json()
    identity = "authentication.kubernetes.io/credential-id"
    raw["spec"] |= {"extra": {identity: ["X509SHA256=00"]}, "uid": "7", "expirationSeconds": 86_400}
    request = the_pending_one(raw)
    assert (request.extra, request.user_uid, request.expiration_s) == ({identity: ("X509SHA256=00",)}, "7", 86_400)


def test_c31_requests_that_somebody_has_decided_or_that_have_failed_are_not_pending() -> None:
    decided = [
        request_json(word, conditions=[{"type": word, "status": "True"}]) for word in ("Approved", "Denied", "Failed")
    ]
    issued = request_json("issued", certificate="LS0t")
    first = answer_json({"metadata": {"continue": "token/1"}, "items": decided})
    with answering(first, list_json(issued, request_json("pending"))) as server:
        assert [(one.name, one.issued) for one in edge(server).requests()] == [("issued", "LS0t"), ("pending", None)]
    assert [one.path for one in server.requests] == [f"{PATH}?limit=500", f"{PATH}?continue=token%2F1&limit=500"]


@pytest.mark.parametrize("word", ["Approved", "Denied"])
def test_the_whole_object_is_put_back_as_it_was_read_with_one_condition_more(word: str) -> None:
    other = {"type": "Seen", "status": "True"}
    raw = request_json(conditions=[other])
    request = the_pending_one(raw)
    with answering(answer_json(raw)) as server:
        decide = edge(server).approve if word == "Approved" else edge(server).deny
        decide(request, reason=REASON, message=MESSAGE, at=NOW)
    kind = {"kind": "CertificateSigningRequest", "apiVersion": "certificates.k8s.io/v1"}
    body = raw | kind | {"status": {"conditions": [other, APPROVED | {"type": word}]}}
    assert server.requests == [Request("PUT", f"{PATH}/csr-abcde/approval", "application/json", body)]
    assert body["metadata"]["uid"] == "uid-of-csr-abcde"
    assert body["metadata"]["resourceVersion"] == "517"
    assert raw["status"] == {"conditions": [other]}


def test_c24_a_request_that_has_changed_since_it_was_read_is_a_conflict() -> None:
    request = the_pending_one(request_json())
    with answering(status(409, "Conflict")) as server, pytest.raises(ConflictError, match="csr-abcde"):
        edge(server).approve(request, reason=REASON, message=MESSAGE, at=NOW)


@pytest.mark.parametrize(
    "answer",
    [
        not_found("certificatesigningrequests", "csr-abcde"),
        status(403, "Forbidden"),
        status(500, "InternalError"),
        Answer(200, b"<html>"),
    ],
)
def test_a_word_that_was_not_taken_is_an_error(answer: Answer) -> None:
    request = the_pending_one(request_json())
    with answering(answer) as server, pytest.raises(RetryableError):
        edge(server).deny(request, reason=REASON, message=MESSAGE, at=NOW)


@pytest.mark.parametrize("answer", [status(403, "Forbidden"), Answer(200, b"<html>"), Answer(503, b"")])
def test_requests_that_cannot_be_listed_are_an_error(answer: Answer) -> None:
    with answering(answer) as server, pytest.raises(RetryableError):
        edge(server).requests()


def test_a_node_is_there_or_not() -> None:
    with answering(answer_json(node_json()), not_found("nodes", ONE)) as server:
        approver = edge(server)
        node = approver.node(ONE)
        assert not isinstance(node, Absent)
        assert node.ready
        assert approver.node(ONE) == Absent()
