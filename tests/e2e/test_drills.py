"""The drills that a newcomer runs: a machine is lost, and the deployed functions make the cluster whole again."""

from __future__ import annotations

import json
from typing import Any

from infra.local.drills.kinds import KINDS
from infra.local.drills.run import run
from tests.e2e.scene import Scene

ALL = ["event", "launched", "ready", "tainted", "node_gone", "pods_ready", "closed"]


def drill(scene: Scene, name: str) -> dict[str, Any]:
    record = run(scene.cluster, KINDS[name], print)
    assert all(finding["kept"] for finding in record["findings"]), record["findings"]
    assert record["healed"]
    assert json.loads(json.dumps(record)) == record
    assert (record["drill"], record["delays"]) == (name, "instant")
    assert all(seconds >= 0 for seconds in record["milestones"].values()), record["milestones"]
    assert record["milestones"]["tainted"] <= record["milestones"]["node_gone"] <= record["milestones"]["closed"]
    return record


def test_a_dead_worker_heals_and_so_does_the_next_one_right_after(scene: Scene) -> None:
    first = drill(scene, "worker")
    second = drill(scene, "worker")
    assert first["machine"] != second["machine"]
    for record in (first, second):
        assert sorted(record["milestones"]) == sorted(ALL)
        assert record["terminated_to_pods_ready_s"] > 0


def test_the_sweep_finds_a_dead_worker_of_which_no_event_told(scene: Scene) -> None:
    record = drill(scene, "missed")
    assert sorted(record["milestones"]) == sorted(set(ALL) - {"event"})
    delivered = next(one for one in record["findings"] if one["promise"] == "no event was delivered")
    assert delivered["seen"] == "0 delivered"
    rules = scene.client("events").list_rules()["Rules"]
    assert {rule["State"] for rule in rules} == {"ENABLED"}
