"""Seconds from a machine's death until its volume is attached elsewhere: with Regrow, and side by side without."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

from infra.local.cluster import Cluster, wait_until_ready
from infra.local.drills.kinds import KINDS
from infra.local.drills.run import run
from infra.local.drills.volume_unhealed import Unhealed, delete_the_node_first, leave_it_to_kubernetes
from infra.local.progress import Progress

FIGURES = ("dead_to_attached_elsewhere_s", "detached_to_attached_elsewhere_s", "not_written_s")


def volume(cluster: Cluster, count: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Medians over `count` drills, and every one."""
    runs = []
    for number in range(count):
        record = run(cluster, KINDS["volume"], lambda _: None)
        healed = "healed" if record["healed"] else "NOT healed"
        runs.append({name: record[name] for name in FIGURES})
        say(f"volume {number + 1} of {count}: {healed} {runs[-1]}")
    return {**{name: round(statistics.median(one[name] for one in runs), 2) for name in FIGURES}, "runs": runs}


def volume_alone(cluster: Cluster, progress: Progress) -> dict[str, Any]:
    """The same kill without Regrow: left to Kubernetes and a cloud controller, and with the Node deleted at once.

    Each takes seven to eight minutes.
    """
    left_to_kubernetes = leave_it_to_kubernetes(cluster, progress.say)
    machines = sum(group["DesiredCapacity"] for group in cluster.groups())
    wait_until_ready(cluster, machines=machines, progress=progress)  # Regrow is switched on again
    return {
        "left_to_kubernetes": _as_data(left_to_kubernetes),
        "node_deleted_first": _as_data(delete_the_node_first(cluster, progress.say)),
    }


def _as_data(found: Unhealed) -> dict[str, float]:
    return {"dead_to_attached_elsewhere_s": found.attached_elsewhere_s, "node_deleted_s": found.node_deleted_s}
