"""Text in a policy: wildcards and policy variables (IAM user guide, "Variables and tags", "Wildcards in ARNs")."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from infra.local.cloud.access.access import Context, UnknownAccessError
from infra.local.cloud.access.keys import known

_REFERENCE = re.compile(r"\$\{\s*([^},]*?)\s*(?:,\s*'([^']*)'\s*)?\}")
# A wildcard that came out of a variable stands for itself; until the comparison these stand for it.
_PLAIN = str.maketrans("*?", "\ue000\ue001")
_BACK = str.maketrans("\ue000\ue001", "*?")


class UnresolvedError(Exception):
    """A variable without a default whose key is not in the request: its statement does not apply."""


@dataclass(frozen=True)
class Variable:
    """`${key}` or `${key, 'default'}`."""

    key: str
    default: str | None

    def value(self, context: Context) -> str:
        values = context.get(self.key, ())
        if len(values) == 1:
            return values[0]
        if self.default is None:
            raise UnresolvedError(self.key)
        return self.default


@dataclass(frozen=True)
class Pattern:
    """A text with its variables taken apart."""

    parts: tuple[str | Variable, ...]

    @classmethod
    def parse(cls, text: str, *, variables: bool) -> Pattern:
        """Policies before version 2012-10-17 have no variables."""
        if not variables or "${" not in text:
            return cls((text,))
        parts: list[str | Variable] = []
        end = 0
        for found in _REFERENCE.finditer(text):
            parts.append(text[end : found.start()])
            name, default = found[1], found[2]
            if name in ("*", "?", "$"):
                parts.append(name.translate(_PLAIN))
            elif known(name):
                parts.append(Variable(name.lower(), default))
            else:
                raise UnknownAccessError(f"policy variable {found[0]}: the local AWS does not know the key {name!r}")
            end = found.end()
        return cls((*parts, text[end:]))

    def filled(self, context: Context) -> str:
        """The text for this request, in which only the policy's own wildcards are wildcards; UnresolvedError."""
        return "".join(part if isinstance(part, str) else part.value(context).translate(_PLAIN) for part in self.parts)

    def matches(self, value: str, context: Context) -> bool:
        return wild(self.filled(context), value)

    def equals(self, value: str, context: Context) -> bool:
        return self.filled(context).translate(_BACK) == value


def wild(pattern: str, value: str) -> bool:
    """Whether the value matches, `*` for any characters and `?` for one."""
    return _compiled(pattern).fullmatch(value) is not None


def arn_like(pattern: str, value: str) -> bool:
    """Each of the six parts of an ARN is compared by itself: only in the last one a wildcard reaches over a colon."""
    patterns, values = pattern.split(":", 5), value.split(":", 5)
    return len(patterns) == len(values) == 6 and all(map(wild, patterns, values))


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    wildcards = {"*": ".*", "?": "."}
    source = "".join(wildcards.get(char) or re.escape(char.translate(_BACK)) for char in pattern)
    return re.compile(source, re.DOTALL)
