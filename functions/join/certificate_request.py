"""A certificate signing request of the Kubernetes API that nobody has decided yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class CertificateRequest:
    """As the API server showed it. Who asks (`username`, `user_uid`, `groups`, `extra`) is the API server's own word:
    it overwrites what a client sends there.

    `request` is `spec.request` as it came: base64 of what should be PEM, and `issued` the certificate that was made of
    it, None while it is not decided. `whole` is the object itself, which goes back
    with one condition more, under the uid and the resourceVersion that were looked at.
    """

    name: str
    uid: str
    created_at: datetime
    signer: str
    username: str
    user_uid: str
    groups: tuple[str, ...]
    extra: Mapping[str, tuple[str, ...]]
    usages: tuple[str, ...]
    expiration_s: int | None
    request: str = field(repr=False)
    whole: Mapping[str, Any] = field(repr=False, compare=False)
    issued: str | None = field(repr=False, default=None)
