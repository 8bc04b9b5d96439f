"""What is kept of a decision and said about it, and what a decision costs: beside the word that is given."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from functions.cluster.joining import JoinState
from functions.errors import PermanentError, RetryableError
from functions.join.approve import APPROVAL_KEPT, answer
from functions.join.pkcs10 import Asked, read_serving_request
from infra.local.drills.csrs import SERVER, certificate, client_csr, dns, ip, serving_csr
from tests.unit.functions.builders import CLUSTER, NOW, ONE, TWO
from tests.unit.functions.join.approve.cluster import (
    ADDRESS,
    LAUNCHED_AT,
    TOKENS,
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
UNKNOWN_CERTIFICATE = {CREDENTIAL: ("X509SHA256=" + "1" * 64,)}
DAY, SECOND = timedelta(days=1), timedelta(seconds=1)


def let_in(*requests: Any, **changes: Any) -> Cluster:
    """The cluster after the machine got its client certificate."""
    approval = changes.pop("approval", an_approval())
    return cluster(*requests, **({"approvals": {approval.launch: approval}} | changes))


def said_of(world: Cluster) -> str:
    return str(world.approve()["reason"])


def methods(world: Cluster) -> list[str]:
    return [call.method for call in world.calls]


def failing(method: str) -> Any:
    def fail(call: Call) -> None:
        if call.method == method:
            raise RetryableError("no answer")

    return fail


# --- when a token was good


@pytest.mark.parametrize(
    ("made_s_after_minting", "word"),
    [(-31, "Denied"), (-30, "Approved"), (0, "Approved"), (15 * 60, "Approved"), (15 * 60 + 1, "Denied")],
)
def test_a_request_is_of_the_time_of_its_token_give_or_take_half_a_minute_of_clocks(
    made_s_after_minting: int, word: str
) -> None:
    record = a_record()
    request = client_request(created_at=record.issued_at + timedelta(seconds=made_s_after_minting))
    world = cluster(request)
    world.approve()
    assert world.word_on(request) == word


def test_of_two_records_of_one_token_the_later_one_counts() -> None:
    later, before = a_record(), a_record(launched_at=LAUNCHED_AT - DAY, issued_at=NOW - DAY)
    for records in ((later, before), (before, later)):
        world = cluster(client_request(), joins=records)
        assert world.approve()["did"] == "approved"


# --- with which certificate


@pytest.mark.parametrize(("now", "word"), [(NOW - SECOND, "Denied"), (NOW, "Pending")])
def test_an_unknown_certificate_may_be_a_renewed_one_from_two_thirds_of_the_old_ones_life_on(
    now: Any, word: str
) -> None:
    request = serving_request(extra=UNKNOWN_CERTIFICATE)
    world = let_in(request, approval=an_approval(certified_at=NOW - 2 * DAY, certified_until=NOW + DAY))
    world.approve(now=now)
    assert world.word_on(request) == word


def test_of_a_certificate_whose_times_are_not_known_no_other_is_taken_for_its_renewal() -> None:
    times: list[dict[str, Any]] = [{"certified_at": None}, {"certified_until": None}]
    for unknown in times:
        request = serving_request(extra=UNKNOWN_CERTIFICATE)
        world = let_in(request, approval=an_approval(**unknown))
        world.approve()
        assert world.word_on(request) == "Pending"
        known = let_in(serving_request(), approval=an_approval(**unknown))
        assert known.approve()["did"] == "approved"


@pytest.mark.parametrize("first_launch_is_the_latest_certified", [True, False])
def test_of_certificates_of_several_launches_the_one_that_is_good_for_longest_says_when_a_renewal_may_be(
    first_launch_is_the_latest_certified: bool,
) -> None:
    """By one of them a renewal is due; by the other it would be a stranger's."""
    old: dict[str, Any] = {"certified_at": NOW - 300 * DAY, "certified_until": NOW + 65 * DAY}
    new: dict[str, Any] = {"certified_at": NOW - DAY, "certified_until": NOW + 364 * DAY}
    first, second = (new, old) if first_launch_is_the_latest_certified else (old, new)
    launches = LAUNCHED_AT - DAY, LAUNCHED_AT
    approvals = [
        replace(an_approval(**times), launched_at=at) for at, times in zip(launches, (first, second), strict=True)
    ]
    for order in (launches, launches[::-1]):
        request = serving_request(extra=UNKNOWN_CERTIFICATE)
        world = cluster(
            request,
            joins=tuple(a_record(launched_at=at, state=JoinState.ENDED) for at in order),
            approvals={one.launch: one for one in approvals},
        )
        world.approve()
        assert world.word_on(request) == "Denied"


def test_the_version_is_asked_only_where_the_api_server_is_silent_about_a_certificate_that_we_know() -> None:
    told = let_in(serving_request())
    told.approve()
    silent = let_in(serving_request(extra={}))
    silent.approve()
    unread = cluster(serving_request(extra={}), approvals={(one := an_approval(certificates=())).launch: one})
    unread.approve()
    assert ["version" in methods(world) for world in (told, silent, unread)] == [False, True, False]


# --- what is kept


