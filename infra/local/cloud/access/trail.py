"""What CloudTrail would keep: one line for each call to AWS that a role's session made and was allowed to make."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from infra.local.cloud.access.calls import Call
from infra.local.cloud.access.sessions import Principal

trail = logging.getLogger("infra.local.cloud.trail")


@dataclass(frozen=True)
class Entry:
    """One call. `caller` is its session's name: of a function its own name, of a machine the instance's id."""

    at: str  # ISO 8601, UTC
    caller: str
    service: str  # the prefix of its actions, as in a policy
    operation: str
    request_bytes: int  # of the body, headers not counted


def keep(who: Principal, call: Call, request_bytes: int) -> None:
    entry = Entry(
        datetime.now(UTC).isoformat(), who.arn.rpartition("/")[2], call.service, call.operation, request_bytes
    )
    trail.info(json.dumps(asdict(entry)))


def write_to(file: Path) -> None:
    """Keep the trail in a file of its own, from now on."""
    handler = logging.FileHandler(file)
    handler.setFormatter(logging.Formatter("%(message)s"))
    trail.addHandler(handler)
    trail.setLevel(logging.INFO)
    trail.propagate = False


def read(lines: Iterable[str]) -> Iterator[Entry]:
    """The entries in a trail's lines."""
    for line in lines:
        yield Entry(**json.loads(line))
