"""Whatever comes in, intake knows what follows from it, and says why nothing does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.events import PATTERN, Dropped, Hint, read_event

EVENTS = Path(__file__).parents[3] / "events"
MACHINE = "i-0123456789abcdef0"

LOOKED_AT = {
    "autoscaling-terminate-action": "drill-worker terminates it",
    "autoscaling-launch-action": "drill-worker launches it",
    "ec2-terminated": "EC2 says terminated",
    "ec2-shutting-down": "EC2 says shutting-down",
    "ec2-stopped": "EC2 says stopped",
    "ec2-stopping": "EC2 says stopping",
}
DROPPED = {
    "autoscaling-launch-successful": "nothing follows from 'EC2 Instance Launch Successful' of 'aws.autoscaling'",
    "ec2-running": f"state 'running' of {MACHINE} calls for nothing",
    "ec2-pending": f"state 'pending' of {MACHINE} calls for nothing",
    "unknown-source": "nothing follows from 'Order Placed' of 'com.example.shop'",
    "sweep": "nothing follows from 'Scheduled Event' of 'aws.events'",
    "look-due": "an event without an id or a detail: None",
    "pass-message": "an event without an id or a detail: None",
    "pass-message-unreadable": "an event without an id or a detail: None",
    "mint": "an event without an id or a detail: None",
    "approve": "an event without an id or a detail: None",
    "approve-all": "an event without an id or a detail: None",
    "drill": "an event without an id or a detail: None",
    "drill-dry-run": "an event without an id or a detail: None",
    "report": "an event without an id or a detail: None",
    "report-machine": "an event without an id or a detail: None",
    "explain": "an event without an id or a detail: None",
    "pause": "an event without an id or a detail: None",
    "resume": "an event without an id or a detail: None",
}


def sample(name: str) -> Any:
    return json.loads((EVENTS / f"{name}.json").read_text())


def test_every_sample_is_listed_here_and_in_the_readme() -> None:
    names = {path.stem for path in EVENTS.glob("*.json")}
    readme = (EVENTS / "README.md").read_text()
    assert names == LOOKED_AT.keys() | DROPPED.keys()
    assert [name for name in names if f"`{name}.json`" not in readme] == []


@pytest.mark.parametrize("name", LOOKED_AT)
def test_an_event_about_a_machine_that_comes_or_goes_orders_a_look_at_it(name: str) -> None:
    event = sample(name)
    read = read_event(event)
    assert isinstance(read, Hint)
    assert (read.look.machine, read.look.reason, read.event_id) == (MACHINE, LOOKED_AT[name], event["id"])


@pytest.mark.parametrize("name", DROPPED)
def test_any_other_payload_is_dropped_with_its_reason(name: str) -> None:
    assert read_event(sample(name)) == Dropped(DROPPED[name])


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("EC2InstanceId", None, "a lifecycle action with no instance id: None"),
        ("EC2InstanceId", "i-0123", "a lifecycle action with no instance id: 'i-0123'"),
        ("EC2InstanceId", f"{MACHINE}\n", f"a lifecycle action with no instance id: '{MACHINE}\\n'"),
        (
            "LifecycleTransition",
            "autoscaling:EC2_INSTANCE_LAUNCHING",
            "a lifecycle action of transition 'autoscaling:EC2_INSTANCE_LAUNCHING'",
        ),
    ],
)
def test_a_terminate_action_that_contradicts_itself_is_dropped(field: str, value: object, reason: str) -> None:
    event = sample("autoscaling-terminate-action")
    event["detail"][field] = value
    assert read_event(event) == Dropped(reason)


@pytest.mark.parametrize("state", ["rebooting", None, 7, [], {}, ["terminated"]])
def test_a_state_that_nobody_knows_is_dropped(state: object) -> None:
    event = sample("ec2-terminated")
    event["detail"]["state"] = state
    assert isinstance(read_event(event), Dropped)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
ALMOST_EVENTS = st.fixed_dictionaries(
    {},
    optional={
        "id": st.text() | ANYTHING,
        "source": st.sampled_from(PATTERN["source"]) | ANYTHING,
        "detail-type": st.sampled_from(PATTERN["detail-type"]) | ANYTHING,
        "detail": st.dictionaries(
            st.sampled_from(["EC2InstanceId", "LifecycleTransition", "instance-id", "state"]),
            st.sampled_from([MACHINE, "terminated", "autoscaling:EC2_INSTANCE_TERMINATING"]) | ANYTHING,
        )
        | ANYTHING,
    },
)


@given(ANYTHING | ALMOST_EVENTS)
def test_no_payload_at_all_makes_intake_fail(event: object) -> None:
    assert isinstance(read_event(event), Hint | Dropped)
