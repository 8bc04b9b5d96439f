"""Which events a rule takes (EventBridge user guide, "Comparison operators" and "Matching arrays").

moto's matcher does the comparing. It knows no arrays of objects, through which EventBridge looks as if they were not
there: a field of theirs has all the values that it has in any of them.
"""

from __future__ import annotations

from typing import Any

from moto.events.models import EventPattern


def matches(pattern: EventPattern, event: dict[str, Any]) -> bool:
    """Whether a rule with this pattern takes the event."""
    return bool(pattern.matches_event(_merged(event)))


def _merged(value: Any) -> Any:
    """The same with each array of objects made one object, whose fields hold the values of all."""
    if isinstance(value, dict):
        return {name: _merged(inner) for name, inner in value.items()}
    if not isinstance(value, list) or not any(isinstance(one, dict) for one in value):
        return value
    objects = [one for one in value if isinstance(one, dict)]
    names = dict.fromkeys(name for one in objects for name in one)
    return {name: _merged(_together([one[name] for one in objects if name in one])) for name in names}


def _together(values: list[Any]) -> list[Any]:
    """The values of one field in several objects, as one array: the values of those that are arrays, one by one."""
    return [one for value in values for one in (value if isinstance(value, list) else [value])]
