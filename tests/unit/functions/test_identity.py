"""Which Node is whose: by its own word, then by our record, then by its address, and never by guessing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from functions.cluster.assess import Kind, assess
from functions.cluster.facts import Absent
from functions.cluster.identity import match
from functions.cluster.machine import Instance, InstanceState, Node
from functions.remediate.observe import observe
from tests.unit.functions.builders import CLUSTER, NOW, ONE, TWO, facts, fleet, group, instance, memory, node, record
from tests.unit.functions.fake_world import World
from tests.unit.functions.fakes import outside_of
from tests.unit.functions.worlds import a_cluster, kill

NAME = "ip-10-77-1-1.ec2.internal"
TERMINATED = instance(ONE, InstanceState.TERMINATED)


def old_style(**changes: Any) -> Node:
    """The Node of a machine that joined before Regrow: named after its address, and it says no providerID."""
    whole: dict[str, Any] = {"name": NAME, "provider_id": "", "created_at": NOW - timedelta(hours=23)}
    return node(ONE, **whole | changes)


def test_a_node_is_found_by_its_own_word_by_our_record_or_by_its_address() -> None:
    by_word = node(ONE, name=NAME)
    assert match([by_word], [], []) == {ONE: by_word}
    assert match([old_style()], [], [record(ONE, node_name=NAME)]) == {ONE: old_style()}
    assert match([old_style()], [instance(ONE), instance(TWO)], []) == {ONE: old_style()}


def test_an_address_that_two_instances_have_tells_nothing() -> None:
    assert match([old_style()], [instance(ONE), instance(TWO, address="10.77.1.1")], []) == {}


def test_what_says_it_is_something_else_is_not_found_by_its_address() -> None:
    assert match([old_style(provider_id="kind://docker/x")], [instance(ONE)], []) == {}


def test_a_machine_with_two_nodes_is_the_one_that_is_named_after_it() -> None:
    named, other = node(ONE), node(ONE, name=NAME, uid="another")
    assert match([other, named], [], []) == match([named, other], [], []) == {ONE: named}


def test_the_node_on_record_is_the_machines_when_ec2_has_forgotten_its_address() -> None:
    seen = facts(instance=TERMINATED, node=old_style(), memory=memory(record=record(node_name=NAME)))
    assert assess(seen).kind is Kind.DEAD


@pytest.mark.parametrize(
    ("of", "its_node", "why"),
    [
        (TERMINATED, old_style(uid="another"), "not the one on record"),
        (instance(), old_style(uid="another", addresses=("10.77.1.9",)), "not the one on record"),
        (instance(launched_at=NOW), old_style(uid="another"), "older than the instance"),
        (instance(), node(ONE, provider_id=f"aws:///us-east-1a/{TWO}"), "not this instance"),
        (instance(), node(ONE, provider_id="", addresses=("10.77.1.9",)), "addresses are not the instance's"),
    ],
)
def test_a_node_that_may_be_anothers_is_quarantined(of: Instance, its_node: Node, why: str) -> None:
    verdict = assess(facts(instance=of, node=its_node, memory=memory(record=record(node_name=NAME))))
    assert (verdict.kind, verdict.quarantined) == (Kind.HELD, True)
    assert why in verdict.reason


def test_a_node_that_is_as_old_as_its_instance_is_not_an_earlier_ones() -> None:
    of = instance()
    assert assess(facts(instance=of, node=old_style(created_at=of.launched_at))).kind is Kind.HEALTHY


def test_a_node_of_an_instance_that_nobody_knows_is_quarantined_not_deleted() -> None:
    verdict = assess(facts(instance=Absent(), fleet=fleet(group())))
    assert (verdict.kind, verdict.quarantined) == (Kind.HELD, True)


def world_with(*nodes: Node) -> World:
    world = a_cluster()
    kill(world, ONE)
    world.nodes = {one.name: one for one in nodes}
    return world


def test_a_successor_that_has_the_dead_machines_name_is_left_alone() -> None:
    successor = node(TWO, name=NAME)
    world = world_with(successor)
    world.records[ONE] = record(ONE, node_name=NAME)
    seen = observe(ONE, CLUSTER, outside_of(world), now=NOW)
    assert seen.node == Absent()
    assert assess(seen).gone_for_good


def test_a_node_is_read_with_one_get_by_the_name_on_record() -> None:
    world = world_with(old_style())
    world.records[ONE] = record(ONE, node_name=NAME)
    assert observe(ONE, CLUSTER, outside_of(world), now=NOW).node == old_style()
    assert [call.method for call in world.calls if call.service == "kubernetes"][:1] == ["node"]
    assert "nodes" not in [call.method for call in world.calls]


def test_a_dead_machine_without_record_or_name_is_found_in_the_list() -> None:
    by_word = node(ONE, name=NAME)
    assert observe(ONE, CLUSTER, outside_of(world_with(by_word)), now=NOW).node == by_word
