"""Pods that only the API server knows: their Node is no machine's, so nothing but the API server ends them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from kubernetes import client

from functions.edges.kubernetes import KubernetesEdge
from functions.edges.parameters import read_credentials
from infra.local.cluster import wait_for
from tests.e2e.scene import Scene

NAME = "e2e-leaving"
NAMESPACE = "e2e-evictions"


@contextmanager
def node_of_no_machine(core: Any) -> Iterator[Any]:
    """Have the Node, and a namespace for the pods."""
    core.create_node({"metadata": {"name": NAME}})
    with namespace_of_pods(core):
        try:
            yield core
        finally:
            core.delete_collection_namespaced_pod(NAMESPACE, grace_period_seconds=0)
            core.delete_node(NAME)


@contextmanager
def namespace_of_pods(core: Any) -> Iterator[None]:
    with_namespace(core, NAMESPACE)
    try:
        yield
    finally:
        core.delete_namespace(NAMESPACE)
        wait_for("the end of the test's namespace", lambda: NAMESPACE not in namespaces(core), within_s=60)


def edge_of(scene: Scene) -> KubernetesEdge:
    """With the credentials that the control plane published for passes."""
    parameter = f"/regrow/{scene.cluster.name}/kubeconfig/remediate"
    return KubernetesEdge(lambda: read_credentials(scene.client("ssm"), parameter))


def namespaces(core: Any) -> set[str]:
    return {namespace.metadata.name for namespace in core.list_namespace().items}


def with_namespace(core: Any, name: str) -> None:
    core.create_namespace({"metadata": {"name": name}})
    wait_for(
        "the namespace's default account, without which no pod is let in",
        lambda: bool(core.list_namespaced_service_account(name).items),
        within_s=30,
    )


def run(core: Any, name: str, *, phase: str = "Running", **how: Any) -> None:
    """Have a pod that is Ready and in that phase, as far as the API server knows."""
    core.create_namespaced_pod(NAMESPACE, pod_json(name, **how))
    ready = {"phase": phase, "conditions": [{"type": "Ready", "status": "True"}]}
    core.patch_namespaced_pod_status(name, NAMESPACE, {"status": ready})


def pod_json(
    name: str,
    *,
    app: str = "any",
    grace_period_s: int = 0,
    annotations: dict[str, str] | None = None,
    owners: Sequence[dict[str, Any]] = (),
    **spec: Any,
) -> dict[str, Any]:
    metadata = {"name": name, "labels": {"app": app}, "annotations": annotations or {}, "ownerReferences": [*owners]}
    return {
        "metadata": metadata,
        "spec": {
            "nodeName": NAME,
            "terminationGracePeriodSeconds": grace_period_s,
            "containers": [{"name": "one", "image": "registry.k8s.io/pause:3.10.2"}],
            "automountServiceAccountToken": False,
            "tolerations": [{"operator": "Exists"}],  # nobody but the test ends it
            **spec,
        },
    }


def budget(core: Any, name: str, app: str, *, min_available: int) -> None:
    """Have a disruption budget that the controller has worked out."""
    policy = client.PolicyV1Api(core.api_client)
    spec = {"minAvailable": min_available, "selector": {"matchLabels": {"app": app}}}
    policy.create_namespaced_pod_disruption_budget(NAMESPACE, {"metadata": {"name": name}, "spec": spec})
    wait_for(
        "the budget's first count",
        lambda: policy.read_namespaced_pod_disruption_budget(name, NAMESPACE).status.observed_generation == 1,
        within_s=30,
    )
