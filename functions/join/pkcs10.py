"""PKCS #10 (RFC 2986) as a kubelet writes it, read byte by byte: whatever differs from that form is wrong.

What is signed in the end is what Go's parser sees in these bytes. Another parser may see something else in the same
bytes: the first of two common names where Go takes the last, another of two PEM blocks. So nothing is parsed here and
then trusted: the subject is compared with bytes that we make ourselves, and everything that leaves room is refused.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256

from functions.cluster.joining import NODE_USER_PREFIX, NODES_GROUP

LONGEST = 8192  # bytes of PEM; a kubelet's request has some 500, with RSA 4096 some 1700

_LONGEST_SHOWN = 80

DNS_NAME, IP_ADDRESS = 0x82, 0x87  # GeneralName's dNSName and iPAddress (RFC 5280, 4.2.1.6)
_INTEGER, _OCTET_STRING, _OID, _PRINTABLE_STRING, _SEQUENCE, _SET, _ATTRIBUTES = (
    0x02,
    0x04,
    0x06,
    0x13,
    0x30,
    0x31,
    0xA0,
)
_BIT_STRING = 0x03
_VERSION_1 = b"\x00"
_ORGANIZATION, _COMMON_NAME = b"\x55\x04\x0a", b"\x55\x04\x03"
_EXTENSION_REQUEST = bytes.fromhex("2a864886f70d01090e")  # PKCS #9; Go also knows no other
_SUBJECT_ALT_NAME = b"\x55\x1d\x11"

_BEGIN, _END = b"-----BEGIN CERTIFICATE REQUEST-----\n", b"-----END CERTIFICATE REQUEST-----\n"
_BOUNDARY = re.compile(rb"-----(?:BEGIN|END) ")
_CLEAN_BLOCK = re.compile(rb"^-----BEGIN ([A-Z ]+)-----[ \t\r]*\n[^-]*^-----END \1-----[ \t\r]*$", re.MULTILINE)
_NODE_USER = re.compile(re.escape(NODE_USER_PREFIX).encode() + rb"[a-z0-9][a-z0-9.-]*")


@dataclass(frozen=True)
class Asked:
    """A request in the one form that is let through: for the node's own subject, with this key and these names.

    `key` is the SubjectPublicKeyInfo in DER. Names are GeneralNames, tag and content, in the order of the request.
    """

    der: bytes
    key: bytes
    names: tuple[tuple[int, bytes], ...]

    @property
    def key_sha256(self) -> str:
        return sha256(self.key).hexdigest()


@dataclass(frozen=True)
class Wrong:
    """A request in any other form. `convicts` when it was made so that it asks for another one's identity."""

    reason: str
    convicts: bool = False


class _WrongError(ValueError):
    def __init__(self, reason: str, *, convicts: bool = False) -> None:
        super().__init__(reason)
        self.wrong = Wrong(reason, convicts)


def read_client_request(request: str, node_name: str) -> Asked | Wrong:
    """Read a request for a client certificate of that Node; it may ask for nothing besides."""
    return _read(request, node_name, serving=False)


def read_serving_request(request: str, node_name: str) -> Asked | Wrong:
    """Read a request for a serving certificate of that Node: names and addresses, each once, and nothing besides."""
    return _read(request, node_name, serving=True)


def subject_of(node_name: str) -> bytes:
    """Return the subject of a Node's certificates (DER), as Go writes it."""
    user = f"{NODE_USER_PREFIX}{node_name}".encode()
    return _tlv(_SEQUENCE, _rdn(_ORGANIZATION, NODES_GROUP.encode()) + _rdn(_COMMON_NAME, user))


def _read(request: str, node_name: str, *, serving: bool) -> Asked | Wrong:
    try:
        der = _der_of(request)
        info, _algorithm, _signature = _parts(_only(der, _SEQUENCE), _SEQUENCE, _SEQUENCE, _BIT_STRING)
        version, subject, key, attributes = _parts(info, _INTEGER, _SEQUENCE, _SEQUENCE, _ATTRIBUTES)
        if version != _VERSION_1:
            raise _WrongError("its version is not 1")
        _check_subject(subject, node_name)
        if not serving and attributes:
            raise _WrongError("it has attributes; a client request has none")
        names = _names(attributes) if serving else ()
        return Asked(der, _tlv(_SEQUENCE, key), names)
    except _WrongError as error:
        return error.wrong


