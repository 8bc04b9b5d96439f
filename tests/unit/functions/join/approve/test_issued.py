"""What was issued is what was approved, and who asks to serve comes with a client certificate that was issued to it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions.cluster.joining import CLIENT_SIGNER, Approval
from functions.errors import RetryableError
from functions.join.certificate_request import CertificateRequest
from infra.local.drills.csrs import (
    CLIENT,
    ISSUED_AT,
    SERVER,
    a_key,
    certificate,
    client_csr,
    dns,
    fingerprint,
    serving_csr,
)
from tests.unit.functions.builders import NOW, ONE, TWO, WORKERS, member
from tests.unit.functions.join.approve.cluster import (
    ADDRESS,
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

CREDENTIAL = "authentication.kubernetes.io/credential-id"
YEAR = timedelta(days=365)


def issued_to(request: CertificateRequest, certificate_: str) -> CertificateRequest:
    return replace(request, issued=certificate_)


def by(certificate_: str, **changes: Any) -> CertificateRequest:
    """A serving request of a user that came with this certificate."""
    return serving_request(extra={CREDENTIAL: (f"X509SHA256={fingerprint(certificate_)}",)}, **changes)


def let_in_with(certificate_: str) -> Cluster:
    """Its first request was approved, and this is what was made of it."""
    world = cluster(client_request())
    world.approve()
    assert world.decided["csr-client"][0] == "Approved"
    world.requests["csr-client"] = issued_to(world.requests["csr-client"], certificate_)
    return world


def the_approval(world: Cluster) -> Approval:
    (approval,) = world.approvals.values()
    return approval


def test_c32_the_certificate_that_was_issued_is_read_back_and_its_hash_kept() -> None:
    good = certificate(ONE)
    world = let_in_with(good)
    assert world.approve(ONE)["did"] == "nothing"
    approval = the_approval(world)
    assert approval.certificates == (fingerprint(good),)
    assert (approval.certified_at, approval.certified_until) == (ISSUED_AT, ISSUED_AT + YEAR)
    assert approval.denied is None
    written = len([call for call in world.calls if call.method == "write_approval"])
    world.approve()
    assert len([call for call in world.calls if call.method == "write_approval"]) == written


WRONG = {
    "another name": (certificate(TWO), "its subject is another"),
    "another group": (certificate(ONE, group="system:masters"), "its subject is another"),
    "another key": (certificate(ONE, key=a_key(2)), "it is for another key"),
    "a name": (certificate(ONE, ONE), "it has other names than were asked for"),
    "an address": (certificate(ONE, ADDRESS), "it has other names than were asked for"),
    "an authority": (certificate(ONE, authority=True), "it is an authority's"),
    "to serve": (certificate(ONE, uses=(SERVER,)), "it is for 1.3.6.1.5.5.7.3.1"),
    "to serve as well": (certificate(ONE, uses=(CLIENT, SERVER)), "it is for 1.3.6.1.5.5.7.3.1, 1.3.6.1.5.5.7.3.2"),
    "for anything": (certificate(ONE, uses=()), "it is for any use"),
    "for ten years": (certificate(ONE, lasting=10 * YEAR), "it is good until 2036-11-18"),
    "not readable": ("AAAA", "the certificate that was issued cannot be read"),
}


@pytest.mark.parametrize("what", WRONG)
def test_c32_a_certificate_that_nobody_approved_convicts_its_launch_and_is_told_once(what: str) -> None:
    issued, reason = WRONG[what]
    world = let_in_with(issued)
    said = world.approve(ONE)
    assert said["did"] == "convicted"
    assert [entry["machine"] for entry in said["convicted"]] == [ONE]
    denied = the_approval(world).denied
    assert denied is not None
    assert reason in denied
    assert the_approval(world).certificates == ()
    assert ("CertificateRequestsDenied", {}) in world.told
    assert world.approve(ONE)["did"] == "nothing"


def test_c32_what_a_token_got_by_somebody_elses_approval_convicts_when_it_is_anothers() -> None:
    request = client_request(client_csr(TWO), name="unseen")
    world = cluster(issued_to(request, certificate(TWO)))
    assert world.approve()["did"] == "convicted"
    assert world.convicted == {ONE}


def test_c32_what_somebody_else_approved_by_right_is_not_vouched_for() -> None:
    good = certificate(ONE)
    world = cluster(issued_to(client_request(), good), by(good))
    world.approve()
    assert (world.approvals, world.decided) == ({}, {})


def test_c32_a_serving_certificate_with_more_names_than_were_approved_convicts() -> None:
    world = cluster(serving_request(), approvals={an_approval().launch: an_approval()})
    world.approve()
    more = certificate(ONE, ONE, ADDRESS, "kubernetes", uses=(SERVER,))
    world.requests["csr-serving"] = issued_to(world.requests["csr-serving"], more)
    assert world.approve()["did"] == "convicted"
    good = cluster(serving_request(), approvals={an_approval().launch: an_approval()})
    good.approve()
    as_asked = certificate(ONE, ONE, ADDRESS, uses=(SERVER,))
    good.requests["csr-serving"] = issued_to(good.requests["csr-serving"], as_asked)
    assert good.approve()["did"] == "nothing"


def test_c32_what_cannot_be_read_back_now_is_read_by_the_next_call_and_stops_nobody() -> None:
    world = let_in_with(certificate(ONE))
    two = client_request(client_csr(TWO, key=a_key(2)), of=TWO, name="two")
    world.requests["two"] = two
    world.instances[TWO] = a_machine(TWO)
    world.joins = (a_record(), a_record(TWO))
    world.groups = lists(member(ONE, "Pending:Wait"), member(TWO, "Pending:Wait"))

    def fail(call: Call) -> None:
        if call.method == "approvals_of" and world.word_on(two) == "Pending":
            world.before = lambda _: None
            raise RetryableError("the table does not answer")

    world.before = fail
    world.approve()
    assert world.word_on(two) == "Approved"
    assert the_approval_of(world, ONE).certificates == ()
    world.approve()
    assert len(the_approval_of(world, ONE).certificates) == 1


def the_approval_of(world: Cluster, machine: str) -> Approval:
    return next(one for one in world.approvals.values() if one.instance == machine)


# --- by which certificate a node asks to serve


def test_s18_who_comes_with_the_certificate_that_was_issued_to_it_may_ask_to_serve() -> None:
    good = certificate(ONE)
    world = let_in_with(good)
    world.requests["csr-serving"] = by(good)
    world.approve()
    assert world.decided["csr-serving"][0] == "Approved"


def test_s18_who_comes_with_another_certificate_is_denied() -> None:
    world = let_in_with(certificate(ONE))
    world.requests["csr-serving"] = by(certificate(ONE, key=a_key(3)))
    world.approve()
    assert world.decided["csr-serving"][0] == "Denied"
    assert world.convicted == set()


def test_s18_a_machine_whose_certificate_was_not_read_back_yet_waits() -> None:
    world = cluster(client_request())
    world.approve()
    world.requests["csr-serving"] = by(certificate(ONE))
    assert world.approve()["did"] == "held"


@pytest.mark.parametrize(
    ("version", "word"),
    [
        ("v1.31.9", "Approved"),
        ("v1.9.0", "Approved"),
        ("v1.32.0", "Pending"),
        ("v1.36.3-eks-1", "Pending"),
        ("v2.0.0", "Pending"),
        ("unknown", "Pending"),
    ],
)
def test_s18_only_an_api_server_of_before_1_32_may_be_silent_about_the_certificate(version: str, word: str) -> None:
    request = serving_request(extra={})
    world = cluster(request, approvals={an_approval().launch: an_approval()}, version=version)
    world.approve()
    assert world.word_on(request) == word


def test_s18_an_api_server_that_does_not_say_its_version_holds() -> None:
    def fail(call: Call) -> None:
        if call.method == "version":
            raise RetryableError("no answer")

    request = serving_request(extra={})
    world = cluster(request, approvals={an_approval().launch: an_approval()}, before=fail)
    assert world.approve()["did"] == "held"


@pytest.mark.parametrize("said", [("X509SHA256=",), ("JTI=1",), ("X509SHA256=" + "0" * 64, "X509SHA256=1")])
def test_s18_what_names_no_certificate_of_ours_is_never_approved(said: tuple[str, ...]) -> None:
    request = serving_request(extra={CREDENTIAL: said})
    world = cluster(request, approvals={an_approval().launch: an_approval()})
    world.approve()
    assert world.word_on(request) != "Approved"


# --- a year later


def renewal(old: str, new: str, key: int = 5) -> CertificateRequest:
    """A node's own, as kube-controller-manager has approved it."""
    asked = client_request(
        client_csr(ONE, key=a_key(key)),
        name=f"csr-renewal-{key}",
        signer=CLIENT_SIGNER,
        username=f"system:node:{ONE}",
        groups=("system:nodes", "system:authenticated"),
        extra={CREDENTIAL: (f"X509SHA256={fingerprint(old)}",)},
    )
    return issued_to(asked, new)


