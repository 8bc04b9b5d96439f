"""What comes in becomes passes, once each; nothing that comes in can keep anything else back."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from functions.errors import RegrowError, RetryableError
from functions.intake import take_in, take_notifications
from functions.messages import Look
from tests.unit.functions.fake_world import World
from tests.unit.functions.fakes import FakeJournal
from tests.unit.functions.samples import DROPPED, INBOX, LOOKED_AT, ONE, TWO, bodies, sample


@dataclass
class FifoQueue:
    """Takes each deduplication id once, and refuses looks at some machines."""

    taken: dict[str, Look] = field(default_factory=dict)
    refuses: set[str] = field(default_factory=set)

    def look_now(self, look: Look, deduplication_id: str) -> None:
        if look.machine in self.refuses:
            raise RetryableError(f"no answer for {look.machine}")
        self.taken.setdefault(deduplication_id, look)

    def look_later(self, look: Look, **_: object) -> None:
        raise AssertionError(f"{look} is to be looked at later")

    @property
    def machines(self) -> list[str]:
        return [look.machine for look in self.taken.values()]


def told(world: World, what: str) -> list[dict[str, object]]:
    return [fields for said, fields in world.told if said == what]


@pytest.mark.parametrize("name", LOOKED_AT)
def test_an_event_becomes_one_pass_for_each_machine_however_often_it_comes(name: str) -> None:
    queue, world = FifoQueue(), World()
    for _ in range(3):
        take_in(sample(name), queue, FakeJournal(world))
    assert [(look.machine, look.reason) for look in queue.taken.values()] == [row[:2] for row in LOOKED_AT[name]]
    assert len(told(world, "count event")) == 3 * len(LOOKED_AT[name])


@pytest.mark.parametrize("name", DROPPED)
def test_what_calls_for_nothing_is_told_with_its_reason_and_counted(name: str) -> None:
    queue, world = FifoQueue(), World()
    take_in(sample(name), queue, FakeJournal(world))
    assert queue.machines == []
    assert told(world, "event_dropped") == [{"reason": DROPPED[name]}]
    counted = "launch_unsuccessful" if name == "autoscaling-launch-unsuccessful" else "event_dropped"
    assert len(told(world, f"count {counted}")) == 1


@pytest.mark.parametrize("name", INBOX)
def test_messages_of_the_inbox_become_what_follows_from_each(name: str) -> None:
    queue, world = FifoQueue(), World()
    take_notifications(bodies(name), queue, FakeJournal(world))
    assert queue.machines == [machine for read in INBOX[name] if not isinstance(read, str) for machine, *_ in read]
    reasons = [fields["reason"] for fields in told(world, "event_dropped")]
    assert reasons == [read for read in INBOX[name] if isinstance(read, str)]


def test_a_batch_full_of_nothing_succeeds_so_that_it_never_comes_back() -> None:
    queue, world = FifoQueue(), World()
    take_notifications(["", "null", "{}", "[[[[", '{"Type": "Notification", "Message": ""}'], queue, FakeJournal(world))
    assert (queue.machines, len(told(world, "event_dropped"))) == ([], 5)


def test_an_action_that_comes_by_the_bus_and_by_the_inbox_is_one_pass() -> None:
    queue, world = FifoQueue(), World()
    event = sample("inbox-event")["Records"][0]["body"]
    take_in(sample("spot-interruption-terminate"), queue, FakeJournal(world))
    take_notifications([event, event], queue, FakeJournal(world))
    assert queue.machines == [ONE]


def test_a_refusal_of_the_queue_keeps_no_other_machine_waiting_and_is_made_good_when_the_batch_comes_again() -> None:
    queue, world = FifoQueue(refuses={ONE}), World()
    with pytest.raises(RetryableError, match=f"no answer for {ONE}"):
        take_notifications(bodies("inbox-batch"), queue, FakeJournal(world))
    assert queue.machines == [TWO]
    assert told(world, "looks_not_ordered") == [{"number": 1, "reason": f"no answer for {ONE}"}]
    queue.refuses.clear()
    take_notifications(bodies("inbox-batch"), queue, FakeJournal(world))
    assert queue.machines == [TWO, ONE]


def test_every_machine_of_a_health_event_is_tried_before_a_refusal_is_raised() -> None:
    queue, world = FifoQueue(refuses={ONE}), World()
    with pytest.raises(RegrowError):
        take_in(sample("health-scheduled"), queue, FakeJournal(world))
    assert queue.machines == [TWO]
    queue.refuses.clear()
    take_in(sample("health-scheduled"), queue, FakeJournal(world))
    assert queue.machines == [TWO, ONE]
