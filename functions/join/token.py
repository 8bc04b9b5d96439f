"""The bootstrap token of one machine (Kubernetes reference, "Authenticating with Bootstrap Tokens")."""

from __future__ import annotations

import re
import string
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from functions.cluster.joining import TOKEN_GROUPS
from functions.cluster.machine import InstanceId, Role

TOKEN_LIFE = timedelta(minutes=15)
_ALPHABET = string.ascii_lowercase + string.digits
_TOKEN = re.compile(r"(?<![a-z0-9])([a-z0-9]{6})\.[a-z0-9]{16}(?![a-z0-9])")

Choose = Callable[[str], str]
"""Returns one character of a text, such that nobody can foretell which: `secrets.choice`, or a test's own."""


@dataclass(frozen=True)
class Token:
    """Authenticates one machine's first request, and nothing else: it signs nothing."""

    id: str
    secret: str = field(repr=False)
    machine: InstanceId
    group: str
    expires_at: datetime

    @property
    def whole(self) -> str:
        """As a kubelet presents it. Belongs into the machine's bundle and nowhere else."""
        return f"{self.id}.{self.secret}"


def draw(machine: InstanceId, role: Role, choose: Choose, *, now: datetime) -> Token:
    """Return a token that no one has seen yet. Its expiry is in whole seconds, as its Secret says it."""
    return Token(
        id="".join(choose(_ALPHABET) for _ in range(6)),
        secret="".join(choose(_ALPHABET) for _ in range(16)),
        machine=machine,
        group=TOKEN_GROUPS[role],
        expires_at=now.replace(microsecond=0) + TOKEN_LIFE,
    )


def rfc3339(at: datetime) -> str:
    """Return a UTC time as Kubernetes wants it: a token whose expiry it cannot read is deleted at once."""
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


def redacted(text: str) -> str:
    """Return a text of another side, such as an error that quotes what it was sent, with no token's secret in it."""
    return _TOKEN.sub(r"\1.[secret]", text)
