"""Which pods are read as etcd's: mirrors of static pods in kube-system, with the URL that kubeadm wrote on them."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from functions.cluster.etcd import EtcdPod
from functions.edges.kubernetes import KubernetesEdge
from functions.edges.kubernetes_api import Credentials
from functions.errors import RetryableError
from tests.integration.functions.answering import Answer, Server, answer_json, answering
from tests.integration.functions.kubernetes_objects import status
from tests.unit.functions.builders import ONE, THREE, TWO

MIRROR = {"kubernetes.io/config.mirror": "5f0c"}
URL = {"kubeadm.kubernetes.io/etcd.advertise-client-urls": "https://10.77.1.1:2379"}


def pods(*items: dict[str, Any], more: str = "") -> Answer:
    return answer_json({"kind": "PodList", "metadata": {"continue": more} if more else {}, "items": list(items)})


def pod_json(node_name: str | None, annotations: dict[str, str], *, ready: str = "True") -> dict[str, Any]:
    metadata = {"namespace": "kube-system", "name": f"etcd-{node_name}", "uid": f"uid-{node_name}"}
    status = {"conditions": [{"type": "ContainersReady", "status": "True"}, {"type": "Ready", "status": ready}]}
    spec = {"nodeName": node_name} if node_name else {}
    return {"metadata": metadata | {"annotations": annotations}, "spec": spec, "status": status}


def edge(server: Server) -> KubernetesEdge:
    return KubernetesEdge(lambda: Credentials(server.url, b"", b"", b""))


def test_mirror_pods_of_etcd_are_read_page_by_page_and_no_others() -> None:
    others = pod_json(THREE, URL), pod_json(None, MIRROR), {"metadata": {"uid": "u"}, "spec": {"nodeName": TWO}}
    first = pods(pod_json(ONE, MIRROR | URL), *others, more="there-is-more")
    with answering(first, pods(pod_json(TWO, MIRROR, ready="False"))) as server:
        seen = edge(server).etcd_pods()
    assert seen == (EtcdPod(ONE, "https://10.77.1.1:2379", f"uid-{ONE}"), EtcdPod(TWO, "", f"uid-{TWO}", ready=False))
    paths = [urlsplit(request.path) for request in server.requests]
    assert [path.path for path in paths] == ["/api/v1/namespaces/kube-system/pods"] * 2
    assert [parse_qs(path.query)["labelSelector"] for path in paths] == [["component=etcd,tier=control-plane"]] * 2
    assert parse_qs(paths[1].query)["continue"] == ["there-is-more"]


def test_an_api_server_that_refuses_is_an_error_never_no_pods() -> None:
    with answering(status(403, "Forbidden")) as server, pytest.raises(RetryableError, match="list etcd's Pods: 403"):
        edge(server).etcd_pods()
