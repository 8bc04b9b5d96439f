"""A dead machine's Node stays until its volumes are released: Kubernetes would otherwise wait six minutes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from infra.local.cluster import wait_for
from infra.local.places import WorldError
from tests.e2e.scene import Scene

NAME = "e2e-attachment"


def test_the_node_of_a_dead_worker_stays_until_its_volume_is_released_and_goes_within_the_same_case(
    scene: Scene,
) -> None:
    victim, passes = scene.workers()[0], scene.journal("remediate")
    with attached(scene, victim):
        scene.kill(victim)
        waits = f"1 volumes are still attached to {victim}: {NAME}"
        wait_for("passes that wait", lambda: len(passes.lines(machine=victim, then=waits)) >= 2, within_s=30)
        opened_at = (scene.case(victim) or {})["opened_at"]
        assert victim in scene.nodes()
        assert [pod for pod in scene.pods_on(victim) if pod.metadata.namespace == "default"] == []
        with pytest.raises(WorldError, match=f"a case is open about {victim}"):
            scene.ask({"do": "drill"})
        await_two_workers(scene)  # that the group is complete again changes nothing
        assert (scene.case(victim) or {})["opened_at"] == opened_at
    scene.await_healed(victim)
    steps = scene.steps(victim)
    assert steps.count("OpenCase") == 1
    assert steps.index("AwaitDetach") < steps.index("DeleteNode") < steps.index("CloseCase")


@contextmanager
def attached(scene: Scene, machine: str) -> Iterator[None]:
    """A volume that some storage driver says is attached to the machine."""
    spec = {"attacher": "e2e.regrow.dev", "nodeName": machine, "source": {"persistentVolumeName": "e2e-volume"}}
    scene.storage.create_volume_attachment({"metadata": {"name": NAME}, "spec": spec})
    try:
        yield
    finally:
        scene.storage.delete_volume_attachment(NAME)


def await_two_workers(scene: Scene) -> None:
    """Two in service, each with its Node: the replacement has joined."""
    wait_for("the replacement in service", lambda: len(set(scene.workers()) & set(scene.nodes())) == 2, within_s=60)
