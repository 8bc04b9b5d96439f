"""Control planes are lost for real, and the deployed functions make the cluster whole, or leave it alone."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from infra.local.cluster import Cluster, wait_for
from infra.local.drills.holder import run_in
from infra.local.drills.kinds import KINDS
from infra.local.drills.run import run
from infra.local.drills.targets import api_targets
from tests.e2e.killer import killing
from tests.e2e.scene import scene_of

MANIFEST = "/etc/kubernetes/manifests/etcd.yaml"
TIMED = re.compile(r"\bwithin \d+ s |longer than \d+ s")
"""How soon is told by the bench: here other tests' leftovers and the host's load would decide."""


def broken(record: dict[str, Any]) -> list[str]:
    """The promises that were not kept, with what was seen."""
    findings = [one for one in record["findings"] if not TIMED.search(one["promise"])]
    assert findings
    return [f"{one['promise']}: {one['seen']}" for one in findings if not one["kept"]]


@pytest.mark.parametrize("name", ["control-plane", "leader", "join-dies", "voter-without-node"])
def test_a_control_plane_is_lost_and_the_cluster_is_whole_again(cluster: Cluster, name: str) -> None:
    assert broken(run(cluster, KINDS[name], lambda _: None)) == []


def test_a_machine_that_runs_with_its_etcd_stopped_is_told_and_nothing_is_done_to_it(cluster: Cluster) -> None:
    scene = scene_of(cluster)
    ours = sorted(cluster.members(cluster.control_plane_group)[0])
    silent, asked = ours[0], ours[1]
    run_in(cluster, silent, "mv", MANIFEST, "/root/etcd.yaml")
    try:
        subject = f"etcd of {cluster.name} runs and is not whole"
        wait_for("the alert", lambda: bool(scene.alerts.heard(subject)), within_s=240, every_s=2)
        (alert,) = scene.alerts.heard(subject)
        assert silent in alert.text
        assert "2 of 3 voters answer: none may fail" in alert.text
        assert (sorted(cluster.members(cluster.control_plane_group)[0]), scene.case(silent)) == (ours, None)
        assert silent in scene.nodes()
    finally:
        run_in(cluster, silent, "mv", "/root/etcd.yaml", MANIFEST)
    wait_for("etcd whole again", lambda: answering(cluster, asked) == ours, within_s=120, every_s=1)
    wait_for("all targets", lambda: set(api_targets(cluster).states().values()) == {"healthy"}, within_s=120, every_s=1)


def answering(cluster: Cluster, asked: str) -> list[str]:
    """The names of the members that answer."""
    said = json.loads(run_in(cluster, asked, "python3", "/opt/regrow/node/etcd.py", "members"))
    return sorted(member["name"] for member in said["members"] if "error" not in member["status"])


STEPS = ("OpenCase", "Fence", "RemoveMember", "CompleteHook", "Admit", "Mint")


def test_one_is_lost_while_the_function_is_killed_after_each_of_these_steps_and_the_end_is_the_same(
    cluster: Cluster,
) -> None:
    scene = scene_of(cluster)
    passes = scene.journal("remediate")
    with killing(scene, STEPS) as killer:
        assert broken(run(cluster, KINDS["control-plane"], lambda _: None)) == []
    # A step whose call was made in the moment of a kill is found done by the next pass, and never in its log.
    assert len(killer.crashes) >= 3, killer.crashes
    assert passes.broken() >= 1, "a kill must come while a pass is at work"
    scene.dead_letters()


def test_without_a_quorum_nothing_is_touched_and_one_person_is_told_once(cluster: Cluster) -> None:
    """The last one: only a restore could bring this cluster back."""
    assert broken(run(cluster, KINDS["quorum-lost"], lambda _: None)) == []
