"""A dead machine's volume is attached elsewhere in seconds, by a storage driver and the external-attacher, and its Node
stays until then: Kubernetes would otherwise wait six minutes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from infra.local.cluster import Cluster, wait_for
from infra.local.drills.volume import judge_lines
from infra.local.drills.volume_setup import CONTROLLER, ledger, storage_driver, writer_of
from infra.local.places import WorldError
from tests.e2e.scene import Scene
from tests.e2e.test_drills import COMES, DIES, assert_in_order, drill

ATTACHED_WITHIN_S = 30.0


def test_the_volume_of_a_dead_worker_is_attached_elsewhere_in_seconds_and_one_pod_at_a_time_writes(
    scene: Scene,
) -> None:
    record = drill(scene, "volume")
    assert set(record["milestones"]) >= {*DIES, *COMES, "detached", "attached_elsewhere", "closed"}
    assert_in_order(record, "tainted", "detached", "attached_elsewhere")
    assert record["dead_to_attached_elsewhere_s"] <= ATTACHED_WITHIN_S
    assert record["not_written_s"] > 0
    assert scene.storage.list_volume_attachment().items == []
    assert [driver.metadata.name for driver in scene.storage.list_csi_driver().items] == []
    assert scene.core.list_persistent_volume().items == []


def test_the_node_of_a_dead_worker_stays_until_its_volume_is_released_and_goes_within_the_same_case(
    scene: Scene,
) -> None:
    passes = scene.journal("remediate")
    with storage_driver(scene.cluster), ledger(scene.cluster) as kept:
        writer, victim = writer_of(scene.cluster)
        (attachment,) = (seen.metadata.name for seen in scene.storage.list_volume_attachment().items)
        with attacher_away(scene.cluster):
            scene.kill(victim)
            waits = f"1 volumes are still attached to {victim}: {attachment}"
            wait_for("passes that wait", lambda: len(passes.lines(machine=victim, then=waits)) >= 2, within_s=30)
            opened_at = (scene.case(victim) or {})["opened_at"]
            assert victim in scene.nodes()
            assert [pod for pod in scene.pods_on(victim) if pod.metadata.namespace == "default"] == []
            with pytest.raises(WorldError, match=f"a case is open about {victim}"):
                scene.ask({"do": "drill"})
            await_two_workers(scene)  # that the group is complete again changes nothing
            assert (scene.case(victim) or {})["opened_at"] == opened_at
            assert kept.attached_to() == victim
            assert {line.writer for line in kept.lines()} == {writer}
        scene.await_healed(victim)
        wait_for("the next pod's lines", lambda: kept.lines()[-1].writer != writer, within_s=60)
        findings = judge_lines(kept.lines(), first=writer, second=writer_of(scene.cluster)[0])
        assert [finding for finding in findings if not finding.kept] == []
    steps = scene.steps(victim)
    assert steps.count("OpenCase") == 1
    assert steps.index("AwaitDetach") < steps.index("DeleteNode") < steps.index("CloseCase")


@contextmanager
def attacher_away(cluster: Cluster) -> Iterator[None]:
    """Nobody attaches or detaches, as when the driver's controller cannot be scheduled."""
    scale = ("scale", "-n", "kube-system", CONTROLLER)
    cluster.kubectl(*scale, "--replicas=0")
    cluster.kubectl("wait", "-n", "kube-system", "--for=delete", "pod", "-l", "app=regrow-volumes-controller")
    try:
        yield
    finally:
        cluster.kubectl(*scale, "--replicas=1")


def await_two_workers(scene: Scene) -> None:
    """Two in service, each with its Node: the replacement has joined."""
    wait_for("the replacement in service", lambda: len(set(scene.workers()) & set(scene.nodes())) == 2, within_s=60)
