"""What is wrong with a machine that runs is said only when it is known, and with the facts that say so."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.cluster.assess import Kind, assess
from functions.cluster.doubt import Doubt, Impairment, Sign, Trouble
from functions.cluster.facts import Absent, Facts, Unknown
from functions.cluster.machine import Condition, InstanceState, Node
from functions.cluster.trouble import LEASE_STALE, reported, silent_for, trouble_of
from functions.remediate.planning import make_plan
from tests.unit.functions.builders import (
    NOW,
    ONE,
    SETTINGS,
    WORKERS,
    facts,
    instance,
    memory,
    node,
    not_ready,
    record,
    silent,
)
from tests.unit.functions.strategies import FACTS, UNKNOWN

DAY = timedelta(days=1)
RECORDED = memory(record=record())


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def failing(seconds: float | None, *checks: str) -> tuple[Impairment, ...]:
    since = None if seconds is None else ago(seconds)
    return tuple(Impairment(check, since) for check in checks or ("instance",))


def ready(status: str, since_s: float, renewed_s: float | None, **changes: Any) -> Facts:
    """Its Ready condition has been so for that long, and its lease is so old; None for no lease."""
    heard = Absent() if renewed_s is None else ago(renewed_s)
    return facts(node=not_ready(ONE, ago(since_s), status, **changes), renewed_at=heard)


@pytest.mark.parametrize(
    ("seen", "since_s"),
    [
        (silent(39), None),
        (silent(40), 40),
        (silent(600), 600),
        (ready("Unknown", 45, 60), 60),
        (ready("Unknown", 39, None), None),
        (ready("Unknown", 40, None), 40),
        (ready("False", 39, 5), None),
        (ready("False", 40, 5), 40),
        (ready("False", 300, 90), 300),
        (facts(node=node(), renewed_at=ago(3600)), None),
        (ready("True", 3600, 3600), None),
        (ready("Unknown", 3600, 39), None),
        (ready("Unknown", 3600, 5), None),
        (ready("Unknown", 50, 3600), 90),
        (ready("Unknown", 300, -3600), 300),
        (ready("Gone", 3600, 3600), None),
    ],
    ids=[
        "silent for as long as any kubelet may be",
        "silent for a second longer",
        "silent for long",
        "Kubernetes waits 50 s from 1.32 on",
        "it has no lease, and has not been unreachable for long",
        "it has no lease, and has been",
        "it says that it is ill, not for long",
        "it says that it is ill",
        "it said that it is ill, and its lease has just gone stale",
        "its lease is old, and Kubernetes says nothing of it",
        "its lease is old by its clock, and Kubernetes hears of it",
        "unreachable, but its lease is fresh",
        "unreachable, but it has just been heard of",
        "its clock is an hour slow: what Kubernetes saw counts",
        "its clock is an hour fast: what Kubernetes saw counts",
        "a state that nobody knows",
    ],
)
def test_since_when_a_kubelet_is_in_trouble(seen: Facts, since_s: float | None) -> None:
    found = trouble_of(seen)
    assert (found and (found.sign, found.since)) == (None if since_s is None else (Sign.SILENT, ago(since_s)))


def test_what_was_so_before_the_machine_was_started_counts_for_nothing() -> None:
    started = instance(launched_at=ago(39))
    for seen in (silent(3600), ready("False", 3600, 5), ready("Unknown", 3600, None)):
        assert trouble_of(replace(seen, instance=started)) is None
        later = trouble_of(replace(seen, instance=instance(launched_at=ago(50))))
        assert later
        assert later.since == ago(50)


@pytest.mark.parametrize("state", [state for state in InstanceState if state is not InstanceState.RUNNING])
def test_of_a_machine_that_does_not_run_nothing_is_said(state: InstanceState) -> None:
    seen = silent(600, instance=instance(state=state), impairments=failing(600))
    assert (trouble_of(seen), silent_for(seen)) == (None, timedelta(0))


@pytest.mark.parametrize(
    ("reason", "message", "runtime"),
    [
        ("KubeletNotReady", "container runtime is down", True),
        ("KubeletNotReady", "[container runtime status check may not have completed yet, PLEG is not healthy]", True),
        ("KubeletNotReady", "PLEG is not healthy: pleg was last seen active 5m ago", True),
        ("KubeletNotReady", "node is shutting down", False),
        ("", "", False),
    ],
)
def test_a_kubelet_that_blames_its_runtime_has_that_restarted(reason: str, message: str, *, runtime: bool) -> None:
    found = trouble_of(ready("False", 60, 5, reason=reason, message=message))
    assert found
    assert found.runtime is runtime
    assert message in str(found)


@pytest.mark.parametrize(
    ("silent_s", "failing_s", "since_s"),
    [(600, 300, 300), (100, 86_400, 100), (90, None, 90), (600, 600, 600)],
    ids=[
        "both: since the later one",
        "a check that has failed for a day while the kubelet was heard of",
        "EC2 does not say since when",
        "at once",
    ],
)
def test_a_silent_machine_whose_checks_fail_is_impaired_since_both_are_so(
    silent_s: float, failing_s: float | None, since_s: float
) -> None:
    found = trouble_of(silent(silent_s, impairments=failing(failing_s, "system", "instance")))
    assert found
    assert (found.sign, found.since) == (Sign.IMPAIRED, ago(since_s))
    assert "EC2: its system status check fails" in str(found)


@pytest.mark.parametrize("check", ["instance", "system", "ebs"])
def test_checks_that_fail_beside_a_kubelet_that_answers_are_no_impairment(check: str) -> None:
    assert trouble_of(facts(impairments=failing(86_400, check), renewed_at=ago(5))) is None
    ill = replace(ready("False", 60, 5), impairments=failing(86_400, check))
    found = trouble_of(ill)
    assert found
    assert found.sign is Sign.SILENT
    assert f"its {check} status check fails" in str(found)


def test_attached_volumes_that_fail_are_evidence_and_no_more() -> None:
    found = trouble_of(silent(100, impairments=failing(300, "ebs")))
    assert found
    assert (found.sign, found.since) == (Sign.SILENT, ago(100))
    assert "its ebs status check fails" in str(found)


def test_a_machine_that_had_joined_and_lost_its_node_is_in_trouble_from_when_that_was_seen() -> None:
    gone = facts(node=Absent(), memory=RECORDED)
    found = trouble_of(gone)
    assert found
    assert (found.sign, found.since) == (Sign.SILENT, NOW)
    since = ago(100)
    for doubt, counts_from in ((Doubt(ONE, WORKERS, since), since), (Doubt(ONE, WORKERS, since, (), ago(50)), NOW)):
        later = trouble_of(facts(node=Absent(), memory=replace(RECORDED, doubt=doubt)))
        assert later
        assert later.since == counts_from, "what it was in trouble for before it was well counts no more"


def test_a_machine_that_nobody_wrote_down_never_had_a_node_to_lose() -> None:
    assert trouble_of(facts(node=Absent(), memory=memory())) is None


@pytest.mark.parametrize(
    ("type_", "status", "problem"),
    [
        ("MemoryPressure", "True", True),
        ("DiskPressure", "False", False),
        ("ReadonlyFilesystem", "True", True),
        ("KernelDeadlock", "Unknown", False),
        ("Ready", "False", False),
        ("Ready", "True", False),
        ("NetworkingReady", "True", False),
        ("NetworkingReady", "False", True),
    ],
)
def test_conditions_are_a_problem_when_they_say_so(type_: str, status: str, *, problem: bool) -> None:
    assert bool(reported(node(conditions=(Condition(type_, status),)))) is problem


@pytest.mark.parametrize("type_", ["MemoryPressure", "DiskPressure", "ReadonlyFilesystem", "KernelDeadlock"])
def test_what_is_reported_of_a_node_that_is_ready_never_makes_it_doubtful(type_: str) -> None:
    """Sticky conditions of the node-problem-detector above all: they prove nothing about now."""
    sticky = node(conditions=(Condition("Ready", "True"), Condition(type_, "True", since=NOW - DAY, said_at=NOW - DAY)))
    assert trouble_of(facts(node=sticky, renewed_at=ago(5))) is None


def test_who_invents_conditions_without_end_fills_no_history() -> None:
    invented = [Condition(f"Made-up-{number}", "True") for number in range(1000)]
    found = trouble_of(silent(100, node=not_ready(ONE, ago(60), "Unknown", *invented)))
    assert found
    assert len(found.evidence) < 10


TIMES = st.sampled_from([-3600, 0, 39, 40, 41, 100, 3600]).map(ago)
ANY = st.builds(
    lambda seen, renewed_at, conditions, impairments: replace(
        seen,
        renewed_at=renewed_at,
        impairments=impairments,
        node=replace(seen.node, conditions=conditions) if isinstance(seen.node, Node) else seen.node,
    ),
    FACTS,
    TIMES | st.just(Absent()) | UNKNOWN,
    st.builds(
        lambda status, since: (Condition("Ready", status, since=since),),
        st.sampled_from(["True", "False", "Unknown"]),
        st.none() | TIMES,
    )
    | st.just(()),
    st.sampled_from([(), failing(200), failing(None, "system"), failing(10, "ebs")]) | UNKNOWN,
)


@given(ANY)
def test_nobody_is_doubtful_by_what_could_not_be_read(seen: Facts) -> None:
    if isinstance(seen.node, Unknown) or isinstance(seen.renewed_at, Unknown) or isinstance(seen.instance, Unknown):
        assert trouble_of(seen) is None
        assert silent_for(seen) == timedelta(0)
        assert make_plan(assess(seen), seen, SETTINGS.policy).rung is None


@given(ANY)
def test_status_checks_that_could_not_be_read_are_as_good_as_none(seen: Facts) -> None:
    assert trouble_of(replace(seen, impairments=Unknown("EC2 does not answer"))) == trouble_of(
        replace(seen, impairments=())
    )


@given(ANY)
def test_a_kubelet_that_was_just_heard_of_and_says_nothing_against_itself_has_no_trouble(seen: Facts) -> None:
    conditions = seen.node.conditions if isinstance(seen.node, Node) else ()
    against = any(one.type == "Ready" and one.status == "False" for one in conditions)
    heard = isinstance(seen.renewed_at, datetime) and timedelta(0) <= NOW - seen.renewed_at < LEASE_STALE
    if isinstance(seen.node, Node) and heard and not against:
        assert trouble_of(seen) is None


@given(ANY)
def test_a_doubtful_machine_runs_is_in_service_and_its_verdict_names_its_facts(seen: Facts) -> None:
    verdict = assess(seen)
    if verdict.kind is not Kind.DOUBTFUL:
        assert verdict.trouble is None
        return
    assert isinstance(verdict.trouble, Trouble)
    assert verdict.member
    assert verdict.member.in_service
    assert verdict.trouble.evidence
    assert verdict.reason == str(verdict.trouble)
    assert verdict.trouble.since <= NOW
