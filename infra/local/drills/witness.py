"""An independent witness: sees the cluster with the admin's kubeconfig and the AWS APIs, and asks Regrow nothing.

It watches Nodes and pods, so that a state which lasts a tenth of a second is seen too, and keeps the time of each
change. What a drill claims is what the witness saw.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kubernetes import client, config, watch
from urllib3.exceptions import HTTPError

OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
_WATCH_S = 3600
_AGAIN_AFTER_S = 0.5


@dataclass(frozen=True)
class SeenNode:
    """A Node as the API server last showed it."""

    name: str
    uid: str
    ready: bool
    out_of_service: bool
    unschedulable: bool


@dataclass(frozen=True)
class SeenPod:
    """A pod of the workload as the API server last showed it."""

    name: str
    uid: str
    node: str | None
    ready: bool


@dataclass(frozen=True)
class Change:
    """Something that became different: `before` or `after` is None when it came or went; `of` is the other one."""

    at: datetime
    of: SeenNode | SeenPod
    before: SeenNode | SeenPod | None
    after: SeenNode | SeenPod | None


@dataclass
class Witness:
    """Watches from `start()` to `stop()`. The calling thread must be in the world's network when it starts."""

    kubeconfig: Path
    namespace: str = "default"
    tell: Callable[[Change], None] = lambda _: None
    _nodes: dict[str, SeenNode] = field(default_factory=dict)
    _pods: dict[str, SeenPod] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stop: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Read everything once, so that what follows are changes, then watch."""
        self._core = client.CoreV1Api(config.new_client_from_config(str(self.kubeconfig)))
        for thing in (self._watch_nodes, self._watch_pods):
            threading.Thread(target=self._keep_watching, args=(thing,), daemon=True).start()

    def stop(self) -> None:
        """Nothing is told any more. The watches themselves end at their next event."""
        self._stop.set()

    @property
    def nodes(self) -> Mapping[str, SeenNode]:
        """The Nodes by name."""
        with self._lock:
            return dict(self._nodes)

    @property
    def pods(self) -> Mapping[str, SeenPod]:
        """The workload's pods by uid."""
        with self._lock:
            return dict(self._pods)

    def _keep_watching(self, thing: Callable[[], None]) -> None:
        while not self._stop.is_set():
            try:
                thing()
            except (HTTPError, client.ApiException, OSError):
                # The API server is away or the watch too old: begin again, with a list that finds what was missed.
                self._stop.wait(_AGAIN_AFTER_S)

    def _watch_nodes(self) -> None:
        listed = self._core.list_node()
        self._replace(self._nodes, {seen.name: seen for seen in map(_node, listed.items)})
        stream = watch.Watch().stream(
            self._core.list_node, resource_version=listed.metadata.resource_version, timeout_seconds=_WATCH_S
        )
        for event in stream:
            if self._stop.is_set():
                return
            seen = _node(event["object"])
            self._put(self._nodes, seen.name, None if event["type"] == "DELETED" else seen)

    def _watch_pods(self) -> None:
        listed = self._core.list_namespaced_pod(self.namespace)
        self._replace(self._pods, {seen.uid: seen for seen in map(_pod, listed.items)})
        stream = watch.Watch().stream(
            self._core.list_namespaced_pod,
            self.namespace,
            resource_version=listed.metadata.resource_version,
            timeout_seconds=_WATCH_S,
        )
        for event in stream:
            if self._stop.is_set():
                return
            seen = _pod(event["object"])
            self._put(self._pods, seen.uid, None if event["type"] == "DELETED" else seen)

    def _replace(self, kept: dict[str, Any], listed: dict[str, Any]) -> None:
        for key in set(kept) | set(listed):
            self._put(kept, key, listed.get(key))

    def _put(self, kept: dict[str, Any], key: str, after: Any) -> None:
        with self._lock:
            before = kept.pop(key, None)
            if after is not None:
                kept[key] = after
        if before != after:
            self.tell(Change(datetime.now(UTC), after or before, before, after))


def _node(raw: Any) -> SeenNode:
    conditions = raw.status.conditions or []
    return SeenNode(
        name=raw.metadata.name,
        uid=raw.metadata.uid,
        ready=any(one.type == "Ready" and one.status == "True" for one in conditions),
        out_of_service=any(taint.key == OUT_OF_SERVICE for taint in raw.spec.taints or []),
        unschedulable=bool(raw.spec.unschedulable),
    )


def _pod(raw: Any) -> SeenPod:
    conditions = raw.status.conditions or []
    ready = any(one.type == "Ready" and one.status == "True" for one in conditions)
    return SeenPod(
        raw.metadata.name, raw.metadata.uid, raw.spec.node_name, ready and not raw.metadata.deletion_timestamp
    )
