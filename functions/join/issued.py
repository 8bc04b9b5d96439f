"""Whether the certificate that was issued is the one that was approved (what signs is not what approves)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from functions.join.pkcs10 import Asked, subject_of

LONGEST_LIFE = timedelta(days=366)  # kube-controller-manager's default is a year; a kubelet asks for none
_BACKDATED = timedelta(minutes=10)  # kube-controller-manager lets a certificate begin five minutes before it signs it


@dataclass(frozen=True)
class Certificate:
    """What a certificate says. Subject and key are DER, names are GeneralNames: tag and content."""

    sha256: str
    subject: bytes = field(repr=False)
    key: bytes = field(repr=False)
    names: frozenset[tuple[int, bytes]]
    uses: frozenset[str]  # OIDs of its extended key usage
    authority: bool
    begins: datetime
    ends: datetime


_CLIENT_AUTH, _SERVER_AUTH = "1.3.6.1.5.5.7.3.2", "1.3.6.1.5.5.7.3.1"


def difference(certificate: Certificate, asked: Asked, node_name: str, *, serving: bool) -> str | None:
    """Say in what a certificate is not the one that was asked for, None when it is."""
    if certificate.subject != subject_of(node_name):
        return "its subject is another"
    if certificate.key != asked.key:
        return "it is for another key"
    if certificate.names != frozenset(asked.names):
        return "it has other names than were asked for"
    if certificate.authority:
        return "it is an authority's"
    if certificate.uses != {_SERVER_AUTH if serving else _CLIENT_AUTH}:
        return f"it is for {', '.join(sorted(certificate.uses)) or 'any use'}"
    if certificate.ends - certificate.begins > LONGEST_LIFE + _BACKDATED:
        return f"it is good until {certificate.ends:%Y-%m-%d}"
    return None
