"""Only the API server's own word about an object means absent; everything else is no answer, whatever it looks like."""

from __future__ import annotations

import socket
from collections.abc import Callable
from threading import Thread

import pytest

from functions.cluster.facts import Absent
from functions.cluster.machine import Node
from functions.edges.kubernetes import KubernetesEdge
from functions.edges.kubernetes_api import Credentials
from functions.errors import ConfigurationError, ConflictError, RetryableError
from tests.integration.functions.answering import Answer, answer_json, answering, closed_port
from tests.integration.functions.kubernetes_objects import node_json, not_found, status
from tests.unit.functions.builders import NOW, ONE, node, pod


def edge(url: str) -> KubernetesEdge:
    return KubernetesEdge(lambda: Credentials(url, b"", b"", b""))


def read(kubernetes: KubernetesEdge) -> object:
    return kubernetes.node(ONE)


def list_nodes(kubernetes: KubernetesEdge) -> object:
    return kubernetes.nodes()


def fence(kubernetes: KubernetesEdge) -> None:
    kubernetes.fence(node(), at=NOW)


def delete(kubernetes: KubernetesEdge) -> None:
    kubernetes.delete_node(ONE, "uid-of-it")


def delete_pods(kubernetes: KubernetesEdge) -> None:
    kubernetes.delete_pods([pod()], grace_s=0)


CALLS = [read, list_nodes, fence, delete, delete_pods]
CHANGES = [fence, delete, delete_pods]


def test_a_node_that_the_api_server_says_is_not_there_is_absent() -> None:
    with answering(not_found("nodes", ONE)) as server:
        assert edge(server.url).node(ONE) == Absent()


@pytest.mark.parametrize("call", CHANGES)
def test_what_is_gone_already_needs_no_change(call: Callable[[KubernetesEdge], object]) -> None:
    with answering(not_found("nodes", ONE)) as server:
        call(edge(server.url))
        assert len(server.requests) == 1


NOT_ITS_WORD = {
    "a proxy's page": Answer(404, b"<html>404 Not Found</html>", "text/html"),
    "plain text": Answer(404, b"404 page not found\n", "text/plain"),
    "other JSON": answer_json({"message": "no route"}, 404),
    "a list": answer_json([], 404),
    "nothing": Answer(404, b""),
    "a path that is not served": answer_json(
        {"kind": "Status", "status": "Failure", "reason": "NotFound", "details": {}, "code": 404}, 404
    ),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("answer", NOT_ITS_WORD)
def test_a_404_of_anything_else_is_no_answer(call: Callable[[KubernetesEdge], object], answer: str) -> None:
    with answering(NOT_ITS_WORD[answer]) as server, pytest.raises(RetryableError, match=r"Kubernetes .*: 404"):
        call(edge(server.url))


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("code", [400, 401, 403, 410, 422, 429, 500, 502, 503, 504])
def test_an_error_is_retryable_and_says_which_call_and_status(
    call: Callable[[KubernetesEdge], object], code: int
) -> None:
    with answering(status(code, "Whatever")) as server, pytest.raises(RetryableError, match=f"Kubernetes .*: {code}"):
        call(edge(server.url))


@pytest.mark.parametrize("call", [fence, delete])
def test_a_precondition_that_does_not_hold_is_a_conflict(call: Callable[[KubernetesEdge], object]) -> None:
    with answering(status(409, "Conflict")) as server, pytest.raises(ConflictError, match="409"):
        call(edge(server.url))


def test_a_pod_that_is_another_one_by_now_is_left_and_success() -> None:
    with answering(status(409, "Conflict")) as server:
        delete_pods(edge(server.url))
        assert len(server.requests) == 1


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("body", [b"<html>", b"", b"null", b"[]", b'"text"', b"{}", b'{"metadata": []}', b"\xff\xfe"])
def test_a_good_status_with_something_else_in_it_is_no_answer(
    call: Callable[[KubernetesEdge], object], body: bytes
) -> None:
    with answering(Answer(200, body)) as server, pytest.raises(RetryableError, match="cannot be read"):
        call(edge(server.url))


def test_an_object_where_a_list_should_be_is_no_empty_list() -> None:
    with answering(answer_json(node_json())) as server, pytest.raises(RetryableError, match="not a list"):
        edge(server.url).nodes()


def test_a_list_that_breaks_off_is_no_shorter_list() -> None:
    first = answer_json({"metadata": {"continue": "more"}, "items": [node_json()]})
    with answering(first, status(410, "Expired")) as server, pytest.raises(RetryableError, match="410"):
        edge(server.url).nodes()


def test_a_server_that_nobody_serves_is_retryable() -> None:
    with pytest.raises(RetryableError, match="Kubernetes get Node: NewConnectionError"):
        edge(f"http://127.0.0.1:{closed_port()}").node(ONE)


def test_a_name_that_does_not_resolve_is_retryable() -> None:
    with pytest.raises(RetryableError, match="Kubernetes get Node"):
        edge("http://api.invalid").node(ONE)


def test_a_server_that_does_not_answer_in_time_is_retryable() -> None:
    with answering(Answer(hangs=True)) as server:
        kubernetes = KubernetesEdge(lambda: Credentials(server.url, b"", b"", b""), timeout_s=(0.2, 0.2))
        with pytest.raises(RetryableError, match="ReadTimeoutError"):
            kubernetes.node(ONE)


def test_a_connection_that_is_closed_in_the_middle_is_retryable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def hang_up() -> None:
            connection, _ = listening.accept()
            connection.recv(100)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
            connection.close()

        thread = Thread(target=hang_up)
        thread.start()
        with pytest.raises(RetryableError, match="Kubernetes get Node"):
            edge(f"http://127.0.0.1:{listening.getsockname()[1]}").node(ONE)
        thread.join()


def test_certificates_that_are_none_are_no_answer() -> None:
    with answering(Answer()) as server, pytest.raises(RetryableError, match="Kubernetes get Node"):
        edge(server.url.replace("http:", "https:")).node(ONE)


def test_credentials_are_read_again_after_the_api_server_has_refused_them() -> None:
    asked: list[int] = []

    def credentials() -> Credentials:
        asked.append(1)
        return Credentials(server.url, b"", b"", b"")

    with answering(answer_json(node_json()), status(401, "Unauthorized"), answer_json(node_json())) as server:
        kubernetes = KubernetesEdge(credentials)
        kubernetes.node(ONE)
        with pytest.raises(RetryableError, match="401"):
            kubernetes.node(ONE)
        assert isinstance(kubernetes.node(ONE), Node)
    assert len(asked) == 2


def test_credentials_that_cannot_be_read_name_where_they_should_be() -> None:
    def credentials() -> Credentials:
        return Credentials.from_json("{}", source="the parameter /regrow/drill/kubeconfig/remediate")

    with pytest.raises(ConfigurationError, match="/regrow/drill/kubeconfig/remediate does not hold a kubeconfig"):
        KubernetesEdge(credentials).node(ONE)


@pytest.mark.parametrize("failed", [status(403, "Forbidden"), Answer(200, b"{}")])
def test_one_pod_that_could_not_be_deleted_is_told_after_all_others_were(failed: Answer) -> None:
    done = answer_json({"kind": "Status", "metadata": {}, "status": "Success"})
    with answering(failed, done) as server, pytest.raises(RetryableError):
        edge(server.url).delete_pods([pod(f"web-{number}") for number in range(5)], grace_s=0)
    assert {request.path for request in server.requests} == {
        f"/api/v1/namespaces/default/pods/web-{number}" for number in range(5)
    }
