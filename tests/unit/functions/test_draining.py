"""Which pods a drain evicts, deletes, waits for, leaves and gives up: kubectl's own rows, and what it cannot say."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.cluster.draining import DrainPolicy, Found, Overdue, because
from functions.cluster.machine import Pod
from functions.remediate.plans.draining import (
    CAME_BACK,
    CORDON_HOLDS_AFTER,
    DAEMON,
    LOCAL_DATA,
    MIRROR,
    NOT_SELECTED,
    OVERDUE,
    UNMANAGED,
    Drain,
    drain_of,
)
from tests.unit.functions import builders
from tests.unit.functions.builders import NOW


class Fate(Enum):
    GOES = "it is asked to go, and waited for"
    REMOVED = "it is asked to go, and nobody waits"
    ENDS = "its deletion is under way: it is waited for"
    HELD = "it is not asked to go, and waited for"
    LEFT = "it has nothing to do with the drain"
    RELEASED = "it is given up, and a person hears of it"


def pod(name: str = "web-0", **fields: Any) -> Pod:
    """One of a ReplicaSet, unless the fields say otherwise."""
    return replace(builders.pod(name), **{"owner": "rs"} | fields)


def daemon(**fields: Any) -> Pod:
    return pod(daemon=True, **{"owner": "ds"} | fields)


def bare(**fields: Any) -> Pod:
    return pod(owner=None, **fields)


def ending(left_s: float, **fields: Any) -> Pod:
    """One whose grace is over in so many seconds."""
    return pod(ending=True, gone_by=NOW + timedelta(seconds=left_s), **fields)


KUBECTL = DrainPolicy(unmanaged=Found.KEEP, local_data=Found.KEEP)  # with no flag set
FORCE = replace(KUBECTL, unmanaged=Found.EVICT)
FORCE_AND_EMPTY_DIR = DrainPolicy()
SKIP_AFTER_20_S = replace(KUBECTL, stuck_after=timedelta(seconds=20))
SELECTOR = DrainPolicy(selector=(("app", "web"), ("tier", "front")))
SELECTED = {"app": "web", "tier": "front", "more": "yes"}
JOB = {"owner": "job"}
SAFE_TO_EVICT = "cluster-autoscaler.kubernetes.io/safe-to-evict=false"
ASKS = f"it asks to stay ({SAFE_TO_EVICT})"


@dataclass(frozen=True)
class Row:
    pod: Pod
    policy: DrainPolicy
    fate: Fate
    because: str | None = None


KUBECTL_ROWS = {
    # pkg/cmd/drain/drain_test.go, TestDrain: each by eviction and by deletion
    "a ReplicationController's": Row(pod(owner="rc"), KUBECTL, Fate.GOES),
    "a DaemonSet's, where kubectl stops": Row(daemon(), KUBECTL, Fate.LEFT, DAEMON),
    "a DaemonSet's that has finished": Row(daemon(finished=True), KUBECTL, Fate.REMOVED),
    "one that its DaemonSet has let go": Row(bare(labels={"my_key": "my_value"}), KUBECTL, Fate.HELD, UNMANAGED),
    "one that its DaemonSet has let go, with --force": Row(bare(labels={"my_key": "my_value"}), FORCE, Fate.GOES),
    "a DaemonSet's with --ignore-daemonsets": Row(daemon(), FORCE, Fate.LEFT, DAEMON),
    "a DaemonSet's with an emptyDir": Row(daemon(local_data=True), KUBECTL, Fate.LEFT, DAEMON),
    "a Job's with an emptyDir, --force and --delete-emptydir-data": Row(
        pod(local_data=True, **JOB), FORCE_AND_EMPTY_DIR, Fate.GOES
    ),
    "a Job's with an emptyDir that has finished": Row(
        pod(local_data=True, finished=True, **JOB), KUBECTL, Fate.REMOVED
    ),
    "a ReplicaSet's": Row(pod(), KUBECTL, Fate.GOES),
    "one of nobody": Row(bare(), KUBECTL, Fate.HELD, UNMANAGED),
    "one of nobody with --force": Row(bare(), FORCE, Fate.GOES),
    "one with an emptyDir and --force": Row(bare(local_data=True), FORCE, Fate.HELD, LOCAL_DATA),
    "one with an emptyDir that has finished": Row(bare(local_data=True, finished=True), KUBECTL, Fate.REMOVED),
    "one with an emptyDir, --force and --delete-emptydir-data": Row(
        bare(local_data=True), FORCE_AND_EMPTY_DIR, Fate.GOES
    ),
    # pkg/drain/filters.go, mirrorPodFilter, whatever else the pod is
    "a static pod's mirror": Row(pod(mirror=True), KUBECTL, Fate.LEFT, MIRROR),
    "a static pod's mirror that has finished": Row(pod(mirror=True, finished=True), KUBECTL, Fate.LEFT, MIRROR),
    # pkg/drain/filter_test.go, TestSkipDeletedFilter
    "one that is not being deleted, to be skipped 20 s after": Row(pod(), SKIP_AFTER_20_S, Fate.GOES),
    "one whose grace was over 1 s ago, to be skipped 20 s after": Row(ending(-1), SKIP_AFTER_20_S, Fate.ENDS),
    "one whose grace was over 100 s ago, to be skipped 20 s after": Row(
        ending(-100), SKIP_AFTER_20_S, Fate.RELEASED, "its grace was over at 11:58:20Z, and it is still there"
    ),
    # the edges of that rule
    "one whose grace was over just 20 s ago, to be skipped 20 s after": Row(ending(-20), SKIP_AFTER_20_S, Fate.ENDS),
    "one whose grace was over a day ago, never to be skipped": Row(ending(-86_400), KUBECTL, Fate.ENDS),
    # pkg/drain/drain_test.go, TestFilterPods: what further filters leave out is not in the drain
    "one that the selector takes in": Row(pod(labels=SELECTED), SELECTOR, Fate.GOES),
    "one that the selector takes in by half": Row(pod(labels={"app": "web"}), SELECTOR, Fate.LEFT, NOT_SELECTED),
    "one that the selector leaves out, being deleted": Row(ending(30), SELECTOR, Fate.LEFT, NOT_SELECTED),
    "one that the selector leaves out, finished": Row(pod(finished=True), SELECTOR, Fate.LEFT, NOT_SELECTED),
    "a DaemonSet's that the selector takes in": Row(daemon(labels=SELECTED), SELECTOR, Fate.LEFT, DAEMON),
    # pkg/drain/drain.go: one that is being deleted is asked again, and waited for whatever it is
    "one that is being deleted": Row(ending(30), KUBECTL, Fate.ENDS),
    "one of nobody that is being deleted": Row(bare(ending=True, gone_by=NOW), KUBECTL, Fate.ENDS),
    "one that is being deleted, with a grace that is longer than what is left of its own": Row(
        ending(30), replace(KUBECTL, grace_s=30), Fate.ENDS
    ),
    "one that is being deleted, with a grace that is shorter": Row(ending(31), replace(KUBECTL, grace_s=30), Fate.GOES),
    "a DaemonSet's that is being deleted": Row(daemon(ending=True, gone_by=NOW), KUBECTL, Fate.LEFT, DAEMON),
    "one that has finished and is being deleted": Row(ending(0, finished=True), KUBECTL, Fate.ENDS),
}

OWN_ROWS = {
    "one that asks to stay": Row(pod(opts_out=SAFE_TO_EVICT), FORCE_AND_EMPTY_DIR, Fate.HELD, ASKS),
    "one that has every reason to stay": Row(
        bare(opts_out=SAFE_TO_EVICT, local_data=True), KUBECTL, Fate.HELD, f"{ASKS}, {UNMANAGED}, {LOCAL_DATA}"
    ),
    "one that asks to stay and has finished": Row(
        pod(opts_out=SAFE_TO_EVICT, finished=True), FORCE_AND_EMPTY_DIR, Fate.REMOVED
    ),
    "one that asks to stay and is being deleted": Row(ending(30, opts_out=SAFE_TO_EVICT), KUBECTL, Fate.ENDS),
    "one that came just after the cordon": Row(pod(created_at=NOW - timedelta(minutes=8)), KUBECTL, Fate.GOES),
    "one that came long after the cordon": Row(
        pod(created_at=NOW - timedelta(minutes=7, seconds=59)), KUBECTL, Fate.RELEASED, CAME_BACK
    ),
    "one that came long after the cordon and goes again": Row(
        ending(30, created_at=NOW - timedelta(minutes=1)), KUBECTL, Fate.ENDS
    ),
}
ROWS = KUBECTL_ROWS | OWN_ROWS
SINCE = NOW - timedelta(minutes=8) - CORDON_HOLDS_AFTER


def fate_of(pod: Pod, drain: Drain) -> tuple[Fate, str | None]:
    asked, kept = pod in (*drain.evict, *drain.delete), dict(drain.kept)
    awaited, released = pod in drain.awaited, pod in drain.released
    match asked, awaited, pod in kept, released:
        case True, True, False, False:
            return Fate.GOES, None
        case True, False, False, False:
            return Fate.REMOVED, None
        case False, True, False, False:
            return Fate.ENDS, None
        case False, True, True, False:
            return Fate.HELD, kept[pod]
        case False, False, True, False:
            return Fate.LEFT, kept[pod]
        case False, False, True, True:
            return Fate.RELEASED, kept[pod]
    pytest.fail(f"{pod} is nowhere or in places that exclude each other: {drain}")


@pytest.mark.parametrize("evict", [True, False], ids=["by eviction", "by deletion"])
@pytest.mark.parametrize("whose", ROWS)
def test_a_drain_treats_a_pod_as_kubectl_does(whose: str, evict: bool) -> None:
    row = ROWS[whose]
    drain = drain_of([row.pod], replace(row.policy, evict=evict), overdue=False, at=NOW, since=SINCE)
    assert fate_of(row.pod, drain) == (row.fate, row.because)
    assert (drain.delete if evict else drain.evict) == ()
    assert (not drain.awaited) == (row.fate not in (Fate.GOES, Fate.ENDS, Fate.HELD))


AFTER_ITS_TIME = {
    Overdue.RELEASE: {Fate.GOES: Fate.RELEASED, Fate.ENDS: Fate.RELEASED, Fate.HELD: Fate.RELEASED,
                      Fate.REMOVED: Fate.LEFT, Fate.LEFT: Fate.LEFT, Fate.RELEASED: Fate.RELEASED},
    Overdue.DELETE: {Fate.GOES: Fate.GOES, Fate.ENDS: Fate.ENDS, Fate.HELD: Fate.GOES,
                     Fate.REMOVED: Fate.REMOVED, Fate.LEFT: Fate.LEFT, Fate.RELEASED: Fate.RELEASED},
}  # fmt: skip


@pytest.mark.parametrize("evict", [True, False], ids=["by eviction", "by deletion"])
@pytest.mark.parametrize("overdue", Overdue)
@pytest.mark.parametrize("whose", ROWS)
def test_when_its_time_is_over_what_is_left_is_released_or_deleted_whatever_it_asked_for(
    whose: str, overdue: Overdue, evict: bool
) -> None:
    row = ROWS[whose]
    policy = replace(row.policy, overdue=overdue, evict=evict)
    drain = drain_of([row.pod], policy, overdue=True, at=NOW, since=SINCE)
    assert fate_of(row.pod, drain)[0] is AFTER_ITS_TIME[overdue][row.fate]
    assert drain.evict == ()


def test_a_pod_that_goes_on_past_the_time_is_released_with_what_kept_it() -> None:
    pods = (pod("blocked"), ending(5, name="slow"), pod("asks", opts_out=SAFE_TO_EVICT), daemon(name="proxy"))
    drain = drain_of(pods, DrainPolicy(), overdue=True, at=NOW)
    assert drain.released_because == f"default/slow, default/blocked: {OVERDUE}; default/asks: {ASKS}"


def test_an_empty_node_is_drained() -> None:
    assert drain_of([], KUBECTL, overdue=False, at=NOW) == Drain()
    assert not Drain().awaited


def test_a_pod_that_was_made_anew_under_its_name_is_evicted_under_its_own_uid() -> None:
    first, second = pod(uid="first"), pod(uid="second")
    assert drain_of([first], KUBECTL, overdue=False, at=NOW, since=NOW).evict == (first,)
    assert drain_of([second], KUBECTL, overdue=False, at=NOW, since=NOW).evict == (second,)


BY_PRIORITY = DrainPolicy(by_priority=True)
LOW, MIDDLE, HIGH = pod("low", priority=-10), pod("middle"), pod("high", priority=2_000_000_000)
ALSO_LOW = pod("also-low", priority=-10)


@pytest.mark.parametrize(
    ("there", "go"),
    [
        ([HIGH, LOW, MIDDLE, ALSO_LOW], [LOW, ALSO_LOW]),
        ([HIGH, MIDDLE, replace(LOW, ending=True)], []),
        ([HIGH, MIDDLE], [MIDDLE]),
        ([replace(HIGH, ending=True), MIDDLE], [MIDDLE]),
        ([HIGH], [HIGH]),
        ([HIGH, replace(LOW, opts_out=SAFE_TO_EVICT)], [HIGH]),
        ([HIGH, replace(LOW, daemon=True), replace(MIDDLE, mirror=True)], [HIGH]),
        ([HIGH, replace(LOW, finished=True)], [replace(LOW, finished=True), HIGH]),
    ],
    ids=["lowest", "none while one ends", "next", "a higher one ends", "last", "asks to stay", "stay", "finished"],
)
def test_by_priority_the_lowest_class_goes_first_and_the_next_when_it_is_gone(there: list[Pod], go: list[Pod]) -> None:
    drain = drain_of(there, BY_PRIORITY, overdue=False, at=NOW)
    assert list(drain.evict) == go
    assert {one for one in there if not (one.daemon or one.mirror or one.finished)} == set(drain.awaited)


def test_a_pod_whose_turn_has_not_come_says_whose_it_is() -> None:
    drain = drain_of([HIGH, LOW], BY_PRIORITY, overdue=False, at=NOW)
    assert drain.kept_because == "default/high: those of priority -10 go first"


def test_when_the_time_is_too_short_for_it_no_order_is_kept() -> None:
    policy, everybody = replace(BY_PRIORITY, overdue=Overdue.DELETE), {HIGH, LOW, MIDDLE}
    assert set(drain_of(everybody, policy, overdue=False, at=NOW, in_order=False).evict) == everybody
    assert set(drain_of(everybody, policy, overdue=True, at=NOW).delete) == everybody


@pytest.mark.parametrize(
    ("pods", "said"),
    [
        ([], ""),
        (["a"], "default/a: it asks"),
        (["a", "b", "c"], "default/a, default/b, default/c: it asks"),
        (["a", "b", "c", "d", "e"], "default/a, default/b, default/c and 2 more: it asks"),
    ],
)
def test_a_reason_is_said_once_with_the_first_of_its_pods(pods: list[str], said: str) -> None:
    assert because((pod(name), "it asks") for name in pods) == said


def test_of_many_reasons_five_are_said_and_the_pods_of_the_others_counted() -> None:
    reasons = [(pod(f"web-{number}"), str(number // 2)) for number in range(14)]
    assert because(reasons).startswith("default/web-0, default/web-1: 0; default/web-2, default/web-3: 1; ")
    assert because(reasons).endswith("default/web-8, default/web-9: 4; and 4 more")
    assert because(reasons[:10]).endswith("default/web-8, default/web-9: 4")


def test_what_is_only_left_alone_is_no_reason_for_waiting() -> None:
    assert drain_of([daemon(), pod("web-1")], KUBECTL, overdue=False, at=NOW).kept_because == ""


MOMENTS = st.none() | st.integers(-300, 300).map(lambda seconds: NOW + timedelta(seconds=seconds))
PODS = st.lists(
    st.builds(
        replace,
        st.integers(0, 9).map(lambda number: pod(f"web-{number}")),
        finished=st.booleans(),
        ending=st.booleans(),
        mirror=st.booleans(),
        daemon=st.booleans(),
        owner=st.sampled_from([None, "rs"]),
        labels=st.sampled_from([{}, SELECTED]),
        priority=st.integers(-1, 1),
        local_data=st.booleans(),
        opts_out=st.sampled_from([None, SAFE_TO_EVICT]),
        gone_by=MOMENTS,
        created_at=MOMENTS,
    ),
    max_size=6,
    unique_by=lambda one: one.uid,
)
POLICIES = st.builds(
    DrainPolicy,
    overdue=st.sampled_from(Overdue),
    unmanaged=st.sampled_from(Found),
    local_data=st.sampled_from(Found),
    evict=st.booleans(),
    grace_s=st.sampled_from([None, 1, 60]),
    selector=st.sampled_from([(), SELECTOR.selector]),
    by_priority=st.booleans(),
    stuck_after=st.sampled_from([None, timedelta(seconds=60)]),
)


@dataclass(frozen=True)
class Situation:
    pods: list[Pod]
    policy: DrainPolicy
    overdue: bool
    since: datetime | None
    in_order: bool

    def drain(self, **changes: Any) -> Drain:
        whole = vars(self) | changes
        return drain_of(whole.pop("pods"), whole.pop("policy"), at=NOW, **whole)


ANY = given(st.builds(Situation, PODS, POLICIES, st.booleans(), MOMENTS, st.booleans()))


def uids(pods: Any) -> set[str]:
    return {one.uid for one in pods}


@ANY
def test_what_the_kubelet_or_a_daemon_set_keeps_is_never_touched_and_never_waited_for(any_one: Situation) -> None:
    pods, drain = any_one.pods, any_one.drain()
    stay = uids(one for one in pods if one.mirror or (one.daemon and not one.finished))
    assert stay.isdisjoint(uids((*drain.evict, *drain.delete, *drain.awaited, *drain.released)))
    assert stay <= uids(one for one, _ in drain.kept)


@ANY
def test_each_pod_has_one_place_and_each_that_is_waited_for_has_a_cause(any_one: Situation) -> None:
    pods, drain = any_one.pods, any_one.drain()
    asked, kept = [*drain.evict, *drain.delete], [one for one, _ in drain.kept]
    assert len(uids(asked)) == len(asked) and len(uids(kept)) == len(kept)
    assert uids(asked).isdisjoint(uids(kept))
    assert uids(pods) == uids([*asked, *kept]) | uids(one for one in drain.awaited if one.ending)
    assert uids(drain.awaited) <= uids([*asked, *kept]) | uids(one for one in pods if one.ending)
    assert uids(drain.released) <= uids(kept) - uids(drain.awaited)
    assert all(reason for _, reason in drain.kept)


@ANY
def test_a_drain_whose_time_is_over_asks_nobody_who_may_refuse_and_with_release_waits_for_nobody(
    any_one: Situation,
) -> None:
    drain = any_one.drain(overdue=True)
    assert drain.evict == ()
    if any_one.policy.overdue is Overdue.RELEASE:
        assert (drain.delete, drain.awaited) == ((), ())
    else:
        assert all(one.ending or one in drain.delete for one in drain.awaited), "what is waited for is on its way"


@ANY
def test_what_runs_and_is_not_waited_for_any_more_is_told(any_one: Situation) -> None:
    pods, drain = any_one.pods, any_one.drain()
    selected = [one for one in pods if any_one.policy.selector == () or one.labels == SELECTED]
    there = (one for one in selected if not one.mirror)
    runs = uids(one for one in there if (one.ending and one.finished) or not (one.daemon or one.finished))
    assert runs == uids(drain.awaited) | uids(drain.released)


@ANY
def test_a_drain_that_is_carried_out_ends_unless_somebody_has_to_let_go(any_one: Situation) -> None:
    """Pods that are asked to go, or go already, are gone at the next look; what then is still awaited is held."""
    left = any_one.pods
    for _ in range(len(left) + 1):
        drain = any_one.drain(pods=left)
        gone = uids((*drain.evict, *drain.delete)) | uids(one for one in drain.awaited if one.ending)
        left = [one for one in left if one.uid not in gone]
    asks = uids(one for one in left if one.opts_out or one.owner is None or one.local_data)
    assert uids(drain.awaited) <= asks
    assert not (any_one.overdue and drain.awaited)
