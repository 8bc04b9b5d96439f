"""The condition operators (IAM user guide, "Condition operators", "Multivalued context keys")."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from infra.local.cloud.access.access import Context, UnknownAccessError
from infra.local.cloud.access.keys import known
from infra.local.cloud.access.patterns import Pattern, arn_like

Test = Callable[[Pattern, str, Context], bool]
_ALL, _ANY, _IF_EXISTS = "ForAllValues:", "ForAnyValue:", "IfExists"


def _number(compare: Callable[[Decimal, Decimal], bool]) -> Test:
    def test(expected: Pattern, value: str, context: Context) -> bool:
        wanted = expected.filled(context)
        try:
            limit = Decimal(wanted)
        except InvalidOperation as error:
            raise UnknownAccessError(f"a Numeric condition compares with {wanted!r}, which is no number") from error
        try:
            return compare(Decimal(value), limit)
        except InvalidOperation:
            return False

    return test


def _ignoring_case(expected: Pattern, value: str, context: Context) -> bool:
    return expected.filled(context).lower() == value.lower()


def _arn(expected: Pattern, value: str, context: Context) -> bool:
    return arn_like(expected.filled(context), value)


_POSITIVE: dict[str, Test] = {
    "StringEquals": Pattern.equals,
    "StringEqualsIgnoreCase": _ignoring_case,
    "StringLike": Pattern.matches,
    "ArnEquals": _arn,
    "ArnLike": _arn,
    "Bool": _ignoring_case,
    "NumericEquals": _number(lambda value, limit: value == limit),
    "NumericLessThan": _number(lambda value, limit: value < limit),
    "NumericLessThanEquals": _number(lambda value, limit: value <= limit),
    "NumericGreaterThan": _number(lambda value, limit: value > limit),
    "NumericGreaterThanEquals": _number(lambda value, limit: value >= limit),
}
_NEGATED: dict[str, Test] = {
    "StringNotEquals": Pattern.equals,
    "StringNotEqualsIgnoreCase": _ignoring_case,
    "StringNotLike": Pattern.matches,
    "ArnNotEquals": _arn,
    "ArnNotLike": _arn,
    "NumericNotEquals": _number(lambda value, limit: value == limit),
}


@dataclass(frozen=True)
class Condition:
    """One key under one operator. Several expected values are alternatives, of a negated operator all excluded."""

    operator: str
    key: str
    expected: tuple[Pattern, ...]

    @classmethod
    def parse(cls, operator: str, key: str, given: Any, *, variables: bool) -> Condition:
        """UnknownAccessError for an operator or a key that has no meaning here."""
        base = operator.removeprefix(_ALL).removeprefix(_ANY).removesuffix(_IF_EXISTS)
        if base not in _POSITIVE | _NEGATED and operator != "Null":
            raise UnknownAccessError(f"the local AWS does not know the condition operator {operator!r}")
        if not known(key):
            raise UnknownAccessError(f"the local AWS does not know the condition key {key!r}")
        values = given if isinstance(given, list) else [given]
        return cls(operator, key.lower(), tuple(Pattern.parse(_text(value), variables=variables) for value in values))

    def holds(self, context: Context) -> bool:
        """UnresolvedError when a variable of it has no value."""
        values = context.get(self.key, ())
        if self.operator == "Null":
            return any(expected.filled(context).lower() == str(not values).lower() for expected in self.expected)
        base = self.operator.removeprefix(_ALL).removeprefix(_ANY)
        if base.endswith(_IF_EXISTS) and not values:
            return True
        outcomes = self._outcomes(base.removesuffix(_IF_EXISTS), values, context)
        if self.operator.startswith(_ALL):
            return all(outcomes)
        if self.operator.startswith(_ANY):
            return any(outcomes)
        if len(values) > 1:
            raise UnknownAccessError(
                f"{self.operator} on {self.key}, which has several values: it needs a set operator"
            )
        # A key that is missing is not equal to anything.
        return next(iter(outcomes), base.removesuffix(_IF_EXISTS) in _NEGATED)

    def _outcomes(self, base: str, values: Iterable[str], context: Context) -> list[bool]:
        test, negated = _POSITIVE.get(base) or _NEGATED[base], base in _NEGATED
        # Filled even where nothing is compared: a variable without a value takes its statement out in any case.
        for expected in self.expected:
            expected.filled(context)
        return [any(test(expected, value, context) for expected in self.expected) != negated for value in values]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
