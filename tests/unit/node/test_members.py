"""Which member a machine agrees to remove, and how it reads etcdctl."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from infra.node.failures import NodeError
from infra.node.members import Etcd, Member, Membership, Status, refusal

# How many other voters may be unhealthy while a dead one of so many is still removed: the column "Use" of the quorum
# table in which etcd's rule for the present voters and the one for those that remain are combined.
OTHERS_UNHEALTHY_AT_MOST = {1: -1, 2: -1, 3: 0, 4: 0, 5: 1, 6: 1, 7: 2}
# One that answers is one more that can agree now. It is no help to those that remain.
ANSWERING_AT_MOST = {1: -1, 2: 0, 3: 0, 4: 1, 5: 1, 6: 2, 7: 2}
VICTIM, ASKED = "f0", "a0"
UP, DOWN = Status(leader=ASKED, raft_index=9, version="3.6.8"), Status(error="context deadline exceeded")


def member(id_: str, status: Status = UP, *, learner: bool = False, name: str | None = None) -> Member:
    named = f"i-{id_}" if name is None else name
    return Member(id_, named, (f"https://10.0.0.{int(id_, 16)}:2380",), (f"https://{id_}:2379",), learner, status)


def url(one: Member) -> str:
    return one.peer_urls[0]


def cluster(*members: Member, alarms: tuple[tuple[str, str], ...] = ()) -> Membership:
    return Membership("c1", ASKED, members, alarms)


@pytest.mark.parametrize(
    ("voters", "victim_answers", "others_unhealthy", "learner", "alarm"),
    list(product(range(1, 8), (False, True), range(4), (False, True), (False, True))),
)
def test_a_voter_is_removed_exactly_where_the_quorum_table_says_so(
    voters: int, victim_answers: bool, others_unhealthy: int, learner: bool, alarm: bool
) -> None:
    if others_unhealthy > max(0, voters - 2):  # whoever was asked answers
        return
    victim = member(VICTIM, UP if victim_answers else DOWN)
    others = [member(ASKED if place == 0 else f"b{place}") for place in range(voters - 1)]
    unhealthy = [one.id for one in others[1:][:others_unhealthy]]
    alarms: tuple[tuple[str, str], ...] = ()
    if alarm:  # they answer, but have no room
        alarms = tuple((id_, "NOSPACE") for id_ in unhealthy)
    else:
        others = [replace(one, status=DOWN) if one.id in unhealthy else one for one in others]
    extra = [member("e0", learner=True)] if learner else []
    reason = refusal(cluster(*others, victim, *extra, alarms=alarms), victim, url(victim))
    most = (ANSWERING_AT_MOST if victim_answers else OTHERS_UNHEALTHY_AT_MOST)[voters]
    assert (reason is None) == (others_unhealthy <= most and not learner)


def test_the_last_voter_is_never_removed_even_where_a_learner_is_asked() -> None:
    leading = replace(UP, leader=VICTIM)
    last, learner = member(VICTIM, leading), member(ASKED, leading, learner=True)
    assert refusal(cluster(last, learner), last, url(last)) == "it is the last voter"


def test_a_learner_is_removed_wherever_somebody_leads() -> None:
    learner = member(VICTIM, Status(error="it has never started"), learner=True, name="")
    whole = [member(ASKED), member("b1"), member("b2", DOWN)]
    assert refusal(cluster(*whole, learner), learner, url(learner)) is None
    leaderless = [replace(one, status=Status()) for one in whole]
    assert refusal(cluster(*leaderless, learner), learner, url(learner)) == "no member that answers leads"


def test_who_leads_is_only_known_where_all_agree_and_it_answers() -> None:
    here, there = member(ASKED), member("b1")
    assert cluster(here, there).leader == here
    assert cluster(here, replace(there, status=replace(UP, leader="b1"))).leader is None
    assert cluster(replace(here, status=DOWN), there).leader is None


def test_an_unnamed_member_keeps_every_voter() -> None:
    victim = member(VICTIM, DOWN)
    members = cluster(member(ASKED), member("b1"), member("b2"), victim, member("e0", name=""))
    assert refusal(members, victim, url(victim)) == "e0 is still on its way in"


@pytest.fixture
def etcdctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An etcdctl that answers each of its commands with a text."""

    def answering(**answers: str) -> Etcd:
        program = tmp_path / "etcdctl"
        cases = "\n".join(f"{command}) cat <<'END'\n{text}\nEND\n;;" for command, text in answers.items())
        program.write_text(f'#!/bin/sh\ncase "$1" in\n{cases}\nesac\n')
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        return Etcd()

    return answering


LARGEST = (1 << 64) - 1
LISTED = {
    "header": {"cluster_id": LARGEST, "member_id": 9372538179322589801, "raft_term": 2},
    "members": [
        {"ID": 9372538179322589801, "name": "i-0a", "peerURLs": ["https://10.0.0.1:2380"], "clientURLs": ["https://a"]},
        {"ID": LARGEST, "peerURLs": ["https://10.0.0.2:2380"], "isLearner": True},
    ],
}
STATUS = [{"Endpoint": "https://a", "Status": {"header": {"member_id": 9372538179322589801}, "leader": 7, "dbSize": 5}}]


def test_ids_are_whole_in_hexadecimal_however_large(etcdctl: Any) -> None:
    alarms = {"alarms": [{"memberID": LARGEST, "alarm": 1}, {"memberID": 7, "alarm": 2}, {"memberID": 7, "alarm": 3}]}
    etcd = etcdctl(member=json.dumps(LISTED), endpoint=json.dumps(STATUS), alarm=json.dumps(alarms))
    found = etcd.members()
    assert [one.id for one in found.members] == ["8211f1d0f64f3269", "f" * 16]
    assert found.cluster_id == "f" * 16
    assert found.members[0].status == Status(leader="7", db_size=5)
    assert found.members[1].status == Status(error="it has never started")
    assert found.alarms == (("f" * 16, "NOSPACE"), ("7", "CORRUPT"), ("7", "alarm 3"))
    assert found.document()["asked"] == "i-0a"


def test_another_member_under_the_address_of_one_is_no_answer_of_that_one(etcdctl: Any) -> None:
    other = [{"Status": {**STATUS[0]["Status"], "header": {"member_id": 7}}}]  # type: ignore[dict-item]
    etcd = etcdctl(member=json.dumps(LISTED), endpoint=json.dumps(other), alarm="{}")
    assert etcd.members().members[0].status == Status(error="another member answers there: 7")


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", "{", '{"members": null}', '{"members": [{}], "header": {}}'])
def test_a_list_that_is_none_is_an_error(etcdctl: Any, text: str) -> None:
    with pytest.raises(NodeError, match="etcdctl"):
        etcdctl(member=text, alarm="{}").members()


@pytest.mark.parametrize("text", ["", "null", "[]", "[{}]", '[{"Status": null}]', '[{"Status": {"header": {}}}]'])
def test_a_status_that_is_none_is_no_answer(etcdctl: Any, text: str) -> None:
    found = etcdctl(member=json.dumps(LISTED), endpoint=text, alarm="{}").members()
    assert not found.members[0].answers
