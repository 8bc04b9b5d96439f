"""Whose each etcd member is: by name, then by address, and nobody's guess where two roads contradict each other."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.cluster.etcd import Etcd, EtcdMember, EtcdPod, Tie, tie
from functions.cluster.facts import Record, Unknown
from functions.cluster.machine import CLUSTER_TAG, ROLE_TAG, Instance, InstanceState, Node, Role
from tests.unit.functions.builders import CLUSTER, NOW, instance, join, machine, node
from tests.unit.functions.etcds import address, etcd_member, etcd_of, etcd_pod, unstarted

GONE = InstanceState.TERMINATED


def of(number: int, state: InstanceState = InstanceState.RUNNING, **changes: Any) -> Instance:
    tags = {CLUSTER_TAG: CLUSTER, ROLE_TAG: "control-plane"}
    return instance(machine(number), state, **{"tags": tags} | changes)


def on(number: int, **changes: Any) -> Node:
    return node(machine(number), **changes)


def record(number: int, name: str) -> Record:
    return Record(machine(number), "drill-control-plane", Role.CONTROL_PLANE, name, f"uid-of-{name}", NOW)


def tied(
    members: Iterable[EtcdMember],
    instances: Iterable[Instance],
    nodes: Iterable[Node] = (),
    pods: Iterable[EtcdPod] = (),
    **known: Any,
) -> dict[str, Tie]:
    """Each member's tie by the member's id, which there has to be."""
    found = tie(etcd_of(*members), pods, nodes, instances, **known)
    assert not isinstance(found, Unknown), found.reason
    return {one.member.id: one for one in found}


def contradiction(
    members: Iterable[EtcdMember],
    instances: Iterable[Instance],
    nodes: Iterable[Node] = (),
    pods: Iterable[EtcdPod] = (),
    **known: Any,
) -> str:
    found = tie(etcd_of(*members), pods, nodes, instances, **known)
    assert isinstance(found, Unknown)
    return found.reason


ONE, TWO, THREE = (etcd_member(number) for number in (1, 2, 3))
THREE_MACHINES = (of(1), of(2), of(3))
THREE_NODES = (on(1), on(2), on(3))
THREE_PODS = (etcd_pod(1), etcd_pod(2), etcd_pod(3))


def test_in_a_whole_cluster_each_member_is_its_machine_s_and_has_its_node() -> None:
    ties = tied((ONE, TWO, THREE), THREE_MACHINES, THREE_NODES, THREE_PODS)
    assert [(one.instance, one.node_name, one.orphan) for one in ties.values()] == [
        (machine(number), machine(number), False) for number in (1, 2, 3)
    ]


@pytest.mark.parametrize("road", range(4))
def test_one_silent_road_is_unknown_with_its_reason(road: int) -> None:
    roads: list[Any] = [etcd_of(ONE), (), (), (of(1),)]
    roads[road] = Unknown("it does not answer")
    assert tie(*roads) == Unknown("it does not answer")


def test_etcd_that_answers_while_ec2_has_no_machine_at_all_is_unknown() -> None:
    assert "EC2 has no machine" in contradiction((ONE,), ())
    assert "EC2 has no machine" in contradiction((ONE,), (of(1, GONE),))


DEAD_ONE = etcd_member(1, answers=False)
REPLACEMENT = of(4, address=address(1))  # at the dead one's address


@pytest.mark.parametrize("has_node_and_pod", [True, False])
@pytest.mark.parametrize("knows", ["EC2", "our record", "its join record"])
def test_a_dead_machine_s_member_is_its_even_when_the_replacement_has_its_address(
    knows: str, has_node_and_pod: bool
) -> None:
    instances = [of(2), of(3), REPLACEMENT, *([of(1, GONE)] if knows == "EC2" else ())]
    records = [record(1, machine(1))] if knows == "our record" else []
    joins = [join(machine(1))] if knows == "its join record" else []
    nodes, pods = (THREE_NODES, THREE_PODS) if has_node_and_pod else (THREE_NODES[1:], THREE_PODS[1:])
    ties = tied((DEAD_ONE, TWO, THREE), instances, nodes, pods, records=records, joins=joins)
    dead = ties[DEAD_ONE.id]
    assert (dead.instance, dead.node_name) == (machine(1), machine(1) if has_node_and_pod else None)
    assert not dead.orphan
    assert dead.reason.endswith("which is gone")
    assert machine(4) not in {one.instance for one in ties.values()}


def test_an_address_that_was_given_to_a_machine_with_etcd_of_its_own_is_a_contradiction() -> None:
    instances = (of(1, GONE), of(2), REPLACEMENT)
    with_pod = contradiction((DEAD_ONE, TWO), instances, (on(4, addresses=(address(1),)),), (etcd_pod(4),))
    assert f"its address is {machine(4)}'s" in with_pod
    with_member = contradiction((DEAD_ONE, TWO, etcd_member(4)), instances)
    assert f"its address is {machine(4)}'s" in with_member
    answering = contradiction((ONE, TWO), instances)
    assert f"its address is {machine(4)}'s" in answering


def test_what_a_dead_machine_s_pod_says_does_not_count_against_who_has_its_address_now() -> None:
    """The dead one's member is removed, the replacement has joined at its address, the mirror pod is still there."""
    four = etcd_member(4, peer_urls=ONE.peer_urls, client_urls=ONE.client_urls)
    nodes = (on(1), on(2), on(4, addresses=(address(1),)))
    pods = (etcd_pod(1), etcd_pod(2), etcd_pod(4, client_url=etcd_pod(1).client_url))
    ties = tied((TWO, four), (of(1, GONE), of(2), REPLACEMENT), nodes, pods)
    assert ties[four.id].instance == machine(4)


