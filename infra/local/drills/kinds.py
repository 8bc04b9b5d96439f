"""The drills by name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """One drill. `events` is false when no event may reach Regrow, so that the sweep has to find out."""

    name: str
    about: str
    events: bool


KINDS = {
    kind.name: kind
    for kind in (
        Kind("worker", "a worker is terminated behind its group's back, with no shutdown", events=True),
        Kind("missed", "the same with every event rule disabled: the sweep has to find it", events=False),
    )
}
