"""Which pods of a leaving machine go now, which are waited for, and which stay on it and why.

The rows are kubectl drain's (kubectl, pkg/drain/filters.go), with the flags as policy. It works on the list that it
read once; a pass reads the list anew each time, so a pod that comes back is a new pod here. Beyond its flags: pods that
ask not to be evicted, order by priority, and an end for all waiting.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from functions.cluster.draining import DrainPolicy, Found, Overdue, because
from functions.cluster.machine import Pod

MIRROR = "it is a static pod: the kubelet keeps it until the machine ends"
DAEMON = "its DaemonSet would start it on this Node again"
FINISHED = "it has finished"
NOT_SELECTED = "the drain's selector leaves it out"
UNMANAGED = "nothing would make it anew: it has no controller"
LOCAL_DATA = "the data in its emptyDir would be lost"
CAME_BACK = "it was made anew on this Node in spite of the cordon"
OVERDUE = "the drain's time was over before it was gone"
CORDON_HOLDS_AFTER = timedelta(minutes=2)  # what comes later is bound past the scheduler, or tolerates the cordon


@dataclass(frozen=True)
class Drain:
    """Each pod of the machine is in exactly one of `evict`, `delete` and `kept`, or its deletion is under way already.

    `awaited`: while any is there, the drain is not done. `kept`: each with its reason; some of them are awaited.
    `released`: those of the kept that the machine goes with although they may still run: a person is to be told. A pod
    whose deletion is under way may be in `evict` as well, for a shorter grace.
    """

    evict: tuple[Pod, ...] = ()
    delete: tuple[Pod, ...] = ()
    awaited: tuple[Pod, ...] = ()
    kept: tuple[tuple[Pod, str], ...] = ()
    released: tuple[Pod, ...] = ()

    @property
    def kept_because(self) -> str:
        """Say which of the awaited pods are not asked to go, and why; empty when all are."""
        return because((pod, reason) for pod, reason in self.kept if pod in self.awaited)

    @property
    def released_because(self) -> str:
        """Say which pods the machine goes with, and why; empty when there are none."""
        return because((pod, reason) for pod, reason in self.kept if pod in self.released)


def drain_of(
    pods: Iterable[Pod],
    policy: DrainPolicy,
    *,
    overdue: bool,
    at: datetime,
    since: datetime | None = None,
    in_order: bool = True,
) -> Drain:
    """Part the pods of a machine that is being drained `since` then.

    Once it is `overdue`, what is still there is deleted or released, as the policy says, whatever it asked for. Without
    `in_order` the order by priority is given up: the time that is left is too short for it.
    """
    kept: list[tuple[Pod, str]] = []
    released: list[Pod] = []
    remove: list[Pod] = []  # runs no more, so nobody has to wait for it
    go: list[Pod] = []
    hold: list[tuple[Pod, str]] = []
    ending: list[Pod] = []
    for pod in pods:
        if reason := _left_alone(pod, policy):
            kept.append((pod, reason))
        elif pod.finished and not pod.ending:
            remove.append(pod)
        elif reason := _given_up(pod, policy, at=at, since=since):
            kept.append((pod, reason))
            released.append(pod)
        elif pod.ending:
            ending.append(pod)
        elif reason := _asks_to_stay(pod, policy):
            hold.append((pod, reason))
        else:
            go.append(pod)

    if overdue and policy.overdue is Overdue.RELEASE:
        left = [*((pod, OVERDUE) for pod in ending), *hold, *((pod, OVERDUE) for pod in go)]
        done = ((pod, FINISHED) for pod in remove)
        return Drain(kept=(*kept, *left, *done), released=(*released, *(pod for pod, _ in left)))
    if overdue:
        go, hold = [*(pod for pod, _ in hold), *go], []
    elif policy.by_priority and in_order:
        turn = min((pod.priority for pod in (*go, *ending)), default=0)
        hold += ((pod, f"those of priority {turn} go first") for pod in go if pod.priority > turn)
        go = [pod for pod in go if pod.priority == turn]
    now = (*remove, *(pod for pod in ending if _goes_sooner(pod, policy, at)), *go)
    evict, delete = (now, ()) if policy.evict and not overdue else ((), now)
    return Drain(evict, delete, (*ending, *(pod for pod, _ in hold), *go), (*kept, *hold), tuple(released))


def _left_alone(pod: Pod, policy: DrainPolicy) -> str | None:
    """Say why a drain has nothing to do with the pod, at no time."""
    if any(pod.labels.get(key) != value for key, value in policy.selector):
        return NOT_SELECTED
    if pod.mirror:
        return MIRROR
    return DAEMON if pod.daemon and not pod.finished else None


def _given_up(pod: Pod, policy: DrainPolicy, *, at: datetime, since: datetime | None) -> str | None:
    """Say why waiting for the pod is of no use."""
    if pod.ending:
        stuck = policy.stuck_after is not None and pod.gone_by is not None and at - pod.gone_by > policy.stuck_after
        return f"its grace was over at {pod.gone_by:%H:%M:%SZ}, and it is still there" if stuck else None
    late = since is not None and pod.created_at is not None and pod.created_at > since + CORDON_HOLDS_AFTER
    return CAME_BACK if late else None


def _asks_to_stay(pod: Pod, policy: DrainPolicy) -> str | None:
    reasons = (
        pod.opts_out and f"it asks to stay ({pod.opts_out})",
        pod.owner is None and policy.unmanaged is Found.KEEP and UNMANAGED,
        pod.local_data and policy.local_data is Found.KEEP and LOCAL_DATA,
    )
    return ", ".join(reason for reason in reasons if reason) or None


def _goes_sooner(pod: Pod, policy: DrainPolicy, at: datetime) -> bool:
    """Whether the policy's grace is shorter than what is left of the pod's: asked again, the API server shortens it."""
    return (
        policy.grace_s is not None and pod.gone_by is not None and pod.gone_by > at + timedelta(seconds=policy.grace_s)
    )