@pytest.mark.parametrize(
    ("members", "instances", "nodes", "pods", "says"),
    [
        pytest.param((ONE, replace(TWO, name=ONE.name)), THREE_MACHINES, (), (), "2 members are named", id="one name"),
        pytest.param(
            (ONE, replace(TWO, peer_urls=ONE.peer_urls)), THREE_MACHINES, (), (), "have the peer address", id="one peer"
        ),
        pytest.param(
            (replace(ONE, peer_urls=TWO.peer_urls),),
            THREE_MACHINES,
            (),
            (),
            "whose address is 10.77.1.1",
            id="another's",
        ),
        pytest.param(
            (replace(ONE, peer_urls=("https://10.77.1.9:2380",)),),
            THREE_MACHINES,
            (),
            (),
            "whose address is",
            id="no one's",
        ),
        pytest.param(
            (DEAD_ONE,),
            (of(1, InstanceState.PENDING, address=None), REPLACEMENT),
            (),
            (),
            f"its address is {machine(4)}'s",
            id="another's, its own is not known",
        ),
        pytest.param(
            (DEAD_ONE,),
            (of(1, GONE), of(2)),
            (on(1, addresses=("10.77.1.9", machine(1))),),
            (),
            "whose address is 10.77.1.9",
            id="the node has another address",
        ),
        pytest.param(
            (ONE,),
            THREE_MACHINES,
            (on(1, provider_id=f"aws:///us-east-1a/{machine(2)}"),),
            (),
            "said to be of",
            id="provider",
        ),
        pytest.param(
            (ONE,),
            THREE_MACHINES,
            (on(1),),
            (etcd_pod(1, client_url="https://10.77.1.9:2379"),),
            "whose etcd is at",
            id="pod",
        ),
        pytest.param(
            (ONE,),
            THREE_MACHINES,
            (on(1), on(2)),
            (etcd_pod(2, client_url="https://10.77.1.1:2379"),),
            f"where Node {machine(2)} has its etcd",
            id="another node's pod",
        ),
        pytest.param(
            (ONE, unstarted(9)), (of(1), of(8, address=address(9)), of(9)), (), (), "the address of", id="two machines"
        ),
        pytest.param(
            (ONE, unstarted(9)),
            (of(1), of(8)),
            (on(8, addresses=(address(9),)),),
            (),
            "only Kubernetes says",
            id="node only",
        ),
    ],
)
def test_roads_that_contradict_each_other_are_unknown_and_say_how(
    members: tuple[EtcdMember, ...],
    instances: tuple[Instance, ...],
    nodes: tuple[Node, ...],
    pods: tuple[EtcdPod, ...],
    says: str,
) -> None:
    assert says in contradiction(members, instances, nodes, pods)


