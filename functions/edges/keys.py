"""Keys and signatures of certificate requests, and certificates, by the cryptography library, imported on first use."""

from __future__ import annotations

import base64
from hashlib import sha256

from functions.join.issued import Certificate
from functions.join.pkcs10 import DNS_NAME, IP_ADDRESS

_OTHER_NAME = 0  # of whatever other kind: no request is approved with one

_SMALLEST_RSA, _LARGEST_RSA, _RSA_EXPONENT = 2048, 4096, 65537


def wrong_with_key(der: bytes, key_info: bytes) -> str | None:
    """Say what is wrong with the key or the signature of a PKCS #10 request, None when nothing is.

    `key_info` is the SubjectPublicKeyInfo that was found in it: the library must see that very key. Let through are
    the kinds that kubelets make (P-256; RSA in clusters of old), in sizes that are safe.
    """
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from cryptography.x509.oid import SignatureAlgorithmOID

    signatures = {
        SignatureAlgorithmOID.ECDSA_WITH_SHA256,
        SignatureAlgorithmOID.ECDSA_WITH_SHA384,
        SignatureAlgorithmOID.ECDSA_WITH_SHA512,
        SignatureAlgorithmOID.RSA_WITH_SHA256,
        SignatureAlgorithmOID.RSA_WITH_SHA384,
        SignatureAlgorithmOID.RSA_WITH_SHA512,
    }
    try:
        request = x509.load_der_x509_csr(der)
        key = request.public_key()
        match key:
            case ec.EllipticCurvePublicKey(curve=ec.SECP256R1() | ec.SECP384R1()):
                """Both curves are as good."""
            case rsa.RSAPublicKey():
                if not _SMALLEST_RSA <= key.key_size <= _LARGEST_RSA:
                    return f"its RSA key has {key.key_size} bits"
                if key.public_numbers().e != _RSA_EXPONENT:
                    return f"the exponent of its RSA key is {key.public_numbers().e}"
            case _:
                return "its key is neither RSA nor of the curves P-256 or P-384"
        if key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != key_info:
            return "its key is not written in the one form that DER has for it"
        if request.signature_algorithm_oid not in signatures:
            return f"it is signed by {request.signature_algorithm_oid.dotted_string}, which no kubelet does"
        return None if request.is_signature_valid else "its signature is not that of its key"
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        return f"its key or its signature cannot be read: {error}"


def read_certificate(issued: str) -> Certificate | str:
    """Read `status.certificate`: base64 of PEM, of which the first block is the machine's (CertificateSigningRequest).

    Returns what is wrong with one that cannot be read.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    try:
        certificate = x509.load_pem_x509_certificates(base64.b64decode(issued, validate=True))[0]
        extensions = {extension.oid: extension.value for extension in certificate.extensions}
        names = extensions.get(x509.SubjectAlternativeName.oid)
        uses = extensions.get(x509.ExtendedKeyUsage.oid)
        constraints = extensions.get(x509.BasicConstraints.oid)
        return Certificate(
            sha256=sha256(certificate.public_bytes(Encoding.DER)).hexdigest(),
            subject=certificate.subject.public_bytes(),
            key=certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            names=frozenset(map(_general_name, names))
            if isinstance(names, x509.SubjectAlternativeName)
            else frozenset(),
            uses=frozenset(use.dotted_string for use in uses)
            if isinstance(uses, x509.ExtendedKeyUsage)
            else frozenset(),
            authority=isinstance(constraints, x509.BasicConstraints) and constraints.ca,
            begins=certificate.not_valid_before_utc,
            ends=certificate.not_valid_after_utc,
        )
    except (ValueError, TypeError, IndexError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        return f"the certificate that was issued cannot be read: {error}"


def _general_name(name: object) -> tuple[int, bytes]:
    from cryptography import x509

    match name:
        case x509.DNSName(value=text):
            return DNS_NAME, text.encode()
        case x509.IPAddress(value=address):
            return IP_ADDRESS, getattr(address, "packed", b"")
        case _:
            return _OTHER_NAME, repr(name).encode()
