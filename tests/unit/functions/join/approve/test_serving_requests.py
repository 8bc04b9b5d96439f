"""A node gets a serving certificate for the names and addresses that EC2 says are its machine's, and for no others."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from functions.cluster.facts import Record
from functions.cluster.joining import JoinState
from functions.cluster.machine import InstanceId, InstanceState, Node, Role
from functions.errors import ConfigurationError, RetryableError
from infra.local.drills import csrs
from infra.local.drills.csrs import (
    MS_EXTENSIONS,
    a_key,
    attribute,
    block,
    der,
    dns,
    extension,
    extensions,
    ip,
    node_subject,
    sans,
    serving_csr,
    spec,
    tlv,
)
from tests.unit.functions.builders import NOW, ONE, TWO, WORKERS, member, node
from tests.unit.functions.join.approve.cluster import (
    ADDRESS,
    LAUNCHED_AT,
    PRIVATE_NAME,
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

GOOD = (dns(ONE), dns(PRIVATE_NAME), ip(ADDRESS))
EVIL = dns("kubernetes")


def let_in(*requests: Any, **changes: Any) -> Cluster:
    """The cluster after the machine got its client certificate."""
    approval = an_approval()
    return cluster(*requests, **({"approvals": {approval.launch: approval}} | changes))


def asks_for(*names: bytes) -> Any:
    return serving_request(serving_csr(ONE, *names))


def with_attributes(*attributes: bytes) -> str:
    return spec(block(der(node_subject(ONE), *attributes)))


LARGE = a_machine(
    private_addresses=(ADDRESS, "10.77.1.50", "10.77.2.9"),
    ipv6_addresses=("2600:1f18::7",),
    public_address="198.51.100.7",
    public_dns_name="ec2-198-51-100-7.compute-1.amazonaws.com",
)

APPROVED = {
    "s00 names and address": GOOD,
    "s13 the primary address": (ip(ADDRESS),),
    "the node's name": (dns(ONE),),
    "s14 secondary addresses": (ip(ADDRESS), ip("10.77.1.50"), ip("10.77.2.9")),
    "what is public": (dns(ONE), dns("ec2-198-51-100-7.compute-1.amazonaws.com"), ip("198.51.100.7")),
    "an IPv6 address": (dns(ONE), ip("2600:1f18::7")),
}


@pytest.mark.parametrize("names", APPROVED.values(), ids=APPROVED)
def test_s00_s13_s14_what_ec2_says_is_the_machines_is_approved(names: tuple[bytes, ...]) -> None:
    request = asks_for(*names)
    world = let_in(request, instances={ONE: LARGE})
    answer = world.approve(ONE)
    assert world.decided == {
        request.name: ("Approved", f"{ONE} in group drill-worker, launched at {LAUNCHED_AT:%Y-%m-%dT%H:%M:%SZ}")
    }
    assert answer["did"] == "approved"
    (approval,) = world.approvals.values()
    assert (approval.serving_uid, approval.serving_at) == (request.uid, NOW)
    assert (approval.client_uid, approval.client_at) == (an_approval().client_uid, an_approval().client_at)


STRANGE_NAMES = {
    "s01 another machine's address": ip("10.77.1.2"),
    "s02 another node": dns(TWO),
    "s03 the api server": dns("kubernetes.default.svc"),
    "s04 the api server in capitals": dns("KUBERNETES.default.svc"),
    "s05 the load balancer": dns("api-1234567890.elb.us-east-1.amazonaws.com"),
    "s05 the load balancer's address": ip("10.77.0.10"),
    "s05 the service of the api server": ip("10.96.0.1"),
    "s06 any name": dns("*"),
    "s06 any name of the network": dns("*.ec2.internal"),
    "s07 a dot at the end": dns(f"{PRIVATE_NAME}."),
    "s07 an empty name": dns(""),
    "s07 nul": dns(f"{ONE}\0"),
    "s07 nul and more": dns(f"{ONE}\0.evil"),
    "s07 its name in capitals": dns(ONE.upper()),
    "s07 utf-8": dns("nöde"),
    "s07 300 characters": dns("a" * 300),
    "s07 its address as a name": dns(ADDRESS),
    "s08 mapped to IPv6": ip(f"::ffff:{ADDRESS}"),
    "s08 five bytes": ip(bytes((10, 77, 1, 1, 0))),
    "s08 no bytes": ip(b""),
    "s09 loopback": ip("127.0.0.1"),
    "s09 metadata": ip("169.254.169.254"),
    "s09 loopback of IPv6": ip("::1"),
    "s09 any address": ip("0.0.0.0"),
    "s09 a pod": ip("192.168.1.7"),
    "s09 localhost": dns("localhost"),
    "s10 e-mail": tlv(0x81, b"root@example.com"),
    "s10 uri": tlv(0x86, b"spiffe://cluster/ns/kube-system"),
    "s10 other name": tlv(0xA0, csrs.oid("2b0601040182371402 03".replace(" ", "")), tlv(0xA0, tlv(0x0C, b"evil"))),
    "s10 directory name": tlv(0xA4, tlv(0x30, node_subject(TWO))),
    "s15 twice the same": dns(ONE),
}


@pytest.mark.parametrize("name", STRANGE_NAMES.values(), ids=STRANGE_NAMES)
@pytest.mark.parametrize("first", [True, False])
def test_s01_to_s15_one_strange_name_among_good_ones_is_enough_to_deny(name: bytes, first: bool) -> None:
    request = asks_for(*((name, *GOOD) if first else (*GOOD, name)))
    world = let_in(request)
    world.approve()
    assert world.word_on(request) == "Denied"
    assert world.convicted == set()


STRANGE_FORMS = {
    "s11 microsoft good, pkcs9 evil": with_attributes(
        extensions(sans(*GOOD), kind=MS_EXTENSIONS), extensions(sans(*GOOD, EVIL))
    ),
    "s11 pkcs9 good, microsoft evil": with_attributes(
        extensions(sans(*GOOD)), extensions(sans(*GOOD, EVIL), kind=MS_EXTENSIONS)
    ),
    "s11 microsoft alone": with_attributes(extensions(sans(*GOOD), kind=MS_EXTENSIONS)),
    "s11 two of pkcs9": with_attributes(extensions(sans(*GOOD)), extensions(sans(EVIL))),
    "s11 two values": with_attributes(attribute(csrs.PKCS9_EXTENSIONS, tlv(0x30, sans(*GOOD)), tlv(0x30, sans(EVIL)))),
    "s11 two extensions": with_attributes(extensions(sans(*GOOD), sans(EVIL))),
    "s12 no attribute": with_attributes(),
    "s12 no name": serving_csr(ONE),
    "s16 what it may be used for": with_attributes(
        extensions(sans(*GOOD), extension(csrs.KEY_USAGE, tlv(3, b"\x01\x06")))
    ),
    "s16 a ca": with_attributes(extensions(extension(csrs.BASIC_CONSTRAINTS, tlv(0x30, b"\x01\x01\xff")), sans(*GOOD))),
    "s16 a ca alone": with_attributes(extensions(extension(csrs.BASIC_CONSTRAINTS, tlv(0x30, b"\x01\x01\xff")))),
    "critical": with_attributes(extensions(extension(csrs.SAN, tlv(0x30, *GOOD), critical=True))),
    "a password besides": with_attributes(extensions(sans(*GOOD)), attribute(csrs.CHALLENGE_PASSWORD, tlv(0x0C, b"x"))),
    "s17 another node's subject": serving_csr(TWO, *GOOD),
    "neither its name nor its primary address": serving_csr(ONE, dns(PRIVATE_NAME)),
}


@pytest.mark.parametrize("csr", STRANGE_FORMS.values(), ids=STRANGE_FORMS)
def test_s11_to_s17_a_request_in_any_other_form_is_denied(csr: str) -> None:
    request = serving_request(csr)
    world = let_in(request)
    world.approve()
    assert world.word_on(request) == "Denied"
    assert world.convicted == set()


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"extra": {}}, "Pending"),
        ({"usages": ("digital signature", "key encipherment", "server auth")}, "Approved"),
        ({"extra": {"authentication.kubernetes.io/pod-name": ("evil",)}}, "Denied"),
        ({"usages": ("digital signature", "server auth", "client auth")}, "Denied"),
        ({"groups": ("system:nodes", "system:masters", "system:authenticated")}, "Denied"),
        ({"groups": ("system:authenticated",)}, "Denied"),
        ({"user_uid": "1"}, "Denied"),
        ({"expiration_s": 10 * 365 * 86_400}, "Denied"),
    ],
    ids=str,
)
def test_only_a_node_as_the_api_server_knows_it_may_ask_and_only_to_serve(changes: dict[str, Any], word: str) -> None:
    request = serving_request(**changes)
    world = let_in(request)
    world.approve()
    assert world.word_on(request) == word


def test_s22_a_token_cannot_ask_for_a_serving_certificate() -> None:
    csr = serving_csr(ONE, *GOOD)
    request = client_request(csr, signer=serving_request().signer, usages=("digital signature", "server auth"))
    world = let_in(request)
    world.approve()
    assert world.word_on(request) == "Denied"


@pytest.mark.parametrize(
    "username",
    [
        "system:serviceaccount:kube-system:evil",
        "system:node:ip-10-77-1-1",
        "admin",
        f"system:node:{ONE}x",
        "system:node:",
    ],
)
def test_s22_users_who_are_no_machine_of_ours_are_left_alone(username: str) -> None:
    world = let_in(serving_request(username=username))
    assert (world.approve()["did"], world.decided) == ("nothing", {})


@pytest.mark.parametrize(
    "name", ["ip-10-77-1-1.ec2.internal", f"{ONE}.ec2.internal", "ip-10-77-1-1.us-east-1.compute.internal"]
)
def test_s19_a_private_name_that_ec2_has_not_given_yet_is_waited_for(name: str) -> None:
    request = asks_for(dns(ONE), dns(name), ip(ADDRESS))
    world = let_in(request, instances={ONE: a_machine(private_dns_name=None)})
    assert world.approve()["did"] == "held"
    assert world.word_on(request) == "Pending"
    world.instances[ONE] = a_machine(private_dns_name=name)
    world.approve()
    assert world.word_on(request) == "Approved"


@pytest.mark.parametrize("name", ["ip-10-77-1-2.ec2.internal", "ip-10-77-1-1.evil.internal", "kubernetes"])
def test_s19_names_that_can_never_be_the_machines_are_not_waited_for(name: str) -> None:
    request = asks_for(dns(ONE), dns(name))
    world = let_in(request, instances={ONE: a_machine(private_dns_name=None)})
    world.approve()
    assert world.word_on(request) == "Denied"


SIX = "2600:1f18:24d:ea00::7"
DUAL = a_machine(ipv6_addresses=(SIX, "2600:1f18:24d:ea01::9"))
SIX_ALONE = a_machine(address=None, private_addresses=(), ipv6_addresses=(SIX,), private_dns_name=f"{ONE}.ec2.internal")
OF_IPV6 = {
    "both families": (DUAL, (dns(ONE), ip(ADDRESS), ip(SIX)), "Approved"),
    "the first address of the second interface": (DUAL, (dns(ONE), ip("2600:1f18:24d:ea01::9")), "Approved"),
    "its first address and no name": (DUAL, (ip(SIX),), "Approved"),
    "the second interface's address alone": (DUAL, (ip("2600:1f18:24d:ea01::9"),), "Denied"),
    "IPv6 alone": (SIX_ALONE, (dns(ONE), ip(SIX)), "Approved"),
    "IPv6 alone, by its address": (SIX_ALONE, (ip(SIX),), "Approved"),
    "the name that EC2 gives by instance id": (SIX_ALONE, (dns(f"{ONE}.ec2.internal"), ip(SIX)), "Approved"),
    "IPv6 alone, with an IPv4 address that it had": (SIX_ALONE, (dns(ONE), ip(ADDRESS)), "Denied"),
    "the next address of the network": (DUAL, (dns(ONE), ip("2600:1f18:24d:ea00::8")), "Denied"),
    "link-local": (DUAL, (dns(ONE), ip("fe80::1")), "Denied"),
    "IPv4 mapped into IPv6": (DUAL, (dns(ONE), ip(f"::ffff:{ADDRESS}")), "Denied"),
    "IPv4 in the old form": (DUAL, (dns(ONE), ip(f"::{ADDRESS}")), "Denied"),
    "an address as text": (DUAL, (dns(ONE), dns(SIX)), "Denied"),
    "an address cut short": (DUAL, (dns(ONE), ip(b"\x26\x00\x1f\x18")), "Denied"),
    "an address and a zone": (DUAL, (dns(ONE), dns(f"{SIX}%eth0")), "Denied"),
    "no address known yet": (replace(SIX_ALONE, ipv6_addresses=()), (dns(ONE), ip(SIX)), "Pending"),
}


@pytest.mark.parametrize("case", OF_IPV6)
def test_addresses_of_both_families_are_compared_byte_by_byte(case: str) -> None:
    machine, names, word = OF_IPV6[case]
    request = asks_for(*names)
    world = let_in(request, instances={ONE: machine})
    world.approve()
    assert world.word_on(request) == word


def test_however_ec2_writes_an_address_its_bytes_are_one() -> None:
    request = asks_for(dns(ONE), ip(SIX))
    world = let_in(request, instances={ONE: a_machine(ipv6_addresses=("2600:1F18:024D:EA00:0:0:0:7",))})
    world.approve()
    assert world.word_on(request) == "Approved"


# --- machines that were there before Regrow

BEFORE = "ip-10-77-1-1.ec2.internal"


def written_down(node_name: str = ONE, of: InstanceId = ONE, **changes: Any) -> Record:
    whole = Record(of, WORKERS, Role.WORKER, node_name, "uid", NOW - timedelta(days=30))
    return replace(whole, **changes)


def a_node(name: str = ONE, **changes: Any) -> Node:
    return node(**({"name": name, "addresses": (ADDRESS, name)} | changes))


def there_before(*requests: Any, name: str = BEFORE, **changes: Any) -> Cluster:
    """A machine with a Node and no join record, as the sweep has written it down."""
    whole: dict[str, Any] = {
        "joins": (),
        "groups": lists(member(ONE)),
        "records": (written_down(name),),
        "nodes": {name: a_node(name)},
    }
    return cluster(*requests, **(whole | changes))


def asks_as(name: str, *names: bytes, **changes: Any) -> Any:
    csr = serving_csr(name, *(names or (dns(name), ip(ADDRESS))))
    return serving_request(csr, **({"username": f"system:node:{name}"} | changes))


@pytest.mark.parametrize("name", [ONE, BEFORE, "ip-10-77-1-1", "worker-1.example.com"])
def test_a_machine_that_was_there_before_gets_its_serving_certificate_under_the_name_that_it_has(name: str) -> None:
    request = asks_as(name)
    world = there_before(request, name=name)
    assert world.approve()["did"] == "approved"
    assert world.word_on(request) == "Approved"
    assert [approval.instance for approval in world.approvals.values()] == [ONE]


def test_a_pass_over_a_machine_that_was_there_before_decides_its_requests_too() -> None:
    request = asks_as(BEFORE)
    world = there_before(request)
    assert world.approve(TWO)["did"] == "nothing"
    assert world.approve(ONE)["did"] == "approved"


OTHERWISE: dict[str, tuple[dict[str, Any], str]] = {
    "nobody has written it down": ({"records": ()}, "Pending"),
    "written down under another name": ({"records": (written_down("ip-10-77-1-9"),)}, "Pending"),
    "no Node of its name": ({"nodes": {}}, "Pending"),
    "its Node says that it is another machine": (
        {"nodes": {BEFORE: a_node(BEFORE, provider_id=f"aws:///us-east-1a/{TWO}")}},
        "Pending",
    ),
    "its Node says nothing of its machine": ({"nodes": {BEFORE: a_node(BEFORE, provider_id="")}}, "Pending"),
    "its Node names an address that EC2 does not": (
        {"nodes": {BEFORE: a_node(BEFORE, addresses=(ADDRESS, "10.77.1.2"))}},
        "Pending",
    ),
    "its Node names no address": ({"nodes": {BEFORE: a_node(BEFORE, addresses=(BEFORE,))}}, "Pending"),
    "in no group of the cluster": ({"groups": lists(member(TWO))}, "Pending"),
    "terminated": ({"instances": {ONE: a_machine(state=InstanceState.TERMINATED, address=None)}}, "Denied"),
    "unknown to ec2": ({"instances": {}}, "Pending"),
    "convicted": ({"approvals": {an_approval().launch: an_approval(denied="it asked for another's")}}, "Denied"),
}


@pytest.mark.parametrize("case", OTHERWISE)
def test_of_a_machine_that_was_there_before_all_that_is_known_must_agree(case: str) -> None:
    changes, word = OTHERWISE[case]
    request = asks_as(BEFORE)
    world = there_before(request, **changes)
    world.approve()
    assert world.word_on(request) == word


STRANGE_OF_BEFORE = {
    "another machine's address": (dns(BEFORE), ip("10.77.1.2")),
    "another node": (dns(BEFORE), dns("ip-10-77-1-2.ec2.internal")),
    "the api server": (dns(BEFORE), dns("kubernetes")),
    "no main name": (dns("ec2-198-51-100-7.compute-1.amazonaws.com"),),
}


@pytest.mark.parametrize("names", STRANGE_OF_BEFORE.values(), ids=STRANGE_OF_BEFORE)
def test_what_was_there_before_gets_no_name_that_is_not_its_own(names: tuple[bytes, ...]) -> None:
    request = asks_as(BEFORE, *names)
    world = there_before(request, instances={ONE: LARGE})
    world.approve()
    assert world.word_on(request) == "Denied"


@pytest.mark.parametrize(
    "name", ["kubernetes", "kubernetes.default", "localhost", "web.default.svc", "web.default.svc.cluster.local"]
)
def test_a_node_that_is_called_like_a_service_gets_no_certificate(name: str) -> None:
    request = asks_as(name)
    world = there_before(request, name=name)
    world.approve()
    assert world.word_on(request) == "Denied"


def test_a_name_that_was_used_again_is_the_later_machines() -> None:
    request = asks_as(BEFORE)
    later = written_down(BEFORE, TWO, first_seen=NOW - timedelta(days=1))
    two = a_machine(TWO, address=ADDRESS, private_addresses=(ADDRESS,), private_dns_name=BEFORE)
    world = there_before(
        request,
        records=(later, written_down(BEFORE)),
        instances={ONE: a_machine(state=InstanceState.TERMINATED, address=None), TWO: two},
        groups=lists(member(TWO)),
        nodes={BEFORE: a_node(BEFORE, provider_id=f"aws:///us-east-1a/{TWO}")},
    )
    said = world.approve()
    assert [entry["machine"] for entry in said["approved"]] == [TWO]


def test_a_machine_that_we_let_in_is_held_to_its_certificate_though_it_is_written_down() -> None:
    request = serving_request(extra={"authentication.kubernetes.io/credential-id": ("X509SHA256=" + "1" * 64,)})
    world = let_in(request, records=(written_down(),), nodes={ONE: a_node()})
    world.approve()
    assert world.word_on(request) == "Denied"


def test_a_machine_whose_first_certificate_was_never_read_back_is_one_that_was_there_before() -> None:
    request = serving_request()
    bare = an_approval(certificates=(), certified_at=None, certified_until=None)
    world = cluster(request, approvals={bare.launch: bare}, groups=lists(member(ONE)))
    assert world.approve()["did"] == "held"
    world.records, world.nodes = (written_down(),), {ONE: a_node()}
    world.approve()
    assert world.word_on(request) == "Approved"


MACHINES = {
    "pending": ({"instances": {ONE: a_machine(state=InstanceState.PENDING)}}, "Approved"),
    "s20 its join has ended long ago": (
        {"joins": (a_record(state=JoinState.ENDED, expires_at=NOW - timedelta(days=365)),)},
        "Approved",
    ),
    "s20 in service": ({"groups": lists(member(ONE))}, "Approved"),
    "draining": ({"groups": lists(member(ONE, "Terminating:Wait"))}, "Approved"),
    "s21 terminated": ({"instances": {ONE: a_machine(state=InstanceState.TERMINATED, address=None)}}, "Denied"),
    "stopping": ({"instances": {ONE: a_machine(state=InstanceState.STOPPING)}}, "Denied"),
    "unknown to ec2": ({"instances": {}}, "Pending"),
    "without an address": ({"instances": {ONE: a_machine(address=None, private_addresses=())}}, "Pending"),
    "in no group of the cluster": ({"groups": lists(member(TWO))}, "Pending"),
    "without a record": ({"joins": ()}, "Pending"),
    "started again since it joined": ({"instances": {ONE: a_machine(launched_at=NOW)}}, "Approved"),
    "without a client certificate by us": ({"approvals": {}}, "Pending"),
    "denied": ({"approvals": {a_record().launch: an_approval(denied="it asked for another's name")}}, "Denied"),
    "the founder": ({"joins": (), "approvals": {}, "founder": ONE}, "Approved"),
    "not the founder": ({"joins": (), "approvals": {}, "founder": TWO}, "Pending"),
}


@pytest.mark.parametrize(("changes", "word"), MACHINES.values(), ids=MACHINES)
def test_s20_s21_the_machine_must_run_and_have_joined_by_us_or_have_founded_the_cluster(
    changes: dict[str, Any], word: str
) -> None:
    request = serving_request()
    world = let_in(request, **changes)
    world.approve()
    assert world.word_on(request) == word


@pytest.mark.parametrize("error", [RetryableError, ConfigurationError])
@pytest.mark.parametrize(
    "method", ["approvals_of", "instance", "groups", "initialised_by", "write_approval", "Approved"]
)
def test_what_cannot_be_read_or_written_holds(method: str, error: type[Exception]) -> None:
    def fail(call: Call) -> None:
        if call.method == method:
            raise error(f"{method} does not work")

    world = cluster(serving_request(), joins=(), founder=ONE, before=fail)
    answer = world.approve()
    assert (answer["did"], world.decided) == ("held", {})
    assert f"{method} does not work" in answer["reason"]


def test_s20_a_renewal_is_approved_and_written_over_the_one_before() -> None:
    world = let_in(serving_request())
    world.approve()
    a_year_later = NOW + timedelta(days=330)
    renewal = replace(
        serving_request(serving_csr(ONE, *GOOD, key=a_key(7))), name="csr-renewal", uid="new", created_at=a_year_later
    )
    world.requests[renewal.name] = renewal
    assert world.approve(now=a_year_later)["did"] == "approved"
    (approval,) = world.approvals.values()
    assert (approval.serving_uid, approval.serving_at) == ("new", a_year_later)
