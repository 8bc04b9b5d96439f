"""What passes hear from the real API server when they ask pods to go."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kubernetes import client

from functions.cluster.machine import CORDONED_ANNOTATION, DRAINING_ANNOTATION, Node, Pod
from functions.edges.kubernetes import KubernetesEdge
from functions.errors import ConflictError, RetryableError
from infra.local.cluster import wait_for
from tests.e2e.pods import (
    NAME,
    NAMESPACE,
    budget,
    edge_of,
    namespaces,
    node_of_no_machine,
    pod_json,
    run,
    with_namespace,
)
from tests.e2e.scene import Scene

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def kubernetes(scene: Scene) -> KubernetesEdge:
    return edge_of(scene)


@pytest.fixture
def core(scene: Scene) -> Iterator[Any]:
    """The admin's client, with a Node and a namespace for the test's own pods."""
    with node_of_no_machine(scene.core) as core:
        yield core


def test_pods_of_a_node_are_evicted_and_what_is_gone_is_success(core: Any, kubernetes: KubernetesEdge) -> None:
    for number in range(20):
        run(core, f"web-{number}")
    pods = kubernetes.pods_on(NAME)
    assert len(pods) == 20
    assert kubernetes.evict(pods) == ()
    assert kubernetes.pods_on(NAME) == ()
    assert kubernetes.evict(pods) == ()


def test_an_evicted_pod_is_given_its_time_to_end_and_is_seen_to_be_ending(
    core: Any, kubernetes: KubernetesEdge
) -> None:
    run(core, "graceful", grace_period_s=60)
    (running,) = kubernetes.pods_on(NAME)
    assert (running.ending, running.gone_by) == (False, None)
    asked_at = datetime.now(UTC)
    assert kubernetes.evict([running]) == ()
    (ending,) = kubernetes.pods_on(NAME)
    assert (ending.uid, ending.ending) == (running.uid, True)
    assert ending.gone_by is not None
    assert ending.gone_by - asked_at > timedelta(seconds=58), "its grace is in it"
    assert kubernetes.evict([ending]) == ()


def test_a_pod_that_was_made_anew_under_the_same_name_is_not_evicted(core: Any, kubernetes: KubernetesEdge) -> None:
    run(core, "web-0")
    (meant,) = kubernetes.pods_on(NAME)
    core.delete_namespaced_pod("web-0", NAMESPACE, grace_period_seconds=0)
    run(core, "web-0")
    assert kubernetes.evict([meant]) == ()
    (there,) = kubernetes.pods_on(NAME)
    assert there.uid != meant.uid
    assert not there.ending


def test_a_pod_that_was_made_anew_and_has_not_started_is_not_evicted_and_keeps_no_other_waiting(
    core: Any, kubernetes: KubernetesEdge
) -> None:
    """The API server compares a pending pod's uid twenty times, half a second apart, before it says no."""
    run(core, "web-0")
    run(core, "web-1")
    meant = kubernetes.pods_on(NAME)
    core.delete_namespaced_pod("web-0", NAMESPACE, grace_period_seconds=0)
    core.create_namespaced_pod(NAMESPACE, pod_json("web-0"))
    with pytest.raises(RetryableError, match=f"evict Pod {NAMESPACE}/web-0"):
        kubernetes.evict(meant)
    (there,) = kubernetes.pods_on(NAME)
    assert there.name == "web-0"
    assert not there.ending


def test_a_pod_that_a_disruption_budget_holds_stays_with_the_budget_named_and_the_others_go(
    core: Any, kubernetes: KubernetesEdge
) -> None:
    for name in ("held-0", "held-1"):
        run(core, name, app="held")
    run(core, "free")
    budget(core, "keep-two", "held", min_available=2)
    blocked = kubernetes.evict(kubernetes.pods_on(NAME))
    assert {one.pod.name: one.reason for one in blocked} == dict.fromkeys(
        ("held-0", "held-1"), "The disruption budget keep-two needs 2 healthy pods and has 2 currently"
    )
    assert {pod.name for pod in kubernetes.pods_on(NAME)} == {"held-0", "held-1"}
    assert not any(pod.ending for pod in kubernetes.pods_on(NAME))