def test_s18_a_renewed_client_certificate_is_followed_from_the_one_before() -> None:
    first, later = certificate(ONE), NOW + timedelta(days=300)
    world = let_in_with(first)
    world.approve()
    world.requests.clear()
    second = certificate(ONE, key=a_key(5), begins=later)
    world.requests["renewal"] = renewal(first, second)
    world.requests["serving"] = by(second, name="serving")
    world.approve(now=later)
    assert world.decided["serving"][0] == "Approved"
    assert the_approval(world).certificates == (fingerprint(first), fingerprint(second))
    assert the_approval(world).certified_until == later + YEAR


def test_s18_a_renewal_by_a_certificate_that_is_not_the_machines_is_not_followed() -> None:
    world = let_in_with(certificate(ONE))
    world.approve()
    strange, second = certificate(ONE, key=a_key(6)), certificate(ONE, key=a_key(5))
    world.requests["renewal"] = renewal(strange, second)
    world.requests["serving"] = by(second, name="serving")
    world.approve()
    assert len(the_approval(world).certificates) == 1
    assert world.decided["serving"][0] == "Denied"


@pytest.mark.parametrize(("days", "word"), [(200, "Denied"), (243, "Denied"), (244, "Pending"), (300, "Pending")])
def test_s18_a_renewal_that_was_not_seen_is_held_from_when_one_may_have_been(days: int, word: str) -> None:
    world = let_in_with(certificate(ONE))
    world.approve()
    request = by(certificate(ONE, key=a_key(8)), name="serving")
    world.requests = {"serving": request}
    world.approve(now=ISSUED_AT + timedelta(days=days, hours=1))
    assert world.word_on(request) == word


