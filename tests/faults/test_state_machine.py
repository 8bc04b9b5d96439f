"""Clusters of any size in any trouble, as state_machine.py has them.

What is run here is the same each time. `python -m bench --state-machine --seeds N` looks at others, for as long as you
like, and names the seed of what it finds; hypothesis prints the steps, and a blob with which to repeat them.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.faults.state_machine import Clusters


def test_whatever_happens_nothing_is_harmed_and_the_cluster_comes_whole() -> None:
    run_state_machine_as_test(
        Clusters,
        settings=settings(
            max_examples=100,
            stateful_step_count=25,
            deadline=None,
            derandomize=True,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
