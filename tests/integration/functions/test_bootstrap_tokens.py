"""What the minter sends to the API server, and that no answer is taken for more than it says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from functions.cluster.facts import Absent
from functions.cluster.machine import Node, Role
from functions.edges.bootstrap_tokens import BootstrapTokensEdge
from functions.edges.kubernetes_api import Credentials
from functions.errors import ConflictError, RetryableError
from functions.join.delivery import ApiServer
from functions.join.token import Token, draw
from tests.integration.functions.answering import Answer, Request, Server, answer_json, answering
from tests.integration.functions.kubernetes_objects import node_json, not_found, status
from tests.unit.functions.builders import NOW, ONE

SECRETS = "/api/v1/namespaces/kube-system/secrets"
OURS = "system:bootstrappers:regrow:worker"
ALLOWED, DENIED = ({"metadata": {}, "status": {"allowed": said}} for said in (True, False))
CREATED = {"kind": "Secret", "metadata": {"name": "bootstrap-token-abcdef", "uid": "the-uid"}}


def edge(server: Server) -> BootstrapTokensEdge:
    return BootstrapTokensEdge(lambda: Credentials(server.url, b"the authority", b"", b""))


def a_token() -> Token:
    letters = iter("abcdef" + "0123456789abcdef")
    return draw(ONE, Role.WORKER, lambda _: next(letters), now=NOW)


def create(tokens: BootstrapTokensEdge) -> object:
    return tokens.create_token(a_token())


def delete(tokens: BootstrapTokensEdge) -> None:
    tokens.delete_token("abcdef", "the-uid")


def review(tokens: BootstrapTokensEdge) -> object:
    return tokens.approves_unseen(OURS)


def read_signing(tokens: BootstrapTokensEdge) -> object:
    return tokens.signing_tokens()


def read_version(tokens: BootstrapTokensEdge) -> object:
    return tokens.version()


def read_node(tokens: BootstrapTokensEdge) -> object:
    return tokens.node(ONE)


CALLS = [create, delete, review, read_signing, read_version, read_node]


def test_a_token_is_created_with_its_own_group_an_end_and_no_right_to_sign() -> None:
    with answering(answer_json(CREATED, 201)) as server:
        assert edge(server).create_token(a_token()) == "the-uid"
    assert server.requests == [
        Request(
            "POST",
            SECRETS,
            "application/json",
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": "bootstrap-token-abcdef", "namespace": "kube-system"},
                "type": "bootstrap.kubernetes.io/token",
                "stringData": {
                    "token-id": "abcdef",
                    "token-secret": "0123456789abcdef",
                    "expiration": "2026-11-21T12:15:00Z",
                    "usage-bootstrap-authentication": "true",
                    "auth-extra-groups": OURS,
                    "description": ONE,
                },
            },
        )
    ]


def test_an_id_that_is_taken_is_a_conflict() -> None:
    with answering(status(409, "AlreadyExists")) as server, pytest.raises(ConflictError, match="409"):
        create(edge(server))


@pytest.mark.parametrize(
    ("uid", "body"), [("the-uid", {"preconditions": {"uid": "the-uid"}}), (None, {})], ids=["known", "unknown"]
)
def test_a_token_is_deleted_under_its_uid_where_that_is_known(uid: str | None, body: dict[str, Any]) -> None:
    with answering(answer_json({"kind": "Status", "metadata": {}, "status": "Success"})) as server:
        edge(server).delete_token("abcdef", uid)
    assert server.requests == [Request("DELETE", f"{SECRETS}/bootstrap-token-abcdef", "application/json", body)]


@pytest.mark.parametrize("answer", [not_found("secrets", "bootstrap-token-abcdef"), status(409, "Conflict")])
def test_a_token_that_is_gone_or_another_one_by_now_needs_no_deletion(answer: Answer) -> None:
    with answering(answer) as server:
        delete(edge(server))
        assert len(server.requests) == 1


def test_the_review_asks_what_the_controller_manager_would_ask_of_such_a_token() -> None:
    with answering(answer_json(DENIED, 201)) as server:
        assert edge(server).approves_unseen(OURS) is False
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews")
    assert request.body["spec"] == {
        "user": "system:bootstrap:aaaaaa",
        "groups": ["system:bootstrappers", OURS, "system:authenticated"],
        "resourceAttributes": {
            "group": "certificates.k8s.io",
            "version": "*",
            "resource": "certificatesigningrequests",
            "subresource": "nodeclient",
            "verb": "create",
        },
    }


def test_a_review_that_allows_is_believed_whatever_else_failed() -> None:
    allowed = {"metadata": {}, "status": {"allowed": True, "evaluationError": "a webhook is away"}}
    for content in (ALLOWED, allowed):
        with answering(answer_json(content, 201)) as server:
            assert review(edge(server)) is True


@pytest.mark.parametrize(
    "said",
    [None, {}, {"allowed": None}, {"allowed": "false"}, {"allowed": False, "evaluationError": "webhook is away"}],
)
def test_a_review_that_is_not_whole_is_no_denial(said: object) -> None:
    with answering(answer_json({"metadata": {}, "status": said}, 201)) as server, pytest.raises(RetryableError):
        review(edge(server))


@pytest.mark.parametrize(
    ("published", "ids"),
    [
        (
            {"data": {"kubeconfig": "…", "jws-kubeconfig-zzzzzz": "x..y", "jws-kubeconfig-abcdef": "x..y"}},
            ("abcdef", "zzzzzz"),
        ),
        ({"data": {"kubeconfig": "…"}}, ()),
        ({"data": None}, ()),
        ({}, ()),
    ],
)
def test_the_tokens_that_sign_cluster_info_are_named(published: dict[str, Any], ids: tuple[str, ...]) -> None:
    with answering(answer_json({"metadata": {}} | published)) as server:
        assert edge(server).signing_tokens() == ids
    assert server.requests[0].path == "/api/v1/namespaces/kube-public/configmaps/cluster-info"


def test_no_cluster_info_is_signed_by_nobody() -> None:
    with answering(not_found("configmaps", "cluster-info")) as server:
        assert read_signing(edge(server)) == ()


def test_the_version_is_the_api_servers_own() -> None:
    with answering(answer_json({"major": "1", "minor": "36", "gitVersion": "v1.36.3"})) as server:
        assert edge(server).version() == "v1.36.3"
    assert server.requests[0].path == "/version/"


@pytest.mark.parametrize("content", [{}, {"gitVersion": None}, {"gitVersion": 1}, [], "v1.36.3"])
def test_a_version_that_is_not_said_is_no_version(content: object) -> None:
    with answering(answer_json(content)) as server, pytest.raises(RetryableError, match="cannot be read"):
        read_version(edge(server))


def test_a_node_is_read_by_name_and_absent_only_by_the_api_servers_own_word() -> None:
    with answering(answer_json(node_json()), not_found("nodes", ONE)) as server:
        tokens = edge(server)
        assert isinstance(tokens.node(ONE), Node)
        assert tokens.node(ONE) == Absent()


def test_the_api_server_is_the_one_that_was_published_with_the_credentials() -> None:
    with answering(answer_json({})) as server:
        assert edge(server).api_server() == ApiServer(server.url, b"the authority")
    assert server.requests == []


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("code", [400, 401, 403, 422, 429, 500, 503])
def test_an_error_is_retryable_and_says_which_call(call: Callable[[BootstrapTokensEdge], object], code: int) -> None:
    with answering(status(code, "Whatever")) as server, pytest.raises(RetryableError, match=f"Kubernetes .*: {code}"):
        call(edge(server))


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("body", [b"<html>", b"", b"null", b"[]", b"{}", b'{"metadata": []}', b"\xff"])
def test_a_good_status_with_something_else_in_it_is_no_answer(
    call: Callable[[BootstrapTokensEdge], object], body: bytes
) -> None:
    with answering(Answer(200, body)) as server, pytest.raises(RetryableError, match="cannot be read"):
        call(edge(server))


def test_a_secret_without_a_uid_was_not_created() -> None:
    with answering(answer_json({"metadata": {}}, 201)) as server, pytest.raises(RetryableError, match="no Secret"):
        create(edge(server))


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, b'["0123456789abcdef"]'),
        Answer(200, b"0123456789abcdef"),
        Answer(502, b"<html>you sent 0123456789abcdef</html>", "text/html"),
    ],
)
def test_an_answer_that_quotes_the_secret_brings_it_into_no_message(answer: Answer) -> None:
    with answering(answer) as server, pytest.raises(RetryableError) as raised:
        create(edge(server))
    assert "0123456789abcdef" not in str(raised.value)


def test_refused_credentials_are_read_again() -> None:
    reads: list[None] = []

    def read() -> Credentials:
        reads.append(None)
        return Credentials(server.url, b"", b"", b"")

    with answering(status(401, "Unauthorized"), answer_json({"gitVersion": "v1.36.3"})) as server:
        tokens = BootstrapTokensEdge(read)
        with pytest.raises(RetryableError):
            tokens.version()
        assert tokens.version() == "v1.36.3"
    assert len(reads) == 2
