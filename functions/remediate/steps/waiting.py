"""What a step says when it cannot be finished in this pass."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True)
class Waiting:
    """The steps after this one must not be taken yet."""

    reason: str
    after: timedelta
