"""Ask the pods of a leaving machine to go, and say which ones may not yet and why."""

from __future__ import annotations

from collections.abc import Sequence

from functions.cluster.draining import because
from functions.remediate.outside import Blocked, Kubernetes
from functions.remediate.plan import SOON, Evict
from functions.remediate.steps.waiting import Waiting


def evict(step: Evict, kubernetes: Kubernetes, *, grace_s: int | None) -> Waiting | None:
    """Return None once no pod is held; the pods still take their time to end."""
    blocked = kubernetes.evict(step.pods, grace_s=grace_s)
    return Waiting(_reason(blocked, step), SOON) if blocked else None


def _reason(blocked: Sequence[Blocked], step: Evict) -> str:
    named = because((one.pod, one.reason) for one in blocked)
    return f"{len(blocked)} of {len(step.pods)} pods on {step.node_name} may not be evicted yet: {named}"
