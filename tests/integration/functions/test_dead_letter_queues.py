"""Dead letters are looked at without being taken, and put back whole, against SQS as moto has it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from functions.cluster.machine import InstanceId
from functions.dead_letters import Source, put_back, show
from functions.edges.dead_letters import DeadLettersEdge
from functions.edges.queues import QueuesEdge
from functions.messages import Look
from tests.integration.functions.conftest import Clients
from tests.integration.functions.surroundings import received
from tests.unit.functions.builders import ENVIRONMENT, ONE, SETTINGS, TWO
from tests.unit.functions.samples import sample

NOW = datetime.now(UTC)
EVENT = json.dumps(sample("ec2-terminated"))


class Queues:
    """The four queues of the remediator's template, by name."""

    def __init__(self, clients: Clients) -> None:
        self.clients, self.sqs, self.urls = clients, clients("sqs"), dict[str, str]()
        for name in ("pass-dead.fifo", "pass.fifo", "inbox-dead", "inbox"):
            fifo = {"FifoQueue": "true"} if name.endswith(".fifo") else {}
            self.urls[name] = self.sqs.create_queue(QueueName=f"regrow-drill-{name}", Attributes=fifo)["QueueUrl"]
        self.edge = DeadLettersEdge(
            self.sqs,
            pass_dead_url=self.urls["pass-dead.fifo"],
            inbox_dead_url=self.urls["inbox-dead"],
            inbox_url=self.urls["inbox"],
        )
        self.looks = QueuesEdge(self.sqs, pass_queue_url=self.urls["pass.fifo"], inbox_queue_url=self.urls["inbox"])

    def gave_up(self, body: str, group: str) -> None:
        """A pass that failed five times: SQS moves it with its message group."""
        self.sqs.send_message(
            QueueUrl=self.urls["pass-dead.fifo"],
            MessageBody=body,
            MessageGroupId=group,
            MessageDeduplicationId=str(uuid4()),
        )

    def received(self, name: str) -> list[dict[str, Any]]:
        return received(self.clients, self.urls[name])


@pytest.fixture
def queues(clients: Clients) -> Iterator[Queues]:
    yield Queues(clients)


def test_the_settings_name_the_queues_of_the_template() -> None:
    assert SETTINGS.pass_dead_queue_url == "http://queues.test/regrow-drill-pass-dead.fifo"
    assert SETTINGS.inbox_dead_queue_url == "http://queues.test/regrow-drill-inbox-dead"
    assert set(ENVIRONMENT) >= {"REGROW_PASS_QUEUE_URL", "REGROW_INBOX_QUEUE_URL"}


def test_whoever_looks_leaves_each_letter_to_be_received_at_once(queues: Queues) -> None:
    queues.gave_up(Look(ONE, "x").to_json(), ONE)
    queues.gave_up("not a look", TWO)
    queues.sqs.send_message(QueueUrl=queues.urls["inbox-dead"], MessageBody=EVENT)
    for _ in range(2):
        found = show(queues.edge)
        assert [(one.letter.source, bool(one.stays)) for one in found] == [
            (Source.PASSES, False),
            (Source.PASSES, True),
            (Source.INBOX, False),
        ]
    assert [one.letter.received for one in show(queues.edge)] == [3, 3, 3]


def test_all_of_many_letters_are_seen(queues: Queues) -> None:
    for number in range(25):
        queues.gave_up(Look(InstanceId(f"i-{number:017x}"), "x").to_json(), f"i-{number:017x}")
    assert len({one.letter.id for one in show(queues.edge)}) == 25


def test_what_is_understood_goes_back_in_its_line_and_the_rest_stays(queues: Queues) -> None:
    queues.gave_up("not a look", ONE)
    queues.gave_up(Look(ONE, "EC2 says terminated", tries=5).to_json(), ONE)
    queues.sqs.send_message(QueueUrl=queues.urls["inbox-dead"], MessageBody=EVENT)
    queues.sqs.send_message(QueueUrl=queues.urls["inbox-dead"], MessageBody="{}")
    done, left = put_back(queues.edge, queues.looks, now=NOW)
    assert ([one.letter.source for one in done], len(left)) == ([Source.PASSES, Source.INBOX], 2)
    (message,) = queues.received("pass.fifo")
    assert Look.from_json(message["Body"]) == Look(ONE, "EC2 says terminated")
    assert message["Attributes"]["MessageGroupId"] == ONE
    assert [one["Body"] for one in queues.received("inbox")] == [EVENT]
    assert [one["Body"] for one in queues.received("pass-dead.fifo")] == ["not a look"]
    assert [one["Body"] for one in queues.received("inbox-dead")] == ["{}"]


def test_the_same_look_may_be_put_back_again_within_the_five_minutes_of_deduplication(queues: Queues) -> None:
    for _ in range(2):
        queues.gave_up(Look(ONE, "x").to_json(), ONE)
        put_back(queues.edge, queues.looks, now=NOW)
    assert len(queues.received("pass.fifo")) == 2