def _der_of(request: str) -> bytes:
    """Return what is in the one PEM block, which must be written as Go writes it: then every parser sees this one."""
    try:
        pem = base64.b64decode(request, validate=True)
    except ValueError as error:
        raise _WrongError("it is not base64") from error
    if len(pem) > LONGEST:
        raise _WrongError(f"it has {len(pem)} bytes, more than {LONGEST}")
    try:
        der = binascii.a2b_base64(pem.removeprefix(_BEGIN).removesuffix(_END).replace(b"\n", b""), strict_mode=True)
    except ValueError:
        der = b""
    if der and pem == _pem_of(der):
        return der
    if _hides_a_block(pem):
        raise _WrongError("it hides a PEM block, so that parsers see different requests in it", convicts=True)
    raise _WrongError("it is not one PEM block as Go writes it")


def _pem_of(der: bytes) -> bytes:
    text = base64.b64encode(der)
    return _BEGIN + b"".join(text[at : at + 64] + b"\n" for at in range(0, len(text), 64)) + _END


def _hides_a_block(pem: bytes) -> bool:
    """Whether there is a second block, and parsers do not agree about where the first one begins or ends."""
    boundaries = len(_BOUNDARY.findall(pem))
    return pem.count(b"-----BEGIN ") > 1 and boundaries != 2 * len(_CLEAN_BLOCK.findall(pem))


def _check_subject(subject: bytes, node_name: str) -> None:
    """The subject must be O, then CN, each a PrintableString of its own, and nothing else: so Go writes it."""
    user = f"{NODE_USER_PREFIX}{node_name}".encode()
    if _tlv(_SEQUENCE, subject) == subject_of(node_name):
        return
    organizations, common_names = _subject_values(subject, _ORGANIZATION), _subject_values(subject, _COMMON_NAME)
    others = [name for name in common_names if _NODE_USER.fullmatch(name) and name != user]
    others += [group for group in organizations if group.lower() != NODES_GROUP.encode()]
    if others:
        raise _WrongError(f"its subject names {others[0][:_LONGEST_SHOWN]!r}, not {user!r}", convicts=True)
    if len(organizations) > 1 or len(common_names) > 1:
        raise _WrongError("its subject has a second O or CN", convicts=True)
    raise _WrongError(f"its subject is not exactly O={NODES_GROUP}, CN={user.decode()}")


def _subject_values(subject: bytes, kind: bytes) -> list[bytes]:
    """Return all values of one kind of attribute, of whatever string type, however the names are nested."""
    found = []
    for _, names in _walk(subject):
        for _, name in _walk(names):
            parts = [content for _, content in _walk(name)]
            if len(parts) == 2 and parts[0] == kind:
                found.append(parts[1])
    return found


def _names(attributes: bytes) -> tuple[tuple[int, bytes], ...]:
    """Return the subject alternative names: one extension of one value of one attribute, and not a critical one."""
    kind, values = _parts(_only(attributes, _SEQUENCE), _OID, _SET)
    if kind != _EXTENSION_REQUEST:
        raise _WrongError("its attribute is not the extension request of PKCS #9")
    extension = _only(_only(values, _SEQUENCE), _SEQUENCE)
    kind, content = _parts(extension, _OID, _OCTET_STRING)
    if kind != _SUBJECT_ALT_NAME:
        raise _WrongError("its extension is not subjectAltName")
    names = tuple(_walk(_only(content, _SEQUENCE)))
    if not names:
        raise _WrongError("it asks for no name and no address")
    if strange := {tag for tag, _ in names} - {DNS_NAME, IP_ADDRESS}:
        raise _WrongError(f"it asks for names that are neither DNS names nor addresses: {min(strange):#x}")
    if len(set(names)) != len(names):
        raise _WrongError("it asks for a name twice")
    return names


def _rdn(kind: bytes, text: bytes) -> bytes:
    return _tlv(_SET, _tlv(_SEQUENCE, _tlv(_OID, kind) + _tlv(_PRINTABLE_STRING, text)))


def _tlv(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def _walk(encoded: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield tag and content of each element; only the shortest definite form of a length is DER (X.690, 10.1)."""
    while encoded:
        if len(encoded) < 2 or encoded[0] & 0x1F == 0x1F:
            raise _WrongError("it is not DER")
        tag, size, start = encoded[0], encoded[1], 2
        if size >= 0x80:
            start += size & 0x7F
            size = int.from_bytes(encoded[2:start], "big")
        content = encoded[start : start + size]
        if _tlv(tag, content) != encoded[: start + size] or len(content) != size:
            raise _WrongError("it is not DER")
        yield tag, content
        encoded = encoded[start + size :]


def _parts(encoded: bytes, *tags: int) -> list[bytes]:
    """Return the contents of elements that must be exactly these."""
    found = list(_walk(encoded))
    if tuple(tag for tag, _ in found) != tags:
        raise _WrongError("it is not built as a certificate request, with nothing more and nothing less")
    return [content for _, content in found]


def _only(encoded: bytes, tag: int) -> bytes:
    return _parts(encoded, tag)[0]
