"""Evictions: what is asked, and what each answer of the API server means. The answers are its own, word by word."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from functions.edges.evictions import SLOW_DOWN, TIME_IS_UP, Pace, evict, lanes_of
from functions.edges.kubernetes import KubernetesEdge
from functions.edges.kubernetes_api import Credentials, KubernetesApi
from functions.errors import RetryableError
from functions.remediate.outside import Blocked
from tests.integration.functions.answering import Answer, Request, Server, answer_json, answering
from tests.integration.functions.kubernetes_objects import not_found, status
from tests.unit.functions.builders import pod

PODS = tuple(pod(f"web-{number}") for number in range(5))
EVERY_PATH = {f"/api/v1/namespaces/default/pods/web-{number}/eviction" for number in range(5)}
BUDGETS = "/apis/policy/v1/poddisruptionbudgets?limit=500"
VIOLATES = "Cannot evict pod as it would violate the pod's disruption budget."
SEVERAL = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."


def failure(code: int, message: str, **content: object) -> Answer:
    whole = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message}
    return answer_json(whole | content | {"code": code}, code)


def caused(code: int, message: str, *causes: tuple[str, str]) -> Answer:
    return failure(code, message, details={"causes": [{"reason": reason, "message": said} for reason, said in causes]})


def slow_down(seconds: str) -> Answer:
    headers = {"Retry-After": seconds}
    return Answer(429, b"Too many requests, please try again later.\n", "text/plain; charset=utf-8", headers=headers)


EVICTED = answer_json({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}, 201)
HELD = caused(429, VIOLATES, ("DisruptionBudget", "The disruption budget web needs 2 healthy pods and has 2 currently"))
OTHER_UID = (
    'Operation cannot be fulfilled on Pod "web-0": the UID in the precondition (uid-of-web-0) does not match the UID '
    "in record (5b0d). The object might have been deleted and then recreated"
)
ENDING = 'pods "web-0" is forbidden: unable to create new content in namespace default because it is being terminated'


@dataclass
class Clock:
    """Time goes by only while somebody sleeps."""

    now: float = 100.0
    slept: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def pace(self, within_s: float = 5.0) -> Pace:
        return Pace(within_s, clock=lambda: self.now, sleep=self.sleep)


def edge(server: Server) -> KubernetesEdge:
    return KubernetesEdge(lambda: Credentials(server.url, b"", b"", b""))


def api(server: Server) -> KubernetesApi:
    return KubernetesApi(lambda: Credentials(server.url, b"", b"", b""))


def test_each_pod_is_evicted_only_under_its_uid() -> None:
    with answering(EVICTED) as server:
        assert edge(server).evict(PODS[:2]) == ()
    assert sorted(server.requests, key=lambda request: request.path) == [
        Request(
            "POST",
            f"/api/v1/namespaces/default/pods/{name}/eviction",
            "application/json",
            {
                "apiVersion": "policy/v1",
                "kind": "Eviction",
                "metadata": {"name": name, "namespace": "default"},
                "deleteOptions": {"preconditions": {"uid": f"uid-of-{name}"}},
            },
        )
        for name in ("web-0", "web-1")
    ]


def test_a_grace_stands_in_for_the_pods_own() -> None:
    with answering(EVICTED) as server:
        assert edge(server).evict(PODS[:1], grace_s=10) == ()
    (request,) = server.requests
    assert isinstance(request.body, dict)
    assert request.body["deleteOptions"] == {"gracePeriodSeconds": 10, "preconditions": {"uid": "uid-of-web-0"}}


def test_no_pods_are_no_request() -> None:
    with answering(EVICTED) as server:
        assert edge(server).evict([]) == ()
        assert server.requests == []


GONE = {
    "evicted": EVICTED,
    "evicted, as other versions say it": answer_json({"kind": "Status", "metadata": {}}, 200),
    "gone already": not_found("pods", "web-0"),
    "another one by now": failure(409, OTHER_UID, reason="Conflict"),
    "its namespace takes it away": caused(403, ENDING, ("NamespaceTerminating", "namespace default is being …")),
}


@pytest.mark.parametrize("answer", GONE)
def test_a_pod_that_goes_or_is_gone_is_success(answer: str) -> None:
    with answering(GONE[answer]) as server:
        assert edge(server).evict(PODS) == ()
        assert len(server.requests) == len(PODS)


def test_a_pod_that_a_budget_holds_is_blocked_with_the_api_servers_words() -> None:
    with answering(HELD) as server:
        (blocked,) = edge(server).evict(PODS[:1])
        assert len(server.requests) == 1
    assert blocked == Blocked(PODS[0], "The disruption budget web needs 2 healthy pods and has 2 currently")


def test_answers_are_told_apart_pod_by_pod() -> None:
    held = "/api/v1/namespaces/default/pods/web-1/eviction"
    again = "/api/v1/namespaces/default/pods/web-3/eviction"
    with answering(EVICTED, at={held: HELD, again: failure(500, SEVERAL)}) as server:
        blocked = edge(server).evict(PODS)
    assert [one.pod.name for one in blocked] == ["web-1", "web-3"]
    assert [one.reason.split(".")[0] for one in blocked] == [
        "The disruption budget web needs 2 healthy pods and has 2 currently",
        SEVERAL.rstrip("."),
    ]


def test_a_budget_that_is_still_being_processed_is_no_request_to_slow_down() -> None:
    processed = "The disruption budget web is still being processed by the server."
    answer = Answer(429, caused(429, VIOLATES, ("DisruptionBudget", processed)).body, headers={"Retry-After": "10"})
    with answering(answer) as server:
        assert edge(server).evict(PODS) == tuple(Blocked(one, processed) for one in PODS)


def test_two_budgets_for_one_pod_are_told_as_something_that_a_person_has_to_mend() -> None:
    with answering(failure(500, SEVERAL)) as server:
        (blocked,) = edge(server).evict(PODS[:1])
    assert blocked.reason.startswith(SEVERAL)
    assert "A person has to mend" in blocked.reason


LABELLED = replace(PODS[0], labels={"app": "web", "tier": "front"})
SELECTORS: dict[str, tuple[dict[str, Any] | None, bool]] = {
    "none-at-all": (None, False),
    "everything": ({}, True),
    "label": ({"matchLabels": {"app": "web"}}, True),
    "labels": ({"matchLabels": {"app": "web", "tier": "back"}}, False),
    "in": ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["db", "web"]}]}, True),
    "in-without": ({"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}, False),
    "not-in": ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}, False),
    "not-in-without": ({"matchExpressions": [{"key": "zone", "operator": "NotIn", "values": ["a"]}]}, True),
    "exists": ({"matchExpressions": [{"key": "tier", "operator": "Exists"}]}, True),
    "exists-not": ({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}, False),
    "without": ({"matchExpressions": [{"key": "zone", "operator": "DoesNotExist"}]}, True),
    "another-kind": ({"matchExpressions": [{"key": "tier", "operator": "Gt", "values": ["1"]}]}, False),
    "both": (
        {
            "matchLabels": {"app": "web"},
            "matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["front"]}],
        },
        False,
    ),
}


def test_budgets_that_hold_one_pod_together_are_named_by_what_they_select() -> None:
    def budget(name: str, selector: dict[str, Any] | None, namespace: str = "default") -> dict[str, Any]:
        spec = {"minAvailable": 1} | ({} if selector is None else {"selector": selector})
        return {"metadata": {"namespace": namespace, "name": name}, "spec": spec}

    there = [budget(name, selector) for name, (selector, _) in SELECTORS.items()] + [budget("foreign", {}, "other")]
    listed = answer_json({"metadata": {}, "items": there})
    with answering(failure(500, SEVERAL), at={BUDGETS: listed}) as server:
        (blocked,) = edge(server).evict([LABELLED])
    assert blocked.reason.startswith(f"{SEVERAL} A person has to mend their selectors")
    assert blocked.reason.rpartition(": ")[2].split(", ") == [name for name, (_, holds) in SELECTORS.items() if holds]


def test_without_an_answer_about_budgets_the_api_servers_words_must_do() -> None:
    with answering(failure(500, SEVERAL), at={BUDGETS: failure(500, "no")}) as server:
        (blocked,) = edge(server).evict([LABELLED])
    assert blocked.reason.startswith(SEVERAL)


@pytest.mark.parametrize(
    "why", ["pdb disruptions allowed is negative", "DisruptedPods map too big - too many evictions"]
)
def test_a_budget_that_cannot_count_holds_its_pod_and_is_named(why: str) -> None:
    said = f'poddisruptionbudget.policy "web" is forbidden: {why}'
    with answering(failure(403, said, reason="Forbidden")) as server:
        assert edge(server).evict(PODS[:1]) == (Blocked(PODS[0], said),)


OTHERWISE = {
    "an object that is not the API server's own": Answer(404, b"404 page not found", "text/plain"),
    "a precondition of somebody else": failure(409, "the object has been modified", reason="Conflict"),
    "a webhook's refusal": failure(403, 'admission webhook "no.example" denied the request', reason="Forbidden"),
    "no permission": status(403, "Forbidden"),
    "unknown credentials": status(401, "Unauthorized"),
    "trouble inside": failure(500, "etcdserver: request timed out", reason="InternalError"),
    "a load balancer's page": Answer(503, b"<html>", "text/html"),
    "causes that are none": failure(403, "?", details={"causes": None}),
    "something else with a good status": Answer(200, b"<html>"),
}


@pytest.mark.parametrize("answer", OTHERWISE)
def test_one_pod_that_fails_keeps_no_other_from_being_evicted_and_is_told(answer: str) -> None:
    with answering(OTHERWISE[answer], EVICTED) as server, pytest.raises(RetryableError, match="evict Pod default/web-"):
        edge(server).evict(PODS)
    assert {request.path for request in server.requests} == EVERY_PATH


def test_what_the_api_server_says_about_a_failure_is_told() -> None:
    with answering(OTHERWISE["a webhook's refusal"]) as server, pytest.raises(RetryableError, match=r"no\.example"):
        edge(server).evict(PODS[:1])


def test_a_request_to_slow_down_is_kept_and_the_eviction_made_then() -> None:
    clock = Clock()
    with answering(slow_down("2"), slow_down("1"), EVICTED) as server:
        assert evict(api(server), PODS[:1], clock.pace) == ()
        assert len(server.requests) == 3
    assert clock.slept == [2.0, 1.0]


@pytest.mark.parametrize("told", ["", "soon", "-1", "Sat, 21 Nov 2026 12:00:00 GMT"])
def test_a_request_to_slow_down_that_names_no_seconds_is_a_second(told: str) -> None:
    clock = Clock()
    with answering(slow_down(told), EVICTED) as server:
        assert evict(api(server), PODS[:1], clock.pace) == ()
    assert clock.slept == [1.0]


def test_a_request_to_slow_down_for_longer_than_there_is_time_blocks_all_that_were_not_got_to() -> None:
    clock = Clock()
    many = tuple(pod(f"web-{number}") for number in range(200))
    with answering(slow_down("60")) as server:
        assert evict(api(server), many, clock.pace) == tuple(Blocked(one, SLOW_DOWN) for one in many)
        assert len(server.requests) < len(many), "the others heard what the first ones were told"
    assert clock.slept == []


def test_an_api_server_that_asks_again_and_again_to_slow_down_is_obeyed_until_the_time_is_up() -> None:
    clock = Clock()
    with answering(slow_down("2")) as server:
        assert evict(api(server), PODS[:1], lambda: clock.pace(within_s=5.0)) == (Blocked(PODS[0], SLOW_DOWN),)
        assert len(server.requests) == 3
    assert clock.now == 104.0


def test_a_pod_whose_turn_comes_too_late_is_not_asked_for() -> None:
    clock = Clock()
    pace = clock.pace(within_s=5.0)
    clock.sleep(5.0)
    with answering(EVICTED) as server:
        assert evict(api(server), PODS[:1], lambda: pace) == (Blocked(PODS[0], TIME_IS_UP),)
        assert server.requests == []


OWNED = tuple(replace(one, owner="web") for one in PODS)


def budgets(*namespaces: str) -> Answer:
    return answer_json({"metadata": {}, "items": [{"metadata": {"namespace": one}} for one in namespaces]})


def test_pods_of_one_controller_go_one_after_another_where_a_budget_may_hold_them() -> None:
    lanes = lanes_of((*OWNED, replace(pod("db"), owner="db"), pod("bare")), {"default"})
    assert [[one.name for one in lane] for lane in lanes] == [
        ["web-0", "web-1", "web-2", "web-3", "web-4"],
        ["db"],
        ["bare"],
    ]
    assert [len(lane) for lane in lanes_of(OWNED, {"other"})] == [1] * 5


def test_budgets_are_asked_for_once_and_only_when_pods_may_share_one() -> None:
    with answering(EVICTED, at={BUDGETS: budgets("default")}) as server:
        assert edge(server).evict((*PODS, OWNED[0])) == ()
        assert BUDGETS not in [request.path for request in server.requests]
        assert edge(server).evict(OWNED) == ()
    paths = [request.path for request in server.requests[6:]]
    assert paths == [BUDGETS, *(f"/api/v1/namespaces/default/pods/web-{number}/eviction" for number in range(5))]


def test_one_that_fails_in_its_turn_keeps_none_after_it_from_going() -> None:
    first = "/api/v1/namespaces/default/pods/web-0/eviction"
    with answering(EVICTED, at={BUDGETS: budgets("default"), first: failure(500, "no")}) as server:
        with pytest.raises(RetryableError, match="web-0"):
            edge(server).evict(OWNED)
        assert len([request for request in server.requests if request.method == "POST"]) == 5


def test_without_an_answer_about_budgets_pods_that_may_share_one_go_one_after_another() -> None:
    with answering(EVICTED, at={BUDGETS: failure(500, "no")}) as server:
        assert edge(server).evict(OWNED) == ()
    paths = [request.path for request in server.requests[1:]]
    assert paths == [f"/api/v1/namespaces/default/pods/web-{number}/eviction" for number in range(5)]


def test_the_time_for_asking_begins_when_the_first_may_be_asked_for() -> None:
    begun: list[int] = []
    with answering(EVICTED, at={BUDGETS: budgets("default")}) as server:

        def pace() -> Pace:
            begun.append(len(server.requests))
            return Pace(5.0)

        assert evict(api(server), OWNED, pace) == ()
    assert begun == [1]
