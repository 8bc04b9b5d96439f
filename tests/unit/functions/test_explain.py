"""What would be done, and why, is said of one machine and of all, and nothing at all is done by saying it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from functions.cluster.machine import PAUSE_ANNOTATION, InstanceId, InstanceState
from functions.drill import answer
from functions.errors import RetryableError
from tests.faults.driving import run_for
from tests.unit.functions.builders import NOW, ONE, SETTINGS, THREE, TWO, WORKERS, case, machine, pause
from tests.unit.functions.fake_world import Call, World
from tests.unit.functions.fakes import desk_of
from tests.unit.functions.worlds import CONTROL_PLANE, a_cluster, interrupt, kill, launch, let_go

FIRST, SECOND, THIRD = CONTROL_PLANE, machine(0xC2), machine(0xC3)
READS = {
    *("instance", "fleet", "scheduled_events", "all_scheduled_events", "spot_interruptions", "groups", "targets"),
    *("health", "node", "nodes", "pods_on", "attachments_of", "etcd_pods", "etcd", "memory", "cases", "pauses"),
    *("joins", "records", "admission", "snapshot_at", "said_since", "renewed_at", "renewals", "doubts", "brakes"),
    *("impairments", "refreshing"),
}


def explain(world: World, one: InstanceId | None = None) -> dict[str, Any]:
    """Ask, and see that nothing but reads was called."""
    world.calls.clear()
    request = {"do": "explain"} | ({"machine": one} if one else {})
    said = answer(request, desk_of(world), SETTINGS, now=world.now)
    assert {call.method for call in world.calls} <= READS
    return dict(json.loads(json.dumps(said)))


def lines(said: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {line["machine"]: line for line in said["machines"]}


@pytest.fixture
def three() -> World:
    return a_cluster(2, volumes=False, control_planes=3)


def test_a_healthy_control_plane_is_explained_with_etcd_and_whose_member_is_whose(three: World) -> None:
    said = explain(three, SECOND)
    assert (said["verdict"], said["reason"], said["plan"], said["refused"]) == ("healthy", "EC2: running", [], None)
    assert len(said["control_plane"]["etcd"]["members"]) == 3
    assert {tie["instance"] for tie in said["control_plane"]["ties"]} == {FIRST, SECOND, THIRD}
    assert sorted(said["control_plane"]["serving"]) == [FIRST, SECOND, THIRD]


def test_a_dead_control_plane_is_explained_and_stays_in_its_load_balancer(three: World) -> None:
    kill(three, SECOND)
    said = explain(three, SECOND)
    steps = [step["step"] for step in said["plan"]]
    assert steps[:2] == ["OpenCase", "LeaveLoadBalancers"]
    assert "RemoveMember" in steps
    assert (said["verdict"], said["refused"], three.effects) == ("dead", None, [])


@pytest.mark.parametrize("one", [FIRST, SECOND])
def test_without_a_quorum_it_is_said_that_nothing_is_done(three: World, one: InstanceId) -> None:
    kill(three, SECOND, THIRD)
    said = explain(three, one)
    if one == SECOND:
        assert said["refused"] == "etcd has lost its quorum: a person has to restore it (docs/runbooks/etcd.md)"
    assert [member["answers"] for member in said["control_plane"]["etcd"]["members"]].count(False) == 2


def test_where_nobody_answers_for_etcd_that_is_said_instead(three: World) -> None:
    def silent(call: Call) -> None:
        if call.service == "commands":
            raise RetryableError("SSM: access denied")

    three.before = silent
    kill(three, SECOND)
    said = explain(three, SECOND)
    assert said["control_plane"]["etcd"] == {"reason": "SSM: access denied"}
    assert said["plan"][-1]["reason"] == "unknown: SSM: access denied"


def test_a_whole_cluster_is_explained_in_a_line_each(three: World) -> None:
    said = explain(three)
    assert {one: (line["verdict"], line["planned"]) for one, line in lines(said).items()} == {
        one: ("healthy", []) for one in (ONE, TWO, FIRST, SECOND, THIRD)
    }
    assert lines(said)[ONE] == {
        "machine": ONE,
        "group": WORKERS,
        "role": "worker",
        "node": ONE,
        "verdict": "healthy",
        "reason": "EC2: running",
        "planned": [],
        "then": None,
        "refused": None,
    }
    assert (said["held"], said["open_cases"], said["joining"], said["in_flight"], said["pauses"]) == (
        None,
        [],
        [],
        [],
        [],
    )


def test_its_cost_does_not_grow_with_its_machines() -> None:
    counted = []
    for workers in (2, 40):
        world = a_cluster(workers, volumes=False, control_planes=3)
        kill(world, *[machine(number) for number in range(1, workers // 2 + 1)])
        explain(world)
        counted.append(sorted(call.method for call in world.calls))
    assert counted[0] == counted[1]


def test_each_machine_has_the_steps_that_are_due_and_why_they_are_refused() -> None:
    world = a_cluster(8, volumes=False, control_planes=3)
    four, five, six = machine(4), machine(5), machine(6)
    kill(world, ONE)
    kill(world, TWO, state=InstanceState.STOPPED)
    let_go(world, THREE)
    interrupt(world, four)
    launch(world, machine(0x100))
    kill(world, five)
    world.pauses[five] = pause(five)
    kill(world, SECOND)
    world.cases = {six: case(six), machine(7): case(machine(7))}
    said = lines(explain(world))
    shown = {one: (line["verdict"], line["planned"][:2]) for one, line in said.items()}
    assert shown[ONE] == ("dead", ["OpenCase", "Fence"])
    assert shown[TWO] == ("dead", ["OpenCase", "Fence"])
    assert shown[THREE] == ("leaving", ["Heartbeat", "Cordon"])
    assert shown[four] == ("leaving", ["Cordon"])
    assert shown[machine(0x100)] == ("arriving", ["Heartbeat", "Mint"])
    assert shown[SECOND] == ("dead", ["OpenCase", "LeaveLoadBalancers"])
    assert said[ONE]["refused"] == f"2 machines are in flight ({six}, {machine(7)}), no more than 2 may be"
    assert said[five]["refused"] == f"{five} is paused until 2026-11-21 13:00:00Z: the network is being rebuilt"
    assert said[four]["refused"] is None
    assert world.effects == []


def test_it_does_not_say_of_a_machine_that_drains_that_it_is_drained() -> None:
    world = a_cluster(3, volumes=False)
    world.budgeted |= {"web-1-0", "web-1-1"}
    let_go(world, ONE)
    run_for(world, timedelta(minutes=3))
    line = lines(explain(world))[ONE]
    assert "CompleteHook" not in line["planned"]
    assert line["then"] == "pods are not asked for in a look at the whole cluster"


def test_what_holds_for_more_than_one_is_listed() -> None:
    world = a_cluster(4, volumes=False)
    world.cases[ONE] = case(ONE)
    world.pauses["drill"] = pause()
    world.pauses["over"] = pause("over", minutes=0)
    there = world.groups[WORKERS]
    until = NOW + timedelta(hours=1)
    world.groups[WORKERS] = replace(
        there, suspended=frozenset({"Launch"}), launch_suspended_until=until, pause_until="tomorrow"
    )
    world.nodes[TWO] = replace(world.nodes[TWO], annotations={PAUSE_ANNOTATION: until.isoformat()})
    said = explain(world)
    assert [one["instance"] for one in said["open_cases"]] == [ONE]
    assert said["in_flight"] == [ONE]
    assert said["suspended"] == [{"group": WORKERS, "processes": ["Launch"], "until": "2026-11-21T13:00:00+00:00"}]
    assert [(one["of"], one["until"], one["source"]) for one in said["pauses"]] == [
        ("drill", "2026-11-21T13:00:00+00:00", "table"),
        (WORKERS, None, "tag regrow:pause-until"),
        (TWO, "2026-11-21T13:00:00+00:00", f"annotation {PAUSE_ANNOTATION}"),
    ]
    assert [(one["of"], one["source"]) for one in said["pauses_not_understood"]] == [
        (WORKERS, "tag regrow:pause-until")
    ]


@pytest.mark.parametrize(
    ("trouble", "why"),
    [
        (lambda world: setattr(world, "instances", {}), "EC2 knows none of the"),
        (lambda world: setattr(world, "before", no_answer("fleet")), "not all could be read: it does not answer"),
        (lambda world: setattr(world, "before", no_answer("nodes")), "not all could be read: it does not answer"),
        (lambda world: setattr(world, "before", no_answer("cases")), "not all could be read: it does not answer"),
    ],
)
def test_where_the_sweep_would_hold_no_machine_is_called_anything_else(
    trouble: Callable[[World], None], why: str
) -> None:
    world = a_cluster(3, volumes=False)
    trouble(world)
    said = explain(world)
    assert said["held"].startswith(why)
    assert {(line["verdict"], line["reason"]) for line in said["machines"]} == {("held", said["held"])}


def no_answer(method: str) -> Callable[[Call], None]:
    def interfere(call: Call) -> None:
        if call.method == method:
            raise RetryableError("it does not answer")

    return interfere


@pytest.mark.parametrize("method", ["groups", "fleet", "nodes", "etcd_pods", "health", "cases", "memory"])
def test_a_control_plane_is_explained_as_far_as_anything_answers(three: World, method: str) -> None:
    kill(three, SECOND)
    three.before = no_answer(method)
    said = explain(three, SECOND)
    assert "it does not answer" in json.dumps(said)
    assert three.effects == []


def test_while_pauses_cannot_be_read_that_is_what_refuses() -> None:
    world = a_cluster(3, volumes=False)
    kill(world, ONE)
    world.before = no_answer("pauses")
    said = explain(world)
    assert said["pauses"] is None
    assert lines(said)[ONE]["refused"] == "the table cannot be read (it does not answer)"
