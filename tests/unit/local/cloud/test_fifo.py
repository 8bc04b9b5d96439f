"""SQS's memory of deduplication ids."""

from __future__ import annotations

from moto.sqs.models import Message

from infra.local.cloud.queues.fifo import Deduplication


def message(message_id: str, group: str = "g", deduplication_id: str | None = "d") -> Message:
    made = Message(message_id, "body")
    made.group_id, made.deduplication_id = group, deduplication_id
    return made


def test_a_repeat_is_known_for_five_minutes_from_the_first_and_not_from_the_repeat() -> None:
    now = [0.0]
    memory = Deduplication(lambda: now[0])
    first = message("1")
    assert memory.earlier(first, per_group=False) is None
    now[0] = 299.0
    assert memory.earlier(message("2"), per_group=False) is first
    now[0] = 301.0
    assert memory.earlier(message("3"), per_group=False) is None


def test_groups_share_their_ids_unless_the_queue_says_otherwise() -> None:
    memory = Deduplication(lambda: 0.0)
    first = message("1", "a")
    memory.earlier(first, per_group=False)
    assert memory.earlier(message("2", "b"), per_group=False) is first
    memory = Deduplication(lambda: 0.0)
    memory.earlier(first, per_group=True)
    assert memory.earlier(message("2", "b"), per_group=True) is None


def test_a_message_without_an_id_repeats_nothing() -> None:
    memory = Deduplication(lambda: 0.0)
    assert memory.earlier(message("1", deduplication_id=None), per_group=False) is None
    assert memory.earlier(message("2", deduplication_id=None), per_group=False) is None
