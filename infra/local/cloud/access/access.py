"""One thing that a call does to one resource, as IAM decides about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

Context = Mapping[str, tuple[str, ...]]
"""The request context: the values of each condition key. Names of keys know no case, so they are held in lower case."""


class UnknownAccessError(Exception):
    """The local AWS cannot decide about this call or policy; the text says what it would have to know."""


@dataclass(frozen=True)
class Access:
    """A call needs each of its accesses allowed. `context` has what the service itself says about the request."""

    action: str
    resource: str = "*"
    context: Context = field(default_factory=dict)


def context_of(*parts: Mapping[str, str | Iterable[str] | None]) -> Context:
    """One context out of several; a key whose value is None is not in the request."""
    merged: dict[str, tuple[str, ...]] = {}
    for part in parts:
        for key, value in part.items():
            if value is not None:
                merged[key.lower()] = (value,) if isinstance(value, str) else tuple(value)
    return merged


def tags_under(prefixes: Iterable[str], tags: Mapping[str, str]) -> dict[str, str]:
    """The keys by which policies know these tags: `aws:ResourceTag/NAME` for the prefix `aws:ResourceTag`."""
    return {f"{prefix}/{name}": value for prefix in prefixes for name, value in tags.items()}


def request_tags(tags: Mapping[str, str]) -> dict[str, str | list[str]]:
    """What a request that sets these tags has in its context."""
    return {**tags_under(["aws:RequestTag"], tags), **({"aws:TagKeys": list(tags)} if tags else {})}
