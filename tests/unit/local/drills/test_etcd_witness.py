"""The witness of etcd reads what etcdctl says, tells what became different, and judges what must hold in the end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from infra.local.drills.etcd_witness import EtcdSight, SeenMember, gone_at, judge_course, judge_etcd, news, read
from infra.local.drills.witness import SeenNode

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
A, B, C, D = "i-00000000a", "i-00000000b", "i-00000000c", "i-00000000d"


def member(name: str, *, learner: bool = False, started: bool = True) -> SeenMember:
    last = ord(name[-1])
    return SeenMember(f"{last:x}", name if started else "", f"https://10.0.0.{last}:2380", learner)


def sight(*members: SeenMember, leader: str | None = A, alarms: tuple[str, ...] = (), at_s: float = 0) -> EtcdSight:
    leading = member(leader).id if leader else None
    return EtcdSight(BEGAN + timedelta(seconds=at_s), A, members, leading, alarms)


def node(name: str, *, ready: bool = True) -> SeenNode:
    return SeenNode(name, f"uid-{name}", ready=ready, out_of_service=False, unschedulable=False)


WHOLE = sight(member(A), member(B), member(C))
NODES = {name: node(name) for name in (A, B, C)}


def test_what_etcdctl_says_is_read_with_ids_in_hexadecimal() -> None:
    header = {"cluster_id": 1, "member_id": 0xC61F16ECA4678C03, "raft_term": 2}
    members = [
        {"ID": 0xC61F16ECA4678C03, "name": A, "peerURLs": ["https://10.0.0.1:2380"], "clientURLs": ["https://x"]},
        {"ID": 255, "peerURLs": ["https://10.0.0.2:2380"], "isLearner": True},
    ]
    said = (
        {"header": header, "members": members},
        {"header": header, "alarms": [{"memberID": 255, "alarm": 1}]},
        [{"Endpoint": "https://127.0.0.1:2379", "Status": {"header": header, "leader": 0xC61F16ECA4678C03}}],
    )
    found = read(A, "".join(json.dumps(line) + "\n" for line in said), BEGAN)
    assert found.voters == (SeenMember("c61f16eca4678c03", A, "https://10.0.0.1:2380", learner=False),)
    assert found.learners == (SeenMember("ff", "", "https://10.0.0.2:2380", learner=True),)
    assert found.learners[0].address == "10.0.0.2"
    assert found.leads == A
    assert found.alarms == ("NOSPACE of ff",)


def test_without_alarms_and_leader_there_are_none() -> None:
    said: tuple[object, ...] = ({"members": []}, {"header": {}}, [{"Status": {}}])
    found = read(A, "\n".join(map(json.dumps, said)), BEGAN)
    assert (found.members, found.alarms, found.leader) == ((), (), None)


@pytest.mark.parametrize("said", ["", '{"members": []}', "Error: context deadline exceeded"])
def test_anything_else_is_no_sight(said: str) -> None:
    with pytest.raises(ValueError):
        read(A, said, BEGAN)


def test_a_replacement_is_told_step_by_step() -> None:
    steps = [
        WHOLE,
        sight(member(A), member(B)),
        sight(member(A), member(B), member(D, learner=True, started=False)),
        sight(member(A), member(B), member(D, learner=True)),
        sight(member(A), member(B), member(D)),
    ]
    told = [one for before, after in pairwise(steps) for one in news(before, after, [C])]
    assert [one.milestone for one in told if one.milestone] == ["member_removed", "learner", "voting"]
    assert [one.what for one in told] == [
        f"member 63 ({C}) is removed",
        "2 voters",
        "learner 64 (not started, 10.0.0.100) appears",
        f"member 64 ({D}) has started",
        f"member 64 ({D}) is promoted",
        "3 voters",
    ]


def test_the_second_of_two_that_go_has_a_milestone_of_its_own() -> None:
    one_left, none_left = sight(member(A), member(C)), sight(member(A))
    assert [one.milestone for one in news(WHOLE, one_left, [B, C])] == ["member_removed", None]
    assert [one.milestone for one in news(one_left, none_left, [B, C])] == ["second_removed", None]
    assert [one.milestone for one in news(WHOLE, none_left, [B, C])] == ["member_removed", "second_removed", None]


def test_a_member_that_is_nobodys_victim_goes_without_milestone() -> None:
    assert [one.milestone for one in news(WHOLE, sight(member(A), member(B)), [B])] == [None, None]


def test_elections_and_alarms_are_told() -> None:
    assert [one.what for one in news(WHOLE, replace(WHOLE, leader=None))] == ["nobody leads"]
    assert [one.what for one in news(WHOLE, sight(*WHOLE.members, leader=B))] == [f"{B} leads"]
    assert [one.what for one in news(WHOLE, replace(WHOLE, alarms=("NOSPACE of 61",)))] == ["alarm NOSPACE of 61"]
    assert news(WHOLE, WHOLE) == ()


def test_a_member_is_gone_at_the_first_look_without_it_after_it_was_there() -> None:
    looks = [
        sight(member(A), at_s=1),
        sight(member(A), member(B), at_s=2),
        sight(member(A), at_s=3),
        sight(member(A), at_s=4),
    ]
    assert gone_at(looks, member(B).id) == BEGAN + timedelta(seconds=3)
    assert gone_at(looks, member(A).id) is None
    assert gone_at(looks, member(C).id) is None


def broken(
    seen: EtcdSight | None, *, machines: tuple[str, ...] = (A, B, C), nodes: Mapping[str, SeenNode] = NODES
) -> list[str]:
    found = judge_etcd(seen, wanted=3, machines=machines, nodes=nodes)
    return [finding.promise for finding in found if not finding.kept]


VOTERS, LEARNER, ALARM, LEADER, OURS = (
    "etcd has 3 voters",
    "no learner is left",
    "no alarm is raised",
    "etcd has a leader",
    "every member is a machine of the group with a Ready Node",
)


@pytest.mark.parametrize(
    ("seen", "promises"),
    [
        (WHOLE, []),
        (None, ["etcd answers"]),
        (sight(member(A), member(B)), [VOTERS, OURS]),
        (sight(*WHOLE.members, member(D)), [VOTERS, OURS]),
        (sight(member(A), member(B), member(D)), [OURS]),
        (sight(member(A), member(B), member(C, learner=True)), [VOTERS, LEARNER]),
        (sight(*WHOLE.members, member(D, learner=True, started=False)), [LEARNER, OURS]),
        (replace(WHOLE, alarms=("NOSPACE of 61",)), [ALARM]),
        (replace(WHOLE, leader=None), [LEADER]),
        (sight(*WHOLE.members, leader=D), [LEADER]),
    ],
)
def test_what_is_not_whole_breaks_its_promises_and_no_other(seen: EtcdSight | None, promises: list[str]) -> None:
    assert broken(seen) == promises


def test_a_member_without_a_ready_node_of_the_group_breaks_its_promise() -> None:
    assert broken(WHOLE, nodes={**NODES, C: node(C, ready=False)}) == [OURS]
    assert broken(WHOLE, machines=(A, B, D)) == [OURS]


@pytest.mark.parametrize(
    ("looks", "kept"),
    [
        ([WHOLE, sight(member(A), member(B)), sight(member(A), member(B), member(D, learner=True))], [True, True]),
        ([WHOLE, sight(*WHOLE.members, member(D, learner=True))], [False, True]),
        ([sight(member(A), member(B, learner=True), member(C, learner=True))], [True, False]),
        ([], [False, False]),
    ],
)
def test_adding_before_removing_and_two_learners_at_once_are_seen(looks: list[EtcdSight], kept: list[bool]) -> None:
    assert [finding.kept for finding in judge_course(looks, wanted=3)] == kept
