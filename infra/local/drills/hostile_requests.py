"""Certificate requests as attackers write them, by the ids of the catalogue of attacks (C client, S serving)."""

from __future__ import annotations

from collections.abc import Mapping

from infra.local.drills import csrs
from infra.local.drills.csrs import (
    BMP,
    CN,
    MS_EXTENSIONS,
    OU,
    UID,
    UTF8,
    O,
    attribute,
    block,
    der,
    dns,
    extension,
    extensions,
    ip,
    node_subject,
    pair,
    rdn,
    sans,
    serving_csr,
    spec,
    tlv,
)

NODES = pair(O, "system:nodes")
END = b"-----END CERTIFICATE REQUEST-----\n"


def _subject(*names: bytes) -> str:
    return spec(block(der(b"".join(names))))


def for_the_identity_of(other: str, own: str) -> Mapping[str, str]:
    """With the token of one node for the name of another, openly or so that only some parsers see it."""
    ours, theirs = pair(CN, f"system:node:{own}"), pair(CN, f"system:node:{other}")
    good, bad = block(der(node_subject(own))), block(der(node_subject(other)))
    return {
        "c01 another node's name": _subject(rdn(NODES), rdn(theirs)),
        "c03 two names, good first": _subject(rdn(NODES), rdn(ours), rdn(theirs)),
        "c04 two names, evil first": _subject(rdn(NODES), rdn(theirs), rdn(ours)),
        "c05 two names in one": _subject(rdn(NODES), rdn(ours, theirs)),
        "c06 a second organization": _subject(rdn(NODES), rdn(pair(O, "system:masters")), rdn(ours)),
        "c06 a second organization in one": _subject(rdn(NODES, pair(O, "system:masters")), rdn(ours)),
        "c06 another organization": _subject(rdn(pair(O, "system:masters")), rdn(ours)),
        "c10 text before the first block": spec(b"x" + good + bad),
        "c10 a space before the first block": spec(b" " + good + bad),
        "c11 no new line before the end": spec(good.replace(b"\n" + END, END) + bad),
        "c11 text after the end": spec(good.removesuffix(b"\n") + b" x\n" + bad),
        "c11 another label at the end": spec(good.replace(END, b"-----END CERTIFICATE-----\n") + bad),
    }


def in_another_form(own: str, other: str) -> Mapping[str, str]:
    """For the right name, or for none, but not as a kubelet writes it."""
    ours = pair(CN, f"system:node:{own}")
    whole = der(node_subject(own))
    good, bad = block(whole), block(der(node_subject(other)))
    padded = next(one for one in iter(lambda: der(node_subject(own)), b"") if len(one) % 3)

    def has(*attributes: bytes) -> str:
        return spec(block(der(node_subject(own), *attributes)))

    return {
        "c07 upper case organization": _subject(rdn(pair(O, "System:Nodes")), rdn(ours)),
        "c07 no organization": _subject(rdn(ours)),
        "c07 a unit": _subject(rdn(NODES), rdn(pair(OU, "nodes")), rdn(ours)),
        "c07 a uid": _subject(rdn(NODES), rdn(ours), rdn(pair(UID, "0"))),
        "c08 the other order": _subject(rdn(ours), rdn(NODES)),
        "c08 both in one": _subject(rdn(NODES, ours)),
        "c09 utf8": _subject(rdn(NODES), rdn(pair(CN, f"system:node:{own}", UTF8))),
        "c09 bmp": _subject(rdn(NODES), rdn(pair(CN, f"system:node:{own}".encode("utf-16-be"), BMP))),
        "c09 nul at the end": _subject(rdn(NODES), rdn(pair(CN, f"system:node:{own}\0"))),
        "c09 no name": _subject(rdn(NODES), rdn(pair(CN, "system:node:"))),
        "c09 upper case name": _subject(rdn(NODES), rdn(pair(CN, f"system:node:{own.upper()}"))),
        "c09 no subject": _subject(),
        "c12 two clean blocks": spec(good + bad),
        "c12 text before": spec(b"hello\n" + good),
        "c12 text after": spec(good + b"hello\n"),
        "c12 crlf": spec(block(whole, end="\r\n")),
        "c12 one line": spec(block(whole, columns=10_000)),
        "c12 headers": spec(good.replace(b"REQUEST-----\n", b"REQUEST-----\nA: b\n\n", 1)),
        "c12 a space in a line": spec(good.replace(b"\nMI", b"\nM I")),
        "c12 no padding": spec(block(padded).replace(b"=", b"")),
        "c12 no new line at the end": spec(good.rstrip(b"\n")),
        "c13 the old label": spec(block(whole, "NEW CERTIFICATE REQUEST")),
        "c13 a certificate first": spec(block(b"0\0", "CERTIFICATE") + good),
        "c13 something after the request": spec(block(whole + b"\x05\x00")),
        "c13 version 2": spec(block(der(node_subject(own), version=b"\x01"))),
        "c13 too long": spec(good + b"\n" * 8192),
        "c13 empty": "",
        "c13 not base64": "&&&&",
        "c13 not der": spec(block(b"hello, world")),
        "c14 a name": has(extensions(sans(dns(own)))),
        "c14 a name by microsoft": has(extensions(sans(dns(own)), kind=MS_EXTENSIONS)),
        "c14 a password": has(attribute(csrs.CHALLENGE_PASSWORD, tlv(UTF8, b"x"))),
        "c14 a ca": has(extensions(extension(csrs.BASIC_CONSTRAINTS, tlv(0x30, b"\x01\x01\xff")))),
    }


def to_serve_as_another(
    own: str, good: tuple[bytes, ...], other: str, others_address: str, balancer: str
) -> Mapping[str, str]:
    """As a node that has joined, for names and addresses that are not its machine's."""
    strange = {
        "s01 another machine's address": ip(others_address),
        "s02 another node": dns(other),
        "s03 the api server": dns("kubernetes.default.svc"),
        "s04 the api server in capitals": dns("KUBERNETES.default.svc"),
        "s05 the load balancer": dns(balancer),
        "s05 the load balancer's address": ip("10.77.0.10"),
        "s05 the service of the api server": ip("10.96.0.1"),
        "s06 any name": dns("*"),
        "s06 any name of the network": dns("*.ec2.internal"),
        "s07 a dot at the end": dns(f"{own}."),
        "s07 its name in capitals": dns(own.upper()),
        "s09 loopback": ip("127.0.0.1"),
        "s09 metadata": ip("169.254.169.254"),
        "s10 uri": tlv(0x86, b"spiffe://cluster/ns/kube-system"),
    }
    evil = dns("kubernetes")

    def has(*attributes: bytes) -> str:
        return spec(block(der(node_subject(own), *attributes)))

    return {
        **{id_: serving_csr(own, *good, name) for id_, name in strange.items()},
        "s11 microsoft good, pkcs9 evil": has(extensions(sans(*good), kind=MS_EXTENSIONS), extensions(sans(evil))),
        "s11 two of pkcs9": has(extensions(sans(*good)), extensions(sans(evil))),
        "s12 no name": serving_csr(own),
        "s16 a ca": has(extensions(sans(*good), extension(csrs.BASIC_CONSTRAINTS, tlv(0x30, b"\x01\x01\xff")))),
        "s17 another node's subject": serving_csr(other, *good),
    }
