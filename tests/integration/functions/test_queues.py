"""Looks go where they must: now into the line of their machine, later until the tick."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from functions.cluster.machine import InstanceId
from functions.edges.queues import QueuesEdge
from functions.intake import take_in
from functions.messages import Look, Order
from tests.integration.functions.conftest import Clients
from tests.integration.functions.surroundings import queue_urls, received
from tests.unit.functions.builders import NOW, ONE, TWO
from tests.unit.functions.fake_world import World
from tests.unit.functions.fakes import FakeJournal


@pytest.fixture
def urls(clients: Clients) -> tuple[str, str]:
    return queue_urls(clients)


@pytest.fixture
def queues(clients: Clients, urls: tuple[str, str]) -> QueuesEdge:
    return QueuesEdge(clients("sqs"), pass_queue_url=urls[0], inbox_queue_url=urls[1])


def test_a_look_comes_out_as_it_went_in_in_the_line_of_its_machine(
    clients: Clients, urls: tuple[str, str], queues: QueuesEdge
) -> None:
    queues.look_now(Order(Look(ONE, "EC2 says terminated", tries=3), "event-1"))
    (message,) = received(clients, urls[0])
    assert Look.from_json(message["Body"]) == Look(ONE, "EC2 says terminated", tries=3)
    assert message["Attributes"]["MessageGroupId"] == ONE
    assert message["Attributes"]["MessageDeduplicationId"] == "event-1"


def test_the_same_event_twice_is_one_look_and_the_same_look_of_two_events_is_two(
    clients: Clients, urls: tuple[str, str], queues: QueuesEdge
) -> None:
    for id_ in ("event-1", "event-1", "event-2"):
        queues.look_now(Order(Look(ONE, "EC2 says terminated"), id_))
    messages = received(clients, urls[0])
    assert [one["Attributes"]["MessageDeduplicationId"] for one in messages] == ["event-1", "event-2"]


def test_a_later_look_waits_until_its_tick(clients: Clients, urls: tuple[str, str], queues: QueuesEdge) -> None:
    now = datetime.now(UTC)
    queues.look_later(Look(ONE, "its group is not whole"), now=now, after=timedelta(seconds=10))
    assert received(clients, urls[1]) == []
    attributes = clients("sqs").get_queue_attributes(QueueUrl=urls[1], AttributeNames=["All"])["Attributes"]
    assert attributes["ApproximateNumberOfMessagesDelayed"] == "1"


def test_a_look_that_is_due_now_names_its_tick(clients: Clients, urls: tuple[str, str], queues: QueuesEdge) -> None:
    queues.look_later(Look(ONE, "now"), now=NOW, after=timedelta(0))
    (message,) = received(clients, urls[1])
    assert json.loads(message["Body"])["due_s"] == int(NOW.timestamp())


def test_any_number_of_chains_for_one_machine_melt_into_one_look(
    clients: Clients, urls: tuple[str, str], queues: QueuesEdge
) -> None:
    bodies = [Look(one, f"chain {number}", due_s=1000).to_json() for number in range(3) for one in (ONE, TWO)]
    take_in(bodies, queues, FakeJournal(World()))
    looks = [Look.from_json(message["Body"]) for message in received(clients, urls[0])]
    assert looks == [Look(ONE, "chain 0"), Look(TWO, "chain 0")]


def test_a_storm_is_ordered_ten_at_a_time_and_each_once(
    clients: Clients, urls: tuple[str, str], queues: QueuesEdge
) -> None:
    machines = [InstanceId(f"i-{number:017x}") for number in range(23)]
    orders = [Order(Look(machine, "a storm"), f"event-{machine}") for machine in machines]
    queues.look_now(*orders, *orders)
    found = [received(clients, urls[0]) for _ in range(4)]
    assert [[Look.from_json(message["Body"]).machine for message in ten] for ten in found] == [
        machines[:10],
        machines[10:20],
        machines[20:],
        [],
    ]
