"""Whatever comes in, intake knows what follows from it, and says why nothing does."""

from __future__ import annotations

import copy
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from functions.cluster.machine import instance_id
from functions.events import Dropped, Hint, read_event, read_message
from functions.messages import Look
from tests.templates import event_pattern
from tests.unit.functions.builders import NOW
from tests.unit.functions.samples import (
    DROPPED,
    EVENTS,
    INBOX,
    LOOKED_AT,
    NO_EVENTS,
    ONE,
    TWO,
    Followed,
    bodies,
    changed,
    sample,
)

EVENT_TIME = datetime(2026, 11, 21, 12, tzinfo=UTC)
DEDUPLICATION_ID = re.compile(r"[A-Za-z0-9!-/:-@\[-`{-~]{1,128}")  # SQS API reference, SendMessage


def followed(read: tuple[Hint, ...] | Dropped) -> list[Followed] | str:
    if isinstance(read, Dropped):
        return read.reason
    return [(hint.look.machine, hint.look.reason, in_words(hint.look)) for hint in read]


def in_words(look: Look) -> tuple[str, str, int] | None:
    if look.notice is None:
        return None
    assert look.notice.heard_at == EVENT_TIME
    return look.notice.cause.value, look.notice.what, int((look.notice.until - EVENT_TIME).total_seconds())


def hints(read: tuple[Hint, ...] | Dropped) -> tuple[Hint, ...]:
    assert not isinstance(read, Dropped), read.reason
    return read


def test_every_sample_is_listed_here_and_once_in_the_readme() -> None:
    names = {path.stem for path in EVENTS.glob("*.json")}
    readme = (EVENTS / "README.md").read_text()
    assert names == LOOKED_AT.keys() | DROPPED.keys() | INBOX.keys() | NO_EVENTS
    assert sorted(re.findall(r"^\| `([a-z0-9-]+)\.json` \|", readme, re.MULTILINE)) == sorted(names)


@pytest.mark.parametrize("name", LOOKED_AT)
def test_an_event_about_machines_orders_a_look_at_each_of_them(name: str) -> None:
    assert followed(read_event(sample(name))) == LOOKED_AT[name]


@pytest.mark.parametrize("name", DROPPED)
def test_any_other_event_is_dropped_with_its_reason(name: str) -> None:
    assert followed(read_event(sample(name))) == DROPPED[name]


@pytest.mark.parametrize("name", sorted(NO_EVENTS))
def test_what_is_no_event_is_dropped(name: str) -> None:
    assert read_event(sample(name)) == Dropped("an event without an id or a detail: None")


@pytest.mark.parametrize("name", INBOX)
def test_each_message_of_the_inbox_is_read_on_its_own(name: str) -> None:
    assert [followed(read_message(body)) for body in bodies(name)] == INBOX[name]


@pytest.mark.parametrize("name", ["autoscaling-launch-unsuccessful", "inbox-launch-error"])
def test_a_launch_that_brought_no_instance_is_counted_as_such(name: str) -> None:
    read = read_message(bodies(name)[0]) if name in INBOX else read_event(sample(name))
    assert isinstance(read, Dropped)
    assert read.counted == "launch_unsuccessful"


def test_the_id_of_a_look_comes_from_what_happened_and_not_from_how_or_when_it_is_told() -> None:
    ids = [hint.event_id for name in LOOKED_AT for hint in hints(read_event(sample(name)))]
    again = [hint.event_id for name in LOOKED_AT for hint in hints(read_event(sample(name)))]
    assert ids == again
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("name", ["autoscaling-terminate-action", "autoscaling-launch-successful"])
def test_what_is_told_by_an_event_and_by_a_notification_is_one_look(name: str) -> None:
    event = sample(name)
    names = {"EC2 Instance Launch Successful": "autoscaling:EC2_INSTANCE_LAUNCH"}
    notification = {"Service": "AWS Auto Scaling", "Event": names.get(event["detail-type"]), **event["detail"]}
    topics = json.dumps({"Type": "Notification", "MessageId": "m", "Message": json.dumps(notification)})
    assert read_event(event) == read_message(json.dumps(notification)) == read_message(topics)


def test_every_machine_of_a_health_event_gets_a_look_of_its_own() -> None:
    def crowd(event: Any) -> None:
        values = [f"i-{number:08x}" for number in range(300)]
        event["detail"]["affectedEntities"] = [{"entityValue": value} for value in [*values, *values, "vol-1", 7, None]]

    found = hints(read_event(changed("health-scheduled", crowd)))
    assert [hint.look.machine for hint in found] == [f"i-{number:08x}" for number in range(300)]
    assert len({hint.event_id for hint in found}) == 300


