"""EventBridge's schedule expressions, rate(…) and cron(…), as pure functions of the time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

_RATE = re.compile(r"rate\((\d+) (minute|hour|day)(s?)\)")
_UNIT_S = {"minute": 60, "hour": 3600, "day": 86400}
_MONTHS = {
    name: number
    for number, name in enumerate(
        ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"], 1
    )
}
# EventBridge counts Sunday as 1.
_DAYS = {name: number for number, name in enumerate(["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"], 1)}
_FAR = timedelta(days=366 * 5)


class ExpressionError(ValueError):
    """The expression is not one of EventBridge's, or uses what is not understood here (L, W and #)."""


class Schedule(Protocol):
    """When a rule fires."""

    def after(self, moment: datetime) -> datetime:
        """The first time after `moment`."""
        ...


@dataclass(frozen=True)
class Rate:
    """Every so often, counted from the rule's creation or enabling."""

    period: timedelta

    def after(self, moment: datetime) -> datetime:
        return moment + self.period


@dataclass(frozen=True)
class Cron:
    """At fixed times, in UTC."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    years: frozenset[int]

    def after(self, moment: datetime) -> datetime:
        """ExpressionError when there is no such time within five years."""
        at = moment.astimezone(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
        end = at + _FAR
        while at < end:
            if not self._day_fits(at):
                at = at.replace(hour=0, minute=0) + timedelta(days=1)
            elif at.hour not in self.hours:
                at = at.replace(minute=0) + timedelta(hours=1)
            elif at.minute not in self.minutes:
                at += timedelta(minutes=1)
            else:
                return at
        raise ExpressionError("The cron expression names no time within five years.")

    def _day_fits(self, at: datetime) -> bool:
        weekday = at.isoweekday() % 7 + 1
        return at.year in self.years and at.month in self.months and at.day in self.days and weekday in self.weekdays


def parse(expression: str) -> Schedule:
    """The schedule that an expression means; ExpressionError says what is wrong with it."""
    if found := _RATE.fullmatch(expression):
        count, unit, plural = int(found[1]), found[2], bool(found[3])
        if count < 1 or plural == (count == 1):
            raise ExpressionError(f"{expression}: the value must be positive, and the unit singular for 1 alone.")
        return Rate(timedelta(seconds=count * _UNIT_S[unit]))
    if expression.startswith("cron(") and expression.endswith(")"):
        fields = expression[5:-1].split()
        if len(fields) != 6:
            raise ExpressionError(f"{expression}: six fields are needed, minutes to year.")
        if (fields[2] == "?") == (fields[4] == "?"):
            raise ExpressionError(f"{expression}: exactly one of day-of-month and day-of-week must be '?'.")
        return Cron(
            minutes=_values(fields[0], 0, 59),
            hours=_values(fields[1], 0, 23),
            days=_values(fields[2], 1, 31),
            months=_values(fields[3], 1, 12, _MONTHS),
            weekdays=_values(fields[4], 1, 7, _DAYS),
            years=_values(fields[5], 1970, 2199),
        )
    raise ExpressionError(f"{expression}: neither rate(value unit) nor cron(six fields).")


def _values(field: str, first: int, last: int, names: dict[str, int] | None = None) -> frozenset[int]:
    values: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        if span in ("*", "?"):
            low, high = first, last
        else:
            begin, dash, end = span.partition("-")
            low = _number(begin, names or {}, field)
            high = _number(end, names or {}, field) if dash else (last if step else low)
        if not first <= low <= high <= last:
            raise ExpressionError(f"'{field}' is not within {first} to {last}.")
        values.update(range(low, high + 1, _number(step, {}, field) if step else 1))
    return frozenset(values)


def _number(text: str, names: dict[str, int], field: str) -> int:
    if text.upper() in names:
        return names[text.upper()]
    if not text.isdecimal():
        raise ExpressionError(f"'{field}' is not understood: only numbers, names, '*', '?', ',', '-' and '/' are.")
    return int(text)
