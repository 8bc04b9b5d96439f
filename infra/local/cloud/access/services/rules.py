"""EventBridge."""

from __future__ import annotations

from collections.abc import Iterable

from infra.local.cloud.access.access import Access
from infra.local.cloud.access.calls import Call

_DEFAULT = "default"


def _on_rule(call: Call) -> Iterable[Access]:
    """The default bus is not named in a rule's ARN."""
    name = call.params.get("Name") or call.params.get("Rule")
    bus = _bus(call.params.get("EventBusName"))
    yield Access(f"events:{call.operation}", call.arn(f"rule/{name}" if bus == _DEFAULT else f"rule/{bus}/{name}"))


def _put_events(call: Call) -> Iterable[Access]:
    for bus in sorted({_bus(entry.get("EventBusName")) for entry in call.params["Entries"]}):
        yield Access("events:PutEvents", call.arn(f"event-bus/{bus}"))


def _bus(given: str | None) -> str:
    return (given or _DEFAULT).rpartition("/")[2]


OPERATIONS = {
    **dict.fromkeys(
        ("DescribeRule", "DisableRule", "EnableRule", "ListTargetsByRule", "PutRule", "PutTargets", "RemoveTargets"),
        _on_rule,
    ),
    "ListRules": lambda call: [Access("events:ListRules", call.arn("rule/*"))],
    "PutEvents": _put_events,
}