def test_two_pages_of_one_health_event_about_the_same_machine_are_two_looks() -> None:
    first, second = (hints(read_event({**sample("health-scheduled"), "id": f"page-{page}"})) for page in (1, 2))
    assert [hint.look for hint in first] == [hint.look for hint in second]
    assert not {hint.event_id for hint in first} & {hint.event_id for hint in second}


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("EC2InstanceId", None, "a lifecycle action with no instance id or no token: None, "),
        ("EC2InstanceId", "i-0123", "a lifecycle action with no instance id or no token: i-0123, "),
        ("EC2InstanceId", f"{ONE}\n", f"a lifecycle action with no instance id or no token: '{ONE}\\n', "),
        (
            "LifecycleTransition",
            "autoscaling:EC2_INSTANCE_LAUNCHING",
            "a lifecycle action of transition autoscaling:EC2_INSTANCE_LAUNCHING",
        ),
    ],
)
def test_a_terminate_action_that_contradicts_itself_is_dropped(field: str, value: object, reason: str) -> None:
    read = read_event(changed("autoscaling-terminate-action", lambda event: event["detail"].update({field: value})))
    assert isinstance(read, Dropped)
    assert read.reason.startswith(reason)


@pytest.mark.parametrize("state", ["rebooting", None, 7, [], {}, ["terminated"]])
def test_a_state_that_nobody_knows_is_dropped(state: object) -> None:
    read = read_event(changed("ec2-terminated", lambda event: event["detail"].update(state=state)))
    assert isinstance(read, Dropped)


@pytest.mark.parametrize("action", ["reboot", None, 7, ["terminate"], {}])
def test_an_interruption_of_a_kind_that_nobody_knows_is_dropped(action: object) -> None:
    change = {"instance-action": action}
    read = read_event(changed("spot-interruption-terminate", lambda event: event["detail"].update(change)))
    assert isinstance(read, Dropped)


@pytest.mark.parametrize("name", ["spot-interruption-terminate", "spot-rebalance", "health-scheduled"])
@pytest.mark.parametrize(
    "time", [None, 1795262400, "soon", "2026-11-21T12:00:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-12:00"]
)
def test_an_announcement_of_an_unknown_time_is_dropped(name: str, time: object) -> None:
    read = read_event(changed(name, lambda event: event.update(time=time)))
    assert isinstance(read, Dropped)
    assert read.reason.endswith("of an unknown time")


def test_times_of_other_zones_are_the_same_moment() -> None:
    read = read_event(changed("spot-interruption-stop", lambda event: event.update(time="2026-11-21T14:00:00+02:00")))
    assert followed(read) == LOOKED_AT["spot-interruption-stop"]


@pytest.mark.parametrize("dimensions", [{"InstanceId": ONE, "ImageId": "ami-1"}, {"InstanceId": TWO, "path": "/"}])
def test_an_alarm_on_any_metric_of_a_machine_orders_a_look_at_it(dimensions: dict[str, str]) -> None:
    def set_dimensions(event: Any) -> None:
        metric = event["detail"]["configuration"]["metrics"][0]["metricStat"]["metric"]
        metric.update(namespace="CWAgent", dimensions=dimensions)

    (hint,) = hints(read_event(changed("alarm-status-check", set_dimensions)))
    assert hint.look.machine == dimensions["InstanceId"]


@pytest.mark.parametrize(
    "change",
    [
        {"state": "ALARM"},
        {"state": ["ALARM"]},
        {"configuration": "m1"},
        {"configuration": {"metrics": {"metricStat": {}}}},
        {"configuration": {"metrics": ["m1", None, {"metricStat": "m1"}, {"metricStat": {"metric": ["m1"]}}]}},
        {"configuration": {"metrics": [{"metricStat": {"metric": {"dimensions": [{"InstanceId": ONE}]}}}]}},
    ],
)
def test_an_alarm_of_another_form_is_dropped(change: dict[str, object]) -> None:
    read = read_event(changed("alarm-status-check", lambda event: event["detail"].update(change)))
    assert isinstance(read, Dropped)
    assert read.reason.startswith("the alarm drill-status-check ")


def test_an_announcement_reaches_the_pass_as_it_was_read_however_long_its_code() -> None:
    code = "AWS_EC2_" + "X" * 90
    found = hints(read_event(changed("health-scheduled", lambda event: event["detail"].update(eventTypeCode=code))))
    assert [Look.from_json(hint.look.to_json()) for hint in found] == [hint.look for hint in found]