def test_a_machine_that_was_stopped_and_started_serves_with_the_certificate_of_its_earlier_launch() -> None:
    good = certificate(ONE)
    world = let_in_with(good)
    world.approve()
    world.instances[ONE] = a_machine(launched_at=NOW)
    world.requests = {"serving": by(good, name="serving")}
    world.groups = lists(member(ONE), name=WORKERS)
    world.approve()
    assert world.decided["serving"][0] == "Approved"


def test_a_node_cannot_have_its_own_claims_read_back_for_another_machine() -> None:
    """A certificate on a serving request counts for the machine that the API server says has asked."""
    world = cluster(
        issued_to(serving_request(serving_csr(TWO, dns(TWO)), name="csr-x"), certificate(TWO, TWO, uses=(SERVER,))),
        approvals={an_approval().launch: an_approval()},
    )
    world.approve()
    assert world.convicted == set()


def test_the_certificate_of_a_launch_that_was_convicted_is_worth_nothing_in_the_next() -> None:
    good = certificate(ONE)
    world = let_in_with(good)
    world.approve()
    convicted = replace(the_approval(world), denied="it asked for another's name")
    world.approvals = {convicted.launch: convicted}
    world.instances[ONE] = a_machine(launched_at=NOW)
    world.requests = {"serving": by(good, name="serving")}
    assert world.approve()["did"] == "held"


KNOWN = ("1" * 64, "2" * 64)
CREDENTIALS = st.sampled_from([*KNOWN, "0" * 64, "1" * 63, "F" * 64, ""]).map(lambda text: (f"X509SHA256={text}",))


@given(
    extra=st.none() | CREDENTIALS | st.lists(CREDENTIALS, min_size=2, max_size=2).map(lambda pair: pair[0] + pair[1]),
    days=st.integers(-1, 400),
    minor=st.integers(28, 40),
)
@settings(deadline=None, max_examples=200)
def test_s18_whatever_else_is_so_only_a_known_certificate_or_an_old_api_servers_silence_is_let_through(
    extra: tuple[str, ...] | None, days: int, minor: int
) -> None:
    request = serving_request(extra={} if extra is None else {CREDENTIAL: extra})
    approval = an_approval(certificates=KNOWN, certified_at=NOW, certified_until=NOW + YEAR)
    world = cluster(request, approvals={approval.launch: approval}, version=f"v1.{minor}.0")
    world.approve(now=NOW + timedelta(days=days))
    known = extra is not None and len(extra) == 1 and extra[0].removeprefix("X509SHA256=") in KNOWN
    assert (world.word_on(request) == "Approved") == (known or (extra is None and minor < 32))
    assert world.word_on(request) != "Denied" or days < 244
