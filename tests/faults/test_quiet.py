"""A machine about which nothing more can be done costs one look a minute, or none: what waits for long may not spin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from functions.cluster.doubt import LADDER_SILENT_TAG
from functions.cluster.machine import InstanceState, Pod, Transition
from functions.errors import RetryableError
from functions.messages import CONTROL_PLANE, Look
from tests.faults.driving import run_for
from tests.unit.functions.builders import NOW, ONE, SETTINGS, TWO, WORKERS, machine, node, record
from tests.unit.functions.fake_world import Call, World
from tests.unit.functions.worlds import a_cluster, kill, leave_group, let_go, listed_as, recommend, schedule

HOUR = timedelta(hours=1)
SETTLES_IN = timedelta(minutes=12)
STRANGER = machine(0x700)


def passes(world: World) -> int:
    """Those about a machine; what all control planes cost is counted apart."""
    return sum(what == "pass" and fields["machine"] != CONTROL_PLANE for what, fields in world.told)


def entries(world: World) -> int:
    return sum(machine != CONTROL_PLANE for machine, _ in world.history)


def in_an_hour(world: World, *, after: timedelta = SETTLES_IN) -> tuple[int, int]:
    """How many passes there are in an hour of a world that has had time to settle, and how many entries of history."""
    run_for(world, after)
    before, written = passes(world), entries(world)
    run_for(world, HOUR)
    return passes(world) - before, entries(world) - written


def daemons(world: World) -> None:
    """Every DaemonSet's pod that is deleted is made anew, on any Node that there is."""

    def again(_: Call) -> None:
        for name in world.nodes:
            if not any(pod.daemon and where == name for pod, where in world.pods.items()):
                uid = f"uid-of-proxy-{len(world.calls)}"
                world.pods[Pod("kube-system", f"proxy-{name}", uid, False, daemon=True, created_at=world.now)] = name

    again(Call(0, "", ""))
    world.before = again


def whole(world: World) -> None:
    """Nothing is wrong."""


def stopped(world: World) -> None:
    kill(world, ONE, state=InstanceState.STOPPED)
    listed_as(world, ONE, "InService")


def stopped_with_daemons(world: World) -> None:
    daemons(world)
    stopped(world)


def standby(world: World) -> None:
    listed_as(world, ONE, "Standby")
    world.groups[WORKERS] = replace(world.groups[WORKERS], desired=2)


def stopped_in_standby(world: World) -> None:
    standby(world)
    kill(world, ONE, state=InstanceState.STOPPED)
    listed_as(world, ONE, "Standby")


def warmed(world: World) -> None:
    kill(world, ONE, state=InstanceState.STOPPED)
    world.pods = {pod: where for pod, where in world.pods.items() if where != ONE}
    listed_as(world, ONE, "Warmed:Stopped")
    world.groups[WORKERS] = replace(world.groups[WORKERS], desired=2)


def maintenance_in_a_week(world: World) -> None:
    schedule(world, ONE, NOW + timedelta(days=7))


def drained_for_maintenance(world: World) -> None:
    schedule(world, ONE, NOW + timedelta(days=3))
    world.now = NOW + timedelta(days=3) - SETTINGS.policy.planned_ahead


def overdue_maintenance(world: World) -> None:
    world.budgeted.add("web-1-0")
    schedule(world, ONE, NOW + timedelta(minutes=10))


def advised(world: World) -> None:
    world.passes.append(Look(ONE, "advice", notice=recommend(world, ONE)))


def contradictory(world: World) -> None:
    world.nodes[ONE] = replace(world.nodes[ONE], provider_id=f"aws:///us-east-1a/{STRANGER}")


def forgotten(world: World) -> None:
    world.records[ONE] = record(ONE)
    del world.instances[ONE]
    leave_group(world, ONE)
    world.groups[WORKERS] = replace(world.groups[WORKERS], desired=2)


def stranger(world: World) -> None:
    world.nodes[STRANGER] = replace(node(ONE), name=STRANGER, provider_id=f"aws:///us-east-1a/{STRANGER}", addresses=())


def nothing_to_be_had(world: World) -> None:
    """A machine has died, and its group gets no other."""
    kill(world, ONE)
    leave_group(world, ONE)
    world.groups[WORKERS] = replace(world.groups[WORKERS], suspended=frozenset({"Launch"}))


def volume_stuck(world: World) -> None:
    kill(world, ONE)
    leave_group(world, ONE)
    daemons(world)
    again = world.before

    def stuck(call: Call) -> None:
        world.attachments["csi-stuck"] = ONE
        again(call)

    world.before = stuck