def test_of_pods_under_one_budget_as_many_go_as_it_allows(core: Any, kubernetes: KubernetesEdge) -> None:
    for number in range(5):
        run(core, f"held-{number}", app="held")
    budget(core, "keep-two", "held", min_available=2)
    blocked = kubernetes.evict(kubernetes.pods_on(NAME))
    assert len(kubernetes.pods_on(NAME)) == 2
    assert {one.pod.uid for one in blocked} == {pod.uid for pod in kubernetes.pods_on(NAME)}
    assert all("disruption budget keep-two" in one.reason for one in blocked)


def test_two_budgets_that_select_one_pod_are_told_as_a_persons_to_mend(core: Any, kubernetes: KubernetesEdge) -> None:
    run(core, "held", app="held")
    for name in ("one", "two"):
        budget(core, name, "held", min_available=0)
    (blocked,) = kubernetes.evict(kubernetes.pods_on(NAME))
    assert "more than one PodDisruptionBudget" in blocked.reason
    assert "A person has to mend" in blocked.reason
    assert blocked.reason.endswith(": one, two")
    assert len(kubernetes.pods_on(NAME)) == 1


def test_a_pod_whose_namespace_takes_it_away_is_left_to_that(core: Any, kubernetes: KubernetesEdge) -> None:
    ending = f"{NAMESPACE}-ending"
    with_namespace(core, ending)
    core.create_namespaced_pod(ending, pod_json("web-0") | {"metadata": {"name": "web-0", "finalizers": ["e2e/held"]}})
    core.delete_namespace(ending)
    try:
        assert kubernetes.evict(kubernetes.pods_on(NAME)) == ()
    finally:
        core.patch_namespaced_pod("web-0", ending, {"metadata": {"finalizers": None}})
        wait_for("the end of the namespace", lambda: ending not in namespaces(core), within_s=30)


def test_static_pods_and_a_daemon_sets_are_known_by_what_the_api_server_says(
    scene: Scene, kubernetes: KubernetesEdge
) -> None:
    static = {pod.name: pod for pod in kubernetes.pods_on(scene.control_plane()) if pod.name.startswith("kube-")}
    assert static
    assert all(pod.mirror for pod in static.values())

    apps, worker = client.AppsV1Api(scene.core.api_client), scene.workers()[0]
    apps.create_namespaced_daemon_set("default", daemon_set_json("e2e-daemon"))
    try:
        daemons: Callable[[], list[Pod]] = lambda: [  # noqa: E731
            pod for pod in kubernetes.pods_on(worker) if pod.name.startswith("e2e-daemon-")
        ]
        wait_for("the DaemonSet's pod", lambda: bool(daemons()), within_s=30)
        (daemon,) = daemons()
        assert daemon.daemon
    finally:
        apps.delete_namespaced_daemon_set("e2e-daemon", "default")


@pytest.mark.usefixtures("core")
def test_a_drain_says_since_when_once_also_under_a_persons_cordon_and_a_restore_takes_it_off(
    scene: Scene, kubernetes: KubernetesEdge
) -> None:
    scene.core.patch_node(NAME, {"spec": {"unschedulable": True}})
    changed(kubernetes, lambda node: kubernetes.cordon(node, None, drains=True, at=AT))
    changed(kubernetes, lambda node: kubernetes.cordon(node, None, drains=True, at=datetime.now(UTC)))
    drained = seen(kubernetes)
    assert drained.annotations[DRAINING_ANNOTATION] == AT.isoformat()
    assert CORDONED_ANNOTATION not in drained.annotations

    changed(kubernetes, kubernetes.restore)
    restored = seen(kubernetes)
    assert DRAINING_ANNOTATION not in restored.annotations
    assert restored.unschedulable, "a person has cordoned it"


def seen(kubernetes: KubernetesEdge) -> Node:
    found = kubernetes.node(NAME)
    assert isinstance(found, Node)
    return found


def changed(kubernetes: KubernetesEdge, change: Callable[[Node], None]) -> None:
    """Change the Node as it is now: the node lifecycle controller writes its own taints to it meanwhile."""
    for _ in range(20):
        try:
            return change(seen(kubernetes))
        except ConflictError:
            continue
    pytest.fail("the Node never held still")


def daemon_set_json(name: str) -> dict[str, Any]:
    pod = pod_json(name, app=name)
    del pod["spec"]["nodeName"], pod["spec"]["tolerations"]
    template = {"metadata": {"labels": {"app": name}}, "spec": pod["spec"]}
    spec = {"selector": {"matchLabels": {"app": name}}, "template": template}
    return {"metadata": {"name": name}, "spec": spec}
