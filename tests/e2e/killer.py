"""Who kills the deployed function of the passes in the middle of its work."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from infra.local.cloud.functions.faults import kill_function
from tests.e2e.scene import Scene

VISIBILITY_S = 5
_LOOK_EVERY_S = 0.005


@contextmanager
def killing(scene: Scene, after: tuple[str, ...]) -> Iterator[Killer]:
    """Passes are killed after these steps, and handed out again sooner than the template has it."""
    killer = Killer(scene, after)
    with scene.pass_visibility(VISIBILITY_S):
        killer.start()
        try:
            yield killer
        finally:
            killer.stop()


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
