"""Whether what was set fits together, and fits the hooks of the groups: asked before anything is deployed.

A hook lives for 100 of its heartbeat time-outs and never longer than 48 hours, however often it is kept alive (Auto
Scaling user guide, lifecycle hooks, "Keep instances in a wait state"). What Regrow may take must end before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from functions.cluster.machine import CLUSTER_TAG, HOOK_PREFIX, Transition
from functions.errors import ConfigurationError
from functions.settings import Settings
from infra.deployment.failure import DeploymentError

MOST_HEARTBEATS = 100
LONGEST = timedelta(hours=48)
SHORTEST = timedelta(minutes=2)  # while a machine is only waited for, nothing but the sweep beats, once a minute
SLACK = timedelta(minutes=1)  # from the hook's begin to the first pass, and from the last one to its completion


@dataclass(frozen=True)
class Hook:
    """A lifecycle hook of ours, as a group has it."""

    group: str
    name: str
    transition: Transition
    heartbeat_timeout: timedelta

    @property
    def lives(self) -> timedelta:
        return min(LONGEST, MOST_HEARTBEATS * self.heartbeat_timeout)


def refuse_what_does_not_fit(environment: Mapping[str, str], session: Any) -> None:
    """Raise DeploymentError with every value that is wrong in itself or too long for a hook, and the numbers."""
    try:
        settings = Settings.from_env(environment)
    except ConfigurationError as error:
        raise DeploymentError(str(error)) from error
    if unfit := too_long(settings, hooks_of(settings.cluster, session.client("autoscaling"))):
        raise DeploymentError("; ".join(unfit))


def too_long(settings: Settings, hooks: Iterable[Hook]) -> list[str]:
    """Say which of our times do not fit into which hook. Pure."""
    takes = {
        Transition.LAUNCHING: ("REGROW_JOIN_DEADLINE_S", settings.join_deadline),
        Transition.TERMINATING: ("REGROW_DRAIN_DEADLINE_S", settings.drain.deadline),
    }
    unfit: list[str] = []
    for hook in hooks:
        if hook.heartbeat_timeout < SHORTEST:
            unfit.append(
                f"hook {hook.name} of {hook.group} has a timeout of {hook.heartbeat_timeout.total_seconds():.0f} s; "
                f"make it {SHORTEST.total_seconds():.0f} s or more, or it runs out between two sweeps"
            )
        name, needed = takes[hook.transition]
        if needed + SLACK > hook.lives:
            longest, timeout = hook.lives - SLACK, hook.heartbeat_timeout
            unfit.append(
                f"{name} is {needed.total_seconds():.0f}, but hook {hook.name} of {hook.group} lives "
                f"{hook.lives.total_seconds():.0f} s ({MOST_HEARTBEATS} heartbeats of {timeout.total_seconds():.0f} s, "
                f"at most 48 h): set it to {longest.total_seconds():.0f} or less, or give the hook a longer timeout"
            )
    return unfit


def hooks_of(cluster: str, autoscaling: Any) -> tuple[Hook, ...]:
    """Read the hooks that are ours, of every group that carries the cluster's tag."""
    pages = autoscaling.get_paginator("describe_auto_scaling_groups").paginate(
        Filters=[{"Name": f"tag:{CLUSTER_TAG}", "Values": [cluster]}]
    )
    names = [group["AutoScalingGroupName"] for page in pages for group in page["AutoScalingGroups"]]
    return tuple(
        Hook(
            name,
            hook["LifecycleHookName"],
            Transition(hook["LifecycleTransition"]),
            timedelta(seconds=hook["HeartbeatTimeout"]),
        )
        for name in names
        for hook in autoscaling.describe_lifecycle_hooks(AutoScalingGroupName=name)["LifecycleHooks"]
        if hook["LifecycleHookName"].startswith(HOOK_PREFIX)
    )
