"""The drills that a newcomer runs: the deployed functions make the cluster whole again, let in only whom they must,
and let machines leave in order."""

from __future__ import annotations

import json
from typing import Any

from infra.local.drills.groundwork import spot_members
from infra.local.drills.kinds import KINDS
from infra.local.drills.never_joining import JOIN_DEADLINE_S
from infra.local.drills.run import run
from tests.e2e.scene import Scene, settings_of

COMES = [
    "launched",
    "hook",
    "minted",
    "requested",
    "approved_client",
    "ready",
    "requested_serving",
    "approved_serving",
    "in_service",
]
DIES = ["event", "held", "terminated", "tainted", "node_gone", "pods_ready"]
LEAVES = ["held", "event", "cordoned", "evicted", "drained", "let_go", "terminated", "pods_ready", "node_gone"]


def drill(scene: Scene, name: str) -> dict[str, Any]:
    record = run(scene.cluster, KINDS[name], print)
    assert [finding for finding in record["findings"] if not finding["kept"]] == []
    assert record["healed"]
    assert json.loads(json.dumps(record)) == record
    assert (record["drill"], record["delays"]) == (name, "instant")
    assert all(seconds >= 0 for seconds in record["milestones"].values()), record["milestones"]
    return record


def assert_in_order(record: dict[str, Any], *milestones: str) -> None:
    at = [record["milestones"][milestone] for milestone in milestones]
    assert at == sorted(at), record["milestones"]


def test_a_dead_worker_heals_and_so_does_the_next_one_right_after(scene: Scene) -> None:
    first = drill(scene, "worker")
    second = drill(scene, "worker")
    assert first["machine"] != second["machine"]
    for record in (first, second):
        assert set(record["milestones"]) >= {*DIES, *COMES, "closed"}
        assert_in_order(record, "tainted", "node_gone", "closed")
        assert_in_order(record, "launched", "minted", "requested", "approved_client", "ready", "in_service")
        assert record["terminated_to_pods_ready_s"] > 0
        assert record["killed_to_closed_s"] >= record["killed_to_ready_s"] > 0
        assert record["requested_to_approved_client_s"] >= 0
        assert record["requested_to_approved_serving_s"] >= 0


def test_the_sweep_finds_a_dead_worker_of_which_no_event_told(scene: Scene) -> None:
    record = drill(scene, "missed")
    assert set(record["milestones"]) >= {*DIES, *COMES, "closed"} - {"event"}
    assert "event" not in record["milestones"]
    delivered = next(one for one in record["findings"] if one["promise"] == "no event was delivered")
    assert delivered["seen"] == "0 delivered"
    rules = scene.client("events").list_rules()["Rules"]
    assert {rule["State"] for rule in rules} == {"ENABLED"}


def test_a_machine_that_its_group_gives_up_is_drained_before_it_goes(scene: Scene) -> None:
    record = drill(scene, "scale-in")
    assert set(record["milestones"]) >= {*LEAVES, *COMES}
    assert_in_order(record, "held", "cordoned", "evicted", "drained", "let_go", "terminated", "node_gone")


def test_a_drain_takes_as_long_as_a_budget_wants(scene: Scene) -> None:
    record = drill(scene, "long-drain")
    assert_in_order(record, "held", "cordoned", "evicted", "released", "drained", "let_go", "terminated", "node_gone")


def test_a_pod_that_its_budget_never_lets_go_is_named_and_waited_for(scene: Scene) -> None:
    record = drill(scene, "pdb-blocked")
    assert_in_order(record, "held", "cordoned", "evicted", "released", "drained", "let_go", "terminated", "node_gone")
    assert record["released_to_let_go_s"] > 0


def test_a_spot_machine_is_empty_before_it_is_taken(scene: Scene) -> None:
    record = drill(scene, "spot")
    assert set(record["milestones"]) >= {"advised", "warned", "event", *COMES, "closed"}
    assert_in_order(record, "warned", "cordoned", "evicted", "drained", "taken", "terminated", "node_gone", "closed")
    assert record["warned_to_cordoned_s"] > 0
    assert spot_members(scene.cluster) == []


def test_advice_is_heeded_with_a_cordon_that_ends_by_itself(scene: Scene) -> None:
    record = drill(scene, "rebalance")
    assert_in_order(record, "advised", "cordoned", "ran_out", "uncordoned")
    assert not {"warned", "excluded", "evicted", "held", "taken"} & set(record["milestones"])
    assert record["advised_to_cordoned_s"] > 0
    assert spot_members(scene.cluster) == []


def test_two_machines_of_one_health_event_are_emptied_ahead_and_given_back(scene: Scene) -> None:
    workers = scene.workers()
    record = drill(scene, "health")
    assert_in_order(record, "announced", "cordoned", "evicted", "drained", "called_off", "uncordoned")
    assert len(scene.workers()) == len(workers)


def test_a_stopped_machine_comes_back_as_it_was(scene: Scene) -> None:
    workers = scene.workers()
    record = drill(scene, "stopped")
    assert_in_order(record, "stopped", "tainted", "started", "uncordoned", "clean")
    assert not {"node_gone", "launched", "terminated"} & set(record["milestones"])
    assert scene.workers() == workers
    assert scene.cluster.workers()["SuspendedProcesses"] == []


def test_a_host_that_dies_in_silence_is_replaced(scene: Scene) -> None:
    tags = scene.cluster.workers()["Tags"]
    record = drill(scene, "host-dies")
    assert_in_order(record, "replaced", "terminated", "tainted", "node_gone", "closed")
    assert record["failed_to_replaced_s"] > 0
    assert scene.cluster.workers()["Tags"] == tags


def test_a_machine_without_a_network_is_replaced_when_nothing_helps(scene: Scene) -> None:
    record = drill(scene, "cut-off")
    assert_in_order(record, "restarted", "rebooted", "replaced", "terminated", "tainted", "node_gone", "closed")


def test_a_frozen_kubelet_is_started_again_and_nothing_else(scene: Scene) -> None:
    workers = scene.workers()
    record = drill(scene, "frozen")
    assert_in_order(record, "restarted", "heard")
    assert not {"rebooted", "replaced", "cordoned", "evicted", "launched"} & set(record["milestones"])
    assert scene.workers() == workers


def test_launches_that_never_join_are_given_up_until_the_fault_is_mended(scene: Scene) -> None:
    before = settings_of(scene.cluster)
    record = drill(scene, "never-joins")
    assert_in_order(record, "launched", "suspended", "resumed", "ready", "in_service", "closed")
    assert record["milestones"]["abandoned"] >= record["milestones"]["launched"] + JOIN_DEADLINE_S
    assert settings_of(scene.cluster) == before


def test_a_stranger_is_neither_helped_nor_harmed(scene: Scene) -> None:
    drill(scene, "foreign")
    assert set(scene.nodes()) == {scene.control_plane(), *scene.workers()}


def test_a_machine_that_asks_for_others_certificates_gets_none_and_is_given_up(scene: Scene) -> None:
    workers = set(scene.workers())
    record = drill(scene, "hostile-join")
    assert record["ways"] >= 20
    assert set(scene.workers()) == workers
    assert record["machine"] not in scene.nodes()
