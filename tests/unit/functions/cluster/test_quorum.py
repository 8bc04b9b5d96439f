"""No change of etcd's membership that risks its quorum: every case of the table, and what holds in all that can be."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.cluster import quorum
from functions.cluster.etcd import Etcd, EtcdMember
from functions.cluster.machine import InstanceState
from tests.unit.functions.builders import NOW, instance, machine, node
from tests.unit.functions.etcds import etcd_member, etcd_of, etcd_pod, unstarted

# How many voters besides the victim may be unhealthy, for it to be removed all the same; None: it never may.
# Of a dead victim: the table of the design's reference. One that answers makes one more that can agree now, which
# helps even numbers of voters; what stays behind is the same.
MOST_OTHERS_UNHEALTHY = {
    "dead": {1: None, 2: None, 3: 0, 4: 0, 5: 1, 6: 1, 7: 2},
    "answering": {1: None, 2: 0, 3: 0, 4: 1, 5: 1, 6: 2, 7: 2},
}
NOSPACE = ("NOSPACE",)


def cases() -> list[tuple[int, str, int, bool, str, bool]]:
    """Voters, victim, other unhealthy ones, whether a learner is there, who has an alarm, and whether it may go.

    Another one with an alarm is one more that is as good as none; a victim with one agrees to nothing, as if dead.
    """
    found = []
    for victim, table in MOST_OTHERS_UNHEALTHY.items():
        for voters, most in table.items():
            for others in range(min(3, voters - 1) + 1):
                may = {
                    "nobody": most is not None and others <= most,
                    "another": most is not None and others + 1 <= most,
                    "victim": (dead := MOST_OTHERS_UNHEALTHY["dead"][voters]) is not None and others <= dead,
                }
                if others + 1 == voters:
                    del may["another"]  # all are silent
                for alarm, removed in may.items():
                    found += [
                        (voters, victim, others, False, alarm, removed),
                        (voters, victim, others, True, alarm, False),
                    ]
    return found


def seen(voters: int, victim: str, others: int, learner: bool, alarm: str) -> Etcd:
    """The victim is number 1, those that are silent follow it, and the last one has the alarm of another."""
    members = [
        etcd_member(1, answers=victim == "answering", alarms=NOSPACE if alarm == "victim" else ()),
        *(etcd_member(number, answers=False) for number in range(2, 2 + others)),
        *(etcd_member(number) for number in range(2 + others, 1 + voters)),
    ]
    if alarm == "another":
        members[-1] = replace(members[-1], alarms=NOSPACE)
    if others + 1 < voters:
        members[-1] = replace(members[-1], leads=True)
    if learner:
        members.append(unstarted(9))
    return etcd_of(*members)


def test_the_table_has_every_case() -> None:
    table = cases()
    asked = {(voters, victim, others, learner) for voters, victim, others, learner, _, _ in table}
    assert len(asked) == 2 * 2 * (1 + 2 + 3 + 4 * 4)
    assert {alarm for *_, alarm, _ in table} == {"nobody", "another", "victim"}
    assert sum(may for *_, may in table) > 20


@pytest.mark.parametrize(("voters", "victim", "others", "learner", "alarm", "may"), cases())
def test_a_voter_is_removed_exactly_where_the_table_says_so(
    voters: int, victim: str, others: int, learner: bool, alarm: str, may: bool
) -> None:
    etcd = seen(voters, victim, others, learner, alarm)
    reason = quorum.may_remove(etcd, etcd.members[0], dead=victim == "dead")
    assert (reason is None) == may, reason


def test_a_machine_that_is_dead_counts_for_nothing_even_if_its_etcd_still_answers() -> None:
    four = etcd_of(etcd_member(1), etcd_member(2, answers=False), etcd_member(3), etcd_member(4))
    assert quorum.may_remove(four, four.members[0], dead=False) is None
    reason = quorum.may_remove(four, four.members[0], dead=True)
    assert reason is not None
    assert "2 of 4 voters are healthy, and it takes 3" in reason


def test_a_dead_machine_that_still_leads_is_not_removed_before_another_leads() -> None:
    three = etcd_of(etcd_member(1, leads=True), etcd_member(2), etcd_member(3))
    assert "electing" in (quorum.may_remove(three, three.members[0], dead=True) or "")
    assert quorum.may_remove(three, three.members[0], dead=False) is None


def test_the_last_voter_is_never_removed_and_the_refusal_says_what_it_is() -> None:
    for dead in (True, False):
        alone = etcd_of(etcd_member(1, answers=not dead), unstarted(2))
        assert "last voter" in (quorum.may_remove(alone, alone.members[0], dead=dead) or "")


def test_a_machine_that_runs_while_its_etcd_is_dead_counts_for_nothing_either() -> None:
    two = etcd_of(etcd_member(1, answers=False), etcd_member(2))
    assert quorum.may_remove(two, two.members[0], dead=False) is not None


def test_a_refusal_says_the_numbers() -> None:
    three = etcd_of(etcd_member(1), etcd_member(2, answers=False), etcd_member(3))
    reason = quorum.may_remove(three, three.members[0], dead=False)
    assert reason is not None
    assert "would leave 1 healthy voters of 2, fewer than the 2 that are their quorum" in reason


def test_nobody_is_removed_while_a_member_has_never_started_or_by_a_list_that_is_not_today_s() -> None:
    dead, rest = etcd_member(1, answers=False), [etcd_member(number) for number in (2, 3, 4, 5)]
    unnamed = etcd_of(dead, *rest, unstarted(6, learner=False))
    assert "a member has never started" in (quorum.may_remove(unnamed, dead, dead=True) or "")
    assert "etcd does not list" in (quorum.may_remove(etcd_of(*rest), dead, dead=True) or "")
    remembered = etcd_of(dead, *rest, linearizable=False)
    assert "no quorum confirms" in (quorum.may_remove(remembered, dead, dead=True) or "")


@pytest.mark.parametrize("leads", [(), (1,), (2, 3)], ids=["nobody", "the dead one", "two at once"])
def test_nobody_is_removed_while_no_voter_that_answers_leads(leads: tuple[int, ...]) -> None:
    members = [etcd_member(number, answers=number != 1, leads=number in leads) for number in (1, 2, 3)]
    etcd = Etcd("asked", tuple(members))
    assert "electing" in (quorum.may_remove(etcd, members[0], dead=True) or "")
    learner = unstarted(4)
    assert "electing" in (quorum.may_remove_learner(replace(etcd, members=(*members, learner)), learner) or "")


def test_a_learner_is_removed_without_counting_as_long_as_somebody_leads() -> None:
    learner = unstarted(6)
    weak = etcd_of(etcd_member(1), etcd_member(2), etcd_member(3, answers=False), learner)
    assert quorum.may_remove_learner(weak, learner) is None
    led_by_the_dead = [etcd_member(1, answers=False, leads=True), etcd_member(2), learner]
    assert quorum.may_remove_learner(etcd_of(*led_by_the_dead), learner) is not None


def test_a_learner_that_votes_by_now_or_is_gone_is_not_removed_as_one() -> None:
    learner = unstarted(4)
    promoted = etcd_of(etcd_member(1), etcd_member(2), etcd_member(3), etcd_member(4))
    assert "is a voter" in (quorum.may_remove_learner(promoted, learner) or "")
    assert "does not list" in (quorum.may_remove_learner(etcd_of(etcd_member(1)), learner) or "")
    with_learner = etcd_of(etcd_member(1), learner)
    assert "is a learner" in (quorum.may_remove(with_learner, learner, dead=True) or "")


@pytest.mark.parametrize(
    ("voters", "others_silent", "may"),
    [
        (1, 0, False),
        (2, 0, False),
        (3, 0, True),
        (3, 1, False),
        (4, 0, True),
        (4, 1, False),
        (5, 1, True),
        (5, 2, False),
    ],
)
@pytest.mark.parametrize("itself_answers", [True, False])
def test_a_member_may_be_down_only_where_the_others_are_a_quorum_without_it(
    voters: int, others_silent: int, may: bool, itself_answers: bool
) -> None:
    first = etcd_member(1, answers=itself_answers)
    others = [etcd_member(number, answers=number > 1 + others_silent) for number in range(2, voters + 1)]
    reason = quorum.may_be_down(etcd_of(first, *others), first)
    assert (reason is None) == may, reason
    healthy, least = voters - 1 - others_silent, voters // 2 + 1
    assert may or f"{healthy} of {voters} voters would be healthy, and etcd needs {least}" in (reason or "")


def test_a_member_may_be_down_though_it_leads_and_none_may_while_etcd_is_not_at_rest() -> None:
    leads, *others = [etcd_member(number, leads=number == 1) for number in (1, 2, 3)]
    assert quorum.may_be_down(etcd_of(leads, *others), leads) is None
    assert "does not list" in (quorum.may_be_down(etcd_of(*others), leads) or "")
    assert "a learner is present" in (quorum.may_be_down(etcd_of(leads, *others, unstarted(4)), leads) or "")
    assert "no quorum confirms" in (quorum.may_be_down(etcd_of(leads, *others, linearizable=False), leads) or "")
    assert "electing" in (quorum.may_be_down(Etcd("asked", (replace(leads, leads=False), *others)), leads) or "")


def test_who_keeps_a_machine_from_joining_is_named() -> None:
    silent, learner, nameless = etcd_member(2, answers=False), etcd_member(3, learner=True), unstarted(4, learner=False)
    assert str(silent) in (quorum.may_admit(etcd_of(etcd_member(1), silent), wanted=3) or "")
    assert str(learner) in (quorum.may_admit(etcd_of(*TWO_OF_THREE, learner), wanted=3) or "")
    answering = replace(nameless, answers=True)
    assert str(answering) in (quorum.may_admit(etcd_of(*TWO_OF_THREE, answering), wanted=4) or "")


TWO_OF_THREE = (etcd_member(1), etcd_member(2))


@pytest.mark.parametrize(
    ("etcd", "wanted", "says"),
    [
        (etcd_of(*TWO_OF_THREE), 3, None),
        (etcd_of(etcd_member(1)), 2, None),
        (etcd_of(*(etcd_member(number) for number in range(1, 5))), 5, None),
        (etcd_of(*TWO_OF_THREE), 2, "2 voters, and one more is let in only at 1 of 2"),
        (etcd_of(*TWO_OF_THREE), 5, "2 voters, and one more is let in only at 4 of 5"),
        (etcd_of(*TWO_OF_THREE, etcd_member(3)), 3, "3 voters, and one more is let in only at 2 of 3"),
        (etcd_of(etcd_member(1), etcd_member(2, answers=False)), 3, "1 of 2 etcd members do not answer"),
        (etcd_of(*TWO_OF_THREE, unstarted(3)), 3, "1 of 3 etcd members do not answer"),
        (etcd_of(*TWO_OF_THREE, etcd_member(3, learner=True)), 3, "a learner is present"),
        (etcd_of(etcd_member(1), etcd_member(2, alarms=NOSPACE)), 3, "an alarm: NOSPACE of"),
        (etcd_of(*TWO_OF_THREE, stray_alarms=("CORRUPT of 9",)), 3, "an alarm: CORRUPT of 9"),
        (etcd_of(*TWO_OF_THREE, linearizable=False), 3, "no quorum confirms"),
        (Etcd("asked", TWO_OF_THREE), 3, "no voter that answers leads"),
    ],
)
def test_a_machine_is_let_in_only_to_a_whole_etcd_that_lacks_one(etcd: Etcd, wanted: int, says: str | None) -> None:
    reason = quorum.may_admit(etcd, wanted=wanted)
    assert (reason is None) if says is None else (reason is not None and says in reason), reason


@pytest.mark.parametrize(
    ("voters", "silent", "is_lost"),
    [(1, 0, False), (1, 1, True), (2, 1, True), (3, 1, False), (3, 2, True), (4, 2, True), (5, 2, False), (5, 3, True)],
)
def test_quorum_is_lost_when_too_few_voters_answer_whatever_alarms_there_are(
    voters: int, silent: int, is_lost: bool
) -> None:
    members = [etcd_member(number, answers=number > silent, alarms=NOSPACE) for number in range(1, voters + 1)]
    unconfirmed = replace(etcd_of(*members, unstarted(9)), linearizable=False)
    assert quorum.lost(unconfirmed) == is_lost
    assert not quorum.lost(replace(unconfirmed, linearizable=True)), "a list that a quorum confirmed proves one"


def test_the_heir_is_the_healthy_voter_whose_log_goes_furthest() -> None:
    leaving, behind, ahead = etcd_member(1, leads=True), etcd_member(2), etcd_member(3, raft_index=1001)
    away = etcd_member(4, raft_index=2000, answers=False)
    alarmed = etcd_member(5, raft_index=2000, alarms=NOSPACE)
    learner = etcd_member(6, raft_index=2000, learner=True)
    assert quorum.heir(etcd_of(leaving, behind, ahead, away, alarmed, learner), leaving) == ahead
    assert quorum.heir(etcd_of(leaving, away, alarmed, learner), leaving) is None


def test_machines_with_etcd_and_a_ready_node_are_asked_first_and_of_those_the_oldest() -> None:
    running = [instance(machine(number), launched_at=NOW - timedelta(days=number)) for number in range(1, 7)]
    stopped = instance(machine(7), InstanceState.STOPPED)
    nodes = [node(machine(number), ready=number != 2) for number in range(1, 6)]
    pods = [etcd_pod(number) for number in range(1, 5)]
    asked = quorum.whom_to_ask([stopped, *running], nodes, pods, about=machine(1))
    assert asked == tuple(machine(number) for number in (4, 3, 2, 5, 6))
    assert quorum.whom_to_ask([stopped, *running], about=machine(1)) == tuple(machine(n) for n in (6, 5, 4, 3, 2))


def test_of_machines_of_which_kubernetes_says_nothing_those_in_service_are_asked_first() -> None:
    older, newer = (instance(machine(number), launched_at=NOW - timedelta(days=3 - number)) for number in (1, 2))
    assert quorum.whom_to_ask([older, newer], in_service=[newer.id]) == (newer.id, older.id)


@st.composite
def etcds(draw: st.DrawFn) -> Etcd:
    members = []
    for number in range(1, draw(st.integers(1, 9)) + 1):
        if draw(st.integers(0, 9)) == 0:
            members.append(unstarted(number, learner=draw(st.booleans())))
            continue
        answers = draw(st.booleans()) or draw(st.booleans())
        alarms = NOSPACE if draw(st.integers(0, 5)) == 0 else ()
        learner = draw(st.integers(0, 9)) == 0
        members.append(etcd_member(number, learner=learner, answers=answers, alarms=alarms))
    return etcd_of(*members)


@given(etcds(), st.data(), st.booleans())
def test_no_removal_takes_the_last_voter_or_leaves_fewer_healthy_ones_than_a_quorum(
    etcd: Etcd, data: st.DataObject, dead: bool
) -> None:
    victim = data.draw(st.sampled_from(etcd.members))
    if quorum.may_remove(etcd, victim, dead=dead) is None:
        staying = [voter for voter in etcd.voters if voter != victim]
        healthy = [voter for voter in staying if voter.healthy]
        agreeing = len(healthy) + (0 if dead or not victim.healthy else 1)
        assert staying
        assert 2 * len(healthy) > len(staying)
        assert 2 * agreeing > len(etcd.voters)
        assert not etcd.learners
        assert not quorum.lost(etcd)


@given(etcds(), st.data(), st.booleans(), st.randoms(use_true_random=False))
def test_the_order_of_members_does_not_matter(etcd: Etcd, data: st.DataObject, dead: bool, dice: random.Random) -> None:
    victim = data.draw(st.sampled_from(etcd.members))
    shuffled = replace(etcd, members=tuple(dice.sample(etcd.members, len(etcd.members))))

    def decided(seen: Etcd) -> list[object]:
        may = [
            quorum.may_remove(seen, victim, dead=dead),
            quorum.may_remove_learner(seen, victim),
            quorum.may_admit(seen, wanted=len(seen.voters) + 1),
        ]
        return [*(reason is None for reason in may), quorum.lost(seen), quorum.heir(seen, victim)]

    assert decided(etcd) == decided(shuffled)


@given(etcds(), st.data(), st.booleans())
def test_another_voter_that_recovers_never_forbids_what_was_allowed(
    etcd: Etcd, data: st.DataObject, dead: bool
) -> None:
    victim, recovering = (data.draw(st.sampled_from(etcd.members)) for _ in range(2))
    if victim == recovering or quorum.may_remove(etcd, victim, dead=dead) is not None:
        return
    better = tuple(replace(one, answers=True, alarms=()) if one == recovering else one for one in etcd.members)
    assert quorum.may_remove(replace(etcd, members=better), victim, dead=dead) is None


@given(etcds(), st.data())
def test_an_heir_is_never_the_one_that_leaves_nor_one_that_cannot_lead(etcd: Etcd, data: st.DataObject) -> None:
    leaving: EtcdMember = data.draw(st.sampled_from(etcd.members))
    heir = quorum.heir(etcd, leaving)
    able = [voter for voter in etcd.voters if voter.healthy and voter.name and voter != leaving]
    assert (heir in able) if able else heir is None


@pytest.mark.parametrize(
    ("voters", "most_others_unhealthy"), [(1, None), (2, None), (3, 0), (4, 0), (5, 1), (6, 1), (7, 2)]
)
@pytest.mark.parametrize("leads", [True, False])
def test_a_member_may_be_down_for_a_while_when_the_others_are_a_quorum_of_all(
    voters: int, most_others_unhealthy: int | None, *, leads: bool
) -> None:
    """It comes back: unlike a removal that makes no quorum smaller. Whether it leads does not matter."""
    for unhealthy in range(voters):
        members = [
            etcd_member(number, leads=(number == 1) == leads and number < 3, answers=number <= voters - unhealthy)
            for number in range(1, voters + 1)
        ]
        linearizable = voters - unhealthy > voters // 2
        reason = quorum.may_be_down(replace(etcd_of(*members), linearizable=linearizable), members[0])
        allowed = most_others_unhealthy is not None and unhealthy <= most_others_unhealthy
        assert (reason is None) == allowed, (unhealthy, reason)


def test_while_a_member_is_on_its_way_in_or_nobody_knows_the_member_none_may_be_down() -> None:
    members = [etcd_member(number, leads=number == 1) for number in (1, 2, 3)]
    whole = etcd_of(*members)
    assert quorum.may_be_down(whole, members[1]) is None
    assert "a learner is present" in str(quorum.may_be_down(etcd_of(*members, unstarted(4)), members[1]))
    assert "does not list" in str(quorum.may_be_down(whole, etcd_member(9)))
    assert "no quorum confirms" in str(quorum.may_be_down(replace(whole, linearizable=False), members[1]))
