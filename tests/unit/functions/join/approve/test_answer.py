"""A call says what became of each request, and none of them stands in the way of another."""

from __future__ import annotations

from datetime import timedelta

import pytest

from functions.errors import PermanentError, RetryableError
from functions.join.approve import MOST_OF_ONE_MACHINE, answer
from infra.local.drills.csrs import a_key, client_csr, dns, serving_csr
from tests.unit.functions.builders import CLUSTER, NOW, ONE, TWO, member
from tests.unit.functions.join.approve.cluster import (
    Call,
    Cluster,
    a_machine,
    a_record,
    an_approval,
    client_request,
    cluster,
    lists,
    serving_request,
)


def two_machines() -> Cluster:
    return cluster(
        client_request(name="one"),
        client_request(client_csr(TWO, key=a_key(2)), of=TWO, name="two"),
        instances={ONE: a_machine(), TWO: a_machine(TWO)},
        joins=(a_record(), a_record(TWO)),
        groups=lists(member(ONE, "Pending:Wait"), member(TWO, "Pending:Wait")),
    )


@pytest.mark.parametrize(
    "request_",
    [
        None,
        [],
        "i-00000000000000001",
        {"machine": "i-1"},
        {"machine": None},
        {"machine": ONE, "force": True},
        {"all": 1},
    ],
    ids=str,
)
def test_a_call_that_is_not_understood_is_refused(request_: object) -> None:
    world = cluster(client_request())
    with pytest.raises(PermanentError):
        answer(request_, world.outside(), cluster=CLUSTER, now=NOW)
    assert world.calls == []


def test_a_call_about_one_machine_decides_its_requests_alone() -> None:
    world = two_machines()
    said = world.approve(ONE)
    assert list(world.decided) == ["one"]
    assert said["did"] == "approved"
    assert [entry["request"] for entry in said["approved"]] == ["one"]
    assert (said["denied"], said["held"], said["ignored"]) == ([], [], [])


def test_with_nothing_pending_one_call_to_the_api_server_is_all_it_takes() -> None:
    world = cluster()
    assert world.approve() == {
        "did": "nothing",
        "reason": "nothing that we decide is pending",
        "convicted": [],
        "approved": [],
        "denied": [],
        "held": [],
        "ignored": [],
    }
    assert [call.method for call in world.calls] == ["requests"]


def test_each_request_is_in_the_answer_with_its_machine_and_why() -> None:
    world = two_machines()
    world.requests["evil"] = client_request(client_csr("i-0000000000000eeee"), of=TWO, name="evil", uid="3")
    world.requests["other"] = client_request(name="other", signer="example.com/mine")
    world.requests["serves"] = serving_request(name="serves")
    world.approvals = {an_approval().launch: an_approval()}
    world.groups = lists(member(ONE, "Pending:Wait"))
    said = world.approve()
    where = {word: [(one["request"], one["machine"]) for one in said[word]] for word in ("approved", "denied", "held")}
    assert where == {"approved": [("one", ONE), ("serves", ONE)], "denied": [("evil", TWO), ("two", TWO)], "held": []}
    assert [one["request"] for one in said["ignored"]] == ["other"]
    assert said["did"] == "denied"
    assert all(entry["reason"] and entry["uid"] and entry["signer"] for word in where for entry in said[word])


def test_one_request_that_cannot_be_decided_does_not_stop_the_others() -> None:
    world = two_machines()

    def fail(call: Call) -> None:
        if call.method == "Approved" and not world.decided and len(world.approvals) == 1:
            raise RetryableError("the connection was closed")

    world.before = fail
    said = world.approve()
    assert [entry["request"] for entry in said["held"]] == ["one"]
    assert [entry["request"] for entry in said["approved"]] == ["two"]
    world.approve()
    assert {word for word, _ in world.decided.values()} == {"Approved"}


@pytest.mark.parametrize("of_a_machine", [True, False])
def test_c26_five_hundred_requests_that_sort_first_do_not_keep_the_good_one_waiting(of_a_machine: bool) -> None:
    junk = client_csr("i-0000000000000eeee")
    world = two_machines()
    del world.requests["two"]
    user = "system:bootstrap:bbbbbb" if of_a_machine else "system:bootstrap:zzzzzz"
    for number in range(500):
        name = f"a-{number:03}"
        world.requests[name] = client_request(junk, name=name, username=user, created_at=NOW - timedelta(seconds=50))
    said = world.approve()
    assert world.decided["one"][0] == "Approved"
    assert len(world.decided) == 1 + (MOST_OF_ONE_MACHINE if of_a_machine else 0)
    assert len(said["held"]) == (500 - MOST_OF_ONE_MACHINE if of_a_machine else 0)
    assert len(world.calls) < 40
    assert len(said["reason"]) < 1000


def test_a_call_about_everything_reads_of_the_table_what_its_requests_need() -> None:
    """A machine that renews its certificate names itself: neither all joins nor anybody else's approval is read."""
    serves = cluster(
        serving_request(),
        serving_request(serving_csr(ONE, dns(ONE), dns("kubernetes")), name="strange"),
        approvals={an_approval(id_).launch: an_approval(id_) for id_ in (ONE, TWO)},
    )
    serves.approve()
    assert serves.decided.keys() == {"csr-serving", "strange"}
    table = ("joins", "joins_of", "approvals_of")
    assert [call.method for call in serves.calls if call.method in table] == ["approvals_of", "joins_of"]


def test_a_request_that_is_denied_by_its_bytes_costs_no_look_at_the_machine() -> None:
    world = cluster(client_request("&&&&"))
    world.approve()
    assert [call.method for call in world.calls] == ["requests", "joins", "approvals_of", "Denied"]


def test_what_a_request_says_is_told_in_words_of_bounded_length() -> None:
    requests = (
        client_request(client_csr("a" * 5000)),
        serving_request(serving_csr(ONE, dns(b"\xff\n" * 1500))),
    )
    world = cluster(*requests)
    world.approve()
    assert len(world.decided) == 2
    assert all(
        len(message) < 600 and message.isascii() and message.isprintable() for _, message in world.decided.values()
    )


def test_denied_requests_are_counted() -> None:
    world = cluster(client_request("&&&&"))
    world.approve()
    assert ("CertificateRequestsDenied", {}) in world.told
