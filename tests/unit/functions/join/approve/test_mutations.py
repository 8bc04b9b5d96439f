"""However the bytes of a good request are changed: it asks for no more than before, or it is not approved."""

from __future__ import annotations

import base64
from collections.abc import Callable
from ipaddress import ip_address

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from functions.edges.keys import wrong_with_key
from functions.join.pkcs10 import DNS_NAME, IP_ADDRESS, Asked, Wrong, read_client_request, read_serving_request
from infra.local.drills.csrs import (
    a_key,
    block,
    client_csr,
    dns,
    ip,
    rsa_key,
    serving_csr,
    signed,
    spec,
    tlv,
)
from tests.unit.functions.builders import ONE
from tests.unit.functions.join.approve.cluster import ADDRESS, PRIVATE_NAME

Read = Callable[[str, str], Asked | Wrong]
STOCK: dict[str, tuple[Read, str]] = {
    "client": (read_client_request, client_csr(ONE)),
    "client with rsa": (read_client_request, client_csr(ONE, key=rsa_key(2048))),
    "serving": (read_serving_request, serving_csr(ONE, dns(ONE), dns(PRIVATE_NAME), ip(ADDRESS))),
}


@st.composite
def changed(draw: st.DrawFn, whole: bytes) -> bytes:
    """Bytes with a few of them replaced, put in, left out, or said twice."""
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(content) - 1))
        length = draw(st.integers(0, 3))
        match draw(st.sampled_from(["replace", "bit", "cut", "again"])):
            case "replace":
                content[at : at + length] = draw(st.binary(max_size=4))
            case "bit":
                content[at] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del content[at:]
            case _:
                content[at:at] = content[draw(st.integers(0, at)) : at]
        if not content:
            break
    return bytes(content)


def assert_good_or_not_approved(kind: str, request: str) -> None:
    read, stock = STOCK[kind]
    before, after = read(stock, ONE), read(request, ONE)
    assert isinstance(before, Asked)
    if isinstance(after, Wrong) or not set(after.names) <= set(before.names):
        return
    if wrong_with_key(after.der, after.key):
        return
    assert after.key == before.key
    ours, theirs = x509.load_der_x509_csr(before.der), x509.load_der_x509_csr(after.der)
    assert theirs.subject == ours.subject
    assert len(list(theirs.attributes)) == len(list(ours.attributes))
    assert {one.oid for one in theirs.extensions} == {one.oid for one in ours.extensions}
    assert names_by_the_library(theirs) == set(after.names)


def names_by_the_library(request: x509.CertificateSigningRequest) -> set[tuple[int, bytes]]:
    if not list(request.extensions):
        return set()
    names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = map(str, names.get_values_for_type(x509.IPAddress))
    return {(DNS_NAME, name.encode()) for name in names.get_values_for_type(x509.DNSName)} | {
        (IP_ADDRESS, ip_address(address).packed) for address in addresses
    }


def der_of(kind: str) -> bytes:
    read, stock = STOCK[kind]
    asked = read(stock, ONE)
    assert isinstance(asked, Asked)
    return asked.der


@pytest.mark.parametrize("kind", STOCK)
@given(data=st.data())
@settings(deadline=None, max_examples=300)
def test_changed_der_is_as_good_or_not_approved(kind: str, data: st.DataObject) -> None:
    assert_good_or_not_approved(kind, spec(block(data.draw(changed(der_of(kind))))))


@pytest.mark.parametrize("kind", STOCK)
@given(data=st.data())
@settings(deadline=None, max_examples=300)
def test_changed_der_signed_anew_by_its_own_key_is_as_good_or_not_approved(kind: str, data: st.DataObject) -> None:
    """An attacker has the key, so the signature stops nobody."""
    key = rsa_key(2048) if "rsa" in kind else a_key()
    info = x509.load_der_x509_csr(der_of(kind)).tbs_certrequest_bytes
    assert_good_or_not_approved(kind, spec(block(signed(data.draw(changed(info)), key))))


@pytest.mark.parametrize("kind", STOCK)
@given(data=st.data())
@settings(deadline=None, max_examples=300)
def test_changed_pem_is_as_good_or_not_approved(kind: str, data: st.DataObject) -> None:
    _, stock = STOCK[kind]
    assert_good_or_not_approved(kind, spec(data.draw(changed(base64.b64decode(stock)))))


@given(st.text(max_size=300) | st.binary(max_size=300).map(spec) | st.binary(max_size=300).map(block).map(spec))
@settings(deadline=None, max_examples=300)
def test_anything_at_all_is_answered(request_: str) -> None:
    for read in (read_client_request, read_serving_request):
        assert isinstance(read(request_, ONE), Wrong)


NESTED = st.recursive(
    st.binary(max_size=6),
    lambda inner: st.builds(lambda tag, parts: tlv(tag, *parts), st.integers(0, 255), st.lists(inner, max_size=3)),
    max_leaves=12,
)


@given(NESTED)
@settings(deadline=None, max_examples=300)
def test_any_der_at_all_is_answered(content: bytes) -> None:
    for whole in (content, tlv(0x30, tlv(0x30, b"\x02\x01\x00", content), content)):
        assert isinstance(read_client_request(spec(block(whole)), ONE), Wrong)
