"""The eviction API, and what its answers mean (Kubernetes, API-initiated eviction; pod/storage/eviction.go).

Disruption budgets are weighed before the uid is compared, so a budget may answer for the pod that took the place of
the one that was meant. Of evictions under one budget that come together, the API server lets one after another try
again each half second, up to ten; one that we hung up on may count against its budget for two minutes more. So pods
that are likely to share a budget go one after another, and there is little time to ask in and much to wait for answers.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from functions.cluster.machine import Pod
from functions.edges.kubernetes_api import PARALLEL, AnswerError, KubernetesApi, NotFoundError
from functions.errors import RetryableError
from functions.remediate.outside import Blocked

SLOW_DOWN = "the API server asks to slow down"
TIME_IS_UP = "the API server was too slow for it to have its turn"
ASK_WITHIN_S = 3.0
_TIMEOUT_S = (2.0, 7.0)  # for the connection and for the answer
_OTHER_UID = "UID in the precondition"
_SEVERAL_BUDGETS = "more than one PodDisruptionBudget"
_BUDGET_REFUSES = 'poddisruptionbudget.policy "'
_PAUSE_S = 1.0  # the least that the API server ever asks for


class Pace:
    """When the next request may be made: one pause for all that ask at once, and an end for all of them."""

    def __init__(
        self,
        within_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._end = clock() + within_s
        self._resume_at = 0.0

    def pause(self, seconds: float) -> None:
        self._resume_at = max(self._resume_at, self._clock() + seconds)

    def why_not(self) -> str | None:
        """Wait for the pause to be over and return None, or return at once why there is no time left for that."""
        while True:
            now = self._clock()
            if now >= self._end:
                return TIME_IS_UP
            if now >= self._resume_at:
                return None
            if self._resume_at >= self._end:
                return SLOW_DOWN
            self._sleep(self._resume_at - now)


def delete_options(pod: Pod, grace_s: int | None) -> dict[str, Any]:
    """Delete that very pod; without `grace_s` with its own grace. One that is ending already can only get less."""
    grace = {} if grace_s is None else {"gracePeriodSeconds": grace_s}
    return {**grace, "preconditions": {"uid": pod.uid}}


def evict(
    api: KubernetesApi, pods: Sequence[Pod], pace: Callable[[], Pace], *, grace_s: int | None = None
) -> tuple[Blocked, ...]:
    """Ask for the eviction of each pod under its uid, and return those that stay for now.

    `pace` is made when the first may be asked for. Raises the first RetryableError once all others have been tried.
    """
    lanes, pace_of_all = lanes_of(pods, _namespaces_with_budgets(api, pods)), pace()
    with ThreadPoolExecutor(max_workers=PARALLEL) as together:
        asked = [together.submit(_evict_in_turn, api, lane, pace_of_all, grace_s) for lane in lanes]
    return _naming_budgets(api, [blocked for one in asked for blocked in one.result()])


def lanes_of(pods: Iterable[Pod], with_budgets: Collection[str]) -> tuple[tuple[Pod, ...], ...]:
    """Part the pods into those that go one after another: of one controller, in a namespace that has budgets."""
    lanes: dict[str, list[Pod]] = {}
    for pod in pods:
        shares = pod.owner if pod.namespace in with_budgets else None
        lanes.setdefault(shares or pod.uid, []).append(pod)
    return tuple(tuple(lane) for lane in lanes.values())


def _namespaces_with_budgets(api: KubernetesApi, pods: Iterable[Pod]) -> frozenset[str]:
    """Ask only when it matters: some controller has several of the pods. Without an answer, any may have some."""
    owned = Counter(pod.owner for pod in pods if pod.owner)
    if max(owned.values(), default=0) < 2:
        return frozenset()
    try:
        return frozenset(raw["metadata"]["namespace"] for raw in _budgets(api))
    except RetryableError:
        return frozenset(pod.namespace for pod in pods)


def _naming_budgets(api: KubernetesApi, blocked: Sequence[Blocked]) -> tuple[Blocked, ...]:
    """Name the budgets where the API server only says that they are several. Without an answer its words must do."""
    several = [one for one in blocked if _SEVERAL_BUDGETS in one.reason]
    try:
        budgets = list(_budgets(api)) if several else []
    except RetryableError:
        budgets = []
    return tuple(
        replace(one, reason=f"{one.reason}: {', '.join(names)}")
        if one in several and (names := _budgets_of(one.pod, budgets))
        else one
        for one in blocked
    )


def _budgets(api: KubernetesApi) -> Iterator[dict[str, Any]]:
    return api.list("list PodDisruptionBudgets", "PolicyV1Api", "list_pod_disruption_budget_for_all_namespaces")


def _budgets_of(pod: Pod, budgets: Iterable[dict[str, Any]]) -> list[str]:
    return [
        raw["metadata"]["name"]
        for raw in budgets
        if raw["metadata"]["namespace"] == pod.namespace and _selects(raw["spec"].get("selector"), pod.labels)
    ]


def _selects(selector: dict[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """Whether it matches (apimachinery, LabelSelectorAsSelector): an empty selector does, none at all does not."""
    if selector is None:
        return False
    pairs, expressions = selector.get("matchLabels", {}), selector.get("matchExpressions", [])
    return all(labels.get(key) == value for key, value in pairs.items()) and all(
        _holds(one["operator"], labels.get(one["key"]), one.get("values", [])) for one in expressions
    )


def _holds(operator: str, label: str | None, values: Collection[str]) -> bool:
    match operator:
        case "In":
            return label in values
        case "NotIn":
            return label not in values
        case "Exists":
            return label is not None
        case _:
            return operator == "DoesNotExist" and label is None


def _evict_in_turn(api: KubernetesApi, lane: Sequence[Pod], pace: Pace, grace_s: int | None) -> tuple[Blocked, ...]:
    blocked: list[Blocked] = []
    failed: RetryableError | None = None
    for pod in lane:
        try:
            if stays := _evict(api, pod, pace, grace_s):
                blocked.append(stays)
        except RetryableError as error:
            failed = failed or error
    if failed:
        raise failed
    return tuple(blocked)


def _evict(api: KubernetesApi, pod: Pod, pace: Pace, grace_s: int | None) -> Blocked | None:
    while not (too_late := pace.why_not()):
        try:
            _ask(api, pod, grace_s)
        except NotFoundError:
            return None
        except AnswerError as error:
            if _goes_anyway(error):
                return None
            if reason := _why_it_stays(error):
                return Blocked(pod, reason)
            if error.code != 429:
                raise
            pace.pause(_pause_s(error))
        else:
            return None
    return Blocked(pod, too_late)


def _ask(api: KubernetesApi, pod: Pod, grace_s: int | None) -> None:
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod.name, "namespace": pod.namespace},
        "deleteOptions": delete_options(pod, grace_s),
    }
    api.ask(
        f"evict Pod {pod}",
        "CoreV1Api",
        "create_namespaced_pod_eviction",
        pod.name,
        pod.namespace,
        eviction,
        _request_timeout=_TIMEOUT_S,
    )


def _goes_anyway(error: AnswerError) -> bool:
    """Whether another pod has its name by now, or its namespace takes it away without an eviction."""
    if error.code == 409:
        return _OTHER_UID in error.said
    return error.code == 403 and bool(error.causes("NamespaceTerminating"))


def _why_it_stays(error: AnswerError) -> str | None:
    """Return what the API server says holds this pod, None when it said something else."""
    if error.code == 429 and (causes := error.causes("DisruptionBudget")):
        return "; ".join(causes)
    if error.code == 500 and _SEVERAL_BUDGETS in error.said:
        return f"{error.said} A person has to mend their selectors: as they are, nothing can evict it"
    if error.code == 403 and error.said.startswith(_BUDGET_REFUSES):
        return error.said  # names the budget: its count is negative, or too many evictions are not counted yet
    return None


def _pause_s(error: AnswerError) -> float:
    """Priority and fairness tells in whole seconds (flow control, Retry-After)."""
    told = error.headers.get("Retry-After", "")
    return float(told) if told.isascii() and told.isdigit() else _PAUSE_S
