"""The two functions that let machines in are called by an instance alone, and only their own word counts."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from functions.edges.functions import JoiningEdge
from functions.errors import ConfigurationError, RetryableError
from functions.remediate.outside import Answer as Told
from tests.integration.functions.answering import Answer, answer_json, answering
from tests.integration.functions.test_aws_errors import client, json_error
from tests.unit.functions.builders import ONE

CALLS: dict[str, Callable[[JoiningEdge], Told]] = {
    "mint": lambda edge: edge.mint(ONE),
    "approve": lambda edge: edge.approve(ONE),
}


def edge_at(url: str) -> JoiningEdge:
    return JoiningEdge(client("lambda", url), mint="regrow-drill-mint", approve="regrow-drill-approve")


@pytest.mark.parametrize("name", CALLS)
def test_a_function_is_told_the_instance_and_answers_what_it_did(name: str) -> None:
    with answering(answer_json({"did": "held", "reason": "EC2 does not answer", "more": []})) as server:
        assert CALLS[name](edge_at(server.url)) == Told("held", "EC2 does not answer")
    (request,) = server.requests
    assert f"/functions/regrow-drill-{name}/invocations" in request.path
    assert json.loads(request.body) == {"machine": ONE}


def test_all_pending_requests_are_asked_for_with_no_machine() -> None:
    with answering(answer_json({"did": "nothing", "reason": "no request is pending"})) as server:
        edge_at(server.url).approve(None)
    assert json.loads(server.requests[0].body) == {}


@pytest.mark.parametrize(
    "content", [None, [], {}, {"did": "minted"}, {"errorMessage": "x"}], ids=lambda one: json.dumps(one)
)
def test_an_answer_that_is_not_understood_says_nothing(content: object) -> None:
    with (
        answering(answer_json(content)) as server,
        pytest.raises(RetryableError, match="regrow-drill-mint answered what is not understood"),
    ):
        edge_at(server.url).mint(ONE)


def test_a_function_that_failed_says_nothing() -> None:
    failed = Answer(body=b'{"errorMessage": "killed"}', headers={"X-Amz-Function-Error": "Unhandled"})
    with (
        answering(failed) as server,
        pytest.raises(RetryableError, match=r"regrow-drill-mint failed \(Unhandled\).*killed"),
    ):
        edge_at(server.url).mint(ONE)


@pytest.mark.parametrize(
    ("code", "error"),
    [("TooManyRequestsException", RetryableError), ("AccessDeniedException", ConfigurationError)],
)
def test_a_call_that_lambda_refuses_is_told_apart(code: str, error: type[Exception]) -> None:
    with answering(json_error(code)) as server, pytest.raises(error, match="Invoke regrow-drill-mint"):
        edge_at(server.url).mint(ONE)
