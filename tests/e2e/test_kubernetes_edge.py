"""What passes do to Kubernetes, with their own credentials against the real API server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kubernetes import client, config

from functions.cluster.facts import Absent
from functions.cluster.machine import Node, Pod, Taint
from functions.edges.kubernetes import KubernetesEdge
from functions.edges.parameters import read_credentials
from functions.errors import ConflictError
from tests.e2e.scene import Scene, settings_of
from tests.e2e.sights import CORDONED, OUT_OF_SERVICE

NAME = "e2e-node"
OTHER_UID = "00000000-0000-0000-0000-000000000000"
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
DEDICATED = Taint("dedicated", "NoSchedule", "gpu")
EVICTING = Taint("maintenance", "NoExecute", None, "2026-01-01T00:00:00Z")


@pytest.fixture
def kubernetes(scene: Scene) -> KubernetesEdge:
    return edge_of(scene)


@pytest.fixture
def node(scene: Scene, kubernetes: KubernetesEdge) -> Iterator[Callable[[], Node]]:
    """Reads a Node of no machine, which has taints of somebody else's."""
    taints = [
        {"key": DEDICATED.key, "effect": DEDICATED.effect, "value": DEDICATED.value},
        {"key": EVICTING.key, "effect": EVICTING.effect, "timeAdded": EVICTING.time_added},
    ]
    scene.core.create_node({"metadata": {"name": NAME}, "spec": {"taints": taints}})
    yield lambda: seen(kubernetes)
    if NAME in scene.nodes():
        scene.core.delete_node(NAME)


def changed(change: Callable[[Node], None], node: Callable[[], Node]) -> None:
    """Change the Node as it is now: the node lifecycle controller writes its own taints to it meanwhile."""
    for _ in range(20):
        try:
            return change(node())
        except ConflictError:
            continue
    pytest.fail("the Node never held still")


def test_a_fence_cordons_and_keeps_what_others_have_tainted(
    kubernetes: KubernetesEdge, node: Callable[[], Node]
) -> None:
    changed(lambda seen: kubernetes.fence(seen, at=AT), node)
    fenced = node()
    assert fenced.unschedulable
    assert {DEDICATED, EVICTING} <= set(fenced.taints)
    assert [taint.effect for taint in fenced.taints if taint.key == OUT_OF_SERVICE] == ["NoExecute"]
    assert fenced.annotations[CORDONED] == AT.isoformat()

    changed(lambda seen: kubernetes.fence(seen, at=datetime.now(UTC)), node)
    again = node()
    assert [taint.key for taint in again.taints].count(OUT_OF_SERVICE) == 1
    assert again.annotations[CORDONED] == AT.isoformat()


def test_a_restore_takes_our_fence_back_and_nothing_else(
    scene: Scene, kubernetes: KubernetesEdge, node: Callable[[], Node]
) -> None:
    changed(lambda seen: kubernetes.fence(seen, at=AT), node)
    changed(kubernetes.restore, node)
    restored = node()
    assert not restored.unschedulable
    assert not restored.out_of_service
    assert {DEDICATED, EVICTING} <= set(restored.taints)
    assert CORDONED not in restored.annotations

    scene.core.patch_node(NAME, {"spec": {"unschedulable": True}})
    changed(lambda seen: kubernetes.fence(seen, at=AT), node)
    changed(kubernetes.restore, node)
    assert node().unschedulable, "a person has cordoned it"
    assert not node().out_of_service


def test_a_change_of_a_node_that_has_changed_since_is_a_conflict(
    scene: Scene, kubernetes: KubernetesEdge, node: Callable[[], Node]
) -> None:
    stale = node()
    scene.core.patch_node(NAME, {"metadata": {"labels": {"changed-by": "a-person"}}})
    with pytest.raises(ConflictError):
        kubernetes.fence(stale, at=AT)
    with pytest.raises(ConflictError):
        kubernetes.cordon(stale, None, drains=True, at=AT)
    assert not node().unschedulable
    assert not node().out_of_service


def test_a_node_is_deleted_only_under_its_own_uid(kubernetes: KubernetesEdge, node: Callable[[], Node]) -> None:
    with pytest.raises(ConflictError):
        kubernetes.delete_node(NAME, OTHER_UID)
    uid = node().uid
    kubernetes.delete_node(NAME, uid)
    assert kubernetes.node(NAME) == Absent()
    kubernetes.delete_node(NAME, uid)  # gone is success


@pytest.mark.usefixtures("node")
def test_pods_are_listed_by_node_and_deleted_only_under_their_own_uid(scene: Scene, kubernetes: KubernetesEdge) -> None:
    for name in ("runs", "ended"):
        create_pod(scene.core, name, NAME)
    scene.core.patch_namespaced_pod_status("ended", "default", {"status": {"phase": "Succeeded"}})
    pods = {pod.name: pod for pod in kubernetes.pods_on(NAME)}
    assert {name: pod.finished for name, pod in pods.items()} == {"runs": False, "ended": True}
    assert kubernetes.pods_on("no-such-node") == ()

    kubernetes.delete_pods([Pod("default", "runs", OTHER_UID, finished=False)], grace_s=0)
    assert {pod.uid for pod in kubernetes.pods_on(NAME)} == {pod.uid for pod in pods.values()}
    kubernetes.delete_pods(pods.values(), grace_s=0)
    assert kubernetes.pods_on(NAME) == ()
    kubernetes.delete_pods(pods.values(), grace_s=0)  # gone is success


