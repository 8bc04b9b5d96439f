"""Objects as the API server writes them."""

from __future__ import annotations

from typing import Any

from tests.integration.functions.answering import Answer, answer_json
from tests.unit.functions.builders import ONE


def node_json(name: str = ONE, **spec: Any) -> dict[str, Any]:
    return {
        "kind": "Node",
        "apiVersion": "v1",
        "metadata": {
            "name": name,
            "uid": f"uid-of-{name}",
            "resourceVersion": "42",
            "creationTimestamp": "2026-11-21T12:00:00Z",
            "labels": {"kubernetes.io/os": "linux"},
            "annotations": {},
        },
        "spec": {"podCIDR": "10.201.7.0/24", "providerID": f"aws:///us-east-1a/{name}"} | spec,
        "status": {
            "addresses": [{"type": "InternalIP", "address": "10.77.1.7"}, {"type": "Hostname", "address": name}],
            "conditions": [
                {"type": "MemoryPressure", "status": "False", "lastHeartbeatTime": "2026-11-21T11:00:00Z"},
                {"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-11-21T12:00:00Z"},
            ],
        },
    }


def status(code: int, reason: str) -> Answer:
    content = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": reason}
    return answer_json(content | {"code": code}, code)


def not_found(kind: str, name: str) -> Answer:
    content = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "NotFound"}
    return answer_json(content | {"details": {"name": name, "kind": kind}, "code": 404}, 404)
