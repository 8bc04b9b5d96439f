"""Real machines are killed with everything else of their world: the next world to start removes what is left of them.

How worlds of machines without Kubernetes end is told in tests/integration/local/worlds. This is about what kubelets,
container runtimes and pods add: their mounts, nested control groups, and settings of the kernel.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from infra.local.cluster import wait_for
from infra.local.linux.cgroups import Cgroup
from infra.local.places import CHECKOUT, WorldPlace
from infra.local.worlds.world import clean, is_up
from tests.integration.local.worlds.light import light_world
from tests.integration.local.worlds.traces import processes_of, traces

# In a process of its own, which enters that world's network.
CLUSTER_UP = """
from infra.local import cluster
from infra.local.progress import Progress

cluster.up("doomed", delays="instant", workers=1, progress=Progress())
"""


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A state directory of its own: worlds that are up on this host are not disturbed."""
    with tempfile.TemporaryDirectory(prefix="regrow-state-", dir="/var/tmp") as directory:
        monkeypatch.setenv("REGROW_STATE", directory)
        yield Path(directory)
        clean()


def test_after_sigkill_of_a_world_with_real_machines_the_next_one_to_start_removes_all_of_it(state: Path) -> None:
    before = traces(state)
    subprocess.run([sys.executable, "-c", CLUSTER_UP], cwd=CHECKOUT, check=True)
    doomed = WorldPlace(state, "doomed")
    machines = [Cgroup.of(doomed.group, machine) for machine, _ in doomed.machines()]
    assert len(machines) == 2
    machines[0].freeze()
    for pid in processes_of(state):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    wait_for("the end of the world's first process", lambda: not is_up(doomed), within_s=10)

    light = light_world("next")
    assert not doomed.directory.exists()
    assert [group.pids() for group in machines] == [frozenset(), frozenset()]
    assert not any("doomed" in group for group in traces(state).groups)
    light.end()
    clean()
    assert traces(state) == before
