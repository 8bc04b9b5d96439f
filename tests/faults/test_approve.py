"""Whatever fails while requests are decided, and wherever the function ends: the right ones end approved, no other."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest

from functions.errors import ConfigurationError, ConflictError, RegrowError, RetryableError
from functions.join.certificate_request import CertificateRequest
from infra.local.drills.csrs import a_key, certificate, client_csr, dns, key_info, serving_csr
from infra.local.drills.csrs import fingerprint as certificate_hash
from tests.unit.functions.builders import ONE, THREE, TWO, member
from tests.unit.functions.fake_world import Crash
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

GOOD = {"client", "client-again", "serving", "founder"}
BAD = {"identity-of-another", "name-of-another"}
NOT_OURS = {"stranger", "rotation"}


def a_morning() -> Cluster:
    """One machine joins, with a request asked twice; one has joined; the founder serves; and one is not honest."""
    liar = "i-00000000000000004"
    two = an_approval(TWO)
    world = cluster(
        client_request(name="client"),
        client_request(name="client-again"),
        serving_request(of=TWO, name="serving"),
        serving_request(serving_csr(TWO, dns(TWO), dns(ONE)), of=TWO, name="name-of-another"),
        serving_request(of=THREE, name="founder"),
        client_request(client_csr(ONE, key=a_key(4)), name="identity-of-another", username="system:bootstrap:dddddd"),
        client_request(name="stranger", username="system:bootstrap:zzzzzz"),
        client_request(name="rotation", username=f"system:node:{TWO}"),
        joins=(a_record(), a_record(TWO), a_record(instance=liar, node_name=liar, token_id="dddddd")),
        approvals={two.launch: two},
        keys=dict.fromkeys(two.client_keys, two.launch),
        instances={ONE: a_machine(), TWO: a_machine(TWO), THREE: a_machine(THREE)},
        groups=lists(member(ONE, "Pending:Wait"), member(TWO), member(THREE)),
        founder=THREE,
    )
    world.after = _write_before_doing(world)
    return world


def _write_before_doing(world: Cluster) -> Callable[[Call], None]:
    """Nothing is approved that the table does not know of, and no machine is convicted by any but its own request."""

    def check(call: Call) -> None:
        known_uids = {uid for one in world.approvals.values() for uid in (one.client_uid, one.serving_uid)}
        if call.method == "Approved":
            latest = list(world.decided)[-1]
            assert world.requests[latest].uid in known_uids, f"{latest} was approved and not written down"
        keys = {key: one.launch for one in world.approvals.values() for key in one.client_keys}
        assert keys.items() <= world.keys.items(), "a key was let through that another machine may still bring"
        assert world.convicted <= {"i-00000000000000004"}

    return check


def assert_settled(world: Cluster) -> None:
    by_word: dict[str, set[str]] = {"Approved": set(), "Denied": set()}
    for name, (word, _) in world.decided.items():
        by_word[word].add(name)
    assert by_word == {"Approved": GOOD, "Denied": BAD}
    assert set(world.requests) - set(world.decided) == NOT_OURS
    assert world.convicted == {"i-00000000000000004"}
    ours = next(one for one in world.approvals.values() if one.instance == ONE)
    assert len(ours.client_keys) == 1
    assert len(world.approvals) == 4
    assert world.keys == {key: one.launch for one in world.approvals.values() for key in one.client_keys}


def run_to_end(world: Cluster) -> None:
    """Call again and again, as passes and the sweep do."""
    for _ in range(4):
        with suppress(Crash):
            world.approve()


def calls_of_an_undisturbed_morning() -> int:
    world = a_morning()
    world.approve()
    assert_settled(world)
    return len(world.calls)


NUMBERS = range(1, calls_of_an_undisturbed_morning() + 1)


def at(number: int, what: BaseException, then: Callable[[Call], None] = lambda _: None) -> Callable[[Call], None]:
    def interfere(call: Call) -> None:
        then(call)
        if call.number == number:
            raise what

    return interfere


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("side", ["before", "after"])
def test_a_function_killed_at_any_call_leaves_the_next_to_go_on(number: int, side: str) -> None:
    world = a_morning()
    setattr(world, side, at(number, Crash(), getattr(world, side)))
    run_to_end(world)
    assert_settled(world)


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("error", [RetryableError, ConfigurationError, ConflictError])
@pytest.mark.parametrize("side", ["before", "after"])
def test_a_call_that_fails_or_whose_answer_is_lost_is_made_good_by_the_next(
    number: int, error: type[RegrowError], side: str
) -> None:
    world = a_morning()
    setattr(world, side, at(number, error("it did not work"), getattr(world, side)))
    run_to_end(world)
    assert_settled(world)


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("machine", [None, ONE, TWO])
def test_a_second_call_may_run_whole_between_any_two_of_the_first(number: int, machine: Any) -> None:
    world = a_morning()

    def other(call: Call) -> None:
        if call.number == number:
            world.before = lambda _: None
            world.approve(machine)

    world.before = other
    run_to_end(world)
    assert_settled(world)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_request_that_is_replaced_by_an_evil_one_at_any_moment_is_never_approved_for_the_old_one(number: int) -> None:
    world = a_morning()
    evil = client_request(client_csr("i-0000000000000eeee"), name="client", uid="evil")
    decided_as: list[CertificateRequest] = []

    def replace_it(call: Call) -> None:
        if call.number == number and "client" not in world.decided:
            world.requests["client"] = evil
        if world.decided.get("client", ("", ""))[0] == "Approved":
            decided_as.append(world.requests["client"])

    world.before = replace_it
    world.after = lambda _: None
    run_to_end(world)
    assert evil not in decided_as
    if world.requests["client"] == evil:
        assert world.word_on(evil) == "Denied"


def twins() -> Cluster:
    """Two machines ask with one key."""
    return cluster(
        client_request(client_csr(ONE), name="one"),
        client_request(client_csr(TWO), of=TWO, name="two"),
        instances={ONE: a_machine(), TWO: a_machine(TWO)},
        joins=(a_record(), a_record(TWO)),
        groups=lists(member(ONE, "Pending:Wait"), member(TWO, "Pending:Wait")),
    )


def assert_one_twin_is_in(world: Cluster) -> None:
    assert sorted(word for word, _ in world.decided.values()) == ["Approved", "Denied"]
    ((key, launch),) = world.keys.items()
    assert {one.launch: one.client_keys for one in world.approvals.values()} == {launch: (key,)}


@pytest.mark.parametrize("number", range(1, 20))
@pytest.mark.parametrize("side", ["before", "after"])
def test_of_two_machines_with_one_key_one_is_let_in_wherever_a_function_is_killed(number: int, side: str) -> None:
    world = twins()
    setattr(world, side, at(number, Crash()))
    run_to_end(world)
    assert_one_twin_is_in(world)


@pytest.mark.parametrize("number", range(1, 12))
@pytest.mark.parametrize(("first", "second"), [(ONE, TWO), (TWO, ONE), (ONE, None), (None, TWO), (None, None)])
def test_of_two_machines_with_one_key_one_is_let_in_by_two_calls_at_once(number: int, first: Any, second: Any) -> None:
    world = twins()

    def other(call: Call) -> None:
        if call.number == number:
            world.before = lambda _: None
            world.approve(second)

    world.before = other
    world.approve(first)
    world.before = lambda _: None
    run_to_end(world)
    assert_one_twin_is_in(world)


@pytest.mark.parametrize("keys", range(4, 7))
@pytest.mark.parametrize("number", [*range(1, 20, 2), None])
def test_however_often_it_is_killed_no_more_keys_are_let_through_than_may_be(keys: int, number: int | None) -> None:
    world = cluster(
        *(client_request(client_csr(ONE, key=a_key(one)), name=f"csr-{one}") for one in range(1, keys + 1)),
    )
    if number:
        world.after = at(number, Crash())
    run_to_end(world)
    words = [word for word, _ in world.decided.values()]
    assert (words.count("Approved"), words.count("Denied")) == (3, keys - 3)


# --- what was issued is read back


def an_evening() -> Cluster:
    """One machine has its certificate and asks to serve with it; another one was issued what nobody approved."""
    good, evil = certificate(ONE), certificate(THREE, key=a_key(2))
    of_one = an_approval(client_key_sha256=sha256(key_info(a_key())).hexdigest(), certificates=(), certified_at=None)
    of_two = replace(of_one, instance=TWO, client_key_sha256=sha256(key_info(a_key(2))).hexdigest())
    credential = {"authentication.kubernetes.io/credential-id": (f"X509SHA256={certificate_hash(good)}",)}
    return cluster(
        replace(client_request(name="client"), issued=good),
        replace(client_request(client_csr(TWO, key=a_key(2)), of=TWO, name="twos"), issued=evil),
        serving_request(name="serving", extra=credential),
        joins=(a_record(), a_record(TWO)),
        approvals={one.launch: one for one in (of_one, of_two)},
        keys={key: one.launch for one in (of_one, of_two) for key in one.client_keys},
        instances={ONE: a_machine(), TWO: a_machine(TWO)},
        groups=lists(member(ONE, "Pending:Wait"), member(TWO, "Pending:Wait")),
    )


def assert_known(world: Cluster) -> None:
    of_one, of_two = (one for one in sorted(world.approvals.values(), key=lambda one: one.instance))
    assert of_one.certificates == (certificate_hash(str(world.requests["client"].issued)),)
    assert (of_one.denied, of_two.certificates) == (None, ())
    assert world.convicted == {TWO}
    assert {name: word for name, (word, _) in world.decided.items()} == {"serving": "Approved"}


def calls_of_an_undisturbed_evening() -> int:
    world = an_evening()
    world.approve()
    assert_known(world)
    return len(world.calls)


@pytest.mark.parametrize("number", range(1, calls_of_an_undisturbed_evening() + 1))
@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("fault", [Crash(), RetryableError("no answer"), ConflictError("another one by now")], ids=str)
def test_c32_wherever_reading_back_is_broken_off_the_next_call_knows_what_was_issued(
    number: int, side: str, fault: BaseException
) -> None:
    world = an_evening()
    setattr(world, side, at(number, fault))
    run_to_end(world)
    assert_known(world)
