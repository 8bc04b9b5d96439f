"""The deployed function is SIGKILLed in the middle of its work, and the case heals all the same."""

from __future__ import annotations

import threading
import time

import pytest

from infra.local.cloud.functions.faults import kill_function
from tests.e2e.scene import Scene

VISIBILITY_S = 5
_LOOK_EVERY_S = 0.005
STEPS = ("OpenCase", "Fence", "DeletePods", "AwaitDetach", "DeleteNode", "CompleteHook", "AwaitReplacement")


@pytest.mark.parametrize("after", [STEPS[::2], STEPS[1::2]], ids="-".join)
def test_a_dead_worker_heals_though_the_function_is_killed_after_each_of_these_steps(
    scene: Scene, after: tuple[str, ...]
) -> None:
    victim = scene.workers()[0]
    killer, passes = Killer(scene, after), scene.journal("remediate")
    with scene.pass_visibility(VISIBILITY_S):
        killer.start()
        try:
            scene.kill(victim)
            scene.await_healed(victim)
        finally:
            killer.stop()
    # A step whose call was made in the moment of a kill is found done by the next pass, and never in its log.
    assert len(killer.crashes) >= 2
    assert passes.broken() >= 1, "a kill must come while a pass is at work"
    scene.dead_letters()  # five crashes are enough for a message to be given up; the case does not hang on it


class Killer(threading.Thread):
    """Kills the environment of the passes as soon as one of the steps appears in its log, once for each step."""

    def __init__(self, scene: Scene, after: tuple[str, ...]) -> None:
        super().__init__(daemon=True)
        self._world = scene.cluster.world.place.directory
        self._function = scene.function("remediate")
        self._journal = scene.journal("remediate")
        self._after = after
        self._stopping = threading.Event()
        self.crashes: list[str] = []

    def run(self) -> None:
        while not self._stopping.is_set():
            for step in self._after:
                seen = step not in self.crashes and self._journal.lines(message="step", step=step)
                if seen and kill_function(self._world, self._function):
                    self.crashes.append(step)
            time.sleep(_LOOK_EVERY_S)

    def stop(self) -> None:
        self._stopping.set()
        self.join()
