"""How a drain treats the pods of a machine that leaves: what a person may choose. Pure data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum

from functions.cluster.machine import Pod

_NAMED = 3
_REASONS = 5


class Overdue(Enum):
    """What becomes of pods that are still there when the drain's time is over."""

    RELEASE = "release"  # the machine goes with them; a person is told
    DELETE = "delete"  # they are deleted with their own grace, past their disruption budgets


class Found(Enum):
    """What becomes of a pod that kubectl drain would stop at and ask for a flag."""

    EVICT = "evict"
    KEEP = "keep"  # until the drain's time is over; then as `Overdue` says


@dataclass(frozen=True)
class DrainPolicy:
    """Each field is one of kubectl drain's flags, or what none of them can say. --ignore-daemonsets is always on.

    `deadline` is how long a machine that a hook holds is drained; notices of AWS bring deadlines of their own.
    `unmanaged`: pods of no controller (--force). `local_data`: pods with an emptyDir (--delete-emptydir-data).
    `evict` false: delete instead of evicting (--disable-eviction). `grace_s`: instead of each pod's own
    (--grace-period). `selector`: only pods with these labels (--pod-selector), as `key=value` pairs that must all
    hold. `by_priority`: of the pods that are left only those of the lowest priority are evicted at a time.
    `stuck_after`: how long after its own grace a pod that is being deleted is waited for
    (--skip-wait-for-delete-timeout).
    """

    deadline: timedelta = timedelta(hours=1)
    overdue: Overdue = Overdue.RELEASE
    unmanaged: Found = Found.EVICT
    local_data: Found = Found.EVICT
    evict: bool = True
    grace_s: int | None = None
    selector: tuple[tuple[str, str], ...] = ()
    by_priority: bool = False
    stuck_after: timedelta | None = None


def because(reasons: Iterable[tuple[Pod, str]]) -> str:
    """Say which pods and why in one line: each reason once, with the first of the pods that it is the reason of."""
    pods: dict[str, list[Pod]] = {}
    for pod, reason in reasons:
        pods.setdefault(reason, []).append(pod)
    said = [f"{_some(those)}: {reason}" for reason, those in pods.items()]
    left = sum(len(those) for those in list(pods.values())[_REASONS:])
    return "; ".join(said[:_REASONS] + ([f"and {left} more"] if left else []))


def _some(pods: list[Pod]) -> str:
    more = f" and {len(pods) - _NAMED} more" if len(pods) > _NAMED else ""
    return ", ".join(str(pod) for pod in pods[:_NAMED]) + more
