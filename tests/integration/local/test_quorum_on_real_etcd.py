"""The rule of who may be removed, held against real etcd of one to five voters.

Where it says yes, the member is removed and what is left takes writes. Where it says no, there is nothing that could
agree on a removal, or the removal is forced and nothing takes writes any more.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest

from functions.cluster import quorum
from functions.cluster.etcd import EtcdMember
from infra.local.building import build
from infra.local.progress import Progress
from tests.integration.local.etcd_processes import Process, Processes, etcd_cluster, until
from tests.unit.functions.cluster.test_quorum import MOST_OTHERS_UNHEALTHY

ROWS = [
    (voters, victim, others)
    for voters in range(1, 6)
    for victim in ("dead", "answering")
    for others in range(min(3, voters - 1) + 1)
]
ALLOWED = [
    (voters, victim, others)
    for voters, victim, others in ROWS
    if (most := MOST_OTHERS_UNHEALTHY[victim][voters]) is not None and others <= most
]
# Enough agree now to remove it, and too few would be left.
WOULD_BREAK = [(voters, "answering", others) for voters, others in ((1, 0), (3, 1), (5, 2))]
CANNOT_AGREE = [row for row in ROWS if row not in ALLOWED and row not in WOULD_BREAK]


@pytest.fixture(scope="module")
def programs() -> Path:
    return build.build(Progress(io.StringIO()))


def victim_of(cluster: Processes) -> tuple[Process, list[Process]]:
    """The one that leads, which is the hardest to lose, and the others."""
    leader = until(lambda: cluster.members[0].etcd().leader)
    return cluster.named(leader.name), [one for one in cluster.members if one.name != leader.name]


def member_of(asked: Process, process: Process) -> EtcdMember:
    (found,) = [member for member in asked.etcd().members if member.name == process.name]
    return found


def remove(asked: Process, member: EtcdMember) -> None:
    asked.ask("cluster/member/remove", {"ID": str(int(member.id, 16))})


@pytest.mark.parametrize(("voters", "victim", "others"), ALLOWED)
def test_where_the_rule_allows_a_removal_it_works_and_what_is_left_takes_writes(
    voters: int, victim: str, others: int, programs: Path, tmp_path: Path
) -> None:
    with etcd_cluster(programs, tmp_path, voters) as cluster:
        leaving, staying = victim_of(cluster)
        for one in (*staying[:others], *([leaving] if victim == "dead" else [])):
            one.kill()
        healthy = staying[others:]
        asked = healthy[0]
        until(asked.takes_writes)
        if victim == "answering":
            hand_over(leaving, asked)
        etcd = until(lambda: seen if (seen := asked.etcd()).leader else None)
        member = member_of(asked, leaving)
        assert quorum.may_remove(etcd, member, dead=victim == "dead") is None
        remove(asked, member)
        assert all(until(one.takes_writes) for one in healthy)
        after = asked.etcd()
        assert {one.name for one in after.members} == {one.name for one in staying}
        assert not quorum.lost(after)


def hand_over(leaving: Process, asked: Process) -> None:
    """Let the heir lead, as is done before a leader leaves."""
    etcd = asked.etcd()
    heir = quorum.heir(etcd, member_of(asked, leaving))
    assert heir is not None
    leaving.ask("maintenance/transfer-leadership", {"targetID": str(int(heir.id, 16))})
    until(lambda: (leader := asked.etcd().leader) and leader.id == heir.id)


@pytest.mark.parametrize(("voters", "others"), [(voters, others) for voters, _, others in WOULD_BREAK])
def test_where_the_rule_forbids_what_could_be_done_doing_it_ends_all_writes(
    voters: int, others: int, programs: Path, tmp_path: Path
) -> None:
    with etcd_cluster(programs, tmp_path, voters) as cluster:
        leaving, staying = victim_of(cluster)
        for one in staying[:others]:
            one.kill()
        asked = staying[-1] if staying else leaving
        assert until(asked.takes_writes)
        reason = quorum.may_remove(asked.etcd(), member_of(asked, leaving), dead=False)
        assert reason is not None
        forced(lambda: remove(asked, member_of(asked, leaving)))
        until(lambda: leaving.running.poll() is not None or not leaving.takes_writes())
        assert not any(one.takes_writes() for one in cluster.members)


def forced(change: Callable[[], None]) -> None:
    """etcd may end or fall silent before it can say that it was done."""
    try:
        change()
    except OSError:
        return


@pytest.mark.parametrize(("voters", "victim"), sorted({(voters, victim) for voters, victim, _ in CANNOT_AGREE}))
def test_where_the_rule_forbids_a_removal_for_want_of_a_quorum_etcd_agrees_to_nothing(
    voters: int, victim: str, programs: Path, tmp_path: Path
) -> None:
    with etcd_cluster(programs, tmp_path, voters) as cluster:
        leaving, staying = victim_of(cluster)
        member = member_of(leaving, leaving)
        if victim == "dead":
            leaving.kill()
        for others in sorted(others for row in CANNOT_AGREE if row[:2] == (voters, victim) for others in row[2:]):
            for one in staying[:others]:
                one.kill()
            awake = [*staying[others:], *([leaving] if victim == "answering" else [])]
            for asked in awake:
                reason = quorum.may_remove(asked.etcd(linearizable=False), member, dead=victim == "dead")
                assert reason is not None
                assert "voters are healthy, and it takes" in reason
            assert not any(one.takes_writes() for one in awake[:1])


def test_every_row_of_the_table_is_tried() -> None:
    assert sorted(ALLOWED + WOULD_BREAK + CANNOT_AGREE) == sorted(ROWS)
    assert len(ALLOWED) == 10
