"""The sweep finds what events missed, and only that."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from functions.cluster.doubt import Doubt
from functions.cluster.facts import Phase, Unknown
from functions.cluster.joining import JoinState
from functions.cluster.machine import (
    CONTROL_PLANE_LABEL,
    GROUP_TAG,
    ROLE_TAG,
    Condition,
    InstanceId,
    InstanceState,
    Node,
    Role,
)
from functions.cluster.radius import BRAKE_HOLDS, Brake
from functions.errors import RetryableError
from functions.messages import CONTROL_PLANE as LINE
from functions.remediate.observe import readiness
from functions.remediate.reading import Cluster
from functions.remediate.sweep import Sweep, find_work, run_sweep
from tests.unit.functions.builders import (
    CLUSTER,
    NOW,
    ONE,
    SETTINGS,
    THREE,
    TWO,
    WORKERS,
    case,
    control_plane_node,
    fenced,
    group,
    instance,
    join,
    machine,
    member,
    node,
    not_ready,
    record,
    said,
)
from tests.unit.functions.etcds import etcd_pod
from tests.unit.functions.fake_world import Call, World
from tests.unit.functions.fakes import outside_of
from tests.unit.functions.worlds import CONTROL_PLANE, a_cluster, kill, let_go, settle

BETWEEN = NOW + timedelta(minutes=1)  # the control plane is looked at each half hour, whatever there is


def cluster(**changes: Any) -> Cluster:
    whole = {
        "groups": (group(member(ONE), member(TWO)),),
        "instances": {ONE: instance(ONE), TWO: instance(TWO)},
        "nodes": {ONE: node(ONE), TWO: node(TWO)},
        "cases": {},
        "records": {one: record(one) for one in (ONE, TWO)},
        "joins": {},
        "announced": {},
        "scheduled": {},
    }
    return Cluster(**whole | changes)


def found(seen: Cluster) -> Sweep:
    return find_work(seen, CLUSTER, SETTINGS.policy, now=NOW)


def looked_at(seen: Cluster) -> list[InstanceId]:
    return [look.machine for look in found(seen).looks]


def test_a_whole_cluster_calls_for_nothing() -> None:
    assert found(cluster()) == Sweep(looked_at=2)


@pytest.mark.parametrize(
    "state",
    [InstanceState.TERMINATED, InstanceState.STOPPED, InstanceState.SHUTTING_DOWN, InstanceState.STOPPING],
)
def test_a_machine_that_ended_with_no_event_is_looked_at(state: InstanceState) -> None:
    assert looked_at(cluster(instances={ONE: instance(ONE, state), TWO: instance(TWO)})) == [ONE]


def test_a_machine_that_its_group_lets_go_is_looked_at() -> None:
    assert looked_at(cluster(groups=(group(member(ONE, "Terminating:Wait"), member(TWO)),))) == [ONE]


def test_a_machine_that_ec2_has_forgotten_is_looked_at_when_its_node_is_left() -> None:
    assert looked_at(cluster(groups=(group(member(TWO)),), instances={TWO: instance(TWO)})) == [ONE]


def test_a_dead_machine_of_which_nothing_is_left_is_not_looked_at() -> None:
    gone = cluster(
        groups=(group(member(TWO)),),
        instances={ONE: instance(ONE, InstanceState.TERMINATED), TWO: instance(TWO)},
        nodes={TWO: node(TWO)},
    )
    assert looked_at(gone) == []


@pytest.mark.parametrize("phase", Phase)
def test_an_open_case_is_looked_at_each_minute(phase: Phase) -> None:
    assert looked_at(cluster(cases={THREE: case(THREE, phase)})) == [THREE]


def test_an_open_case_of_a_machine_that_nobody_lists_is_looked_at() -> None:
    assert looked_at(cluster(cases={machine(99): case(machine(99))})) == [machine(99)]


def test_when_ec2_knows_no_instance_of_any_node_nothing_is_looked_at() -> None:
    held = found(cluster(instances={}, cases={ONE: case()}))
    assert (held.looks, held.records) == ((), ())
    assert held.held
    assert "wrong region or account" in held.held


def test_when_not_all_could_be_read_only_what_cannot_wait_is_looked_at() -> None:
    dead = {ONE: instance(ONE, InstanceState.TERMINATED), TWO: instance(TWO)}
    groups = (
        group(member(ONE), member(TWO), member(machine(4), "Pending:Wait"), member(machine(5), "Terminating:Wait")),
    )
    joins = {machine(6): (join(machine(6)),), machine(7): (join(machine(7), JoinState.ENDED),)}
    held = found(
        cluster(unread="no answer", nodes={}, instances=dead, cases={THREE: case(THREE)}, groups=groups, joins=joins)
    )
    assert {look.machine: look.reason for look in held.looks} == {
        THREE: "its case is open",
        machine(4): "Auto Scaling: Pending:Wait",
        machine(5): "Auto Scaling: Terminating:Wait",
        machine(6): "its joining is open",
    }
    assert held.held == "not all could be read: no answer"


@pytest.mark.parametrize("method", ["fleet", "cases", "records", "joins", "nodes"])
def test_a_read_that_fails_leaves_what_hooks_hold_looked_at_and_tells_a_person(method: str) -> None:
    world = a_cluster()
    let_go(world, ONE)

    def refuse(call: Call) -> None:
        if call.method == method:
            raise RetryableError(f"{method} does not answer")

    world.before = refuse
    swept = run_sweep(outside_of(world), SETTINGS, now=NOW)
    assert [look.machine for look in world.passes] == [LINE, ONE]
    assert swept.held == f"not all could be read: {method} does not answer"
    if method == "nodes":
        assert world.alerts == []  # the pass over the control planes may know why
        run_sweep(outside_of(world), SETTINGS, now=NOW + timedelta(minutes=1))
    assert [subject for subject, _ in world.alerts] == [f"The sweep of {CLUSTER} holds"]


def test_a_foreign_machine_is_not_looked_at() -> None:
    foreign = instance(ONE, InstanceState.TERMINATED, tags={})
    assert ONE not in looked_at(cluster(groups=(), instances={ONE: foreign, TWO: instance(TWO)}))


def with_control_planes(**changes: Any) -> Cluster:
    """THREE and four others in a group of control planes, beside two workers."""
    ours = [THREE, *(machine(number) for number in range(4, 8))]
    tags = instance().tags | {ROLE_TAG: "control-plane", GROUP_TAG: "drill-control-plane"}
    members, role = tuple(member(one) for one in ours), Role.CONTROL_PLANE
    whole = {
        "groups": (group(member(ONE), member(TWO)), group(*members, name="drill-control-plane", role=role, desired=5)),
        "instances": {ONE: instance(ONE), TWO: instance(TWO)} | {one: instance(one, tags=tags) for one in ours},
        "nodes": {ONE: node(ONE), TWO: node(TWO)} | {one: control_plane_node(one) for one in ours},
        "records": {one: record(one) for one in (ONE, TWO)}
        | {one: record(one, role=role, group="drill-control-plane") for one in ours},
    }
    return cluster(**whole | changes)


def dead_ones(*ours: InstanceId) -> Cluster:
    """The same, with these ended."""
    seen = with_control_planes()
    ended = {one: replace(seen.instances[one], state=InstanceState.TERMINATED, address=None) for one in ours}
    return replace(seen, instances=dict(seen.instances) | ended)


def test_however_many_control_planes_have_ended_one_look_is_ordered_at_all_of_them_before_any_other() -> None:
    seen = dead_ones(THREE, machine(4), machine(5))
    seen = replace(seen, instances=dict(seen.instances) | {ONE: instance(ONE, InstanceState.TERMINATED)})
    looks = find_work(seen, CLUSTER, SETTINGS.policy, now=BETWEEN).looks
    assert [(look.machine, look.reason) for look in looks] == [
        (LINE, f"the sweep: {THREE} is dead: EC2: terminated"),
        (ONE, "the sweep: it is dead: EC2: terminated"),
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"cases": {THREE: case(THREE, role=Role.CONTROL_PLANE)}},
        {"cases": {machine(99): case(machine(99), role=Role.CONTROL_PLANE)}},
        {"joins": {THREE: (join(THREE, role=Role.CONTROL_PLANE),)}},
        {"nodes": {THREE: fenced(THREE, labels={CONTROL_PLANE_LABEL: ""})}},
    ],
    ids=["its case is open", "its case is open, nobody lists it", "its joining is open", "it runs and is marked"],
)
def test_a_control_plane_that_something_is_begun_about_has_the_line_looked_at(changes: dict[str, Any]) -> None:
    looks = find_work(with_control_planes(**changes), CLUSTER, SETTINGS.policy, now=BETWEEN).looks
    assert [look.machine for look in looks] == [LINE]


@pytest.mark.parametrize("minute", range(60))
def test_whole_control_planes_are_looked_at_each_half_hour_and_in_between_never(minute: int) -> None:
    found_then = find_work(with_control_planes(), CLUSTER, SETTINGS.policy, now=NOW + timedelta(minutes=minute))
    assert [look.machine for look in found_then.looks] == ([LINE] if minute % 30 == 0 else [])


def of_etcd(seen: Cluster) -> list[str]:
    """Why the line is looked at in between."""
    looks = find_work(seen, CLUSTER, SETTINGS.policy, now=BETWEEN).looks
    return [look.reason for look in looks if look.machine == LINE]


READY = tuple(etcd_pod(number) for number in range(3, 8))


@pytest.mark.parametrize(
    ("etcd_pods", "says"),
    [
        (READY, None),
        ((*READY[:4], etcd_pod(7, ready=False)), f"etcd is not ready on {machine(7)}"),
        (READY[1:], f"etcd is not ready on {THREE}"),
        ((), None),  # it is none of kubeadm's
        (Unknown("no answer"), None),
    ],
)
def test_a_control_plane_whose_etcd_is_not_ready_has_etcd_looked_at_each_minute(
    etcd_pods: Any, says: str | None
) -> None:
    assert of_etcd(with_control_planes(etcd_pods=etcd_pods)) == ([f"the sweep: {says}"] if says else [])


@pytest.mark.parametrize(("minutes", "looked_at"), [(1, False), (5.5, False), (7, True)])
def test_when_no_node_at_all_is_written_any_more_etcd_is_looked_at(minutes: float, looked_at: bool) -> None:
    latest = BETWEEN - timedelta(minutes=minutes)
    nodes = dict(with_control_planes().nodes)
    nodes[ONE] = replace(nodes[ONE], conditions=said(latest))
    nodes[TWO] = replace(nodes[TWO], conditions=said(latest - timedelta(minutes=9)))
    assert bool(of_etcd(with_control_planes(nodes=nodes, etcd_pods=READY))) == looked_at


def test_a_cluster_whose_control_planes_nobody_manages_has_no_line() -> None:
    assert found(cluster()).looks == ()


def test_when_not_all_could_be_read_the_line_is_looked_at_as_well() -> None:
    held = found(with_control_planes(unread="no answer"))
    assert [look.machine for look in held.looks] == [LINE]


def test_a_healthy_control_plane_is_written_down_as_what_it_is() -> None:
    new = found(with_control_planes(records={}))
    roles = {one.instance: one.role for one in new.records}
    assert len(roles) == 7
    assert {one for one, role in roles.items() if role is Role.WORKER} == {ONE, TWO}


def test_a_healthy_worker_is_written_down_once_it_has_a_node() -> None:
    new = found(cluster(records={TWO: record(TWO)}))
    assert new.records == (record(age=timedelta(0)),)


@pytest.mark.parametrize(
    "changes",
    [
        {"nodes": {TWO: node(TWO)}},
        {"instances": {ONE: instance(ONE, InstanceState.TERMINATED), TWO: instance(TWO)}},
        {"nodes": {ONE: replace(node(ONE), labels={"node-role.kubernetes.io/control-plane": ""}), TWO: node(TWO)}},
    ],
)
def test_other_machines_are_not_written_down(changes: dict[str, Any]) -> None:
    assert found(cluster(**{"records": {TWO: record(TWO)}} | changes)).records == ()


def test_a_sweep_orders_the_looks_and_keeps_the_records() -> None:
    world = a_cluster(workers=3)
    world.now = BETWEEN
    kill(world, ONE)
    run_sweep(outside_of(world), SETTINGS, now=BETWEEN)
    assert [(look.machine, look.reason) for look in world.passes] == [(ONE, "the sweep: it is dead: EC2: terminated")]
    assert set(world.records) == {TWO, THREE, CONTROL_PLANE}
    assert {one for one, record in world.records.items() if record.role is Role.CONTROL_PLANE} == {CONTROL_PLANE}


def test_two_sweeps_in_one_minute_order_one_look_and_the_next_minute_another() -> None:
    world = a_cluster()
    world.now = BETWEEN
    kill(world, ONE)
    for after_s in (0, 20, 60):
        world.now = BETWEEN + timedelta(seconds=after_s)
        run_sweep(outside_of(world), SETTINGS, now=world.now)
    assert [look.machine for look in world.passes] == [ONE, ONE]


def test_a_record_that_cannot_be_kept_does_not_keep_a_look_back() -> None:
    world = a_cluster()
    world.now = BETWEEN
    kill(world, ONE)

    def refuse(call: Call) -> None:
        if call.method == "remember":
            raise RetryableError("throttled")

    world.before = refuse
    with pytest.raises(RetryableError):
        run_sweep(outside_of(world), SETTINGS, now=BETWEEN)
    assert [look.machine for look in world.passes] == [ONE]


def test_a_held_sweep_tells_a_person_once_an_hour() -> None:
    world = a_cluster()
    world.instances.clear()
    for minutes in (0, 1, 59, 60):
        run_sweep(outside_of(world), SETTINGS, now=NOW + timedelta(minutes=minutes))
    assert [subject for subject, _ in world.alerts] == [f"The sweep of {CLUSTER} holds"] * 2
    assert world.passes == []


def test_a_node_without_instance_id_is_left_out() -> None:
    world = a_cluster()
    settle(world)
    stranger: Node = node(machine(50), name="stranger", provider_id="kind://drill/stranger")
    world.nodes["stranger"] = stranger
    assert run_sweep(outside_of(world), SETTINGS, now=BETWEEN).looks == ()
    assert world.groups[WORKERS].desired == 2


def unreachable(one: InstanceId, seconds: float = 60) -> Node:
    return not_ready(one, BETWEEN - timedelta(seconds=seconds))


def of_workers(in_trouble: int, size: int = 5, seconds: float = 100, **changes: Any) -> Cluster:
    """A pool of which some have been silent for so long."""
    ours = [machine(number) for number in range(1, size + 1)]
    ill, heard_at = ours[:in_trouble], BETWEEN - timedelta(seconds=seconds)
    whole = {
        "groups": (group(*(member(one) for one in ours), desired=size),),
        "instances": {one: instance(one) for one in ours},
        "nodes": {one: unreachable(one, seconds - 40) if one in ill else node(one) for one in ours},
        "records": {one: record(one) for one in ours},
        "renewals": {one: heard_at if one in ill else BETWEEN for one in ours},
    }
    return cluster(**whole | changes)


def swept(seen: Cluster) -> Sweep:
    return find_work(seen, CLUSTER, SETTINGS.policy, now=BETWEEN)


def test_one_silent_machine_is_looked_at_and_no_brake_is_called_for() -> None:
    seen = swept(of_workers(1))
    assert [look.machine for look in seen.looks] == [ONE]
    assert seen.brakes == ()
    assert "renewed its lease last at" in seen.looks[0].reason


@pytest.mark.parametrize(
    ("in_trouble", "scopes"), [(2, [f"group {WORKERS}"]), (5, ["cluster", "zone us-east-1a", f"group {WORKERS}"])]
)
def test_too_many_at_once_are_left_alone_and_the_brakes_are_said(in_trouble: int, scopes: list[str]) -> None:
    seen = swept(of_workers(in_trouble))
    assert seen.looks == ()
    assert [brake.scope for brake in seen.brakes] == scopes


def test_a_brake_of_an_earlier_sweep_holds_until_its_end_and_not_longer() -> None:
    for minutes, looked in ((1, []), (0, [ONE])):
        brake = Brake("cluster", "3 of 5 machines were in trouble", BETWEEN + timedelta(minutes=minutes))
        assert [look.machine for look in swept(of_workers(1, brakes=(brake,))).looks] == looked


def test_a_brake_keeps_no_look_from_what_is_dead_or_has_a_case() -> None:
    seen = of_workers(3)
    dead = machine(5)
    ended = dict(seen.instances) | {dead: instance(dead, InstanceState.TERMINATED)}
    now_found = swept(replace(seen, instances=ended, cases={TWO: case(TWO)}))
    assert [look.machine for look in now_found.looks] == [TWO, dead]
    assert now_found.brakes


def test_leases_that_cannot_be_listed_make_nobody_doubtful() -> None:
    blind = swept(of_workers(5, renewals=Unknown("no answer")))
    assert (blind.looks, blind.brakes, blind.held) == ((), (), None)


def test_a_machine_that_is_well_again_is_looked_at_until_its_doubt_is_forgotten() -> None:
    known = Doubt(ONE, WORKERS, NOW)
    for doubt, looked in (
        (known, [ONE]),
        (replace(known, calm_since=BETWEEN - timedelta(minutes=9)), []),
        (replace(known, calm_since=BETWEEN - timedelta(minutes=10)), [ONE]),
    ):
        assert [look.machine for look in swept(of_workers(0, doubts={ONE: doubt})).looks] == looked


def all_silent(world: World, *machines: InstanceId, seconds: float = 100) -> None:
    world.now = BETWEEN
    world.silent |= dict.fromkeys(machines, BETWEEN - timedelta(seconds=seconds))


def test_a_brake_is_written_down_counted_and_told_once_an_hour_with_what_lifts_it() -> None:
    world = a_cluster(5)
    all_silent(world, ONE, TWO)
    for minutes in range(60):
        world.now = BETWEEN + timedelta(minutes=minutes)
        run_sweep(outside_of(world), SETTINGS, now=world.now)
    ((subject, text),) = world.alerts
    assert subject == f"Machines of {CLUSTER} are in trouble and left alone: group {WORKERS}"
    assert "2 of 5 machines of drill-worker are not well, and 1 at once may be repaired" in text
    assert "it lets go by itself when that is over, not before 12:04:00Z" in text
    assert [what for what, _ in world.told].count("count brake") == 60
    ((_, entry),) = [written for written in world.history if "brakes" in written[1]]
    assert entry["brakes"] == {
        f"group {WORKERS}": "2 of 5 machines of drill-worker are not well, and 1 at once may be repaired"
    }
    assert world.brakes[f"group {WORKERS}"].until == world.now + BRAKE_HOLDS
    assert {look.machine for look in world.passes} == {LINE}


def test_of_a_whole_zone_that_goes_silent_at_once_a_person_hears_once_in_one_sweep() -> None:
    world = a_cluster(150, pods_each=0, volumes=False)
    all_silent(world, *(machine(number) for number in range(1, 151)), seconds=45)
    for seconds in (0, 60, 120):
        run_sweep(outside_of(world), SETTINGS, now=BETWEEN + timedelta(seconds=seconds))
    ((_, text),) = world.alerts
    for scope in ("cluster: 150 of 151", "zone us-east-1a: 150 of 151", f"group {WORKERS}: 150 of 150"):
        assert scope in text
    assert set(world.brakes) == {"cluster", "zone us-east-1a", f"group {WORKERS}"}
    assert (world.passes, world.effects) == ([], [])


@pytest.mark.parametrize("method", ["note_brake", "alert", "write_history"])
def test_a_brake_that_cannot_be_written_or_told_keeps_nothing_else_of_the_sweep_back(method: str) -> None:
    world = a_cluster(5)
    all_silent(world, ONE, TWO)
    kill(world, machine(5))

    def refuse(call: Call) -> None:
        if call.method == method:
            raise RetryableError(f"{method} does not answer")

    world.before = refuse
    run_sweep(outside_of(world), SETTINGS, now=world.now)
    assert [look.machine for look in world.passes] == [machine(5)]
    assert "approve" in [call.method for call in world.calls]
    world.before = lambda _: None
    run_sweep(outside_of(world), SETTINGS, now=world.now)
    assert len(world.alerts) == 1
    assert world.brakes


def reporting(one: InstanceId, *kinds: str, minutes: float = 6) -> Node:
    since = BETWEEN - timedelta(minutes=minutes)
    said_of = (Condition(kind, "True", message="why", since=since) for kind in ("Ready", *kinds))
    return node(one, conditions=tuple(said_of))


def test_what_is_reported_of_nodes_is_told_once_a_day_for_each_kind_and_nothing_is_done() -> None:
    world = a_cluster(3)
    world.nodes[ONE] = reporting(ONE, "DiskPressure")
    world.nodes[TWO] = reporting(TWO, "DiskPressure", "KernelDeadlock")
    for hours in (0, 1, 23, 24):
        world.now = BETWEEN + timedelta(hours=hours)
        run_sweep(outside_of(world), SETTINGS, now=world.now)
    told = [subject for subject, _ in world.alerts]
    assert told == ["DiskPressure is reported", "KernelDeadlock is reported"] * 2
    assert world.alerts[0][1].startswith(f"{ONE} since 2026-11-21T11:55:00Z: why\n{TWO} since")
    assert (world.passes, world.effects) == ([], [])


def test_pressure_that_comes_and_goes_is_not_told() -> None:
    world = a_cluster(3)
    world.nodes[ONE] = reporting(ONE, "MemoryPressure", minutes=4.9)
    run_sweep(outside_of(world), SETTINGS, now=BETWEEN)
    assert world.alerts == []


def test_a_machine_that_invents_conditions_cannot_flood_a_person() -> None:
    world = a_cluster(3)
    world.nodes[ONE] = reporting(ONE, *(f"Made-up-{number:04}" for number in range(1000)))
    for minutes in range(5):
        run_sweep(outside_of(world), SETTINGS, now=BETWEEN + timedelta(minutes=minutes))
    assert len(world.alerts) == 20


def test_a_node_that_says_it_is_another_instance_is_never_taken_for_that_one() -> None:
    posing = replace(node(ONE), provider_id=f"aws:///us-east-1a/{TWO}")
    assert readiness([posing], ()) == {}
    world = a_cluster()
    world.now = BETWEEN
    world.nodes = {ONE: posing, TWO: node(TWO)}
    swept = run_sweep(outside_of(world), SETTINGS, now=BETWEEN)
    assert [(one.instance, one.node_name) for one in swept.records] == [(TWO, TWO)]
    assert [look.machine for look in swept.looks] == [ONE], "a person is to hear of it"