def test_a_name_that_was_written_down_for_two_machines_is_a_contradiction() -> None:
    named = etcd_member(1, name="control-plane-1")
    records = [record(1, "control-plane-1"), record(2, "control-plane-1")]
    assert "said to be of" in contradiction((named,), THREE_MACHINES, records=records)


def test_two_members_of_one_machine_are_a_contradiction() -> None:
    members = (TWO, DEAD_ONE, etcd_member(3, name="control-plane-1", answers=False))
    records = [record(1, "control-plane-1")]
    assert f"2 members are tied to {machine(1)}" in contradiction(members, (of(1, GONE), of(2)), records=records)


def test_a_node_of_any_name_ties_its_member_to_the_machine_that_it_says() -> None:
    named = etcd_member(1, name="control-plane-1")
    ties = tied((named,), (of(1),), (on(1, name="control-plane-1"),), (etcd_pod(1, node_name="control-plane-1"),))
    assert (ties[named.id].instance, ties[named.id].node_name) == (machine(1), "control-plane-1")


def test_a_voter_without_a_node_is_its_machine_s_and_has_no_node() -> None:
    ties = tied((ONE, TWO), (of(1), of(2)), (on(1),), (etcd_pod(1),))
    assert (ties[TWO.id].instance, ties[TWO.id].node_name) == (machine(2), None)


def test_a_foreign_name_at_no_machine_s_address_is_an_orphan_unless_it_answers() -> None:
    silent, alive = etcd_member(8, name="elsewhere", answers=False), etcd_member(9, name="somewhere")
    ties = tied((ONE, silent, alive), (of(1),), (on(1),), (etcd_pod(1),))
    assert (ties[silent.id].instance, ties[silent.id].orphan) == (None, True)
    assert (ties[alive.id].instance, ties[alive.id].orphan) == (None, False)
    assert "it answers" in ties[alive.id].reason


def test_a_foreign_name_at_a_joined_machine_s_address_is_that_machine_s() -> None:
    foreign = etcd_member(2, name="elsewhere")
    ties = tied((ONE, foreign), (of(1), of(2)), (on(1), on(2)), (etcd_pod(1), etcd_pod(2)))
    assert (ties[foreign.id].instance, ties[foreign.id].node_name) == (machine(2), machine(2))


def test_a_machine_that_nobody_knows_any_more_leaves_an_orphan_whoever_has_its_address_now() -> None:
    forgotten = etcd_member(7, answers=False)
    ties = tied((ONE, forgotten), (of(1), of(2, address=address(7))), (on(1), on(2, addresses=(address(7),))))
    assert (ties[forgotten.id].instance, ties[forgotten.id].orphan) == (None, True)


LEARNER = unstarted(4)


@pytest.mark.parametrize("joins", [True, False])
def test_a_learner_that_has_not_started_is_the_machine_s_at_its_address_if_that_one_can_have_joined(
    joins: bool,
) -> None:
    records = [join(machine(4))] if joins else []
    ties = tied((ONE, LEARNER), (of(1), of(4)), (on(1),), (etcd_pod(1),), joins=records)
    assert ties[LEARNER.id].instance == (machine(4) if joins else None)
    assert ties[LEARNER.id].orphan != joins
    assert joins or f"now that of {machine(4)}, which cannot be its own" in ties[LEARNER.id].reason


@pytest.mark.parametrize(
    ("state", "owner"),
    [
        (InstanceState.PENDING, 4),
        (InstanceState.RUNNING, 4),
        (InstanceState.SHUTTING_DOWN, 4),
        (InstanceState.STOPPED, 4),
        (GONE, None),
    ],
)
def test_a_learner_is_nobody_s_once_ec2_says_that_its_machine_is_terminated(
    state: InstanceState, owner: int | None
) -> None:
    ties = tied((ONE, LEARNER), (of(1), of(4, state)), (on(1),), (etcd_pod(1),), joins=[join(machine(4))])
    assert ties[LEARNER.id].instance == (machine(owner) if owner else None)
    assert ties[LEARNER.id].orphan == (owner is None)


def test_a_learner_of_a_dead_machine_whose_node_is_left_is_that_machine_s_not_its_replacement_s() -> None:
    instances = (of(1), of(4, GONE), of(5, address=address(4)))
    ties = tied((ONE, LEARNER), instances, (on(1), on(4)), (etcd_pod(1),))
    assert (ties[LEARNER.id].instance, ties[LEARNER.id].node_name) == (machine(4), machine(4))


