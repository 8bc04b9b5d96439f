"""How long a Node full of pods takes to drain, by kubectl and by Regrow's passes, on the same API server.

The Node is an object of the API and nothing more: no kubelet runs its pods, and since they ask for no time to end, the
API server deletes them the moment they are evicted. So what is left is the work of whoever drains.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from kubernetes import client, config

from functions.edges.kubernetes import KubernetesEdge
from functions.edges.parameters import read_credentials
from functions.messages import Look
from functions.remediate.reconcile import run_pass
from infra.local.cluster import Cluster, wait_for
from tests.unit.functions.builders import NOW, ONE, SETTINGS, WORKERS, group, instance, member
from tests.unit.functions.fake_world import World
from tests.unit.functions.fakes import outside_of

PODS = 110  # what a kubelet takes unless it is told otherwise
NAMESPACE = "bench-drain"
KUBECTL = ("kubectl", "drain", ONE, "--ignore-daemonsets", "--delete-emptydir-data", "--force")
METHOD = (
    f"{PODS} pods of no owner, Running and Ready, no grace period, no disruption budgets, on a Node without a kubelet. "
    "kubectl: the whole command. Regrow: its two warm passes in process (run_pass with the real Kubernetes edge, AWS "
    "and the table in memory): the first cordons, the second evicts. Each ends with no pod left. "
    "Pairs in alternating order, after one that is not counted."
)


def drain(cluster: Cluster, rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Median seconds of both over `rounds` pairs, and every single one."""
    core = client.CoreV1Api(config.new_client_from_config(str(cluster.kubeconfig)))
    parameter = f"/regrow/{cluster.name}/kubeconfig/remediate"
    kubernetes = KubernetesEdge(lambda: read_credentials(cluster.client("ssm"), parameter))
    drains = {"kubectl": lambda: by_kubectl(cluster), "regrow": lambda: by_regrow(kubernetes)}
    runs_s: dict[str, list[float]] = {name: [] for name in drains}
    with _namespace(core):
        for number in range(rounds + 1):
            for name in sorted(drains, reverse=bool(number % 2)):
                took_s = _drained(core, kubernetes, drains[name])
                say(f"round {number} of {rounds}: {name} {took_s} s{'' if number else ', not counted'}")
                if number:
                    runs_s[name].append(took_s)
    medians_s = {name: round(statistics.median(runs), 3) for name, runs in runs_s.items()}
    faster = round(medians_s["kubectl"] / medians_s["regrow"], 1)
    return {"pods": PODS, "median_s": medians_s, "times_faster": faster, "runs_s": runs_s, "method": METHOD}


def by_kubectl(cluster: Cluster) -> None:
    subprocess.run(KUBECTL, env={**os.environ, **cluster.world.environment()}, check=True, capture_output=True)


def by_regrow(kubernetes: KubernetesEdge) -> None:
    leaving = group(member(ONE, "Terminating:Wait"))
    world = World(now=NOW, instances={ONE: instance()}, groups={WORKERS: leaving})
    outside = replace(outside_of(world), kubernetes=kubernetes)
    world.passes.append(Look(ONE, "bench"))
    while world.passes:
        run_pass(world.passes.pop(), outside, SETTINGS, lambda: datetime.now(UTC))


def _drained(core: Any, kubernetes: KubernetesEdge, drain: Callable[[], None]) -> float:
    with _full_node(core):
        started = time.monotonic()
        drain()
        took_s = time.monotonic() - started
        if left := kubernetes.pods_on(ONE):
            raise RuntimeError(f"{len(left)} of {PODS} pods are left: this was no drain")
    return round(took_s, 3)


@contextmanager
def _namespace(core: Any) -> Iterator[None]:
    core.create_namespace({"metadata": {"name": NAMESPACE}})
    try:
        wait_for(
            "the namespace's default account, without which no pod is let in",
            lambda: bool(core.list_namespaced_service_account(NAMESPACE).items),
            within_s=30,
        )
        yield
    finally:
        core.delete_namespace(NAMESPACE)


@contextmanager
def _full_node(core: Any) -> Iterator[None]:
    core.create_node({"metadata": {"name": ONE}})
    try:
        addresses = [{"type": "InternalIP", "address": instance().address}]
        core.patch_node_status(ONE, {"status": {"addresses": addresses}})
        with ThreadPoolExecutor(max_workers=4) as together:
            list(together.map(lambda number: _run_pod(core, f"pod-{number}"), range(PODS)))
        time.sleep(1)  # the controllers that heard of the new pods are to be done with them
        yield
    finally:
        core.delete_node(ONE)


def _run_pod(core: Any, name: str) -> None:
    spec = {
        "nodeName": ONE,
        "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "one", "image": "registry.k8s.io/pause:3.10.2"}],
        "automountServiceAccountToken": False,
        "tolerations": [{"operator": "Exists"}],
    }
    core.create_namespaced_pod(NAMESPACE, {"metadata": {"name": name}, "spec": spec})
    ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    core.patch_namespaced_pod_status(name, NAMESPACE, {"status": ready})