def test_a_list_of_several_pages_is_read_to_its_end(scene: Scene, kubernetes: KubernetesEdge) -> None:
    by_pages = edge_of(scene, page_size=1)
    assert {node.name for node in by_pages.nodes()} == set(scene.nodes())
    worker = scene.workers()[0]
    assert {pod.uid for pod in by_pages.pods_on(worker)} == {pod.uid for pod in kubernetes.pods_on(worker)}


def test_an_attachment_is_found_by_the_node_that_it_names(scene: Scene, kubernetes: KubernetesEdge) -> None:
    for name, machine in (("e2e-one", "e2e-a"), ("e2e-two", "e2e-a"), ("e2e-three", "e2e-b")):
        spec = {"attacher": "e2e.regrow.dev", "nodeName": machine, "source": {"persistentVolumeName": name}}
        scene.storage.create_volume_attachment({"metadata": {"name": name}, "spec": spec})
    try:
        assert set(kubernetes.attachments_of("e2e-a")) == {"e2e-one", "e2e-two"}
        assert kubernetes.attachments_of("e2e-c") == ()
    finally:
        for name in ("e2e-one", "e2e-two", "e2e-three"):
            scene.storage.delete_volume_attachment(name)


def test_a_kubelets_lease_says_when_it_was_heard(scene: Scene, kubernetes: KubernetesEdge) -> None:
    heard = kubernetes.renewals()
    assert set(heard) >= set(scene.nodes())
    assert datetime.now(UTC) - heard[scene.workers()[0]] < timedelta(seconds=40)
    assert isinstance(kubernetes.renewed_at(scene.workers()[0]), datetime)
    assert kubernetes.renewed_at("e2e-nobody") == Absent()


FORBIDDEN: dict[str, Callable[[Any, str], Any]] = {
    "read Secrets": lambda core, _: core.list_secret_for_all_namespaces(),
    "read ConfigMaps": lambda core, _: core.list_config_map_for_all_namespaces(),
    "create a pod": lambda core, worker: create_pod(core, "e2e-forbidden", worker),
    "create a Node": lambda core, _: core.create_node({"metadata": {"name": "e2e-forbidden"}}),
    "say how a Node is": lambda core, worker: core.patch_node_status(worker, {"status": {"phase": "x"}}),
    "run something in a pod": lambda core, _: core.connect_post_namespaced_pod_exec("any", "default", command="x"),
    "make a token": lambda core, _: core.create_namespaced_service_account_token(
        "default", "kube-system", {"spec": {"audiences": []}}
    ),
    "change RBAC": lambda core, _: client.RbacAuthorizationV1Api(core.api_client).delete_cluster_role(
        "regrow:remediate"
    ),
    "read other leases": lambda core, _: client.CoordinationV1Api(core.api_client).list_namespaced_lease("kube-system"),
    "renew a lease": lambda core, worker: client.CoordinationV1Api(core.api_client).patch_namespaced_lease(
        worker, "kube-node-lease", {"spec": {"renewTime": None}}
    ),
    "approve certificates": lambda core, _: client.CertificatesV1Api(
        core.api_client
    ).list_certificate_signing_request(),
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_passes_may_not(scene: Scene, what: str) -> None:
    core = client.CoreV1Api(config.new_client_from_config_dict(kubeconfig(scene)))
    assert core.list_node().items, "the credentials are good"
    with pytest.raises(client.ApiException) as refusal:
        FORBIDDEN[what](core, scene.workers()[0])
    assert refusal.value.status == 403


def edge_of(scene: Scene, **options: Any) -> KubernetesEdge:
    """As the deployed passes make it."""
    parameter = settings_of(scene.cluster)["REGROW_KUBECONFIG_PATH"] + "/remediate"
    return KubernetesEdge(lambda: read_credentials(scene.client("ssm"), parameter), **options)


def seen(kubernetes: KubernetesEdge) -> Node:
    found = kubernetes.node(NAME)
    assert isinstance(found, Node)
    return found


def create_pod(core: Any, name: str, node_name: str) -> None:
    spec = {
        "nodeName": node_name,
        "containers": [{"name": "one", "image": "registry.k8s.io/pause:3.10.2"}],
        "automountServiceAccountToken": False,
        "tolerations": [{"operator": "Exists"}],  # nobody but the test deletes it
    }
    core.create_namespaced_pod("default", {"metadata": {"name": name}, "spec": spec})


def kubeconfig(scene: Scene) -> dict[str, Any]:
    """The same credentials in the form that every Kubernetes client reads."""
    parameter = settings_of(scene.cluster)["REGROW_KUBECONFIG_PATH"] + "/remediate"
    content = json.loads(scene.client("ssm").get_parameter(Name=parameter, WithDecryption=True)["Parameter"]["Value"])
    ours = {
        "client-certificate-data": content["client_certificate_data"],
        "client-key-data": content["client_key_data"],
    }
    return {
        "current-context": "it",
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "clusters": [
            {"name": "it", "cluster": {"server": content["server"], "certificate-authority-data": content["ca_data"]}}
        ],
        "users": [{"name": "it", "user": ours}],
    }