@pytest.mark.parametrize("depth", [3, 10])
def test_a_notification_in_too_many_envelopes_is_dropped(depth: int) -> None:
    body = bodies("inbox-terminate-action")[0]
    for _ in range(depth):
        body = json.dumps({"Type": "Notification", "Message": body})
    assert followed(read_message(body)) == "a notification in a notification, more than 2 deep"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("", "a message that is not JSON: "),
        ("[" * 100_000, f"a message that is not JSON: {'[' * 100}"),
        ("1" * 5000, f"a message that is not JSON: {'1' * 100}"),
        ('["a"]', 'not an object but list: ["a"]'),
        ("null", "not an object but NoneType: null"),
        ("\ud800", "a message that is not JSON: '\\ud800'"),
        ('{"Type": "Notification"}', 'nothing follows from a message of this kind: {"Type": "Notification"}'),
        ('{"Type": "Notification", "Message": "hello"}', "a message that is not JSON: hello"),
        ('{"Type": "Notification", "Message": {}}', "nothing follows from a message of this kind: "),
        ('{"Event": "autoscaling:EC2_INSTANCE_TERMINATE"}', "EC2 Instance Terminate Successful with no instance id"),
        ('{"LifecycleTransition": "autoscaling:EC2_INSTANCE_TERMINATING"}', "a lifecycle action with no instance id"),
        (
            f'{{"LifecycleTransition": "autoscaling:EC2_INSTANCE_TERMINATING", "EC2InstanceId": "{ONE}"}}',
            f"a lifecycle action with no instance id or no token: {ONE}, None",
        ),
    ],
)
def test_a_message_that_is_nothing_is_dropped_with_its_reason(body: str, reason: str) -> None:
    read = read_message(body)
    assert isinstance(read, Dropped)
    assert read.reason.startswith(reason)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([ONE, "ALARM", "EC2"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
SAMPLES = [sample(name) for name in sorted(LOOKED_AT.keys() | DROPPED.keys())]
CONTENTS = [json.loads(body) for name in sorted(INBOX) if name != "inbox-batch" for body in bodies(name)]


def places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every place in a payload, outermost first."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, one in inner for place in places(one, (*path, key)))]


@st.composite
def mutated(draw: st.DrawFn, originals: list[Any]) -> Any:
    """A payload of AWS with some of its fields missing, doubled or replaced."""
    payload = copy.deepcopy(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(1, 3))):
        *outer, last = draw(st.sampled_from([place for place in places(payload) if place]))
        holder = payload
        for key in outer:
            holder = holder[key]
        match draw(st.sampled_from(["replace", "drop", "double"])):
            case "replace":
                holder[last] = draw(ANYTHING)
            case "drop":
                del holder[last]
            case "double":
                holder[last] = [holder[last], holder[last]]
        if not isinstance(payload, dict) or not payload:
            break
    return payload


@st.composite
def messages(draw: st.DrawFn) -> str:
    """The body of a message: anything, or something of AWS that was changed, cut off, or put into envelopes."""
    body = draw(st.text() | st.builds(json.dumps, ANYTHING | mutated(CONTENTS) | mutated(SAMPLES)))
    for _ in range(draw(st.integers(0, 3))):
        body = json.dumps({"Type": "Notification", "Message": body})
    return body[: draw(st.integers(0, len(body)))] if draw(st.booleans()) else body


def check_sound(read: tuple[Hint, ...] | Dropped) -> None:
    """A reason that can be logged, or looks that the queue takes and a pass can read."""
    if isinstance(read, Dropped):
        assert read.reason.isprintable()
        assert 0 < len(read.reason) < 500
        return
    assert read
    assert len({hint.event_id for hint in read}) == len(read)
    for hint in read:
        assert instance_id(hint.look.machine)
        assert DEDUPLICATION_ID.fullmatch(f"event-{hint.event_id}")
        assert hint.look.reason.isprintable()
        assert len(hint.look.reason) < 500
        assert Look.from_json(hint.look.to_json()) == hint.look
        if hint.look.notice:
            assert isinstance(hint.look.notice.in_effect(NOW + timedelta(days=1)), bool)


@given(ANYTHING | mutated(SAMPLES))
@example({**sample("spot-rebalance"), "id": "x" * 200})
@example({**sample("ec2-terminated"), "id": "with a blank"})
@example({**sample("ec2-terminated"), "id": "line\n"})
def test_no_payload_at_all_makes_intake_fail(event: object) -> None:
    check_sound(read_event(event))


@given(messages())
def test_no_message_at_all_makes_the_inbox_fail(body: str) -> None:
    check_sound(read_message(body))


def test_the_rule_is_no_longer_than_eventbridge_takes() -> None:
    assert len(json.dumps(event_pattern())) <= 2048  # EventBridge quotas
