"""What comes in becomes passes, once each; nothing that comes in can keep anything else back."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.cluster.machine import InstanceId
from functions.cluster.notice import Cause, Notice
from functions.errors import RegrowError, RetryableError
from functions.intake import take_in
from functions.messages import Look, Order
from tests.unit.functions.builders import NOW
from tests.unit.functions.fake_world import World
from tests.unit.functions.fakes import FakeJournal
from tests.unit.functions.samples import DROPPED, INBOX, LOOKED_AT, ONE, TWO, bodies, sample


@dataclass
class FifoQueue:
    """Takes each deduplication id once, and refuses looks at some machines."""

    taken: dict[str, Look] = field(default_factory=dict)
    refuses: set[str] = field(default_factory=set)

    def look_now(self, *orders: Order) -> None:
        for order in orders:
            if order.look.machine not in self.refuses:
                self.taken.setdefault(order.deduplication_id, order.look)
        if refused := self.refuses.intersection(order.look.machine for order in orders):
            raise RetryableError(f"no answer for {refused.pop()}")

    def look_later(self, look: Look, **_: object) -> None:
        raise AssertionError(f"{look} is to be looked at later")

    @property
    def machines(self) -> list[str]:
        return [look.machine for look in self.taken.values()]


def told(world: World, what: str) -> list[dict[str, object]]:
    return [fields for said, fields in world.told if said == what]


def event(name: str) -> str:
    """As EventBridge puts it into the inbox."""
    return json.dumps(sample(name))


@pytest.mark.parametrize("name", LOOKED_AT)
def test_an_event_becomes_one_pass_for_each_machine_however_often_it_comes(name: str) -> None:
    queue, world = FifoQueue(), World()
    for _ in range(3):
        take_in([event(name)], queue, FakeJournal(world))
    assert [(look.machine, look.reason) for look in queue.taken.values()] == [row[:2] for row in LOOKED_AT[name]]
    assert len(told(world, "count event")) == 3 * len(LOOKED_AT[name])


@pytest.mark.parametrize("name", DROPPED)
def test_what_calls_for_nothing_is_told_with_its_reason_and_counted(name: str) -> None:
    queue, world = FifoQueue(), World()
    take_in([event(name)], queue, FakeJournal(world))
    assert queue.machines == []
    assert told(world, "event_dropped") == [{"reason": DROPPED[name]}]
    counted = "launch_unsuccessful" if name == "autoscaling-launch-unsuccessful" else "event_dropped"
    assert len(told(world, f"count {counted}")) == 1


@pytest.mark.parametrize("name", INBOX)
def test_messages_of_the_inbox_become_what_follows_from_each(name: str) -> None:
    queue, world = FifoQueue(), World()
    take_in(bodies(name), queue, FakeJournal(world))
    assert queue.machines == [machine for read in INBOX[name] if not isinstance(read, str) for machine, *_ in read]
    reasons = [fields["reason"] for fields in told(world, "event_dropped")]
    assert reasons == [read for read in INBOX[name] if isinstance(read, str)]


def test_a_batch_full_of_nothing_succeeds_so_that_it_never_comes_back() -> None:
    queue, world = FifoQueue(), World()
    take_in(["", "null", "{}", "[[[[", '{"Type": "Notification", "Message": ""}'], queue, FakeJournal(world))
    assert (queue.machines, len(told(world, "event_dropped"))) == ([], 5)


def test_an_action_that_comes_by_the_bus_and_by_the_inbox_is_one_pass() -> None:
    queue, world = FifoQueue(), World()
    (body,) = bodies("inbox-event")
    take_in([event("spot-interruption-terminate")], queue, FakeJournal(world))
    take_in([body, body], queue, FakeJournal(world))
    assert queue.machines == [ONE]


def test_a_refusal_of_the_queue_keeps_no_other_machine_waiting_and_is_made_good_when_the_batch_comes_again() -> None:
    queue, world = FifoQueue(refuses={ONE}), World()
    with pytest.raises(RetryableError, match=f"no answer for {ONE}"):
        take_in(bodies("inbox-batch"), queue, FakeJournal(world))
    assert queue.machines == [TWO]
    queue.refuses.clear()
    take_in(bodies("inbox-batch"), queue, FakeJournal(world))
    assert queue.machines == [TWO, ONE]


def test_every_machine_of_a_health_event_is_tried_before_a_refusal_is_raised() -> None:
    queue, world = FifoQueue(refuses={ONE}), World()
    with pytest.raises(RegrowError):
        take_in([event("health-scheduled")], queue, FakeJournal(world))
    assert queue.machines == [TWO]
    queue.refuses.clear()
    take_in([event("health-scheduled")], queue, FakeJournal(world))
    assert queue.machines == [TWO, ONE]


def test_looks_that_are_due_become_one_for_each_machine_and_tick_beside_whatever_else_comes() -> None:
    queue, world = FifoQueue(), World()
    chains = [Look(InstanceId(one), f"chain {n}", due_s=1000).to_json() for n in range(3) for one in (ONE, TWO)]
    take_in([*chains, event("ec2-terminated"), "poison"], queue, FakeJournal(world))
    assert list(queue.taken.values()) == [Look(InstanceId(one), "chain 0") for one in (ONE, TWO)]
    assert len(told(world, "event_dropped")) == 1


NEWS = {cause: Notice(cause, "it", NOW, NOW + timedelta(minutes=2)) for cause in Cause}


@pytest.mark.parametrize(
    ("told", "passed_on"),
    [
        ([None, None], [None]),
        ([None, Cause.SPOT], [Cause.SPOT]),
        ([Cause.REBALANCE, Cause.SPOT], [Cause.SPOT]),
        ([Cause.REBALANCE, None], [Cause.REBALANCE]),
        ([Cause.REBALANCE, Cause.MAINTENANCE, Cause.SPOT], [Cause.SPOT, Cause.MAINTENANCE]),
        ([Cause.MAINTENANCE, Cause.REBALANCE], [Cause.MAINTENANCE, Cause.REBALANCE]),
    ],
)
def test_what_one_batch_says_of_a_machine_is_one_pass_and_no_announcement_is_lost(
    told: list[Cause | None], passed_on: list[Cause]
) -> None:
    queue, world = FifoQueue(), World()
    looks = [Look(InstanceId(ONE), "a chain", due_s=n, notice=NEWS[one] if one else None) for n, one in enumerate(told)]
    take_in([look.to_json() for look in looks], queue, FakeJournal(world))
    assert [look.notice.cause if look.notice else None for look in queue.taken.values()] == passed_on


def test_of_two_words_about_the_same_the_later_one_is_passed_on() -> None:
    queue, world = FifoQueue(), World()
    later = replace(NEWS[Cause.SPOT], what="stop", heard_at=NOW + timedelta(seconds=1))
    looks = [Look(InstanceId(ONE), "a chain", due_s=1, notice=one) for one in (NEWS[Cause.SPOT], later)]
    take_in([look.to_json() for look in looks], queue, FakeJournal(world))
    assert [look.notice for look in queue.taken.values()] == [later]


def test_an_event_that_two_rules_tell_under_ids_of_their_own_is_one_pass_when_they_come_together() -> None:
    queue, world = FifoQueue(), World()
    told = [json.dumps({**sample("spot-interruption-stop"), "id": id_}) for id_ in ("one", "other")]
    take_in(told, queue, FakeJournal(world))
    assert queue.machines == [ONE]


@given(st.lists(st.tuples(st.sampled_from([ONE, TWO]), st.sampled_from([None, *Cause]), st.integers(0, 3))))
def test_whatever_a_batch_holds_each_machine_in_it_is_looked_at(batch: list[tuple[str, Cause | None, int]]) -> None:
    queue, world = FifoQueue(), World()
    looks = [
        Look(InstanceId(one), "a chain", due_s=due_s, notice=NEWS[cause] if cause else None)
        for one, cause, due_s in batch
    ]
    take_in([look.to_json() for look in looks], queue, FakeJournal(world))
    assert set(queue.machines) == {one for one, _, _ in batch}
    passed_on = {(look.machine, look.notice.cause) for look in queue.taken.values() if look.notice}
    told = {(one, cause) for one, cause, _ in batch if cause}
    assert told - passed_on <= {(one, Cause.REBALANCE) for one, cause in told if cause is Cause.SPOT}


@pytest.mark.parametrize("change", [{"machine": "not one"}, {"due_s": "soon"}, {"due_s": None}, {"tries": -1}])
def test_a_look_that_nobody_can_have_ordered_is_dropped_with_a_reason(change: dict[str, object]) -> None:
    queue, world = FifoQueue(), World()
    body = json.loads(Look(InstanceId(ONE), "x", due_s=1000).to_json()) | change
    take_in([json.dumps(body)], queue, FakeJournal(world))
    assert (queue.machines, len(told(world, "event_dropped"))) == ([], 1)
