"""A machine gets its first client certificate for its own Node name, from a request with nothing else in it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from functions.cluster.joining import TOKEN_GROUPS, JoinState
from functions.cluster.machine import InstanceState, Role
from functions.errors import ConfigurationError, RetryableError
from infra.local.drills import csrs
from infra.local.drills.csrs import (
    BMP,
    CN,
    OU,
    UID,
    UTF8,
    O,
    a_key,
    attribute,
    block,
    client_csr,
    der,
    dns,
    extension,
    extensions,
    key_info,
    node_subject,
    pair,
    rdn,
    sans,
    spec,
    tlv,
)
from tests.unit.functions.builders import NOW, ONE, TWO, member, node
from tests.unit.functions.join.approve.cluster import (
    LAUNCHED_AT,
    Call,
    a_machine,
    a_record,
    an_approval,
    client_request,
    cluster,
    lists,
)

EVIL = "i-0000000000000eeee"
NODES, OWN, OTHER = pair(O, "system:nodes"), pair(CN, f"system:node:{ONE}"), pair(CN, f"system:node:{EVIL}")
GOOD_DER, EVIL_DER = der(node_subject(ONE)), der(node_subject(EVIL))
GOOD, BAD = block(GOOD_DER), block(EVIL_DER)
PADDED = next(one for one in iter(lambda: der(node_subject(ONE)), b"") if len(one) % 3)  # signatures vary in length
END = b"-----END CERTIFICATE REQUEST-----\n"


def subject(*names: bytes) -> str:
    return spec(block(der(b"".join(names))))


def has(*attributes: bytes) -> str:
    return spec(block(der(node_subject(ONE), *attributes)))


def test_c00_a_request_as_a_kubelet_makes_it_is_approved() -> None:
    request = client_request()
    world = cluster(request)
    answer = world.approve(ONE)
    assert world.decided == {
        request.name: ("Approved", f"{ONE} in group drill-worker, launched at {LAUNCHED_AT:%Y-%m-%dT%H:%M:%SZ}")
    }
    assert answer["did"] == "approved"
    (approval,) = world.approvals.values()
    assert (approval.client_uid, approval.client_at, approval.denied) == (request.uid, NOW, None)


@pytest.mark.parametrize("size", [2048, 4096])
def test_an_rsa_key_is_as_good(size: int) -> None:
    request = client_request(
        client_csr(ONE, key=csrs.rsa_key(size)), usages=("key encipherment", "digital signature", "client auth")
    )
    world = cluster(request)
    world.approve()
    assert world.word_on(request) == "Approved"


CONVICTING = {
    "c01 another node's name": subject(rdn(NODES), rdn(OTHER)),
    "c03 two names, good first": subject(rdn(NODES), rdn(OWN), rdn(OTHER)),
    "c04 two names, evil first": subject(rdn(NODES), rdn(OTHER), rdn(OWN)),
    "c04 its own name twice": subject(rdn(NODES), rdn(OWN), rdn(OWN)),
    "c05 two names in one": subject(rdn(NODES), rdn(OWN, OTHER)),
    "c06 a second organization": subject(rdn(NODES), rdn(pair(O, "system:masters")), rdn(OWN)),
    "c06 a second organization in one": subject(rdn(NODES, pair(O, "system:masters")), rdn(OWN)),
    "c06 another organization": subject(rdn(pair(O, "system:masters")), rdn(OWN)),
    "c10 text before the first block": spec(b"x" + GOOD + BAD),
    "c10 a space before the first block": spec(b" " + GOOD + BAD),
    "c11 no new line before the end": spec(GOOD.replace(b"\n" + END, END) + BAD),
    "c11 text after the end": spec(GOOD.removesuffix(b"\n") + b" x\n" + BAD),
    "c11 another label at the end": spec(GOOD.replace(END, b"-----END CERTIFICATE-----\n") + BAD),
}


@pytest.mark.parametrize("csr", CONVICTING.values(), ids=CONVICTING)
def test_c01_to_c11_who_asks_for_the_identity_of_another_is_denied_and_given_up(csr: str) -> None:
    request = client_request(csr)
    world = cluster(request)
    assert world.approve()["did"] == "denied"
    assert world.word_on(request) == "Denied"
    assert world.convicted == {ONE}
    world.requests["honest"] = client_request(name="honest")
    world.approve()
    assert world.decided["honest"][0] == "Denied"


DENIED = {
    "c07 upper case organization": subject(rdn(pair(O, "System:Nodes")), rdn(OWN)),
    "c07 no organization": subject(rdn(OWN)),
    "c07 a unit": subject(rdn(NODES), rdn(pair(OU, "nodes")), rdn(OWN)),
    "c07 a uid": subject(rdn(NODES), rdn(OWN), rdn(pair(UID, "0"))),
    "c08 the other order": subject(rdn(OWN), rdn(NODES)),
    "c08 both in one": subject(rdn(NODES, OWN)),
    "c09 utf8": subject(rdn(NODES), rdn(pair(CN, f"system:node:{ONE}", UTF8))),
    "c09 bmp": subject(rdn(NODES), rdn(pair(CN, f"system:node:{ONE}".encode("utf-16-be"), BMP))),
    "c09 nul at the end": subject(rdn(NODES), rdn(pair(CN, f"system:node:{ONE}\0"))),
    "c09 no name": subject(rdn(NODES), rdn(pair(CN, "system:node:"))),
    "c09 upper case name": subject(rdn(NODES), rdn(pair(CN, f"system:node:{ONE.upper()}"))),
    "c09 no subject": subject(),
    "c12 two clean blocks": spec(GOOD + BAD),
    "c12 text before": spec(b"hello\n" + GOOD),
    "c12 text after": spec(GOOD + b"hello\n"),
    "c12 crlf": spec(block(GOOD_DER, end="\r\n")),
    "c12 one line": spec(block(GOOD_DER, columns=10_000)),
    "c12 headers": spec(GOOD.replace(b"REQUEST-----\n", b"REQUEST-----\nA: b\n\n", 1)),
    "c12 a space in a line": spec(GOOD.replace(b"\nMI", b"\nM I")),
    "c12 no padding": spec(block(PADDED).replace(b"=", b"")),
    "c12 no new line at the end": spec(GOOD.rstrip(b"\n")),
    "c13 the old label": spec(block(GOOD_DER, "NEW CERTIFICATE REQUEST")),
    "c13 a certificate first": spec(block(b"0\0", "CERTIFICATE") + GOOD),
    "c13 something after the request": spec(block(GOOD_DER + b"\x05\x00")),
    "c13 version 2": spec(block(der(node_subject(ONE), version=b"\x01"))),
    "c13 a long version": spec(block(der(node_subject(ONE), version=b"\0\0"))),
    "c13 too long": spec(GOOD + b"\n" * 8192),
    "c13 empty": "",
    "c13 empty block": spec(block(b"")),
    "c13 not base64": "&&&&",
    "c13 base64 with a space": spec(GOOD)[:8] + " " + spec(GOOD)[8:],
    "c13 not der": spec(block(b"hello, world")),
    "c14 a name": has(extensions(sans(dns(ONE)))),
    "c14 a name by microsoft": has(extensions(sans(dns(ONE)), kind=csrs.MS_EXTENSIONS)),
    "c14 a password": has(attribute(csrs.CHALLENGE_PASSWORD, tlv(UTF8, b"x"))),
    "c14 a ca": has(extensions(extension(csrs.BASIC_CONSTRAINTS, tlv(0x30, b"\x01\x01\xff")))),
    "c18 rsa of 1024 bits": client_csr(ONE, key=csrs.rsa_key(1024)),
    "c18 rsa with exponent 3": client_csr(ONE, key=csrs.rsa_key(2048, 3)),
    "c18 rsa of 4104 bits": client_csr(ONE, key=csrs.rsa_key(4104)),
    "c18 p-224": client_csr(ONE, key=ec.generate_private_key(ec.SECP224R1())),
    "c18 ed25519": client_csr(ONE, key=ed25519.Ed25519PrivateKey.generate()),
    "c19 signed by another key": client_csr(ONE, spki=key_info(a_key(2))),
}


@pytest.mark.parametrize("csr", DENIED.values(), ids=DENIED)
def test_c07_to_c19_a_request_in_any_other_form_is_denied(csr: str) -> None:
    request = client_request(csr)
    world = cluster(request)
    world.approve()
    assert world.word_on(request) == "Denied"
    assert world.convicted == set()


def test_c02_a_token_without_a_record_is_left_alone_and_told() -> None:
    request = client_request(username="system:bootstrap:zzzzzz")
    world = cluster(request)
    answer = world.approve()
    assert (answer["did"], world.decided) == ("nothing", {})
    assert answer["ignored"] == [
        {
            "request": request.name,
            "uid": request.uid,
            "signer": request.signer,
            "machine": None,
            "reason": "request by a bootstrap user without a record",
        }
    ]
    assert world.told == [("certificate request ignored", answer["ignored"][0])]


@pytest.mark.parametrize(
    "changes",
    [
        {"usages": ("digital signature", "client auth", "server auth")},
        {"usages": ("digital signature", "client auth", "cert sign")},
        {"usages": ("digital signature",)},
        {"usages": ("digital signature", "client auth", "any")},
        {"usages": ("digital signature", "client auth", "client auth")},
        {"groups": ("system:bootstrappers", "system:authenticated")},
        {"groups": (*client_request().groups, "system:masters")},
        {"groups": (*client_request().groups, "system:authenticated")},
        {
            "groups": (
                "system:bootstrappers",
                "system:bootstrappers:kubeadm:default-node-token",
                "system:authenticated",
            )
        },
        {"extra": {"authentication.kubernetes.io/credential-id": ("JTI=1",)}},
        {"user_uid": "1"},
        {"expiration_s": 10 * 365 * 86_400},
        {"created_at": a_record().issued_at - timedelta(seconds=31)},
        {"created_at": a_record().expires_at + timedelta(seconds=1)},
    ],
    ids=str,
)
def test_c15_c17_c21_c30_who_asks_for_what_and_when_must_be_as_our_tokens_are_used(changes: dict[str, Any]) -> None:
    request = client_request(**changes)
    world = cluster(request)
    world.approve()
    assert world.word_on(request) == "Denied"


@pytest.mark.parametrize(
    "signer", ["kubernetes.io/kube-apiserver-client", "kubernetes.io/legacy-unknown", "example.com/mine"]
)
def test_c16_other_signers_are_not_ours(signer: str) -> None:
    world = cluster(client_request(signer=signer))
    assert (world.approve()["did"], world.decided) == ("nothing", {})


def test_c33_a_node_that_renews_its_client_certificate_is_left_to_kubernetes() -> None:
    world = cluster(client_request(username=f"system:node:{ONE}", groups=("system:nodes", "system:authenticated")))
    assert (world.approve()["did"], world.decided) == ("nothing", {})


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"state": JoinState.MINTING}, "Pending"),
        ({"state": JoinState.ENDED}, "Denied"),
        ({"expires_at": NOW}, "Denied"),
        ({"expires_at": NOW + timedelta(seconds=1)}, "Approved"),
        ({"launched_at": LAUNCHED_AT - timedelta(days=1)}, "Denied"),
    ],
    ids=str,
)
def test_c20_c22_only_a_token_that_is_valid_now_and_of_this_launch_lets_in(changes: dict[str, Any], word: str) -> None:
    request = client_request()
    world = cluster(request, joins=(a_record(**changes),))
    world.approve()
    assert world.word_on(request) == word
    assert world.convicted == set()


MACHINES = {
    "pending": ({"instances": {ONE: a_machine(state=InstanceState.PENDING)}}, "Approved"),
    "in service": ({"groups": lists(member(ONE))}, "Approved"),
    "pending proceed": ({"groups": lists(member(ONE, "Pending:Proceed"))}, "Approved"),
    "c27 unknown to ec2": ({"instances": {}}, "Pending"),
    "not tagged yet": ({"instances": {ONE: a_machine(tags={})}}, "Pending"),
    "not listed yet": ({"groups": lists(member(TWO))}, "Pending"),
    "a group of another role": ({"groups": lists(member(ONE), role=None)}, "Pending"),
    "c28 shutting down": ({"instances": {ONE: a_machine(state=InstanceState.SHUTTING_DOWN)}}, "Denied !"),
    "c28 in another group": ({"groups": lists(member(ONE), name="other")}, "Denied !"),
    "c28 tagged for another group": (
        {"instances": {ONE: a_machine(tags={"aws:autoscaling:groupName": "other"})}},
        "Denied !",
    ),
    "c28 of another image": ({"instances": {ONE: a_machine(image="ami-2")}}, "Denied !"),
    "c28 in another zone": ({"instances": {ONE: a_machine(zone="us-east-1b")}}, "Denied !"),
    "c28 with another instance profile": ({"instances": {ONE: a_machine(profile="arn:other")}}, "Denied !"),
    "c28 in another VPC": ({"instances": {ONE: a_machine(vpc="vpc-2")}}, "Denied !"),
    "c28 in another subnet": ({"instances": {ONE: a_machine(subnet="subnet-2")}}, "Denied !"),
    "a profile that EC2 does not say now": ({"instances": {ONE: a_machine(profile="")}}, "Pending"),
    "a subnet that was not known": ({"joins": (a_record(subnet=""),)}, "Approved"),
    "c28 abandoned": ({"groups": lists(member(ONE, "Terminating:Wait"))}, "Denied !"),
    "c28 for a warm pool": ({"groups": lists(member(ONE, "Warmed:Pending:Wait"))}, "Denied !"),
    "started again": ({"instances": {ONE: a_machine(launched_at=NOW)}}, "Denied"),
    "c29 a ready node": ({"nodes": {ONE: node()}}, "Denied"),
    "a node of another machine": (
        {"nodes": {ONE: node(ready=False, provider_id=f"aws:///us-east-1a/{TWO}")}},
        "Denied",
    ),
    "its own node of an earlier launch": ({"nodes": {ONE: node(ready=False)}}, "Approved"),
    "a node that says nothing of its machine": ({"nodes": {ONE: node(ready=False, provider_id="")}}, "Approved"),
}


@pytest.mark.parametrize(("changes", "word"), MACHINES.values(), ids=MACHINES)
def test_c27_to_c29_the_machine_must_be_what_its_record_says(changes: dict[str, Any], word: str) -> None:
    request = client_request()
    world = cluster(request, **changes)
    world.approve()
    assert world.word_on(request) == word.removesuffix(" !")
    assert world.convicted == ({ONE} if word.endswith("!") else set())


@pytest.mark.parametrize("error", [RetryableError, ConfigurationError])
@pytest.mark.parametrize(
    "method",
    [
        *("requests", "joins", "approvals_of", "launch_of_key", "instance", "groups", "node"),
        *("write_key", "write_approval", "Approved"),
    ],
)
def test_c27_what_cannot_be_read_or_written_holds(method: str, error: type[Exception]) -> None:
    def fail(call: Call) -> None:
        if call.method == method:
            raise error(f"{method} does not work")

    world = cluster(client_request(), before=fail)
    answer = world.approve()
    assert (answer["did"], world.decided) == ("held", {})
    assert f"{method} does not work" in answer["reason"]
    assert any(f"{method} does not work" in str(fields) for _, fields in world.told)


@pytest.mark.parametrize(
    ("expiration_s", "word"),
    [(None, "Approved"), (600, "Approved"), (366 * 86_400, "Approved"), (366 * 86_400 + 1, "Denied")],
)
def test_c30_a_kubelet_may_ask_for_less_than_a_year_and_not_for_more(expiration_s: int | None, word: str) -> None:
    request = client_request(expiration_s=expiration_s)
    world = cluster(request)
    world.approve()
    assert world.word_on(request) == word


def keyed(number: int, **changes: Any) -> Any:
    return client_request(client_csr(ONE, key=a_key(number + 1)), name=f"csr-{number}", **changes)


def test_c25_three_keys_of_one_launch_are_let_through_and_no_fourth() -> None:
    world = cluster()
    for number in range(3):
        world.requests[f"csr-{number}"] = keyed(number)
        assert world.approve()["did"] == "approved"
    world.requests["again"] = replace(keyed(0), name="again", uid="again")
    world.approve()
    assert world.decided["again"][0] == "Approved"
    world.requests["csr-3"] = keyed(3)
    assert world.approve()["did"] == "denied"
    assert world.convicted == {ONE}


def test_c23_a_machine_that_is_a_node_gets_no_second_key() -> None:
    world = cluster(keyed(0))
    world.approve()
    world.nodes[ONE] = node(ready=False)
    world.requests |= {"csr-1": keyed(1), "again": replace(keyed(0), name="again", uid="again")}
    world.approve()
    assert {name: word for name, (word, _) in world.decided.items()} == {
        "csr-0": "Approved",
        "csr-1": "Denied",
        "again": "Approved",
    }
    assert world.convicted == set()


def test_c18_two_machines_never_have_one_key() -> None:
    world = cluster(
        client_request(client_csr(TWO), of=TWO, name="two"),
        instances={ONE: a_machine(), TWO: a_machine(TWO)},
        joins=(a_record(), a_record(TWO)),
    )
    world.approve()
    (of_two,) = world.approvals.values()
    assert world.keys == {of_two.client_key_sha256: of_two.launch}
    world.requests["one"] = client_request(name="one")
    world.approve(ONE)
    assert {name: word for name, (word, _) in world.decided.items()} == {"two": "Approved", "one": "Denied"}
    assert world.decided["one"][1] == "another machine was let in with its key"
    assert world.keys == {of_two.client_key_sha256: of_two.launch}


def test_c18_a_key_that_another_call_has_let_through_meanwhile_is_held_and_then_denied() -> None:
    request = client_request()
    world = cluster(request)

    def another(call: Call) -> None:
        if call.method == "write_key" and not world.keys:
            world.keys = {sha256(csrs.key_info(a_key())).hexdigest(): "another launch"}

    world.before = another
    assert (world.approve()["did"], world.approvals, world.decided) == ("held", {}, {})
    world.approve()
    assert world.word_on(request) == "Denied"
    assert world.convicted == set()


def test_each_key_of_a_launch_is_kept_for_as_long_as_its_approval() -> None:
    world = cluster(keyed(0))
    world.approve()
    first = dict(world.kept_until)
    world.requests["csr-1"] = keyed(1)
    later = NOW + timedelta(minutes=1)
    world.approve(now=later)
    assert len(first) == 1
    assert len(world.kept_until) == 2
    assert set(world.kept_until.values()) == {later + timedelta(days=400)}


def test_c24_a_request_that_was_made_anew_under_its_name_meanwhile_is_not_decided() -> None:
    world = cluster(client_request())

    def another(call: Call) -> None:
        if call.method == "Approved":
            world.requests["csr-client"] = client_request(CONVICTING["c01 another node's name"], uid="other")

    world.before = another
    assert (world.approve()["did"], world.decided) == ("held", {})
    world.before = lambda _: None
    world.approve()
    assert world.word_on(world.requests["csr-client"]) == "Denied"


def test_a_launch_that_was_denied_stays_denied() -> None:
    request = client_request()
    denied = an_approval(denied="it asked for another's name")
    world = cluster(request, approvals={denied.launch: denied})
    world.approve()
    assert world.word_on(request) == "Denied"
    assert world.approvals == {denied.launch: denied}


# --- control planes: the record's role says of which group its token is

OF_WORKERS, OF_CONTROL_PLANES = TOKEN_GROUPS[Role.WORKER], TOKEN_GROUPS[Role.CONTROL_PLANE]
KUBEADMS = "system:bootstrappers:kubeadm:default-node-token"


@pytest.mark.parametrize(
    ("recorded", "token_groups", "tagged", "word"),
    [
        (Role.CONTROL_PLANE, (OF_CONTROL_PLANES,), Role.CONTROL_PLANE, "Approved"),
        (Role.WORKER, (OF_WORKERS,), Role.WORKER, "Approved"),
        (Role.WORKER, (OF_CONTROL_PLANES,), Role.WORKER, "Denied"),
        (Role.WORKER, (OF_CONTROL_PLANES,), Role.CONTROL_PLANE, "Denied"),
        (Role.CONTROL_PLANE, (OF_WORKERS,), Role.CONTROL_PLANE, "Denied"),
        (Role.CONTROL_PLANE, (OF_WORKERS,), Role.WORKER, "Denied"),
        (Role.CONTROL_PLANE, (OF_WORKERS, OF_CONTROL_PLANES), Role.CONTROL_PLANE, "Denied"),
        (Role.CONTROL_PLANE, (KUBEADMS,), Role.CONTROL_PLANE, "Denied"),
        (Role.CONTROL_PLANE, (OF_CONTROL_PLANES, KUBEADMS), Role.CONTROL_PLANE, "Denied"),
        (Role.CONTROL_PLANE, (OF_CONTROL_PLANES,), Role.WORKER, "Pending"),
        (Role.CONTROL_PLANE, (OF_CONTROL_PLANES,), None, "Pending"),
        (Role.WORKER, (OF_WORKERS,), Role.CONTROL_PLANE, "Pending"),
    ],
)
def test_record_token_and_group_must_be_of_one_role(
    recorded: Role, token_groups: tuple[str, ...], tagged: Role | None, word: str
) -> None:
    request = client_request(groups=("system:bootstrappers", *token_groups, "system:authenticated"))
    groups = lists(member(ONE, "Pending:Wait"), role=tagged)
    world = cluster(request, joins=(a_record(role=recorded),), groups=groups)
    world.approve(ONE)
    assert world.word_on(request) == word
    assert world.convicted == set()


def test_c01_a_workers_token_does_not_get_the_name_of_a_control_plane() -> None:
    masters = lists(member(TWO, "Pending:Wait"), name="masters", role=Role.CONTROL_PLANE)
    request = client_request(client_csr(TWO))
    world = cluster(
        request,
        joins=(a_record(), a_record(TWO, group="masters", role=Role.CONTROL_PLANE)),
        instances={ONE: a_machine(), TWO: a_machine(TWO)},
        groups=(*lists(member(ONE, "Pending:Wait")), *masters),
    )
    world.approve()
    assert world.word_on(request) == "Denied"
    assert world.convicted == {ONE}
