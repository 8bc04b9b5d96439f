"""A drill of control planes says that all is well only of what it has seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from infra.local.drills.alerts import Alert
from infra.local.drills.control_plane import judge_gone, judge_targets, judge_workers, later_of, voters_without_node
from infra.local.drills.control_plane_joins import judge_left_behind
from infra.local.drills.etcd_witness import EtcdSight, SeenMember
from infra.local.drills.findings import Before, Sight
from infra.local.drills.kinds import KINDS
from infra.local.drills.quorum_lost import Lost, judge_lost
from infra.local.drills.witness import SeenNode

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
A, B, C, WORKER = "i-00000000a", "i-00000000b", "i-00000000c", "i-0000000f1"


def after(seconds: float) -> datetime:
    return BEGAN + timedelta(seconds=seconds)


def node(name: str, uid: str = "", *, cordoned: bool = False) -> SeenNode:
    return SeenNode(name, uid or f"uid-{name}", ready=True, out_of_service=False, unschedulable=cordoned)


def seen(*nodes: SeenNode) -> Sight:
    return Sight({each.name: each for each in nodes}, {}, {}, 3, (), 0)


BEFORE = (Before(20, A, f"uid-{A}", frozenset()),)


@pytest.mark.parametrize(
    ("nodes", "gone"),
    [((node(B),), True), ((node(A), node(B)), False), ((node(A, "another"),), False), ((node(B, f"uid-{A}"),), False)],
)
def test_a_node_is_gone_when_neither_its_name_nor_its_uid_is_there(nodes: tuple[SeenNode, ...], gone: bool) -> None:
    assert judge_gone(BEFORE, seen(*nodes)).kept is gone


@pytest.mark.parametrize(
    ("states", "kept"),
    [
        ({A: "healthy", B: "healthy"}, True),
        ({A: "healthy"}, False),
        ({A: "healthy", B: "initial"}, False),
        ({A: "healthy", B: "healthy", C: "draining"}, False),
        ({}, False),
    ],
)
def test_the_load_balancer_must_have_every_control_plane_healthy_and_nothing_else(
    states: Mapping[str, str], kept: bool
) -> None:
    assert judge_targets(states, {A: "InService", B: "InService"}).kept is kept


@pytest.mark.parametrize(
    ("now", "worker", "kept"),
    [
        ({WORKER: "InService"}, node(WORKER), True),
        ({}, node(WORKER), False),
        ({WORKER: "InService", "i-0000000f2": "Pending"}, node(WORKER), False),
        ({WORKER: "InService"}, node(WORKER, cordoned=True), False),
    ],
)
def test_a_worker_that_is_replaced_added_or_cordoned_was_touched(
    now: Mapping[str, str], worker: SeenNode, kept: bool
) -> None:
    assert judge_workers(frozenset({WORKER}), now, seen(worker)).kept is kept


def test_voting_and_ready_is_when_both_are() -> None:
    assert later_of(after(1), after(3)) == later_of(after(3), after(1)) == after(3)
    assert later_of(None, after(3)) is None
    assert later_of(after(3), None) is None


def member(name: str, *, learner: bool = False) -> SeenMember:
    return SeenMember(name[-1], name, f"https://10.0.0.{ord(name[-1])}:2380", learner)


def look(at_s: float, *members: SeenMember) -> EtcdSight:
    return EtcdSight(after(at_s), A, members, "a")


def test_a_voter_has_no_node_when_no_node_has_its_name() -> None:
    etcd = look(0, member(A), member(B), member(C, learner=True))
    assert voters_without_node(etcd, {A: node(A)}) == (B,)
    assert voters_without_node(None, {}) == ()


@pytest.mark.parametrize(
    ("looks", "kept"),
    [
        ([look(0, member(A), member(B, learner=True)), look(60, member(A))], [True, True]),
        ([look(0, member(A), member(B, learner=True)), look(80, member(A))], [True, False]),
        (
            [look(0, member(A), member(B, learner=True)), look(5, member(A), member(B)), look(50, member(A))],
            [False, True],
        ),
        ([look(0, member(A), member(B, learner=True))], [True, False]),
    ],
)
def test_a_learner_must_stay_one_and_be_gone_within_a_sweep_of_its_machines_death(
    looks: list[EtcdSight], kept: list[bool]
) -> None:
    assert [finding.kept for finding in judge_left_behind(tuple(looks), "b", after(1))] == kept


def test_a_learner_that_was_never_seen_breaks_both_promises() -> None:
    assert [finding.kept for finding in judge_left_behind((look(0, member(A)),), None, None)] == [False, False]


MEMBERS = (member(A), member(B), member(C))
ALERT = Alert("etcd of c has no quorum", "two of three members do not answer; docs/runbooks/etcd.md says what to do")
HELD = {A: "InService", B: "Terminating:Wait", C: "Terminating:Wait", "i-new": "Pending:Wait"}
LOST = Lost(A, MEMBERS, MEMBERS, (B, C), HELD, True, (ALERT,))
ONE_ALERT = "one alert told that the quorum is lost and named the run-book, and there was no other"


@pytest.mark.parametrize(
    ("lost", "promises"),
    [
        (LOST, []),
        (replace(LOST, members=MEMBERS[:2]), ["no member was removed or added"]),
        (replace(LOST, members=(*MEMBERS, member(WORKER))), ["no member was removed or added"]),
        (replace(LOST, group={**HELD, A: "Terminating:Wait"}), ["the machine that is left was not touched"]),
        (replace(LOST, group={**HELD, B: "Terminating:Proceed"}), ["no hook was completed"]),
        (replace(LOST, group={A: "InService", C: "Terminating:Wait"}), ["no hook was completed"]),
        (replace(LOST, group={**HELD, "i-new": "InService"}), ["no hook was completed"]),
        (replace(LOST, survivor_is_target=False), ["the machine that is left was not touched"]),
        (replace(LOST, alerts=()), [ONE_ALERT]),
        (replace(LOST, alerts=(ALERT, ALERT)), [ONE_ALERT]),
        (replace(LOST, alerts=(Alert("etcd of c has no quorum", "no run-book"),)), [ONE_ALERT]),
        (replace(LOST, alerts=(ALERT, Alert("the sweep holds", ""))), [ONE_ALERT]),
    ],
)
def test_whatever_is_done_without_a_quorum_or_told_twice_breaks_its_promise(lost: Lost, promises: list[str]) -> None:
    assert [finding.promise for finding in judge_lost(lost) if not finding.kept] == promises


def test_only_a_drill_that_cannot_be_undone_ends_its_world() -> None:
    assert [name for name, kind in KINDS.items() if kind.ends_world] == ["quorum-lost"]


def test_a_drill_of_control_planes_has_enough_of_them_to_keep_a_quorum_but_where_it_must_not() -> None:
    killed = {
        "control-plane": 1,
        "leader": 1,
        "two-at-once": 2,
        "join-dies": 1,
        "voter-without-node": 1,
        "quorum-lost": 2,
    }
    keeps = {name: KINDS[name].control_planes - many > KINDS[name].control_planes // 2 for name, many in killed.items()}
    assert keeps == {**dict.fromkeys(killed, True), "quorum-lost": False}