def test_a_worker_that_was_given_the_address_of_a_learner_s_dead_machine_does_not_own_it() -> None:
    worker = of(4, tags={CLUSTER_TAG: CLUSTER, ROLE_TAG: "worker"})
    ties = tied((ONE, LEARNER), (of(1), worker), (on(1), on(4)), (etcd_pod(1),))
    assert (ties[LEARNER.id].instance, ties[LEARNER.id].orphan) == (None, True)


def test_a_host_name_in_a_peer_url_and_a_node_without_addresses_say_nothing() -> None:
    named = etcd_member(1, peer_urls=("https://control-plane-1.example:2380", "https://[bad:2380"), client_urls=())
    ties = tied((named,), (of(1),), (on(1, addresses=()),), (etcd_pod(1, client_url=""),))
    assert ties[named.id].instance == machine(1)


def test_addresses_are_compared_as_addresses_and_all_of_a_machine_count() -> None:
    named = etcd_member(1, peer_urls=("https://[2001:db8:0::1]:2380",), client_urls=())
    ties = tied((named,), (of(1, ipv6_addresses=("2001:db8::1",)),))
    assert ties[named.id].instance == machine(1)


NUMBERS = st.integers(1, 5)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Etcd, list[EtcdPod], list[Node], list[Instance], dict[str, Any]]:
    """Mostly a cluster as it should be, with anything in it mixed up."""

    def mixed(number: int) -> int:
        return number if draw(st.integers(0, 9)) else draw(NUMBERS)

    def some() -> list[int]:
        return sorted(draw(st.sets(NUMBERS)))

    members = [
        replace(
            unstarted(number) if draw(st.integers(0, 5)) == 0 else etcd_member(number, answers=draw(st.booleans())),
            peer_urls=(f"https://{address(mixed(number))}:2380",),
        )
        for number in some()
    ]
    renamed = [replace(one, name="elsewhere") if one.name and draw(st.integers(0, 9)) == 0 else one for one in members]
    states = st.sampled_from(list(InstanceState))
    instances = [of(one, draw(states)) for one in some()]
    moved = [replace(one, address=address(draw(NUMBERS))) if draw(st.integers(0, 9)) == 0 else one for one in instances]
    nodes = [on(one, addresses=(address(mixed(one)),)) for one in some()]
    pods = [etcd_pod(one, client_url=f"https://{address(mixed(one))}:2379") for one in some()]
    known = {
        "records": [record(one, machine(mixed(one))) for one in some()],
        "joins": [join(machine(one)) for one in some()],
    }
    return Etcd("asked", tuple(renamed)), pods, nodes, moved, known


@given(worlds())
def test_no_member_is_tied_to_two_machines_and_no_machine_to_two_members(
    world: tuple[Etcd, list[EtcdPod], list[Node], list[Instance], dict[str, Any]],
) -> None:
    etcd, pods, nodes, instances, known = world
    ties = tie(etcd, pods, nodes, instances, **known)
    if isinstance(ties, Unknown):
        assert ties.reason
        return
    assert sorted(one.member.id for one in ties) == sorted(member.id for member in etcd.members)
    owners = [one.instance for one in ties if one.instance]
    assert len(owners) == len(set(owners))
    for one in ties:
        assert one.reason
        assert not one.orphan or (one.instance is None and not one.member.answers)
        named = {instance.id for instance in instances if instance.id == one.member.name}
        assert not named or one.instance in named


@given(worlds(), st.randoms(use_true_random=False))
def test_the_order_in_which_anything_is_listed_does_not_matter(
    world: tuple[Etcd, list[EtcdPod], list[Node], list[Instance], dict[str, Any]], dice: random.Random
) -> None:
    etcd, pods, nodes, instances, known = world
    ties = tie(etcd, pods, nodes, instances, **known)
    for things in (pods, nodes, instances, *known.values()):
        dice.shuffle(things)
    shuffled = replace(etcd, members=tuple(dice.sample(etcd.members, len(etcd.members))))
    again = tie(shuffled, pods, nodes, instances, **known)
    assert again == ties or (isinstance(again, Unknown) and isinstance(ties, Unknown))
