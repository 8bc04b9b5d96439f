"""Steps on the Node object: cordon, fence, restore, delete."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from functions.cluster.facts import Absent
from functions.cluster.machine import Node
from functions.errors import ConflictError
from functions.remediate.outside import Kubernetes
from functions.remediate.plan import Cordon, DeleteNode, Fence, Restore

_ATTEMPTS = 3  # the node lifecycle controller writes to a dead Node as well, and so moves its resourceVersion


def cordon(step: Cordon, kubernetes: Kubernetes, *, at: datetime) -> None:
    _change(
        kubernetes,
        step,
        lambda node: node.heeds(step.notice, drains=step.drains, at=at),
        lambda node: kubernetes.cordon(node, step.notice, drains=step.drains, at=at),
    )


def fence(step: Fence, kubernetes: Kubernetes, *, at: datetime) -> None:
    _change(
        kubernetes,
        step,
        lambda node: node.unschedulable and node.out_of_service,
        lambda node: kubernetes.fence(node, at=at),
    )


def restore(step: Restore, kubernetes: Kubernetes) -> None:
    _change(kubernetes, step, lambda node: not node.marked, kubernetes.restore)


def delete_node(step: DeleteNode, kubernetes: Kubernetes) -> None:
    kubernetes.delete_node(step.node_name, step.node_uid)


def _change(
    kubernetes: Kubernetes,
    step: Cordon | Fence | Restore,
    done: Callable[[Node], bool],
    change: Callable[[Node], None],
) -> None:
    """Change the Node that the plan was made for, as it is now.

    Raises ConflictError when another Node has its name by now, or when it keeps changing under us.
    """
    for attempt in range(_ATTEMPTS):
        node = kubernetes.node(step.node_name)
        if isinstance(node, Absent):
            return
        if node.uid != step.node_uid:
            raise ConflictError(f"Node {node.name} is another one by now: uid {node.uid}, not {step.node_uid}")
        if done(node):
            return
        try:
            change(node)
        except ConflictError:
            if attempt == _ATTEMPTS - 1:
                raise
        else:
            return
