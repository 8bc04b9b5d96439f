"""Pods of different machines reach each other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from infra.local.cluster import wait_for
from tests.e2e.scene import Scene

IMAGE = "registry.k8s.io/pause:3.10.2"
URL = "http://0.0.0.0:2379"
SERVER = ["etcd", "--data-dir=/tmp/etcd", f"--listen-client-urls={URL}", f"--advertise-client-urls={URL}"]


@pytest.fixture
def servers(scene: Scene) -> Iterator[dict[str, str]]:
    """A store in a pod on each worker: the pod's name, and its address."""
    names = {f"store-{number}": machine for number, machine in enumerate(scene.workers())}
    for name, machine in names.items():
        container = {"name": "etcd", "image": IMAGE, "imagePullPolicy": "Never", "command": SERVER}
        spec = {"nodeName": machine, "containers": [container], "terminationGracePeriodSeconds": 0}
        scene.core.create_namespaced_pod("default", {"metadata": {"name": name}, "spec": spec})
    yield {name: _address(scene, name) for name in names}
    for name in names:
        scene.core.delete_namespaced_pod(name, "default")


def test_pods_on_different_machines_reach_each_other_both_ways(scene: Scene, servers: dict[str, str]) -> None:
    (one, _), (other, _) = servers.items()
    for here, there in ((one, other), (other, one)):
        store = ["exec", here, "--", "etcdctl", f"--endpoints=http://{servers[there]}:2379", "--dial-timeout=10s"]
        assert scene.cluster.kubectl(*store, "put", "from", here).strip() == "OK"
        assert scene.cluster.kubectl(*store, "get", "from", "--print-value-only").strip() == here


def _address(scene: Scene, name: str) -> str:
    address = ""

    def runs() -> bool:
        nonlocal address
        pod = scene.core.read_namespaced_pod(name, "default")
        address = pod.status.pod_ip or ""
        return bool(address) and pod.status.phase == "Running"

    wait_for(f"pod {name} with an address", runs, within_s=60)
    return address
