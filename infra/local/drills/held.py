"""A pod that its disruption budget holds on a machine: how long a drain waits for it, and what is said of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from infra.local.cluster import Cluster, wait_for
from infra.local.drills.acts import invoke_drill
from infra.local.drills.findings import Finding
from infra.local.drills.news import TERMINATE_ACTION
from infra.local.drills.stage import Stage

HELD = Path(__file__).with_name("held.yaml")
BUDGET = "one-stays"
FUNCTION_LASTS_S = 30.0
"""How long one pass of Regrow may run (its function's time-out)."""

HOOK_TIMEOUT_S = 40
"""Of the terminate hook while a drain is long: shorter than the drain, so that it takes heartbeats to last."""

HOLD_S = 60.0
BLOCKED_S = 20.0
NAMED_WITHIN_S = 60.0


@dataclass(frozen=True)
class Budget:
    """A disruption budget that lets its one pod never go, until a person has mercy."""

    cluster: Cluster
    pod: str

    def delete(self) -> None:
        self.cluster.kubectl("delete", "poddisruptionbudget", BUDGET, "--ignore-not-found")

    def loosen(self) -> None:
        patch = '{"spec": {"maxUnavailable": 1}}'
        self.cluster.kubectl("patch", "poddisruptionbudget", BUDGET, "--type=merge", f"--patch={patch}")


class Hold(Protocol):
    """What a drill sees of a drain while a pod holds it up, and how it lets the pod go.

    `hook_timeout_s`: of the terminate hooks meanwhile, None as they are; `released`: what is told then.
    """

    hook_timeout_s: int | None
    released: str

    def see(self, stage: Stage, machine: str, budget: Budget) -> tuple[Finding, ...]: ...

    def release(self, budget: Budget) -> None: ...


class LongHold:
    """The pod is held for longer than a function runs, and longer than the hook lasts without heartbeats."""

    hook_timeout_s: int | None = HOOK_TIMEOUT_S
    released = "the budget that held its pod is deleted"

    def see(self, stage: Stage, machine: str, budget: Budget) -> tuple[Finding, ...]:
        def long_enough() -> bool:
            began = stage.news.moments.get((machine, TERMINATE_ACTION))
            return began is not None and (datetime.now(UTC) - began).total_seconds() >= HOLD_S

        stage.comes_true("the drain is long", long_enough, within_s=HOLD_S + 10)
        promise = (
            f"after {HOLD_S:.0f} s, with passes of {FUNCTION_LASTS_S:.0f} s and a hook of {HOOK_TIMEOUT_S} s, "
            "heartbeats still held it and its pod ran"
        )
        return (_still(promise, stage, machine, budget),)

    def release(self, budget: Budget) -> None:
        budget.delete()


class Blocked:
    """The pod is held until Regrow has written down what holds it, and for a while more."""

    hook_timeout_s: int | None = None
    released = "the budget that held its pod lets it go now"

    def see(self, stage: Stage, machine: str, budget: Budget) -> tuple[Finding, ...]:
        def named() -> tuple[Finding, ...]:
            report = invoke_drill(stage.cluster, {"do": "report", "machine": machine})
            return (judge_named(report["history"], budget.pod),)

        told = stage.until(named, within_s=NAMED_WITHIN_S)
        stage.watch_for(BLOCKED_S)
        promise = f"{BLOCKED_S:.0f} s later the drain still waited for it"
        return (*told, _still(promise, stage, machine, budget))

    def release(self, budget: Budget) -> None:
        budget.loosen()


def judge_named(history: Iterable[Mapping[str, Any]], pod: str) -> Finding:
    """Whether some pass has written down the pod together with its budget. Pure."""
    both = re.compile(rf"default/{re.escape(pod)}\b.*\b{BUDGET}\b")
    said = [str(entry.get("then", "")) for entry in history]
    named = next((text for text in said if both.search(text)), None)
    return Finding("its history names the pod with the budget that holds it", named is not None, named or "not named")


def left_on(stage: Stage, machine: str) -> set[str]:
    return {pod.name for pod in stage.witness.pods.values() if pod.node == machine}


def _still(promise: str, stage: Stage, machine: str, budget: Budget) -> Finding:
    state, left = stage.cluster.members()[0].get(machine, "gone"), left_on(stage, machine)
    seen = f"{state}, on it: {', '.join(sorted(left)) or 'nothing'}"
    return Finding(promise, state == "Terminating:Wait" and left == {budget.pod}, seen)


@contextmanager
def held_pod(cluster: Cluster, machine: str) -> Iterator[Budget]:
    """One pod more on this machine, which its budget holds."""
    manifest = cluster.world.place.directory / "held.yaml"
    manifest.write_text(HELD.read_text().replace("MACHINE", machine))
    get = (
        "get",
        "pods",
        "--selector=app=held",
        "--output=jsonpath={.items[0].metadata.name} {.items[0].spec.nodeName}",
    )

    def where() -> list[str]:
        return cluster.kubectl(*get, check=False).split()

    def counted() -> bool:
        healthy = ("get", "poddisruptionbudget", BUDGET, "--output=jsonpath={.status.currentHealthy}")
        return where()[1:] == [machine] and cluster.kubectl(*healthy, check=False) == "1"

    try:
        cluster.kubectl("apply", "-f", str(manifest))
        wait_for(f"the held pod, counted by its budget, on {machine}", counted, within_s=60)
        yield Budget(cluster, where()[0])
    finally:
        cluster.kubectl("delete", "-f", str(manifest), "--ignore-not-found", "--wait=false")


@contextmanager
def hook_timeout(cluster: Cluster, seconds: int) -> Iterator[None]:
    """The workers' terminate hooks last this long without a heartbeat."""
    autoscaling = cluster.client("autoscaling")
    described = autoscaling.describe_lifecycle_hooks(AutoScalingGroupName=cluster.worker_group)["LifecycleHooks"]
    hooks = [
        {key: value for key, value in hook.items() if key != "GlobalTimeout"}
        for hook in described
        if hook["LifecycleTransition"] == "autoscaling:EC2_INSTANCE_TERMINATING"
    ]
    for hook in hooks:
        autoscaling.put_lifecycle_hook(**{**hook, "HeartbeatTimeout": seconds})
    try:
        yield
    finally:
        for hook in hooks:
            autoscaling.put_lifecycle_hook(**hook)
