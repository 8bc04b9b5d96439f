"""What goes to the API server: writes with preconditions, lists page by page; and how its objects are read."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from functions.cluster.machine import (
    CORDONED_ANNOTATION,
    DRAINING_ANNOTATION,
    EXCLUDED_ANNOTATION,
    EXCLUDED_LABEL,
    FENCED_ANNOTATION,
    MARKS,
    NOTICE_ANNOTATION,
    Condition,
    Node,
    Pod,
    Taint,
)
from functions.cluster.notice import Cause, Notice
from functions.edges.kubernetes import KubernetesEdge
from functions.edges.kubernetes_api import Credentials
from tests.integration.functions.answering import Request, Server, answer_json, answering
from tests.integration.functions.kubernetes_objects import node_json
from tests.unit.functions.builders import NOW, ONE, OUT_OF_SERVICE, TWO, fenced, node, pod

NODE_PATH = f"/api/v1/nodes/{ONE}"
OURS = {"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute", "value": "nodeshutdown"}
UNREACHABLE = Taint("node.kubernetes.io/unreachable", "NoExecute", None, "2026-11-21T11:59:00Z")
DEDICATED = Taint("dedicated", "NoSchedule", "gpu")


def edge(server: Server) -> KubernetesEdge:
    return KubernetesEdge(lambda: Credentials(server.url, b"", b"", b""))


def only_patch(server: Server) -> dict[str, Any]:
    (request,) = server.requests
    assert (request.method, request.path) == ("PATCH", NODE_PATH)
    assert request.content_type == "application/strategic-merge-patch+json"
    assert isinstance(request.body, dict)
    return request.body


def test_a_node_is_read_whole() -> None:
    taints = [OURS, {"key": UNREACHABLE.key, "effect": "NoExecute", "timeAdded": UNREACHABLE.time_added}]
    with answering(answer_json(node_json(unschedulable=True, taints=taints))) as server:
        seen = edge(server).node(ONE)
    assert seen == Node(
        name=ONE,
        uid=f"uid-of-{ONE}",
        resource_version="42",
        provider_id=f"aws:///us-east-1a/{ONE}",
        addresses=("10.77.1.7", ONE),
        ready=True,
        unschedulable=True,
        taints=(OUT_OF_SERVICE, UNREACHABLE),
        labels={"kubernetes.io/os": "linux"},
        annotations={},
        created_at=NOW,
        conditions=(
            Condition("MemoryPressure", "False", said_at=NOW - timedelta(hours=1)),
            Condition("Ready", "True", said_at=NOW),
        ),
    )


def test_a_node_that_has_just_come_is_read_with_what_it_has() -> None:
    metadata = {"name": ONE, "uid": "u", "resourceVersion": "1", "creationTimestamp": "2026-11-21T12:00:00Z"}
    with answering(answer_json({"metadata": metadata})) as server:
        seen = edge(server).node(ONE)
    assert isinstance(seen, Node)
    assert (seen.ready, seen.provider_id, seen.addresses, seen.taints) == (False, "", (), ())


def test_a_fence_cordons_and_taints_that_node_as_it_was_seen_and_keeps_its_other_taints() -> None:
    with answering(answer_json(node_json())) as server:
        edge(server).fence(node(taints=(DEDICATED, UNREACHABLE)), at=NOW)
        assert only_patch(server) == {
            "metadata": {
                "uid": f"uid-of-{ONE}",
                "resourceVersion": "1",
                "annotations": dict.fromkeys((CORDONED_ANNOTATION, FENCED_ANNOTATION), "2026-11-21T12:00:00+00:00"),
            },
            "spec": {
                "unschedulable": True,
                "taints": [
                    {"key": "dedicated", "effect": "NoSchedule", "value": "gpu"},
                    {"key": UNREACHABLE.key, "effect": "NoExecute", "timeAdded": UNREACHABLE.time_added},
                    OURS,
                ],
            },
        }


def test_a_fence_never_taints_twice() -> None:
    with answering(answer_json(node_json())) as server:
        edge(server).fence(fenced(unschedulable=False), at=NOW)
        assert only_patch(server)["spec"]["taints"] == [OURS]


def test_a_cordon_says_that_it_is_ours_and_since_when_the_node_is_drained_and_leaves_taints_alone() -> None:
    with answering(answer_json(node_json())) as server:
        edge(server).cordon(node(), None, drains=True, at=NOW)
        patch = only_patch(server)
    at = "2026-11-21T12:00:00+00:00"
    assert patch["spec"] == {"unschedulable": True}
    marks = (CORDONED_ANNOTATION, DRAINING_ANNOTATION, EXCLUDED_ANNOTATION)
    assert patch["metadata"]["annotations"] == dict.fromkeys(marks, at)
    assert patch["metadata"]["labels"] == {EXCLUDED_LABEL: "true"}


def test_a_cordon_writes_down_what_was_announced_and_without_a_drain_nothing_more() -> None:
    notice = Notice(Cause.REBALANCE, "rebalance", NOW, NOW + timedelta(hours=1))
    with answering(answer_json(node_json())) as server:
        edge(server).cordon(node(), notice, drains=False, at=NOW)
        metadata = only_patch(server)["metadata"]
    assert set(metadata["annotations"]) == {CORDONED_ANNOTATION, NOTICE_ANNOTATION}
    assert Notice.from_json(metadata["annotations"][NOTICE_ANNOTATION]) == notice
    assert "labels" not in metadata


def test_a_node_that_somebody_else_keeps_from_load_balancers_is_not_marked_as_ours() -> None:
    with answering(answer_json(node_json())) as server:
        edge(server).cordon(node(labels={EXCLUDED_LABEL: ""}), None, drains=True, at=NOW)
        metadata = only_patch(server)["metadata"]
    assert EXCLUDED_ANNOTATION not in metadata["annotations"]
    assert "labels" not in metadata


def test_a_drain_of_a_node_that_a_person_has_cordoned_leaves_the_cordon_theirs() -> None:
    with answering(answer_json(node_json())) as server:
        edge(server).cordon(node(unschedulable=True), None, drains=True, at=NOW)
        assert set(only_patch(server)["metadata"]["annotations"]) == {DRAINING_ANNOTATION, EXCLUDED_ANNOTATION}


def test_the_beginning_of_a_drain_is_written_once() -> None:
    with answering(answer_json(node_json())) as server:
        edge(server).cordon(node(annotations={DRAINING_ANNOTATION: NOW.isoformat()}), None, drains=True, at=NOW)
        assert DRAINING_ANNOTATION not in only_patch(server)["metadata"]["annotations"]


@pytest.mark.parametrize("mark", ["then", "2026-11-21T12:00:00", (NOW + timedelta(hours=1)).isoformat()])
def test_a_beginning_that_cannot_be_is_written_anew(mark: str) -> None:
    with answering(answer_json(node_json())) as server:
        edge(server).cordon(node(annotations={DRAINING_ANNOTATION: mark}), None, drains=True, at=NOW)
        assert only_patch(server)["metadata"]["annotations"][DRAINING_ANNOTATION] == NOW.isoformat()


def test_a_cordon_by_somebody_else_is_not_marked_as_ours() -> None:
    with answering(answer_json(node_json())) as server:
        edge(server).fence(node(unschedulable=True), at=NOW)
        assert set(only_patch(server)["metadata"]["annotations"]) == {FENCED_ANNOTATION}


def test_a_taint_by_somebody_else_is_not_marked_as_ours() -> None:
    with answering(answer_json(node_json())) as server:
        edge(server).fence(node(taints=(OUT_OF_SERVICE,)), at=NOW)
        assert set(only_patch(server)["metadata"]["annotations"]) == {CORDONED_ANNOTATION}


def test_a_restored_node_loses_our_taint_and_our_cordon_alone() -> None:
    ours = fenced(
        taints=(DEDICATED, OUT_OF_SERVICE),
        annotations={CORDONED_ANNOTATION: "then", EXCLUDED_ANNOTATION: "then", FENCED_ANNOTATION: "then"},
        labels={EXCLUDED_LABEL: "true"},
    )
    with answering(answer_json(node_json())) as server:
        edge(server).restore(ours)
        patch = only_patch(server)
    assert patch["spec"] == {
        "taints": [{"key": "dedicated", "effect": "NoSchedule", "value": "gpu"}],
        "unschedulable": None,
    }
    assert patch["metadata"]["annotations"] == dict.fromkeys(MARKS)
    assert patch["metadata"]["labels"] == {EXCLUDED_LABEL: None}


def test_a_restored_node_that_a_person_had_cordoned_excluded_and_tainted_stays_so() -> None:
    theirs = fenced(labels={EXCLUDED_LABEL: "true"}, annotations={DRAINING_ANNOTATION: "then"})
    with answering(answer_json(node_json())) as server:
        edge(server).restore(theirs)
        patch = only_patch(server)
    assert patch["spec"]["taints"] == [OURS]
    assert "unschedulable" not in patch["spec"]
    assert "labels" not in patch["metadata"]


def test_a_node_is_deleted_only_under_its_uid() -> None:
    with answering(answer_json({"kind": "Status", "metadata": {}, "status": "Success"})) as server:
        edge(server).delete_node(ONE, "the-uid")
    assert server.requests == [Request("DELETE", NODE_PATH, "application/json", {"preconditions": {"uid": "the-uid"}})]


@pytest.mark.parametrize(
    ("grace_s", "asked"), [(0, {"gracePeriodSeconds": 0}), (30, {"gracePeriodSeconds": 30}), (None, {})]
)
def test_pods_are_deleted_with_that_grace_or_their_own_each_only_under_its_uid(
    grace_s: int | None, asked: dict[str, int]
) -> None:
    with answering(answer_json({"kind": "Pod", "metadata": {}})) as server:
        edge(server).delete_pods([pod("web-0"), pod("web-1")], grace_s=grace_s)
    assert sorted(server.requests, key=lambda request: request.path) == [
        Request(
            "DELETE",
            f"/api/v1/namespaces/default/pods/{name}",
            "application/json",
            {**asked, "preconditions": {"uid": f"uid-of-{name}"}},
        )
        for name in ("web-0", "web-1")
    ]


def test_lists_are_read_to_the_last_page() -> None:
    first = answer_json({"metadata": {"continue": "token/1"}, "items": [node_json(ONE)]})
    with answering(first, answer_json({"metadata": {}, "items": [node_json(TWO)]})) as server:
        assert [one.name for one in edge(server).nodes()] == [ONE, TWO]
    assert [request.path for request in server.requests] == [
        "/api/v1/nodes?limit=100",
        "/api/v1/nodes?continue=token%2F1&limit=100",
    ]


def test_the_api_server_is_asked_for_the_pods_of_one_node() -> None:
    pods = [
        {"metadata": {"namespace": "a", "name": "runs", "uid": "1"}, "status": {"phase": "Running"}},
        {"metadata": {"namespace": "b", "name": "ended", "uid": "2"}, "status": {"phase": "Succeeded"}},
        {"metadata": {"namespace": "c", "name": "new", "uid": "3"}},
    ]
    with answering(answer_json({"metadata": {}, "items": pods})) as server:
        assert edge(server).pods_on(ONE) == (
            Pod("a", "runs", "1", finished=False),
            Pod("b", "ended", "2", finished=True),
            Pod("c", "new", "3", finished=False),
        )
    assert server.requests[0].path == f"/api/v1/pods?fieldSelector=spec.nodeName%3D{ONE}&limit=500"


SAFE_TO_EVICT = "cluster-autoscaler.kubernetes.io/safe-to-evict"
CONTROLLER = {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "one", "uid": "9", "controller": True}
ONE_POD = Pod("a", "one", "1", finished=False)
METADATA: dict[str, tuple[dict[str, Any], Pod]] = {
    "one that nothing is said about": ({}, ONE_POD),
    "one whose deletion has begun": (
        {"deletionTimestamp": "2026-11-21T12:00:00Z", "deletionGracePeriodSeconds": 30},
        replace(ONE_POD, ending=True, gone_by=NOW),
    ),
    "one that was made then": ({"creationTimestamp": "2026-11-21T12:00:00Z"}, replace(ONE_POD, created_at=NOW)),
    "one with labels": ({"labels": {"app": "web"}}, replace(ONE_POD, labels={"app": "web"})),
    "one that is not safe to evict": (
        {"annotations": {SAFE_TO_EVICT: "false"}},
        replace(ONE_POD, opts_out=f"{SAFE_TO_EVICT}=false"),
    ),
    "one that is safe to evict": ({"annotations": {SAFE_TO_EVICT: "true"}}, ONE_POD),
    "one that says nothing sensible about it": (
        {"annotations": {SAFE_TO_EVICT: "False", "regrow.dev/do-not-evict": "false"}},
        ONE_POD,
    ),
    "one that is not to be evicted by us": (
        {"annotations": {SAFE_TO_EVICT: "true", "regrow.dev/do-not-evict": "true"}},
        replace(ONE_POD, opts_out="regrow.dev/do-not-evict=true"),
    ),
    "a static pod's": (
        {
            "annotations": {"kubernetes.io/config.source": "file", "kubernetes.io/config.mirror": "8d1d"},
            "ownerReferences": [CONTROLLER | {"apiVersion": "v1", "kind": "Node"}],
        },
        replace(ONE_POD, mirror=True, owner="9"),
    ),
    "a DaemonSet's": (
        {"ownerReferences": [CONTROLLER]},
        replace(ONE_POD, daemon=True, owner="9"),
    ),
    "a ReplicaSet's": (
        {"ownerReferences": [CONTROLLER | {"kind": "ReplicaSet"}]},
        replace(ONE_POD, owner="9"),
    ),
    "one that a DaemonSet owns and does not control": (
        {"ownerReferences": [CONTROLLER | {"controller": False}, CONTROLLER | {"kind": "Job", "uid": "7"}]},
        replace(ONE_POD, owner="7"),
    ),
    "one that somebody owns and nobody controls": (
        {"ownerReferences": [{key: CONTROLLER[key] for key in ("apiVersion", "kind", "name", "uid")}]},
        ONE_POD,
    ),
}


@pytest.mark.parametrize("whose", METADATA)
def test_a_pod_says_what_a_drain_has_to_know(whose: str) -> None:
    metadata, expected = METADATA[whose]
    raw = {"metadata": {"namespace": "a", "name": "one", "uid": "1"} | metadata, "status": {"phase": "Running"}}
    with answering(answer_json({"metadata": {}, "items": [raw]})) as server:
        assert edge(server).pods_on(ONE) == (expected,)


SPECS: dict[str, tuple[dict[str, Any], Pod]] = {
    "one with a priority": ({"priority": 2_000_001_000}, replace(ONE_POD, priority=2_000_001_000)),
    "one with data on the machine": (
        {"volumes": [{"name": "token", "projected": {}}, {"name": "scratch", "emptyDir": {}}]},
        replace(ONE_POD, local_data=True),
    ),
    "one with data in the machine's memory": (
        {"volumes": [{"name": "scratch", "emptyDir": {"medium": "Memory"}}]},
        replace(ONE_POD, local_data=True),
    ),
    "one with data elsewhere": (
        {"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}, {"name": "c", "configMap": {}}]},
        ONE_POD,
    ),
}


@pytest.mark.parametrize("which", SPECS)
def test_a_pod_says_what_it_would_lose_and_when_its_turn_is(which: str) -> None:
    spec, expected = SPECS[which]
    raw = {"metadata": {"namespace": "a", "name": "one", "uid": "1"}, "spec": spec, "status": {"phase": "Running"}}
    with answering(answer_json({"metadata": {}, "items": [raw]})) as server:
        assert edge(server).pods_on(ONE) == (expected,)


def test_a_full_nodes_pods_are_one_request() -> None:
    pods = [{"metadata": {"namespace": "a", "name": f"p-{number}", "uid": str(number)}} for number in range(110)]
    with answering(answer_json({"metadata": {}, "items": pods})) as server:
        assert len(edge(server).pods_on(ONE)) == 110
        assert len(server.requests) == 1


def test_volume_attachments_of_other_nodes_do_not_count() -> None:
    items = [
        {"metadata": {"name": name}, "spec": {"nodeName": where, "attacher": "ebs.csi.aws.com", "source": {}}}
        for name, where in (("csi-1", ONE), ("csi-2", TWO))
    ]
    with answering(answer_json({"metadata": {}, "items": items})) as server:
        assert edge(server).attachments_of(ONE) == ("csi-1",)
    assert server.requests[0].path == "/apis/storage.k8s.io/v1/volumeattachments?limit=500"
