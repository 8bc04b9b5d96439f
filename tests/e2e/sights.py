"""What can be seen of Regrow's hands: on one machine, and on the whole cluster. Equal sights: nothing was touched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.e2e.scene import Scene

OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
CORDONED = "regrow.dev/cordoned-at"


@dataclass(frozen=True)
class SeenMachine:
    """A Node with its pods, as far as Regrow could change it. `pods` are the uids of those that nobody deletes."""

    uid: str
    cordoned: bool
    fenced: bool
    marked: bool
    pods: frozenset[str]


@dataclass(frozen=True)
class SeenCluster:
    machines: dict[str, SeenMachine]
    members: dict[str, str]
    remembered: frozenset[tuple[str, str]]
    """The keys of Regrow's table that say what is going on."""


def see_machine(scene: Scene, machine: str) -> SeenMachine:
    return _machine(scene, scene.nodes()[machine])


def see_cluster(scene: Scene) -> SeenCluster:
    items = [
        item
        for partition in ("case", "flight", "pause", "join", "abandoned")
        for item in scene.cluster.query(partition)
    ]
    return SeenCluster(
        machines={name: _machine(scene, node) for name, node in scene.nodes().items()},
        members=scene.cluster.members()[0],
        remembered=frozenset((item["pk"]["S"], item["sk"]["S"]) for item in items),
    )


def _machine(scene: Scene, node: Any) -> SeenMachine:
    pods = scene.pods_on(node.metadata.name)
    return SeenMachine(
        uid=node.metadata.uid,
        cordoned=bool(node.spec.unschedulable),
        fenced=any(taint.key == OUT_OF_SERVICE for taint in node.spec.taints or []),
        marked=CORDONED in (node.metadata.annotations or {}),
        pods=frozenset(pod.metadata.uid for pod in pods if not pod.metadata.deletion_timestamp),
    )
