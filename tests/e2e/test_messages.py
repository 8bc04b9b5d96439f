"""Whatever comes in, by event or by queue: it is dropped, or put aside, and nothing else suffers."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from functions.cluster.machine import InstanceId
from functions.messages import Look
from infra.local.cluster import wait_for
from tests.e2e.scene import Scene, sample
from tests.e2e.sights import see_cluster


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, "nothing follows from Order Placed of com.example.shop"),
        ({"detail": None}, "an event without an id or a detail"),
        ({"detail": ["i-0123456789abcdef0"]}, "an event without an id or a detail"),
        ({"id": 7}, "an event without an id or a detail"),
        ({"source": {"a": 1}, "detail-type": None}, "nothing follows from None of dict"),
        ({"source": "aws.ec2", "detail-type": "EC2 Instance State-change Notification"}, "with no instance id: None"),
    ],
)
def test_an_event_that_is_unknown_or_malformed_is_dropped_with_its_reason(
    scene: Scene, changes: dict[str, Any], why: str
) -> None:
    before, journal, passes = see_cluster(scene), scene.journal("intake"), scene.journal("remediate")
    scene.send_in(json.dumps(sample("unknown-source") | changes))
    wait_for("what becomes of it", lambda: bool(journal.lines(message="event_dropped")), within_s=10)
    assert [why in line["reason"] for line in journal.lines(message="event_dropped")] == [True]
    assert passes.lines() == []
    assert see_cluster(scene) == before


def test_a_message_that_can_never_be_read_goes_to_the_dead_letters_and_blocks_no_other_machine(scene: Scene) -> None:
    one, other = scene.workers()
    passes = scene.journal("remediate")
    assert scene.dead_letters() == []
    with scene.pass_visibility(1):
        scene.send_pass("not a look", group=one)
        scene.send_pass(Look(InstanceId(one), "it stands behind").to_json(), group=one)
        scene.send_pass(Look(InstanceId(other), "it stands in its own line").to_json(), group=other)
        wait_for("the other machine's pass", lambda: bool(passes.lines(machine=other)), within_s=3)
        assert passes.lines(machine=one) == []

        wait_for("the pass behind", lambda: bool(passes.lines(machine=one)), within_s=30)
    look = Look(InstanceId(other), "a pass that failed too often").to_json()
    scene.client("sqs").send_message(
        QueueUrl=scene.queue_url("pass-dead.fifo"), MessageBody=look, MessageGroupId=other, MessageDeduplicationId="1"
    )
    shown = {letter["body"]: letter["stays"] for letter in scene.ask({"do": "dead-letters"})["dead_letters"]}
    assert shown[look] is None
    assert shown["not a look"].startswith("the message is not JSON")
    said = scene.ask({"do": "put-back"})
    assert [letter["machines"] for letter in said["put_back"] if letter["body"] == look] == [[other]]
    assert len({letter["id"] for letter in said["put_back"]}) == len(said["put_back"])
    assert [letter["body"] for letter in said["left"]] == ["not a look"]
    put_back = {"machine": other, "because": "a pass that failed too often"}
    wait_for("the pass that was put back", lambda: bool(passes.lines(**put_back)), within_s=10)
    assert scene.dead_letters() == [(one, "not a look")]
    assert {line["verdict"] for line in passes.lines(message="pass")} == {"healthy"}


def test_a_machine_that_has_several_passes_at_once_heals_once(scene: Scene) -> None:
    victim, survivor = scene.workers()
    before = see_cluster(scene).machines
    event = sample("pass-message")
    event["Records"][0]["body"] = Look(InstanceId(victim), "several at once").to_json()
    scene.kill(victim)
    wait_for(f"the end of {victim}", lambda: scene.state_of(victim) == "terminated", within_s=10)
    with ThreadPoolExecutor(max_workers=3) as together:
        answers = [together.submit(scene.invoke, "remediate", event) for _ in range(3)]
    assert ["FunctionError" in answer.result() for answer in answers] == [False] * 3
    scene.await_healed(victim)

    assert scene.dead_letters() == []
    assert len(set(scene.workers()) - {survivor}) == 1
    after = see_cluster(scene).machines
    assert after[survivor].uid == before[survivor].uid
    assert before[survivor].pods <= after[survivor].pods
