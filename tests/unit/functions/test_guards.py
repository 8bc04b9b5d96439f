"""A plan that is right in itself is still refused when a person, other work or the table says no."""

from __future__ import annotations

from datetime import timedelta

import pytest

from functions.cluster.assess import assess
from functions.cluster.facts import Facts, Unknown
from functions.cluster.machine import InstanceState
from functions.remediate.guards import Refusal, guard
from functions.remediate.plan import LATER
from functions.remediate.planning import make_plan
from tests.unit.functions.builders import (
    CLUSTER,
    NOW,
    ONE,
    SETTINGS,
    THREE,
    TWO,
    WORKERS,
    case,
    facts,
    instance,
    memory,
    pause,
)

DEAD = instance(ONE, InstanceState.TERMINATED)


def refusal(seen: Facts, *, max_in_flight: int = 2) -> Refusal | None:
    verdict = assess(seen)
    return guard(make_plan(verdict, seen, SETTINGS.policy), verdict, seen, max_in_flight=max_in_flight)


def test_a_dead_machine_may_be_worked_on() -> None:
    assert refusal(facts(instance=DEAD)) is None


@pytest.mark.parametrize("of", [CLUSTER, WORKERS, ONE])
def test_a_pause_of_cluster_group_or_machine_refuses_and_says_until_when_and_why(of: str) -> None:
    refused = refusal(facts(instance=DEAD, memory=memory(pauses=(pause(of),))))
    assert refused == Refusal(
        f"{of} is paused until 2026-11-21 13:00:00Z: the network is being rebuilt", None, "its end, or a resume"
    )


@pytest.mark.parametrize("of", ["other", TWO, "drill-control-plane"])
def test_a_pause_of_something_else_does_not_matter(of: str) -> None:
    assert refusal(facts(instance=DEAD, memory=memory(pauses=(pause(of),)))) is None


def test_a_pause_ends_by_itself() -> None:
    over = pause()
    assert refusal(facts(instance=DEAD, memory=memory(pauses=(over,)), at=NOW + timedelta(hours=1))) is None


def test_a_pause_stops_a_case_that_is_open_as_well() -> None:
    assert refusal(facts(instance=DEAD, memory=memory(case=case(), pauses=(pause(),)))) is not None


def test_a_pause_does_not_matter_where_nothing_would_be_done() -> None:
    assert refusal(facts(memory=memory(pauses=(pause(),)))) is None


def test_no_more_machines_are_taken_on_than_may_be_in_flight() -> None:
    refused = refusal(facts(instance=DEAD, memory=memory(in_flight=frozenset({TWO, THREE}))))
    assert refused == Refusal(
        f"2 machines are in flight ({TWO}, {THREE}), no more than 2 may be",
        LATER,
        "the end of one of them",
        about="all places in flight",
    )


@pytest.mark.parametrize(
    "held",
    [
        memory(in_flight=frozenset({TWO})),
        memory(in_flight=frozenset({ONE, TWO})),
        memory(case=case(), in_flight=frozenset({ONE, TWO, THREE})),
    ],
)
def test_a_machine_does_not_count_against_itself(held: object) -> None:
    assert refusal(facts(instance=DEAD, memory=held)) is None


def test_nothing_is_removed_while_the_table_cannot_be_read() -> None:
    refused = refusal(facts(instance=DEAD, memory=Unknown("DynamoDB does not answer")))
    assert refused == Refusal("the table cannot be read (DynamoDB does not answer)", LATER, "the table answers again")


def test_a_leaving_machine_is_cordoned_even_without_the_table() -> None:
    leaving = facts(instance=instance(ONE, InstanceState.SHUTTING_DOWN), memory=Unknown("DynamoDB does not answer"))
    assert refusal(leaving) is None
