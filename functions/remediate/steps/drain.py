"""Ask the pods of a leaving machine to go, and say which ones may not yet and why."""

from __future__ import annotations

from collections.abc import Sequence

from functions.cluster.draining import because
from functions.errors import RetryableError
from functions.remediate.outside import Blocked, Outside
from functions.remediate.plan import Evict
from functions.remediate.steps.waiting import Waiting


def evict(step: Evict, outside: Outside, *, grace_s: int | None) -> Waiting | None:
    """Return None once no pod is held; the pods still take their time to end. A last try holds up nothing."""
    try:
        blocked = outside.kubernetes.evict(step.pods, grace_s=grace_s)
    except RetryableError as error:
        if step.after is not None:
            raise
        outside.journal.tell("last_eviction_failed", node=step.node_name, reason=str(error))
        return None
    return Waiting(_reason(blocked, step), step.after) if blocked and step.after is not None else None


def _reason(blocked: Sequence[Blocked], step: Evict) -> str:
    named = because((one.pod, one.reason) for one in blocked)
    return f"{len(blocked)} of {len(step.pods)} pods on {step.node_name} may not be evicted yet: {named}"
