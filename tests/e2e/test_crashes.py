"""The deployed function is SIGKILLed in the middle of its work, and the case heals all the same."""

from __future__ import annotations

import pytest

from tests.e2e.killer import killing
from tests.e2e.scene import Scene

STEPS = ("OpenCase", "Fence", "DeletePods", "AwaitDetach", "DeleteNode", "CompleteHook", "AwaitReplacement")


@pytest.mark.parametrize("after", [STEPS[::2], STEPS[1::2]], ids="-".join)
def test_a_dead_worker_heals_though_the_function_is_killed_after_each_of_these_steps(
    scene: Scene, after: tuple[str, ...]
) -> None:
    victim = scene.workers()[0]
    passes = scene.journal("remediate")
    with killing(scene, after) as killer:
        scene.kill(victim)
        scene.await_healed(victim)
    # A step whose call was made in the moment of a kill is found done by the next pass, and never in its log.
    assert len(killer.crashes) >= 2
    assert passes.broken() >= 1, "a kill must come while a pass is at work"
    scene.dead_letters()  # five crashes are enough for a message to be given up; the case does not hang on it
