"""A machine that EC2 reboots is the same Node again, with its pods, and Regrow has no reason to touch it."""

from __future__ import annotations

from typing import Any

from infra.local.cluster import wait_for
from tests.e2e.scene import Scene


def test_a_rebooted_machine_is_ready_again_with_its_pods(scene: Scene) -> None:
    worker = scene.workers()[0]
    before, pods = scene.nodes()[worker], {pod.metadata.uid for pod in scene.pods_on(worker)}
    steps = scene.steps(worker)
    scene.client("ec2").reboot_instances(InstanceIds=[worker])

    def back() -> bool:
        node = scene.nodes()[worker]
        booted = node.status.node_info.boot_id != before.status.node_info.boot_id
        return booted and _ready(node) and all(map(_ready, scene.pods_on(worker)))

    wait_for("the machine, booted anew and Ready with its pods", back, within_s=90)
    assert scene.nodes()[worker].metadata.uid == before.metadata.uid
    assert {pod.metadata.uid for pod in scene.pods_on(worker)} == pods
    assert scene.steps(worker) == steps
    assert scene.state_of(worker) == "running"


def _ready(seen: Any) -> bool:
    return any(one.type == "Ready" and one.status == "True" for one in seen.status.conditions or [])
