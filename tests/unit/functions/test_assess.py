"""What proves what: a table for every rule, and properties that hold for any facts."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given

from functions.cluster.assess import NEW_FOR, RECORD_MIN_AGE, Kind, assess, not_whole
from functions.cluster.facts import Absent, Facts, Fleet, Memory, Unknown
from functions.cluster.machine import CLUSTER_TAG, ROLE_TAG, Instance, InstanceState, Node, Role
from functions.cluster.notice import SPOT_WARNS, Cause, Notice
from functions.cluster.trouble import trouble_of
from tests.unit.functions.builders import (
    NOW,
    ONE,
    THREE,
    TWO,
    case,
    control_plane_node,
    facts,
    fleet,
    group,
    instance,
    launched,
    member,
    memory,
    node,
    record,
    silent,
)
from tests.unit.functions.strategies import FACTS

TERMINATED = instance(ONE, InstanceState.TERMINATED)
STOPPED = instance(ONE, InstanceState.STOPPED)
WITHOUT_IT = fleet(group(member(TWO)))
FORGOTTEN: dict[str, Any] = {"instance": Absent(), "fleet": WITHOUT_IT, "memory": memory(record=record())}
SILENT = Unknown("no answer")
SPOT = Notice(Cause.SPOT, "terminate", NOW, NOW + SPOT_WARNS)
MAINTENANCE = Notice(Cause.MAINTENANCE, "instance-reboot", NOW, NOW + timedelta(minutes=5))

VERDICTS: dict[str, tuple[Facts, Kind, str]] = {
    # EC2: terminated or stopped
    "terminated": (facts(instance=TERMINATED), Kind.DEAD, "EC2: terminated"),
    "terminated, its Node gone": (facts(instance=TERMINATED, node=Absent()), Kind.DEAD, "EC2: terminated"),
    "terminated, no longer listed": (facts(instance=TERMINATED, fleet=WITHOUT_IT), Kind.DEAD, "EC2: terminated"),
    "terminated, its group gone": (facts(instance=TERMINATED, fleet=Fleet((), True)), Kind.DEAD, "EC2: terminated"),
    "terminated, table silent": (facts(instance=TERMINATED, memory=SILENT), Kind.DEAD, "EC2: terminated"),
    "stopped": (facts(instance=STOPPED), Kind.DEAD, "EC2: stopped"),
    "terminated, pods unread": (facts(instance=TERMINATED, pods=SILENT), Kind.HELD, "unknown: no answer"),
    "terminated, volumes unread": (facts(instance=TERMINATED, attachments=SILENT), Kind.HELD, "unknown: no answer"),
    # EC2: the operating system may still run
    "shutting down": (facts(instance=instance(ONE, InstanceState.SHUTTING_DOWN)), Kind.LEAVING, "shutting-down"),
    "stopping": (facts(instance=instance(ONE, InstanceState.STOPPING)), Kind.LEAVING, "stopping"),
    "its group lets it go": (
        facts(fleet=fleet(group(member(ONE, "Terminating:Wait")))),
        Kind.LEAVING,
        "Auto Scaling: Terminating:Wait",
    ),
    # EC2: no such id
    "forgotten, with all three proofs": (facts(**FORGOTTEN), Kind.DEAD, "EC2 no longer knows the instance"),
    "forgotten, but its group lists it": (facts(**FORGOTTEN | {"fleet": fleet()}), Kind.HELD, "lists it as InService"),
    "forgotten, like every other machine": (
        facts(**FORGOTTEN | {"fleet": fleet(group(member(TWO)), others_known=False)}),
        Kind.HELD,
        "wrong region or account",
    ),
    "forgotten, without a record": (
        facts(**FORGOTTEN | {"memory": memory(case=case())}),
        Kind.HELD,
        "no record of it",
    ),
    "forgotten, its record too young": (
        facts(**FORGOTTEN | {"memory": memory(record=record(age=RECORD_MIN_AGE - timedelta(seconds=1)))}),
        Kind.HELD,
        "younger than",
    ),
    "forgotten, table silent": (facts(**FORGOTTEN | {"memory": SILENT}), Kind.HELD, "unknown: no answer"),
    "forgotten, table silent, listed": (facts(instance=Absent(), memory=SILENT), Kind.HELD, "unknown: no answer"),
    "forgotten, its record just old enough": (
        facts(**FORGOTTEN | {"memory": memory(record=record(age=RECORD_MIN_AGE))}),
        Kind.DEAD,
        "EC2 no longer knows the instance",
    ),
    "forgotten, its Node gone, on record": (facts(**FORGOTTEN, node=Absent()), Kind.DEAD, "no longer knows"),
    "forgotten, its Node gone, a case open": (
        facts(**FORGOTTEN | {"memory": memory(case=case())}, node=Absent()),
        Kind.HELD,
        "no record of it",
    ),
    # reads that failed
    "EC2 silent": (facts(instance=SILENT), Kind.HELD, "unknown: no answer"),
    "Auto Scaling silent": (facts(fleet=SILENT), Kind.HELD, "unknown: no answer"),
    "Kubernetes silent": (facts(instance=TERMINATED, node=SILENT), Kind.HELD, "unknown: no answer"),
    "its Node another's, table silent": (
        facts(node=node(provider_id=f"aws:///us-east-1a/{TWO}"), memory=SILENT),
        Kind.HELD,
        "unknown: no answer",
    ),
    # out of service by will
    "on standby": (facts(fleet=fleet(group(member(ONE, "Standby")))), Kind.PARKED, "Auto Scaling: Standby"),
    "stopped, in its warm pool": (
        facts(instance=STOPPED, fleet=fleet(group(member(ONE, "Warmed:Stopped")))),
        Kind.PARKED,
        "Auto Scaling: Warmed:Stopped",
    ),
    "stopped, in its warm pool, pods unread": (
        facts(instance=STOPPED, fleet=fleet(group(member(ONE, "Warmed:Stopped"))), pods=SILENT),
        Kind.HELD,
        "unknown: no answer",
    ),
    # announced
    "Spot interruption": (facts(notice=SPOT), Kind.LEAVING, "Spot: AWS will terminate it"),
    "maintenance, its Node lost": (
        facts(notice=MAINTENANCE, node=Absent(), memory=memory(record=record())),
        Kind.LEAVING,
        "EC2 has scheduled instance-reboot",
    ),
    "maintenance, while it joins": (
        facts(notice=MAINTENANCE, fleet=fleet(group(member(ONE, "Pending:Wait")))),
        Kind.ARRIVING,
        "Auto Scaling: Pending:Wait",
    ),
    # arriving
    "in service, new, no Node": (facts(instance=launched(), node=Absent()), Kind.ARRIVING, "new, and without a Node"),
    "in service, no longer new, no Node": (
        facts(instance=launched(age=NEW_FOR), node=Absent()),
        Kind.HEALTHY,
        "EC2: running",
    ),
    "in service, new, no Node, table silent": (
        facts(instance=launched(), node=Absent(), memory=SILENT),
        Kind.HEALTHY,
        "EC2: running",
    ),
    # doubtful
    "its kubelet silent": (silent(60), Kind.DOUBTFUL, "renewed its lease last at 11:59:00Z"),
    "its kubelet silent, starting": (
        silent(60, instance=instance(ONE, InstanceState.PENDING)),
        Kind.HEALTHY,
        "EC2: pending",
    ),
    # healthy
    "listed, but not tagged": (facts(instance=instance(tags={})), Kind.HEALTHY, "EC2: running"),
    "running": (facts(), Kind.HEALTHY, "EC2: running"),
    "running, not ready": (facts(node=node(ready=False)), Kind.HEALTHY, "EC2: running"),
    "pending, no Node yet": (
        facts(instance=instance(ONE, InstanceState.PENDING), node=Absent()),
        Kind.HEALTHY,
        "EC2: pending",
    ),
    # foreign
    "an instance of no group": (
        facts(instance=instance(tags={}), fleet=WITHOUT_IT, node=Absent()),
        Kind.FOREIGN,
        "no managed group",
    ),
    "our tag, but no group": (
        facts(instance=instance(tags={CLUSTER_TAG: "drill"}), fleet=WITHOUT_IT, node=Absent()),
        Kind.FOREIGN,
        "no managed group",
    ),
    "another cluster's": (
        facts(instance=instance(tags=TERMINATED.tags | {CLUSTER_TAG: "other"}), fleet=WITHOUT_IT, node=Absent()),
        Kind.FOREIGN,
        "no managed group",
    ),
    "nobody knows it": (
        facts(instance=Absent(), fleet=WITHOUT_IT, node=Absent()),
        Kind.FOREIGN,
        "no managed group",
    ),
    # one voice for control plane is enough
    "control plane by its group": (
        facts(instance=TERMINATED, fleet=fleet(group(member(ONE), role=Role.CONTROL_PLANE))),
        Kind.HELD,
        "it is a control plane",
    ),
    "control plane by its tag": (
        facts(instance=instance(ONE, InstanceState.TERMINATED, tags=TERMINATED.tags | {ROLE_TAG: "control-plane"})),
        Kind.HELD,
        "it is a control plane",
    ),
    "control plane by its Node": (
        facts(instance=TERMINATED, node=control_plane_node()),
        Kind.HELD,
        "it is a control plane",
    ),
    "control plane by our record": (
        facts(instance=TERMINATED, memory=memory(record=record(role=Role.CONTROL_PLANE))),
        Kind.HELD,
        "it is a control plane",
    ),
    "a role that nobody knows": (
        facts(
            instance=instance(ONE, InstanceState.TERMINATED, tags=TERMINATED.tags | {ROLE_TAG: "gardener"}),
            fleet=fleet(group(member(ONE), role=None)),
        ),
        Kind.HELD,
        "known regrow:role",
    ),
    # the Node of another machine
    "its Node is another instance's": (
        facts(instance=TERMINATED, node=node(provider_id=f"aws:///us-east-1a/{TWO}")),
        Kind.HELD,
        "not this instance",
    ),
    "its Node is another provider's": (
        facts(instance=TERMINATED, node=node(provider_id="kind://drill/one")),
        Kind.HELD,
        "not this instance",
    ),
    "no providerID, other addresses": (
        facts(instance=STOPPED, node=node(provider_id="", addresses=("10.77.1.9",))),
        Kind.HELD,
        "its addresses are not the instance's",
    ),
    "no providerID, no address, other name": (
        facts(instance=TERMINATED, node=node(provider_id="", name="ip-10-77-1-1")),
        Kind.HELD,
        "not named after the instance",
    ),
    "no providerID, own name": (facts(instance=TERMINATED, node=node(provider_id="")), Kind.DEAD, "EC2: terminated"),
}


@pytest.mark.parametrize("name", VERDICTS)
def test_the_verdict_follows_from_the_proof(name: str) -> None:
    seen, kind, reason = VERDICTS[name]
    verdict = assess(seen)
    assert (verdict.kind, reason in verdict.reason) == (kind, True), verdict


@pytest.mark.parametrize("name", VERDICTS)
def test_a_verdict_names_the_place_in_its_group_by_which_hooks_are_kept_waiting(name: str) -> None:
    seen = VERDICTS[name][0]
    verdict = assess(seen)
    place = seen.fleet.place_of(ONE) if isinstance(seen.fleet, Fleet) else None
    assert place is None or (verdict.group, verdict.member) == place


def test_the_group_of_a_machine_that_it_lists_no_longer_is_known_by_tag_or_by_record() -> None:
    (ours,) = WITHOUT_IT.groups
    assert assess(facts(instance=TERMINATED, fleet=WITHOUT_IT)).group == ours
    assert assess(facts(**FORGOTTEN)).group == ours


@pytest.mark.parametrize(
    ("seen", "quarantined"),
    [
        (VERDICTS["forgotten, without a record"][0], True),
        (VERDICTS["forgotten, its Node gone, a case open"][0], False),
        (VERDICTS["forgotten, its record too young"][0], False),
        (VERDICTS["forgotten, but its group lists it"][0], False),
        (facts(instance=Absent()), False),
    ],
)
def test_a_forgotten_machine_may_be_found_again_and_only_a_node_that_nobody_knows_is_quarantined(
    seen: Facts, quarantined: bool
) -> None:
    verdict = assess(seen)
    assert (verdict.kind, verdict.may_change, verdict.quarantined) == (Kind.HELD, True, quarantined)


def test_what_the_table_could_tell_and_a_role_that_nobody_knows_are_no_quarantine() -> None:
    untold = assess(VERDICTS["its Node another's, table silent"][0])
    assert (untold.may_change, untold.quarantined) == (True, False)
    assert not assess(VERDICTS["a role that nobody knows"][0]).quarantined


def test_what_is_wrong_with_a_doubtful_machine_and_what_was_announced_are_in_the_verdict() -> None:
    assert assess(silent(60)).trouble == trouble_of(silent(60)) is not None
    assert assess(facts(notice=SPOT)).notice == SPOT


OF_THE_LINE = {
    "by its group": facts(instance=TERMINATED, fleet=fleet(group(member(ONE), role=Role.CONTROL_PLANE))),
    "by its tag": VERDICTS["control plane by its tag"][0],
    "by its Node": VERDICTS["control plane by its Node"][0],
    "by our record": VERDICTS["control plane by our record"][0],
}


@pytest.mark.parametrize("name", OF_THE_LINE)
def test_what_one_voice_calls_a_control_plane_is_sent_to_the_line_of_those(name: str) -> None:
    verdict = assess(OF_THE_LINE[name])
    assert (verdict.kind, verdict.control_plane, verdict.may_change) == (Kind.HELD, True, False)


@pytest.mark.parametrize("name", OF_THE_LINE)
def test_in_its_line_what_some_call_a_worker_and_some_a_control_plane_is_left_alone(name: str) -> None:
    verdict = assess(OF_THE_LINE[name], Role.CONTROL_PLANE)
    assert (verdict.kind, verdict.quarantined, verdict.control_plane) == (Kind.HELD, True, False)
    assert "some that it is a worker" in verdict.reason
    assert isinstance(fleet_seen := OF_THE_LINE[name].fleet, Fleet)
    assert (verdict.group, verdict.member) == fleet_seen.place_of(ONE)


@pytest.mark.parametrize("state", InstanceState)
def test_a_control_plane_is_judged_in_its_line_as_any_machine_is(state: InstanceState) -> None:
    tags = instance().tags | {ROLE_TAG: "control-plane"}
    there = group(member(ONE), member(TWO), role=Role.CONTROL_PLANE)
    ours = facts(instance=instance(ONE, state, tags=tags), fleet=fleet(there), node=control_plane_node())
    of_a_worker = assess(facts(instance=instance(ONE, state)))
    verdict = assess(ours, Role.CONTROL_PLANE)
    assert (verdict.kind, verdict.reason) == (of_a_worker.kind, of_a_worker.reason)
    assert (verdict.gone_for_good, verdict.may_change) == (of_a_worker.gone_for_good, of_a_worker.may_change)


def test_a_worker_is_never_judged_in_the_line_of_the_control_planes() -> None:
    verdict = assess(facts(instance=TERMINATED), Role.CONTROL_PLANE)
    assert (verdict.kind, verdict.quarantined) == (Kind.HELD, True)


@pytest.mark.parametrize("gone", [facts(instance=TERMINATED), facts(**FORGOTTEN)])
def test_a_machine_that_cannot_start_again_is_gone_for_good(gone: Facts) -> None:
    assert assess(gone).gone_for_good


def test_a_stopped_machine_is_not_gone_for_good() -> None:
    assert not assess(facts(instance=STOPPED)).gone_for_good


@given(FACTS)
def test_an_unknown_instance_or_fleet_or_node_never_leads_to_an_act(seen: Facts) -> None:
    verdict = assess(seen)
    if isinstance(seen.instance, Unknown) or isinstance(seen.fleet, Unknown):
        assert verdict.kind is Kind.HELD
    if isinstance(seen.node, Unknown):
        assert verdict.kind in (Kind.HELD, Kind.FOREIGN)


@given(FACTS)
def test_one_voice_for_control_plane_keeps_every_hand_off(seen: Facts) -> None:
    place = seen.fleet.place_of(seen.id) if isinstance(seen.fleet, Fleet) else None
    voices = [
        place is not None and place[0].role is Role.CONTROL_PLANE,
        isinstance(seen.instance, Instance) and seen.instance.role is Role.CONTROL_PLANE,
        isinstance(seen.node, Node) and seen.node.control_plane,
        isinstance(seen.memory, Memory) and seen.memory.record and seen.memory.record.role is Role.CONTROL_PLANE,
    ]
    if any(voices):
        assert assess(seen).kind in (Kind.HELD, Kind.FOREIGN)


@given(FACTS)
def test_nothing_is_dead_unless_ec2_said_so_or_all_three_proofs_are_there(seen: Facts) -> None:
    verdict = assess(seen)
    if verdict.kind is not Kind.DEAD:
        return
    if isinstance(seen.instance, Instance):
        assert seen.instance.state in (InstanceState.TERMINATED, InstanceState.STOPPED)
        assert verdict.gone_for_good == (seen.instance.state is InstanceState.TERMINATED)
        return
    assert isinstance(seen.instance, Absent)
    assert isinstance(seen.memory, Memory)
    assert seen.memory.record
    assert NOW - seen.memory.record.first_seen >= RECORD_MIN_AGE
    assert isinstance(seen.fleet, Fleet)
    assert seen.fleet.others_known
    assert seen.fleet.place_of(seen.id) is None


@given(FACTS)
def test_a_node_that_says_it_is_another_machine_is_never_acted_on(seen: Facts) -> None:
    if isinstance(seen.node, Node) and seen.node.provider_id not in ("", f"aws:///us-east-1a/{ONE}"):
        assert assess(seen).kind in (Kind.HELD, Kind.FOREIGN)


@pytest.mark.parametrize(
    ("members", "ready", "lacks"),
    [
        ((member(ONE), member(TWO)), {ONE: True, TWO: True}, None),
        ((member(ONE), member(TWO), member(THREE, "Pending")), {ONE: True, TWO: True}, None),
        ((member(ONE),), {ONE: True}, "1 of 2 machines of drill-worker are in service"),
        ((member(ONE), member(TWO, "Terminating:Wait")), {ONE: True, TWO: True}, "1 of 2 machines"),
        ((member(ONE), member(TWO)), {ONE: True}, f"{TWO} of drill-worker is in service, but its Node is not Ready"),
        ((member(ONE), member(TWO)), {ONE: True, TWO: False}, f"{TWO} of drill-worker is in service, but"),
    ],
)
def test_a_group_is_whole_when_all_it_wants_is_in_service_and_ready(
    members: tuple[Any, ...], ready: dict[Any, bool], lacks: str | None
) -> None:
    missing = not_whole(group(*members), ready)
    assert missing == lacks if lacks is None else missing is not None and missing.startswith(lacks)
