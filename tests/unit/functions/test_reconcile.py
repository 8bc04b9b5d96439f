"""One pass: what it reads, does, keeps, tells and orders; and what it never does."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from functions.cluster.assess import Kind
from functions.cluster.facts import Phase, Unknown
from functions.cluster.machine import InstanceState
from functions.errors import ConfigurationError, RegrowError, RetryableError
from functions.intake import take_in
from functions.messages import Look
from functions.remediate.reconcile import GIVE_UP_AFTER_TRIES, Judgement, judge, run_pass
from tests.unit.functions.builders import CLUSTER, NOW, ONE, SETTINGS, case, machine, pause, record
from tests.unit.functions.fake_world import Call, World
from tests.unit.functions.fakes import outside_of
from tests.unit.functions.worlds import a_cluster, kill

LOOK = Look(ONE, "EC2 says terminated")


def a_pass(world: World, look: Look = LOOK) -> Judgement:
    return run_pass(look, outside_of(world), SETTINGS, lambda: world.now)


def refusing(method: str, error: RegrowError) -> World:
    """A world with a dead worker in which one method never works."""
    world = a_cluster(volumes=False)
    kill(world, ONE)

    def refuse(call: Call) -> None:
        if call.method == method:
            raise error

    world.before = refuse
    return world


def test_a_pass_about_a_healthy_machine_changes_keeps_and_orders_nothing() -> None:
    world = a_cluster()
    assert a_pass(world).verdict.kind is Kind.HEALTHY
    assert (world.effects, world.cases, world.history, world.later, world.alerts) == ([], {}, [], [], [])


def test_a_judgement_is_the_same_road_without_its_end() -> None:
    world = a_cluster()
    kill(world, ONE)
    judgement = judge(LOOK, outside_of(world), SETTINGS, now=NOW)
    assert (judgement.verdict.kind, judgement.plan.opens_case, judgement.refusal) == (Kind.DEAD, True, None)
    assert (world.effects, world.cases, world.later, world.history) == ([], {}, [], [])


def test_kubernetes_is_not_asked_about_a_machine_of_no_cluster() -> None:
    world = a_cluster()
    world.instances[machine(77)] = replace(world.instances[ONE], id=machine(77), tags={})
    a_pass(world, Look(machine(77), "EC2 says terminated"))
    assert {call.service for call in world.calls} == {"ec2", "autoscaling", "table"}


def test_what_was_done_is_kept_with_its_reasons_and_told() -> None:
    world = a_cluster(volumes=False)
    kill(world, ONE)
    a_pass(world)
    ((kept_of, entry),) = world.history
    assert kept_of == ONE
    assert (entry["because"], entry["verdict"], entry["reason"]) == ("EC2 says terminated", "dead", "EC2: terminated")
    told = [fields for what, fields in world.told if what == "pass"]
    assert told[0]["steps"] == [
        "OpenCase", "Fence", "DeletePods", "LeaveLoadBalancers", "AwaitDetach", "DeleteNode", "CompleteHook",
        "AwaitReplacement",
    ]  # fmt: skip
    assert "count pass_dead" in [what for what, _ in world.told]


def test_a_pass_that_waits_orders_the_next_look_on_the_grid() -> None:
    world = a_cluster()
    kill(world, ONE)
    a_pass(world)
    (ordered,) = world.later
    assert (ordered.machine, ordered.tries) == (ONE, 0)
    assert ordered.due_s == int((NOW + timedelta(seconds=2)).timestamp())
    assert "1 volumes are still attached" in ordered.reason


@pytest.mark.parametrize("error", [RetryableError("throttled"), ConfigurationError("AccessDenied")])
@pytest.mark.parametrize("method", ["fence", "delete_pod", "delete_node", "complete_hooks"])
def test_a_step_that_fails_ends_the_pass_and_is_tried_again(method: str, error: RegrowError) -> None:
    world = refusing(method, error)
    a_pass(world)
    (ordered,) = world.later
    assert ordered.tries == 1
    assert str(error) in ordered.reason
    assert str(error) in str(world.history[0][1]["then"])
    assert world.cases[ONE].phase is Phase.CLEANING
    assert ONE in world.nodes or method == "complete_hooks"


@pytest.mark.parametrize("tries", range(GIVE_UP_AFTER_TRIES + 1))
def test_looks_that_learn_nothing_come_later_and_later_and_then_leave_it_to_the_sweep(tries: int) -> None:
    world = refusing("instance", RetryableError("EC2 does not answer"))
    a_pass(world, replace(LOOK, tries=tries))
    if tries == GIVE_UP_AFTER_TRIES:
        assert world.later == []
        return
    (ordered,) = world.later
    assert ordered.tries == tries + 1
    wait_s = (ordered.due_s or 0) - NOW.timestamp()
    assert wait_s == min(10, 2 ** (tries + 1))


def test_a_pass_whose_next_look_cannot_be_ordered_fails_so_that_its_message_stays() -> None:
    world = refusing("look_later", RetryableError("SQS does not answer"))
    with pytest.raises(RetryableError, match="SQS does not answer"):
        a_pass(world)


@pytest.mark.parametrize("error", [RetryableError("throttled"), ConfigurationError("AccessDenied")])
def test_a_history_that_cannot_be_kept_is_told_and_stops_nothing(error: RegrowError) -> None:
    world = refusing("write_history", error)
    a_pass(world)
    assert ("record_failed", {"machine": ONE, "reason": str(error)}) in world.told
    assert len(world.later) == 1


def test_a_refusal_is_kept_and_told_to_a_person_once_an_hour() -> None:
    world = a_cluster()
    kill(world, ONE)
    world.pauses[CLUSTER] = pause(minutes=600)
    for minutes in (0, 1, 59, 60):
        world.now = NOW + timedelta(minutes=minutes)
        a_pass(world)
    assert len(world.history) == 4
    assert [subject for subject, _ in world.alerts] == [f"{ONE} is dead and left alone"] * 2
    assert "the network is being rebuilt" in world.alerts[0][1]
    assert (world.effects, world.later) == ([], [])


def test_a_full_house_is_refused_and_looked_at_again() -> None:
    world = a_cluster(workers=4)
    kill(world, ONE)
    world.cases = {machine(number): case(machine(number)) for number in (3, 4)}
    judgement = a_pass(world)
    assert judgement.refusal
    assert len(world.later) == 1
    assert (world.effects, ONE in world.cases) == ([], False)


@pytest.mark.parametrize("writes", [1, 2])
def test_a_node_that_others_write_to_meanwhile_is_fenced_in_the_same_pass(writes: int) -> None:
    world = a_cluster()
    kill(world, ONE)
    versions = iter([str(100 + number) for number in range(writes)])

    def write(call: Call) -> None:
        if call.method == "fence" and (version := next(versions, None)):
            world.nodes[ONE] = replace(world.nodes[ONE], resource_version=version)

    world.before = write
    a_pass(world)
    assert world.nodes[ONE].out_of_service


def test_a_node_that_never_stops_changing_is_left_to_the_next_pass() -> None:
    world = a_cluster()
    kill(world, ONE)

    def write(call: Call) -> None:
        world.nodes[ONE] = replace(world.nodes[ONE], resource_version=f"by-{call.number}")

    world.before = write
    a_pass(world)
    assert not world.nodes[ONE].out_of_service
    assert "has changed" in world.later[0].reason


def test_in_a_wrong_region_even_a_machine_on_record_is_left_alone() -> None:
    world = a_cluster()
    world.records[ONE] = record()
    world.instances.clear()
    world.groups.clear()
    judgement = a_pass(world)
    assert judgement.verdict.kind is Kind.HELD
    assert "wrong region or account" in judgement.verdict.reason
    assert (world.effects, world.cases) == ([], {})


def test_what_could_not_be_read_is_unknown_with_its_reason() -> None:
    for method in ("instance", "groups", "memory", "node", "pods_on", "attachments_of"):
        world = refusing(method, RetryableError(f"{method} failed"))
        judgement = judge(LOOK, outside_of(world), SETTINGS, now=NOW)
        assert judgement.facts.unknowns == (f"{method} failed",)
        assert judgement.verdict.kind is Kind.HELD or judgement.refusal


def test_a_node_is_found_under_the_name_on_record() -> None:
    world = a_cluster(volumes=False)
    world.nodes["worker-one"] = replace(world.nodes.pop(ONE), name="worker-one")
    world.records[ONE] = record(node_name="worker-one")
    facts = judge(LOOK, outside_of(world), SETTINGS, now=NOW).facts
    assert not isinstance(facts.node, Unknown)
    assert getattr(facts.node, "name", None) == "worker-one"


def test_a_node_without_record_is_found_by_its_provider_id() -> None:
    world = a_cluster(volumes=False)
    world.nodes["worker-one"] = replace(world.nodes.pop(ONE), name="worker-one")
    facts = judge(LOOK, outside_of(world), SETTINGS, now=NOW).facts
    assert getattr(facts.node, "name", None) == "worker-one"


def test_an_event_that_cannot_be_passed_on_fails_so_that_it_is_delivered_again() -> None:
    world = refusing("look_now", RetryableError("SQS does not answer"))
    outside = outside_of(world)
    event = {
        "id": "1",
        "source": "aws.ec2",
        "detail-type": "EC2 Instance State-change Notification",
        "detail": {"instance-id": ONE, "state": InstanceState.TERMINATED.value},
    }
    with pytest.raises(RetryableError):
        take_in([json.dumps(event)], outside.queues, outside.journal)
    world.before = lambda _: None
    take_in([json.dumps(event)], outside.queues, outside.journal)
    assert world.passes == [LOOK]


@pytest.mark.parametrize("error", [RetryableError("ELB does not answer"), ConfigurationError("AccessDenied")])
def test_a_load_balancer_that_does_not_let_a_dead_machine_go_keeps_nothing_else_from_going(error: RegrowError) -> None:
    world = refusing("deregister", error)
    a_pass(world)
    assert ONE not in world.nodes
    assert world.cases[ONE].phase is Phase.REPLACING
    told = [subject for subject, _ in world.alerts]
    assert bool(told) is isinstance(error, ConfigurationError), "what only a person can mend is told"
