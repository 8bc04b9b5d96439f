"""What a drain does to pods at the real API server, policy by policy: each test is as many passes as it says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kubernetes import client

from functions.cluster.draining import DrainPolicy, Found, Overdue
from functions.cluster.machine import Pod
from functions.edges.kubernetes import KubernetesEdge
from functions.remediate.outside import Blocked
from functions.remediate.plans.draining import CAME_BACK, CORDON_HOLDS_AFTER, LOCAL_DATA, UNMANAGED, Drain, drain_of
from infra.local.cluster import wait_for
from tests.e2e.pods import NAME, NAMESPACE, budget, edge_of, namespace_of_pods, node_of_no_machine, pod_json, run
from tests.e2e.scene import HEALED_WITHIN_S, Scene

EVERYTHING = DrainPolicy()
IMAGE = "registry.k8s.io/pause:3.10.2"
PODS = ("held", "asks")


@dataclass(frozen=True)
class Passed:
    """One pass: what it decided about the pods it saw, and what the API server did not let it do."""

    drain: Drain
    blocked: tuple[Blocked, ...]

    @property
    def asked(self) -> set[str]:
        return {pod.name for pod in (*self.drain.evict, *self.drain.delete)} - {one.pod.name for one in self.blocked}

    @property
    def kept(self) -> dict[str, str]:
        return {pod.name: reason for pod, reason in self.drain.kept}


@pytest.fixture
def core(scene: Scene) -> Iterator[Any]:
    with node_of_no_machine(scene.core) as core:
        yield core


@pytest.fixture
def kubernetes(scene: Scene) -> KubernetesEdge:
    return edge_of(scene)


@pytest.fixture
def drain(kubernetes: KubernetesEdge) -> Callable[..., Passed]:
    """Make one pass over the Node, as the plan for a leaving machine does."""

    def one_pass(policy: DrainPolicy = EVERYTHING, *, overdue: bool = False, **more: Any) -> Passed:
        at = more.pop("at", datetime.now(UTC))
        decided = drain_of(kubernetes.pods_on(NAME), policy, overdue=overdue, at=at, **more)
        kubernetes.delete_pods(decided.delete, grace_s=policy.grace_s)
        return Passed(decided, kubernetes.evict(decided.evict, grace_s=policy.grace_s) if decided.evict else ())

    return one_pass


def test_a_pod_that_a_budget_holds_is_named_with_it_and_deleted_with_its_own_grace_when_the_time_is_over(
    core: Any, kubernetes: KubernetesEdge, drain: Callable[..., Passed]
) -> None:
    run(core, "held", app="held", grace_period_s=60)
    run(core, "free")
    budget(core, "keep-one", "held", min_available=1)
    (blocked,) = drain().blocked
    assert (blocked.pod.name, "disruption budget keep-one needs 1 healthy pod" in blocked.reason) == ("held", True)
    assert names(kubernetes) == {"held"}

    released = drain(overdue=True)
    assert (released.asked, released.drain.awaited) == (set(), ())
    assert "default/" not in released.drain.released_because
    assert f"{NAMESPACE}/held: the drain's time was over" in released.drain.released_because
    assert not seen(kubernetes, "held").ending

    assert drain(DrainPolicy(overdue=Overdue.DELETE), overdue=True).asked == {"held"}
    assert raw(core, "held").metadata.deletion_grace_period_seconds == 60, "its own"


@pytest.mark.parametrize(
    "annotation", [{"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}, {"regrow.dev/do-not-evict": "true"}]
)
def test_a_pod_that_asks_to_stay_stays_until_the_time_is_over(
    core: Any, kubernetes: KubernetesEdge, drain: Callable[..., Passed], annotation: dict[str, str]
) -> None:
    run(core, "asks", annotations=annotation)
    run(core, "goes", annotations=dict.fromkeys(annotation, "?"))
    ((key, value),) = annotation.items()
    before = drain()
    assert (before.asked, before.kept) == ({"goes"}, {"asks": f"it asks to stay ({key}={value})"})
    assert names(kubernetes) == {"asks"}
    assert drain(DrainPolicy(overdue=Overdue.DELETE), overdue=True).asked == {"asks"}
    assert names(kubernetes) == set()


def test_pods_that_kubectl_would_stop_at_go_or_stay_as_the_policy_says(
    core: Any, kubernetes: KubernetesEdge, drain: Callable[..., Passed]
) -> None:
    """kubectl: cannot delete Pods with local storage, or that declare no controller, without a flag for each."""
    owner = core.create_namespaced_config_map(NAMESPACE, {"metadata": {"name": "controls"}})
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "controls", "uid": owner.metadata.uid}
    controlled = [reference | {"controller": True}]
    scratch = [{"name": "scratch", "emptyDir": {}}]
    run(core, "owned", owners=controlled)
    run(core, "local-data", volumes=scratch, owners=controlled)
    run(core, "unmanaged", owners=[reference])
    run(core, "both", volumes=scratch)
    run(core, "finished", phase="Succeeded", volumes=scratch)

    kept = drain(DrainPolicy(unmanaged=Found.KEEP, local_data=Found.KEEP))
    assert kept.asked == {"owned", "finished"}
    assert kept.kept == {"local-data": LOCAL_DATA, "unmanaged": UNMANAGED, "both": f"{UNMANAGED}, {LOCAL_DATA}"}
    assert drain(DrainPolicy(unmanaged=Found.KEEP)).asked == {"local-data"}
    assert drain(DrainPolicy(local_data=Found.KEEP)).asked == {"unmanaged"}
    assert drain().asked == {"both"}
    assert names(kubernetes) == set()


def test_pods_that_the_selector_leaves_out_are_neither_asked_nor_waited_for(
    core: Any, kubernetes: KubernetesEdge, drain: Callable[..., Passed]
) -> None:
    run(core, "web", app="web")
    run(core, "db", app="db")
    policy = DrainPolicy(selector=(("app", "web"),), overdue=Overdue.DELETE)
    assert drain(policy).asked == {"web"}
    assert not drain(policy).drain.awaited
    assert drain(policy, overdue=True).asked == set()
    assert names(kubernetes) == {"db"}


def test_without_eviction_no_budget_is_asked(
    core: Any, kubernetes: KubernetesEdge, drain: Callable[..., Passed]
) -> None:
    run(core, "held", app="held")
    budget(core, "keep-one", "held", min_available=1)
    assert drain(DrainPolicy(evict=False)).asked == {"held"}
    assert names(kubernetes) == set()


def test_pods_of_the_lowest_priority_go_first_and_the_next_when_they_are_gone(
    core: Any, kubernetes: KubernetesEdge, drain: Callable[..., Passed], classes: tuple[str, str]
) -> None:
    low, high = classes
    run(core, "low", priorityClassName=low, grace_period_s=60)
    run(core, "middle", grace_period_s=60)
    run(core, "high", priorityClassName=high)
    policy = DrainPolicy(by_priority=True)
    assert [drain(policy).asked, drain(policy).asked] == [{"low"}, set()], "it still ends"
    end(core, "low")
    assert drain(policy).asked == {"middle"}
    end(core, "middle")
    assert drain(policy).asked == {"high"}
    assert names(kubernetes) == set()


def test_a_pod_that_comes_back_is_evicted_as_the_new_one_it_is_and_in_the_end_let_be(
    core: Any, kubernetes: KubernetesEdge, drain: Callable[..., Passed]
) -> None:
    """A controller that binds its pods to the Node by itself is stopped by no cordon."""
    template = pod_json("any", app="db")
    template["metadata"].pop("name")
    spec = {"serviceName": "db", "selector": {"matchLabels": {"app": "db"}}, "template": template}
    apps, since = client.AppsV1Api(core.api_client), datetime.now(UTC)
    apps.create_namespaced_stateful_set(NAMESPACE, {"metadata": {"name": "db"}, "spec": spec})
    wait_for("the first pod", lambda: names(kubernetes) == {"db-0"}, within_s=30)
    first = seen(kubernetes, "db-0")
    assert drain(since=since).asked == {"db-0"}
    wait_for("the next pod", lambda: uids(kubernetes) - {first.uid} != set(), within_s=30)
    assert drain(since=since).asked == {"db-0"}
    wait_for("the third pod", lambda: names(kubernetes) == {"db-0"}, within_s=30)

    let_be = drain(since=since - CORDON_HOLDS_AFTER - timedelta(minutes=1))
    assert (let_be.asked, let_be.drain.awaited) == (set(), ())
    assert let_be.drain.released_because == f"{NAMESPACE}/db-0: {CAME_BACK}"


def test_a_grace_stands_in_for_the_pods_own_and_shortens_that_of_one_which_ends_already(
    core: Any, drain: Callable[..., Passed]
) -> None:
    run(core, "web", grace_period_s=600)
    run(core, "slow", grace_period_s=600)
    core.delete_namespaced_pod("slow", NAMESPACE)
    assert raw(core, "slow").metadata.deletion_grace_period_seconds == 600
    policy = DrainPolicy(grace_s=60)
    assert drain(policy).asked == {"web", "slow"}
    assert [raw(core, name).metadata.deletion_grace_period_seconds for name in ("web", "slow")] == [60, 60]
    again = drain(policy, at=datetime.now(UTC) + timedelta(seconds=5))
    assert (again.asked, len(again.drain.awaited)) == (set(), 2)


def test_a_pod_that_does_not_end_is_waited_for_only_so_long(
    core: Any, kubernetes: KubernetesEdge, drain: Callable[..., Passed]
) -> None:
    run(core, "stuck", grace_period_s=60)
    policy = DrainPolicy(stuck_after=timedelta(seconds=30))
    drain(policy)
    gone_by = seen(kubernetes, "stuck").gone_by
    assert gone_by is not None
    assert len(drain(policy, at=gone_by + timedelta(seconds=30)).drain.awaited) == 1
    given_up = drain(policy, at=gone_by + timedelta(seconds=31))
    assert not given_up.drain.awaited
    assert "it is still there" in given_up.drain.released_because


@pytest.fixture
def classes(core: Any) -> Iterator[tuple[str, str]]:
    scheduling = client.SchedulingV1Api(core.api_client)
    values = {"e2e-low": -10, "e2e-high": 1000}
    for name, value in values.items():
        scheduling.create_priority_class({"metadata": {"name": name}, "value": value})
    yield "e2e-low", "e2e-high"
    for name in values:
        scheduling.delete_priority_class(name)


def test_a_machine_that_leaves_waits_for_what_may_not_go_yet_and_its_record_names_it(scene: Scene) -> None:
    victim, core = scene.workers()[0], scene.core
    alive = [{"name": "one", "image": IMAGE, "imagePullPolicy": "Never", "command": ["/usr/local/bin/pause"]}]
    with namespace_of_pods(core):
        annotated = pod_json("asks", annotations={"regrow.dev/do-not-evict": "true"})
        for pod in (pod_json("held", app="held"), annotated):
            pod["spec"] |= {"nodeName": victim, "containers": alive}
            core.create_namespaced_pod(NAMESPACE, pod)
        wait_for("pods that run", lambda: {raw(core, name).status.phase for name in PODS} == {"Running"}, within_s=60)
        budget(core, "keep-one", "held", min_available=1)

        scene.client("autoscaling").terminate_instance_in_auto_scaling_group(
            InstanceId=victim, ShouldDecrementDesiredCapacity=False
        )
        await_said(scene, victim, f"{NAMESPACE}/held: The disruption budget keep-one needs 1 healthy pod")
        client.PolicyV1Api(core.api_client).delete_namespaced_pod_disruption_budget("keep-one", NAMESPACE)
        await_said(scene, victim, f"{NAMESPACE}/asks: it asks to stay (regrow.dev/do-not-evict=true)")
        assert raw(core, "asks").metadata.deletion_timestamp is None
        assert scene.place_in_group(victim) == "Terminating:Wait"
        core.patch_namespaced_pod("asks", NAMESPACE, {"metadata": {"annotations": {"regrow.dev/do-not-evict": None}}})
        gone = lambda: victim not in scene.cluster.members()[0] and scene.is_whole()  # noqa: E731
        wait_for("the machine's end", gone, within_s=HEALED_WITHIN_S, every_s=0.2)
    assert "Release" not in scene.steps(victim)


def await_said(scene: Scene, machine: str, text: str) -> None:
    said = lambda: any(text in entry["then"] for entry in scene.history(machine))  # noqa: E731
    wait_for(f"a record that says {text!r}", said, within_s=120, every_s=0.5)


def seen(kubernetes: KubernetesEdge, name: str) -> Pod:
    (found,) = [pod for pod in kubernetes.pods_on(NAME) if pod.name == name]
    return found


def names(kubernetes: KubernetesEdge) -> set[str]:
    return {pod.name for pod in kubernetes.pods_on(NAME)}


def uids(kubernetes: KubernetesEdge) -> set[str]:
    return {pod.uid for pod in kubernetes.pods_on(NAME)}


def raw(core: Any, name: str) -> Any:
    return core.read_namespaced_pod(name, NAMESPACE)


def end(core: Any, name: str) -> None:
    """What a kubelet does when the pod's containers have ended."""
    core.delete_namespaced_pod(name, NAMESPACE, grace_period_seconds=0)
