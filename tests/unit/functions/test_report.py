"""What is shown to a person is plain data that JSON holds, whatever it was made of."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given

from functions.cluster.assess import Kind, assess
from functions.cluster.facts import Absent, Facts, Unknown
from functions.cluster.joining import JoinState
from functions.cluster.machine import InstanceState
from functions.remediate.guards import Refusal
from functions.remediate.planning import make_plan
from functions.remediate.reconcile import Judgement
from functions.report import case_report, judgement_report, plain
from tests.unit.functions.builders import NOW, ONE, SETTINGS, TWO, case, facts, instance, join
from tests.unit.functions.strategies import FACTS


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Kind.DEAD, "dead"),
        (NOW, "2026-11-21T12:00:00+00:00"),
        (timedelta(seconds=90), 90.0),
        (Absent(), "absent"),
        (Unknown("no answer"), {"reason": "no answer"}),
        ((1, (2,)), [1, [2]]),
        (frozenset({ONE}), [ONE]),
        ({ONE: None}, {ONE: None}),
        ("text", "text"),
    ],
)
def test_frozen_data_becomes_plain(value: Any, shown: Any) -> None:
    assert plain(value) == shown


def judgement(seen: Facts, refusal: Refusal | None = None) -> Judgement:
    verdict = assess(seen)
    return Judgement(seen, verdict, make_plan(verdict, seen, SETTINGS.policy), refusal)


@given(FACTS)
def test_any_judgement_can_be_shown(seen: Facts) -> None:
    shown = judgement_report(judgement(seen))
    assert json.loads(json.dumps(shown)) == shown


def test_a_judgement_shows_verdict_steps_refusal_and_what_could_not_be_read() -> None:
    dead = facts(instance=instance(ONE, InstanceState.TERMINATED), memory=Unknown("DynamoDB does not answer"))
    shown = judgement_report(judgement(dead, Refusal("the table cannot be read", None)))
    assert (shown["machine"], shown["verdict"], shown["refused"]) == (ONE, "dead", "the table cannot be read")
    assert shown["unknown"] == ["DynamoDB does not answer"]
    assert shown["plan"][1] == {
        "step": "Fence",
        "node_name": ONE,
        "node_uid": f"uid-of-{ONE}",
        "reason": "EC2: terminated",
    }


def test_a_report_of_one_machine_shows_its_case_alone() -> None:
    cases = (case(ONE), case(TWO))
    assert len(case_report(cases, (), None, (), cluster="drill")["open_cases"]) == 2
    shown = case_report(cases, (), ONE, [{"then": "x"}], cluster="drill")
    assert [one["instance"] for one in shown["open_cases"]] == [ONE]
    assert shown["history"] == [{"then": "x"}]


def test_a_report_lists_who_is_joining_and_of_one_machine_also_what_has_ended() -> None:
    joins = [join(ONE), join(TWO, JoinState.ENDED)]
    assert [one["instance"] for one in case_report((), joins, None, (), cluster="drill")["joining"]] == [ONE]
    (ended,) = case_report((), joins, TWO, (), cluster="drill")["joining"]
    assert (ended["instance"], ended["state"]) == (TWO, "ended")
