"""Auto Scaling's lifecycle hooks help, and are not needed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.scene import Scene


@pytest.fixture
def _no_hook(scene: Scene) -> Iterator[None]:
    autoscaling, group = scene.client("autoscaling"), scene.cluster.worker_group
    hooks = autoscaling.describe_lifecycle_hooks(AutoScalingGroupName=group)["LifecycleHooks"]
    assert {hook["LifecycleTransition"].rpartition("_")[2] for hook in hooks} == {"LAUNCHING", "TERMINATING"}
    for hook in hooks:
        autoscaling.delete_lifecycle_hook(AutoScalingGroupName=group, LifecycleHookName=hook["LifecycleHookName"])
    yield
    for hook in hooks:
        autoscaling.put_lifecycle_hook(**{key: value for key, value in hook.items() if key != "GlobalTimeout"})


@pytest.mark.usefixtures("_no_hook")
def test_a_dead_worker_heals_when_the_group_has_no_hook_any_more(scene: Scene) -> None:
    victim = scene.workers()[0]
    joined = len(scene.steps(victim))
    scene.kill(victim)
    scene.await_healed(victim)
    assert "CompleteHook" not in scene.steps(victim)[joined:]