def held_by_others_while_leaving(world: World) -> None:
    world.held_by_others.add(ONE)
    let_go(world, ONE)
    world.hooks_end[ONE, Transition.TERMINATING] = NOW + timedelta(days=1)


def held_by_others_while_arriving(world: World) -> None:
    world.held_by_others.add(ONE)
    listed_as(world, ONE, "Pending:Wait")
    world.hooks_end[ONE, Transition.LAUNCHING] = NOW + timedelta(days=1)


def ec2_away(world: World) -> None:
    let_go(world, ONE)

    def away(call: Call) -> None:
        if call.service == "ec2":
            raise RetryableError("EC2 does not answer")

    world.before = away


def silent_and_nothing_wanted(world: World) -> None:
    world.groups[WORKERS] = replace(world.groups[WORKERS], tags={LADDER_SILENT_TAG: "none"})
    world.silent[ONE] = NOW


def silent_and_braked(world: World) -> None:
    world.silent |= {ONE: NOW, TWO: NOW}


def silent_and_refused(world: World) -> None:
    world.groups[WORKERS] = replace(world.groups[WORKERS], suspended=frozenset({"Terminate"}))
    world.silent[ONE] = NOW


def silent_and_nobody_sees_the_others(world: World) -> None:
    def away(call: Call) -> None:
        if call.method == "refreshing":
            raise RetryableError("Auto Scaling does not answer")

    world.before = away
    world.silent[ONE] = NOW


def without_its_node(world: World) -> None:
    """A person deleted the Node and wants nothing done about it."""
    silent_and_nothing_wanted(world)
    run_for(world, timedelta(minutes=2))
    world.silent.clear()
    world.records[ONE] = record(ONE)
    del world.nodes[ONE]


WORLDS: dict[str, tuple[Callable[[World], None], int, int]] = {
    "whole": (whole, 0, 0),
    "stopped": (stopped, 61, 0),
    "stopped, with DaemonSets": (stopped_with_daemons, 61, 0),
    "standby": (standby, 0, 0),
    "stopped in standby": (stopped_in_standby, 6, 0),
    "stopped in the warm pool": (warmed, 6, 0),
    "maintenance in a week": (maintenance_in_a_week, 0, 0),
    "drained for maintenance": (drained_for_maintenance, 61, 0),
    "maintenance is overdue, a pod was left": (overdue_maintenance, 122, 1),
    "AWS advises to leave it": (advised, 2, 1),
    "contradicts itself": (contradictory, 61, 0),
    "EC2 has forgotten it, nobody wrote it down": (stranger, 61, 0),
    "EC2 has forgotten it": (forgotten, 0, 0),
    "no machine is to be had": (nothing_to_be_had, 61, 0),
    "a volume is stuck": (volume_stuck, 122, 1),
    "others hold it, it is empty": (held_by_others_while_leaving, 425, 0),
    "others hold it, it has joined": (held_by_others_while_arriving, 425, 0),
    "EC2 is away": (ec2_away, 425, 0),
    "silent, and nothing is wanted": (silent_and_nothing_wanted, 61, 0),
    "silent, and a brake holds": (silent_and_braked, 0, 1),
    "silent, and its group replaces nothing": (silent_and_refused, 61, 61),
    "silent, and nobody sees the others": (silent_and_nobody_sees_the_others, 61, 61),
    "its Node was deleted": (without_its_node, 61, 0),
}


@pytest.mark.parametrize("name", WORLDS)
def test_a_world_that_has_settled_costs_a_pass_a_minute_for_each_such_machine_at_most(name: str) -> None:
    make, most_passes, most_written = WORLDS[name]
    world = a_cluster(3, volumes=False)
    make(world)
    counted, written = in_an_hour(world)
    assert (counted <= most_passes, written <= most_written) == (True, True), (counted, written)
    assert world.violations == []


@pytest.mark.parametrize("control_planes", [1, 3, 5])
def test_control_planes_that_are_whole_cost_two_looks_at_etcd_and_one_snapshot_an_hour(control_planes: int) -> None:
    world = a_cluster(3, volumes=False, control_planes=control_planes)
    run_for(world, SETTLES_IN)
    calls, taken = len(world.calls), len(world.snapshots)
    run_for(world, HOUR)
    asked = [call.method for call in world.calls[calls:] if call.service == "commands"]
    assert (asked.count("etcd"), asked.count("begin_snapshot")) == (2, 1)
    assert len(world.snapshots) - taken == 1
    assert (world.effects, world.alerts, world.violations) == ([], [], [])
