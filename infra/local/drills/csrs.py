"""Certificate requests byte by byte, good ones and any other, signed with keys that are thrown away."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import ip_address
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SEQUENCE, SET, OID, OCTETS, BITS = 0x30, 0x31, 0x06, 0x04, 0x03
PRINTABLE, UTF8, BMP, UNIVERSAL = 0x13, 0x0C, 0x1E, 0x1C
O, OU, CN = "55040a", "55040b", "550403"  # noqa: E741 - the field's own names
UID = "2b0601040183c27502"  # 1.3.6.1.4.1.57683.2, from which the API server can take a user's uid
PKCS9_EXTENSIONS, MS_EXTENSIONS = "2a864886f70d01090e", "2b06010401823702010e"
CHALLENGE_PASSWORD = "2a864886f70d010907"  # noqa: S105 - the OID of it
SAN, BASIC_CONSTRAINTS, KEY_USAGE = "551d11", "551d13", "551d0f"

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


def tlv(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    if len(content) < 0x80:
        return bytes((tag, len(content))) + content
    size = len(content).to_bytes(2, "big").lstrip(b"\0")
    return bytes((tag, 0x80 | len(size))) + size + content


def oid(hexadecimal: str) -> bytes:
    return tlv(OID, bytes.fromhex(hexadecimal))


def pair(kind: str, text: str | bytes, string: int = PRINTABLE) -> bytes:
    """One AttributeTypeAndValue; several of them in one `rdn` make it multi-valued."""
    return tlv(SEQUENCE, oid(kind), tlv(string, text.encode() if isinstance(text, str) else text))


def rdn(*pairs: bytes) -> bytes:
    return tlv(SET, *pairs)


def node_subject(name: str, *more: bytes) -> bytes:
    return rdn(pair(O, "system:nodes")) + rdn(pair(CN, f"system:node:{name}")) + b"".join(more)


@cache
def a_key(number: int = 1) -> ec.EllipticCurvePrivateKey:
    """The key whose secret is that number: the same in every run."""
    return ec.derive_private_key(number, ec.SECP256R1())


@cache
def rsa_key(size: int, exponent: int = 65537) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(exponent, size)


def key_info(key: Key) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def signed(info: bytes, key: Key) -> bytes:
    match key:
        case rsa.RSAPrivateKey():
            algorithm = tlv(SEQUENCE, oid("2a864886f70d01010b"), b"\x05\x00")
            signature = key.sign(info, padding.PKCS1v15(), hashes.SHA256())
        case ec.EllipticCurvePrivateKey():
            algorithm, signature = tlv(SEQUENCE, oid("2a8648ce3d040302")), key.sign(info, ec.ECDSA(hashes.SHA256()))
        case ed25519.Ed25519PrivateKey():
            algorithm, signature = tlv(SEQUENCE, oid("2b6570")), key.sign(info)
    return tlv(SEQUENCE, info, algorithm, tlv(BITS, b"\0", signature))


def der(
    subject: bytes, *attributes: bytes, key: Key | None = None, version: bytes = b"\0", spki: bytes | None = None
) -> bytes:
    key = key or a_key()
    spki = spki or key_info(key)
    info = tlv(SEQUENCE, tlv(2, version), tlv(SEQUENCE, subject), spki, tlv(0xA0, *attributes))
    return signed(info, key)


def attribute(kind: str, *values: bytes) -> bytes:
    return tlv(SEQUENCE, oid(kind), tlv(SET, *values))


def extension(kind: str, content: bytes, *, critical: bool = False) -> bytes:
    return tlv(SEQUENCE, oid(kind), b"\x01\x01\xff" if critical else b"", tlv(OCTETS, content))


def extensions(*each: bytes, kind: str = PKCS9_EXTENSIONS) -> bytes:
    """The attribute that asks for these extensions."""
    return attribute(kind, tlv(SEQUENCE, *each))


def dns(name: str | bytes) -> bytes:
    return tlv(0x82, name.encode() if isinstance(name, str) else name)


def ip(address: str | bytes) -> bytes:
    return tlv(0x87, ip_address(address).packed if isinstance(address, str) else address)


def sans(*names: bytes) -> bytes:
    return extension(SAN, tlv(SEQUENCE, *names))


def block(content: bytes, label: str = "CERTIFICATE REQUEST", *, columns: int = 64, end: str = "\n") -> bytes:
    text = base64.b64encode(content).decode()
    lines = [text[at : at + columns] for at in range(0, len(text), columns)]
    return "".join(line + end for line in [f"-----BEGIN {label}-----", *lines, f"-----END {label}-----"]).encode()


def spec(pem: bytes) -> str:
    """As `spec.request` of an object of the API."""
    return base64.b64encode(pem).decode()


def client_csr(node_name: str, **options: Any) -> str:
    """As a kubelet makes it."""
    return spec(block(der(node_subject(node_name), **options)))


def serving_csr(node_name: str, *names: bytes, **options: Any) -> str:
    """As a kubelet makes it."""
    return spec(block(der(node_subject(node_name), extensions(sans(*names)), **options)))


CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
ISSUED_AT = datetime(2026, 11, 21, 11, 55, tzinfo=UTC)


def certificate(
    node_name: str,
    *names: str,
    key: Key | None = None,
    group: str = "system:nodes",
    uses: tuple[x509.ObjectIdentifier, ...] = (CLIENT,),
    authority: bool = False,
    begins: datetime = ISSUED_AT,
    lasting: timedelta = timedelta(days=365),
) -> str:
    """As `status.certificate` of an object of the API: what kube-controller-manager makes of a request."""
    subject = rdn(pair(O, group)) + rdn(pair(CN, f"system:node:{node_name}"))
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.load_der_x509_csr(der(subject)).subject)
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kubernetes")]))
        .public_key((key or a_key()).public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + lasting)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    if uses:
        builder = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(list(map(_general_name, names))), critical=False)
    made = builder.sign(a_key(99), hashes.SHA256())
    return base64.b64encode(made.public_bytes(Encoding.PEM)).decode()


def fingerprint(issued: str) -> str:
    """The SHA-256 of a certificate, by which the API server calls it."""
    return x509.load_pem_x509_certificate(base64.b64decode(issued)).fingerprint(hashes.SHA256()).hex()


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
