"""Policy documents, and the decision over them (IAM user guide, "Policy evaluation logic", one account)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from infra.local.cloud.access.access import Access, Context, UnknownAccessError
from infra.local.cloud.access.conditions import Condition
from infra.local.cloud.access.patterns import Pattern, UnresolvedError, wild

VERSION_WITH_VARIABLES = "2012-10-17"
_ELEMENTS = frozenset({"Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition"})


@dataclass(frozen=True)
class Statement:
    """`actions` are in lower case: IAM compares them without case, resources with."""

    denies: bool
    actions: tuple[str, ...]
    all_but_actions: bool
    resources: tuple[Pattern, ...]
    all_but_resources: bool
    conditions: tuple[Condition, ...]

    @classmethod
    def parse(cls, given: Mapping[str, Any], *, variables: bool) -> Statement:
        unknown = given.keys() - _ELEMENTS
        if unknown:
            raise UnknownAccessError(f"a role's policy has no element {sorted(unknown)}")
        if given.get("Effect") not in ("Allow", "Deny"):
            raise UnknownAccessError(f"a statement has the effect {given.get('Effect')!r}")
        action, resource = _one_of(given, "Action"), _one_of(given, "Resource")
        return cls(
            denies=given["Effect"] == "Deny",
            actions=tuple(str(each).lower() for each in _listed(given[action])),
            all_but_actions=action == "NotAction",
            resources=tuple(Pattern.parse(str(each), variables=variables) for each in _listed(given[resource])),
            all_but_resources=resource == "NotResource",
            conditions=tuple(
                Condition.parse(operator, key, value, variables=variables)
                for operator, keys in given.get("Condition", {}).items()
                for key, value in keys.items()
            ),
        )

    def applies(self, access: Access, context: Context) -> bool:
        """Whether it says something about this access. One with a variable that has no value does not apply."""
        action = access.action.lower()
        if any(wild(each, action) for each in self.actions) == self.all_but_actions:
            return False
        try:
            named = any(each.matches(access.resource, context) for each in self.resources)
            return named != self.all_but_resources and all(each.holds(context) for each in self.conditions)
        except UnresolvedError:
            return False


@dataclass(frozen=True)
class Policy:
    name: str
    statements: tuple[Statement, ...]

    @classmethod
    def parse(cls, name: str, document: str | Mapping[str, Any]) -> Policy:
        """UnknownAccessError, with the policy's name, for what the local AWS cannot evaluate."""
        try:
            content = json.loads(document) if isinstance(document, str) else document
            variables = content.get("Version") == VERSION_WITH_VARIABLES
            statements = content["Statement"]
            given = statements if isinstance(statements, list) else [statements]
            return cls(name, tuple(Statement.parse(each, variables=variables) for each in given))
        except UnknownAccessError as error:
            raise UnknownAccessError(f"policy {name!r}: {error}") from error
        except (ValueError, KeyError, AttributeError) as error:
            raise UnknownAccessError(f"policy {name!r} is no policy document: {error!r}") from error


class Decision(Enum):
    ALLOWED = "allowed"
    NOT_ALLOWED = "because no identity-based policy allows the {action} action"
    DENIED = "with an explicit deny in an identity-based policy"


def decide(policies: Iterable[Policy], access: Access, context: Context) -> Decision:
    """An explicit deny beats every allow; what nobody allows is denied. `context` is the whole request's."""
    decision = Decision.NOT_ALLOWED
    for policy in policies:
        for statement in policy.statements:
            if (decision is Decision.NOT_ALLOWED or statement.denies) and statement.applies(access, context):
                if statement.denies:
                    return Decision.DENIED
                decision = Decision.ALLOWED
    return decision


def _one_of(given: Mapping[str, Any], element: str) -> str:
    there = [name for name in (element, f"Not{element}") if name in given]
    if len(there) != 1:
        raise UnknownAccessError(f"a statement needs either {element} or Not{element}")
    return there[0]


def _listed(given: Any) -> list[Any]:
    return given if isinstance(given, list) else [given]
