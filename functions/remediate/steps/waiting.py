"""What a step says when it has not changed anything, or cannot be finished in this pass."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True)
class Waiting:
    """The steps after this one must not be taken yet."""

    reason: str
    after: timedelta


@dataclass(frozen=True)
class Unchanged:
    """All was as it must be; the next step may be taken."""
