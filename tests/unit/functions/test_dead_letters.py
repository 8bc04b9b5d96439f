"""A dead letter is put back as far as it is understood, and is never lost on the way."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.dead_letters import DeadLetter, Source, put_back, read, show
from functions.drill import answer
from functions.errors import RetryableError
from functions.messages import CONTROL_PLANE, Look
from tests.faults.driving import one_pass
from tests.unit.functions.builders import NOW, ONE, SETTINGS, TWO
from tests.unit.functions.fake_world import Call, Crash, World
from tests.unit.functions.fakes import FakeDeadLetters, desk_of, outside_of
from tests.unit.functions.samples import bodies, sample
from tests.unit.functions.worlds import a_cluster, kill

LOOK = Look(ONE, "EC2 says terminated", tries=4)
EVENT = json.dumps(sample("ec2-terminated"))


def letter(body: str, source: Source = Source.PASSES, id_: str = "059f36b4") -> DeadLetter:
    return DeadLetter(source, id_, body, NOW - timedelta(minutes=3), 5, f"receipt-of-{id_}")


@pytest.mark.parametrize(
    ("body", "source", "machines"),
    [
        (LOOK.to_json(), Source.PASSES, (ONE,)),
        (Look(CONTROL_PLANE, "the sweep").to_json(), Source.PASSES, (CONTROL_PLANE,)),
        (Look(ONE, "later", due_s=1).to_json(), Source.INBOX, (ONE,)),
        (EVENT, Source.INBOX, ("i-0123456789abcdef0",)),
        (bodies("inbox-event-by-topic")[0], Source.INBOX, ("i-0123456789abcdef0", "i-0fedcba9876543210")),
    ],
)
def test_what_is_understood_names_its_machines(body: str, source: Source, machines: tuple[str, ...]) -> None:
    found = read(letter(body, source))
    assert found.stays is None
    assert len(found.machines) == len(machines)


@pytest.mark.parametrize(
    ("body", "source", "why"),
    [
        ("not a look", Source.PASSES, "the message is not JSON"),
        ('{"machine": "worker-1"}', Source.PASSES, "names no instance"),
        (EVENT, Source.PASSES, "names no instance"),
        ("not a look", Source.INBOX, "not JSON"),
        ('{"order": 4711}', Source.INBOX, "nothing follows from a message of this kind"),
    ],
)
def test_what_nobody_understands_says_why_and_stays(body: str, source: Source, why: str) -> None:
    world = World(dead_letters=[letter(body, source)])
    assert why in (read(world.dead_letters[0]).stays or "")
    said = answer({"do": "put-back"}, desk_of(world), SETTINGS, now=NOW)
    assert (len(said["put_back"]), len(said["left"]), len(world.dead_letters)) == (0, 1, 1)
    assert (world.passes, world.inbox) == ([], [])


@given(st.text(), st.sampled_from(Source))
def test_whatever_lies_there_it_is_read(body: str, source: Source) -> None:
    found = read(letter(body, source))
    assert bool(found.machines) is (found.stays is None)


def test_looking_at_them_leaves_them_where_they_are() -> None:
    world = World(dead_letters=[letter(LOOK.to_json()), letter("not a look", id_="2")])
    said = answer({"do": "dead-letters"}, desk_of(world), SETTINGS, now=NOW)
    assert said["dead_letters"][0] == {
        "queue": "pass",
        "id": "059f36b4",
        "machines": [ONE],
        "sent_at": "2026-11-21T11:57:00+00:00",
        "received": 5,
        "body": LOOK.to_json(),
        "stays": None,
    }
    assert len(world.dead_letters) == 2
    assert [call.method for call in world.calls] == ["receive_dead", "give_back"]
    assert world.effects == []
    assert json.loads(json.dumps(said)) == said
    assert len(show(FakeDeadLetters(world, "dead_letters"))) == 2


def test_a_look_is_put_back_as_a_new_one_and_its_machine_is_healed() -> None:
    world = a_cluster(3, volumes=False)
    kill(world, ONE)
    world.deduplication["event-1"] = NOW  # it was sent a moment ago: under that id it would be swallowed
    world.dead_letters = [letter(LOOK.to_json())]
    answer({"do": "put-back"}, desk_of(world), SETTINGS, now=NOW)
    (look,) = world.passes
    assert (look, world.dead_letters) == (Look(ONE, "EC2 says terminated"), [])
    one_pass(world, look)
    assert ("fence", f"uid-of-{ONE}") in world.effects


def test_what_the_inbox_could_not_hand_on_goes_into_the_inbox_again() -> None:
    world = World(dead_letters=[letter(EVENT, Source.INBOX)])
    answer({"do": "put-back"}, desk_of(world), SETTINGS, now=NOW)
    assert (world.inbox, world.dead_letters, world.passes) == ([EVENT], [], [])


def test_one_that_is_not_taken_or_not_understood_keeps_no_other_back() -> None:
    world = World(
        dead_letters=[
            letter("not a look", id_="1"),
            letter(EVENT, Source.INBOX, id_="2"),
            letter(Look(TWO, "x").to_json(), id_="3"),
        ]
    )

    def fails(call: Call) -> None:
        if call.method == "into_the_inbox":
            raise RetryableError("SQS: throttled")

    world.before = fails
    done, left = put_back(FakeDeadLetters(world, "dead_letters"), outside_of(world).queues, now=NOW)
    assert [one.letter.id for one in done] == ["3"]
    assert [(one.letter.id, (one.stays or "")[:16]) for one in left] == [
        ("1", "the message is n"),
        ("2", "it was not taken"),
    ]
    assert [one.id for one in world.dead_letters] == ["1", "2"]


@pytest.mark.parametrize("method", ["look_now", "delete_dead"])
@pytest.mark.parametrize("late", [False, True])
def test_a_crash_on_the_way_loses_no_letter(method: str, late: bool) -> None:
    world = World(dead_letters=[letter(LOOK.to_json())])

    def crash(call: Call) -> None:
        if call.method == method:
            raise Crash

    world.before, world.after = (lambda _: None, crash) if late else (crash, lambda _: None)
    with pytest.raises(Crash):
        answer({"do": "put-back"}, desk_of(world), SETTINGS, now=NOW)
    assert world.passes or world.dead_letters