def test_an_approval_is_kept_for_longer_than_a_certificate_lasts_and_knows_its_key() -> None:
    request = serving_request()
    world = let_in(request)
    world.approve()
    (approval,) = world.approvals.values()
    asked = read_serving_request(request.request, ONE)
    assert isinstance(asked, Asked)
    assert (approval.serving_uid, approval.serving_key_sha256) == (request.uid, asked.key_sha256)
    assert world.approval_kept_until == NOW + APPROVAL_KEPT


def test_kubernetes_is_told_by_whom_and_when_it_was_decided() -> None:
    world = cluster(client_request(), client_request(client_csr(TWO), name="evil"))
    world.approve()
    assert world.conditions == {"csr-client": ("RegrowInstanceVerified", NOW), "evil": ("RegrowRefused", NOW)}


def test_a_serving_certificate_that_a_token_got_by_another_hand_convicts_its_launch() -> None:
    asked = serving_csr(ONE, dns(ONE), ip(ADDRESS))
    request = serving_request(asked, username=f"system:bootstrap:{TOKENS[ONE]}")
    issued = replace(request, issued=certificate(ONE, ONE, ADDRESS, uses=(SERVER,)))
    world = cluster(issued)
    said = world.approve()
    assert (said["did"], world.convicted) == ("convicted", {ONE})
    assert "a token cannot ask for a serving certificate" in said["reason"]


def test_what_was_issued_to_others_is_none_of_ours_and_costs_no_look() -> None:
    others = (
        client_request(name="foreign", signer="example.com/signer", issued="AAAA"),
        client_request(name="old", username="system:node:ip-10-77-1-9", issued="AAAA"),
    )
    for one in others:
        for machine in (None, ONE):
            world = cluster(one)
            assert world.approve(machine)["did"] == "nothing"
            assert "approvals_of" not in methods(world)


# --- what is said


def test_a_call_that_is_not_understood_is_told_what_it_must_be() -> None:
    with pytest.raises(PermanentError, match="the request must be"):
        answer([], cluster().outside(), cluster=CLUSTER, now=NOW)
    with pytest.raises(PermanentError, match="it must be an instance id"):
        answer({"machine": "i-1"}, cluster().outside(), cluster=CLUSTER, now=NOW)


def test_a_call_that_can_do_nothing_is_told_with_its_machine() -> None:
    world = cluster(before=failing("requests"))
    world.approve(ONE)
    assert world.told == [("approving held", {"machine": ONE, "reason": "no answer"})]


def test_what_cannot_be_read_back_is_told_with_its_request() -> None:
    world = cluster(replace(client_request(), issued=certificate(ONE)), before=failing("approvals_of"))
    world.approve()
    assert world.told == [("issued certificate not read", {"request": "csr-client", "reason": "no answer"})]


@pytest.mark.parametrize(("count", "more"), [(5, None), (6, "and 1 more"), (7, "and 2 more")])
def test_of_many_reasons_five_are_said_and_the_rest_are_counted(count: int, more: str | None) -> None:
    world = cluster(*(client_request("&&&&", name=f"csr-{number}") for number in range(count)))
    reasons = said_of(world).split("; ")
    assert reasons[5:] == ([more] if more else [])


@pytest.mark.parametrize(
    ("record", "why"),
    [
        ({"state": JoinState.ENDED}, "its token is revoked: its joining has ended"),
        ({"state": JoinState.ENDED, "ended_because": "it was late"}, "its token is revoked: it was late"),
        ({"group": "other"}, "the group of its machine is drill-worker, and was other when its token was made"),
        ({"image": "ami-2"}, "the image of its machine is ami-1, and was ami-2 "),
        ({"zone": "us-east-1b"}, "the zone of its machine is us-east-1a, and was us-east-1b "),
        ({"profile": "arn"}, "the instance profile of its machine is "),
        ({"vpc": "vpc-2"}, "the VPC of its machine is vpc-1, and was vpc-2 "),
        ({"subnet": "subnet-2"}, "the subnet of its machine is subnet-1, and was subnet-2 "),
    ],
)
def test_what_differs_from_the_record_is_named(record: dict[str, Any], why: str) -> None:
    assert why in said_of(cluster(client_request(), joins=(a_record(**record),)))


@pytest.mark.parametrize(
    ("world", "why"),
    [
        (let_in(serving_request(), groups=lists()), "no group of the cluster lists the machine"),
        (let_in(serving_request(), instances={}), "EC2 does not know the machine"),
        (let_in(serving_request(extra={}), before=failing("version")), "csr-serving: no answer"),
        (let_in(serving_request(), approvals={}), "the machine was not let in by us"),
        (
            let_in(serving_request(), approval=an_approval(certificates=())),
            "its client certificate is not issued yet, or was not read back",
        ),
    ],
)
def test_why_a_machine_may_not_serve_yet_is_said(world: Cluster, why: str) -> None:
    assert why in said_of(world)


def test_whoever_asks_for_all_names_that_ec2_may_still_give_waits_for_them() -> None:
    zone = "us-east-1.compute.internal"
    named = [f"{host}.{domain}" for host in (ONE, "ip-10-77-1-1") for domain in ("ec2.internal", zone)]
    request = serving_request(serving_csr(ONE, dns(ONE), *(dns(name) for name in named)))
    world = let_in(request, instances={ONE: a_machine(private_dns_name=None)})
    assert world.approve()["did"] == "held"
