"""A machine that leaves, moment by moment: what is written on its Node, when its pods are asked, its last words."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from functions.cluster.assess import Kind, Verdict, assess
from functions.cluster.draining import DrainPolicy, Overdue
from functions.cluster.facts import Facts, Unknown
from functions.cluster.machine import (
    CORDONED_ANNOTATION,
    DRAINING_ANNOTATION,
    NOTICE_ANNOTATION,
    InstanceState,
    Node,
    Pod,
    Target,
)
from functions.cluster.notice import REBALANCE_HOLDS, SPOT_WARNS, Cause, Notice
from functions.cluster.policy import Policy
from functions.remediate.plan import (
    AT_ONCE,
    LATER,
    SOON,
    CompleteHook,
    Cordon,
    DeleteOverdue,
    Evict,
    LeaveLoadBalancers,
    LookAgain,
    Release,
    Step,
)
from functions.remediate.planning import make_plan
from functions.remediate.plans.draining import CORDON_HOLDS_AFTER
from functions.remediate.plans.leaving import DELETE_TAKES, QUICK_FOR, TAKEN_MARGIN, UNHURRIED, Times, times_of
from tests.unit.functions.builders import (
    NOW,
    ONE,
    TARGET_GROUP,
    TWO,
    facts,
    fleet,
    group,
    instance,
    member,
    node,
    pod,
    silent,
)

HOUR, MINUTE, SECOND = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)
SPOT = Notice(Cause.SPOT, "terminate", NOW, NOW + SPOT_WARNS)
ADVICE = Notice(Cause.REBALANCE, "rebalance", NOW, NOW + REBALANCE_HOLDS)
MAINTENANCE = Notice(Cause.MAINTENANCE, "instance-reboot", NOW, NOW + timedelta(days=1))
HELD = fleet(group(member(ONE, "Terminating:Wait"), member(TWO)))
GOING = fleet(group(member(ONE, "Terminating"), member(TWO)))
WEB, DB = pod("web-0"), replace(pod("db-0"), priority=10)
POLICY = Policy()
DELETES = Policy(drain=DrainPolicy(overdue=Overdue.DELETE))
IN_ORDER = Policy(drain=DrainPolicy(by_priority=True))


def drained_for(age: timedelta, notice: Notice | None = None, **marks: str) -> Node:
    marks = {DRAINING_ANNOTATION: (NOW - age).isoformat(), CORDONED_ANNOTATION: ""} | marks
    if notice:
        marks |= {NOTICE_ANNOTATION: notice.to_json()}
    return node(unschedulable=True, annotations=marks)


def held_for(age: timedelta, *pods: Pod, **changes: Any) -> Facts:
    """A machine that its hook holds, closed for new work for that long."""
    return facts(**{"fleet": HELD, "node": drained_for(age), "pods": pods} | changes)


def announced(notice: Notice, age: timedelta, *pods: Pod, **changes: Any) -> Facts:
    return facts(**{"notice": notice, "node": drained_for(age, notice), "pods": pods} | changes)


def plan_of(seen: Facts, policy: Policy = POLICY) -> list[Step]:
    return list(make_plan(assess(seen), seen, policy).steps)


def one(kind: type[Step], seen: Facts, policy: Policy = POLICY) -> Any:
    (found,) = [step for step in plan_of(seen, policy) if isinstance(step, kind)]
    return found


def kinds(seen: Facts, policy: Policy = POLICY) -> list[type[Step]]:
    return [type(step) for step in plan_of(seen, policy)]


# What is written on the Node


def test_the_cordon_says_what_was_announced_and_advice_is_no_drain() -> None:
    for notice, drains in ((SPOT, True), (ADVICE, False)):
        seen = facts(notice=notice)
        assert one(Cordon, seen) == Cordon(ONE, f"uid-of-{ONE}", str(notice), notice, drains=drains)
    let_go = facts(fleet=HELD)
    assert one(Cordon, let_go) == Cordon(ONE, f"uid-of-{ONE}", "Auto Scaling: Terminating:Wait", None, drains=True)


def test_what_is_announced_while_it_is_drained_is_written_down_as_well() -> None:
    assert one(Cordon, held_for(MINUTE, WEB, notice=SPOT)).notice == SPOT
    assert Cordon not in kinds(held_for(MINUTE, WEB, notice=SPOT, node=drained_for(MINUTE, SPOT)))


def test_advice_about_a_machine_that_its_group_lets_go_does_not_stop_its_drain() -> None:
    assert Evict in kinds(held_for(MINUTE, WEB, notice=ADVICE, node=drained_for(MINUTE, ADVICE)))


def test_a_machine_that_is_closed_is_drained_at_once() -> None:
    assert plan_of(facts(fleet=HELD, pods=(WEB,)))[-1] == LookAgain(
        AT_ONCE, "it is closed for new work, now it is drained"
    )


# Its load balancers


def test_load_balancers_that_are_left_again_are_named_until_requests_have_had_their_share() -> None:
    serves = (Target(TARGET_GROUP), Target("classic", draining=True))
    seen = held_for(20 * MINUTE - SECOND, WEB, targets=serves)
    assert one(LeaveLoadBalancers, seen).load_balancers == (TARGET_GROUP,)
    waits = plan_of(seen)[-1]
    assert waits.reason == "web/0123456789abcdef, classic still lets its requests end"
    assert LeaveLoadBalancers not in kinds(held_for(20 * MINUTE, WEB, targets=serves))


# Pods, in their order and in time


def test_pods_of_higher_priority_wait_for_the_others_until_the_last_third_of_the_time() -> None:
    assert one(Evict, held_for(40 * MINUTE - SECOND, WEB, DB), IN_ORDER).pods == (WEB,)
    assert set(one(Evict, held_for(40 * MINUTE, WEB, DB), IN_ORDER).pods) == {WEB, DB}


def test_with_no_end_in_sight_the_order_is_kept_and_a_machine_that_ends_by_itself_has_none() -> None:
    endless = facts(fleet=GOING, node=drained_for(2 * HOUR), pods=(WEB, DB))
    assert one(Evict, endless, IN_ORDER).pods == (WEB,)
    ends = replace(endless, instance=instance(ONE, InstanceState.SHUTTING_DOWN))
    assert set(one(Evict, ends, IN_ORDER).pods) == {WEB, DB}


def test_pods_that_came_after_the_cordon_are_given_up() -> None:
    late = replace(pod("late"), created_at=NOW - MINUTE)
    closed = timedelta(minutes=1, seconds=1) + CORDON_HOLDS_AFTER
    assert "made anew" in one(Release, held_for(closed, late)).reason
    assert Release not in kinds(held_for(MINUTE, late))


@pytest.mark.parametrize(
    ("before_the_end", "deletes"), [(DELETE_TAKES + SECOND, False), (DELETE_TAKES, True), (SECOND, True)]
)
def test_what_is_overdue_is_deleted_shortly_before_the_end_if_a_person_wants_that(
    before_the_end: timedelta, deletes: bool
) -> None:
    seen = held_for(HOUR - before_the_end, WEB)
    if deletes:
        assert one(DeleteOverdue, seen, DELETES) == DeleteOverdue(ONE, (WEB,), "Auto Scaling: Terminating:Wait")
        assert Evict not in kinds(seen, DELETES)
    else:
        assert DeleteOverdue not in kinds(seen, DELETES)
    assert DeleteOverdue not in kinds(seen)


def test_the_times_of_a_drain_of_an_hour() -> None:
    verdict = assess(held_for(MINUTE))
    assert times_of(verdict, NOW, DELETES.drain, NOW) == Times(
        NOW + 20 * MINUTE, NOW + HOUR, NOW + 40 * MINUTE, NOW + HOUR - DELETE_TAKES
    )
    assert times_of(verdict, NOW, POLICY.drain, NOW).deletes_from is None
    short = replace(DELETES.drain, deadline=MINUTE)
    assert times_of(verdict, NOW, short, NOW).deletes_from == NOW + MINUTE / 2


def test_where_nothing_presses_requests_have_five_minutes_and_nothing_ends_the_drain() -> None:
    going = assess(facts(fleet=GOING))
    assert times_of(going, NOW, POLICY.drain, NOW) == Times(NOW + 5 * MINUTE)
    taken = Verdict(Kind.LEAVING, "it goes", notice=replace(SPOT, until=NOW))
    assert times_of(taken, NOW, POLICY.drain, NOW).ends_at is None
    assert times_of(taken, NOW, POLICY.drain, NOW - SECOND).ends_at == NOW - TAKEN_MARGIN


# How often it is looked at


@pytest.mark.parametrize(
    ("seen", "after"),
    [
        (held_for(QUICK_FOR - SECOND, WEB), SOON),
        (held_for(QUICK_FOR, WEB), LATER),
        (held_for(HOUR - QUICK_FOR, WEB), LATER),
        (held_for(HOUR - QUICK_FOR + SECOND, WEB), SOON),
        (facts(fleet=GOING, node=drained_for(QUICK_FOR), pods=(WEB,)), UNHURRIED),
        (
            facts(instance=instance(ONE, InstanceState.SHUTTING_DOWN), node=drained_for(QUICK_FOR), pods=(WEB,)),
            LATER,
        ),
        (announced(MAINTENANCE, QUICK_FOR, WEB), LATER),
    ],
    ids=["at first", "later", "before the end", "near the end", "no end", "ends by itself", "maintenance"],
)
def test_pods_are_asked_often_at_first_and_near_the_end(seen: Facts, after: timedelta) -> None:
    look = plan_of(seen)[-1]
    assert look == LookAgain(after, "1 pod is (default/web-0) not gone yet")
    assert one(Evict, seen) == Evict(ONE, (WEB,), assess(seen).reason, after)


@pytest.mark.parametrize(("age", "after"), [(QUICK_FOR - SECOND, SOON), (QUICK_FOR, LATER)])
def test_a_machine_that_is_empty_is_looked_at_until_it_is_gone(age: timedelta, after: timedelta) -> None:
    assert plan_of(held_for(age))[-1] == LookAgain(after, "it is not gone yet")
    assert plan_of(announced(SPOT, age))[-1] == LookAgain(LATER, f"it is empty. {SPOT}")


def test_pods_that_cannot_be_listed_are_looked_for_again() -> None:
    assert plan_of(held_for(MINUTE, pods=Unknown("no answer")))[-1] == LookAgain(LATER, "no answer")


# What is said


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (1, "1 pod is (default/web-0) not gone yet"),
        (2, "2 pods are (default/web-0, default/web-1) not gone yet"),
        (3, "3 pods are (default/web-0, default/web-1, default/web-2) not gone yet"),
        (4, "4 pods are (default/web-0, default/web-1, default/web-2, …) not gone yet"),
    ],
)
def test_the_pods_that_are_waited_for_are_counted_and_the_first_are_named(count: int, said: str) -> None:
    assert plan_of(held_for(MINUTE, *(pod(f"web-{number}") for number in range(count))))[-1].reason == said


def test_why_a_pod_is_not_asked_is_said() -> None:
    stays = replace(pod("web-0"), opts_out="do-not-evict")
    said = plan_of(held_for(MINUTE, stays))[-1].reason
    assert said == "1 pod is (default/web-0) not gone yet; default/web-0: it asks to stay (do-not-evict)"


# Its last words


def test_when_the_time_is_over_the_last_words_say_what_is_left_and_the_hook_goes_with_them() -> None:
    seen = held_for(HOUR, WEB, DB)
    said = "2 pods are (default/web-0, default/db-0) not gone yet, 1:00:00 after the drain began: "
    evict, release, hook, look = plan_of(seen, IN_ORDER)
    assert isinstance(evict, Evict)
    assert (set(evict.pods), evict.after) == ({WEB, DB}, None), "asked once more, whatever their order"
    assert isinstance(release, Release)
    assert (release.instance, release.held) == (ONE, True)
    assert release.reason.startswith(said)
    assert isinstance(hook, CompleteHook)
    assert hook.reason == release.reason
    assert look == LookAgain(LATER, "it is not gone yet")
    assert plan_of(held_for(HOUR - SECOND, WEB, DB))[-1] == LookAgain(
        SOON, "2 pods are (default/web-0, default/db-0) not gone yet"
    )


def test_a_machine_that_no_hook_held_is_released_by_nobody() -> None:
    seen = announced(SPOT, MINUTE, WEB, at=SPOT.until - TAKEN_MARGIN)
    assert one(Release, seen).held is False
    assert CompleteHook not in kinds(seen)


def test_a_machine_that_is_drained_goes_with_the_reason_that_nothing_is_left() -> None:
    assert one(CompleteHook, held_for(MINUTE)).reason == "none of its pods is left on it"
    serves = (Target(TARGET_GROUP),)
    late = held_for(20 * MINUTE, targets=serves)
    assert LeaveLoadBalancers not in kinds(late), "one that refuses holds up nothing for longer"


def test_with_pods_deleted_in_time_the_last_words_name_who_stayed_and_what_has_finished_is_left_alone() -> None:
    said = one(Release, held_for(HOUR, WEB), DELETES).reason
    assert said == "1 pod is (default/web-0) not gone yet, 1:00:00 after the drain began"
    assert DeleteOverdue not in kinds(held_for(HOUR, pod("job", finished=True)), DELETES)


def test_the_time_counts_for_pods_that_are_ending_whichever_way_the_drain_goes() -> None:
    """A shorter grace is asked for, and what is stuck past its grace is given up."""
    hasty = Policy(drain=DrainPolicy(grace_s=30, stuck_after=MINUTE))
    slow = replace(WEB, ending=True, gone_by=NOW + 10 * MINUTE)
    stuck = replace(DB, ending=True, gone_by=NOW - 2 * MINUTE)
    for seen in (held_for(MINUTE, slow), held_for(HOUR, slow), unheard(180, slow)):
        assert one(Evict, seen, hasty).pods == (slow,)
    for seen in (held_for(MINUTE, stuck), unheard(180, stuck)):
        assert "default/db-0" in one(Release, seen, hasty).reason


def test_a_drain_in_order_ends_when_nobody_is_left() -> None:
    assert CompleteHook in kinds(held_for(MINUTE), IN_ORDER)


# A kubelet that is silent


def unheard(seconds: float, *pods: Pod, **changes: Any) -> Facts:
    """Let go while its kubelet is silent."""
    gone = silent(seconds)
    assert isinstance(gone.node, Node)
    marked = replace(gone.node, unschedulable=True, annotations=drained_for(10 * MINUTE).annotations)
    seen: dict[str, Any] = {"fleet": HELD, "node": marked, "pods": pods}
    return replace(gone, **seen | changes)


def test_the_pods_of_a_silent_kubelet_are_evicted_and_not_waited_for() -> None:
    evict, release, hook, look = plan_of(unheard(180, WEB, DB), IN_ORDER)
    assert evict == Evict(ONE, (WEB, DB), "Auto Scaling: Terminating:Wait", None)
    said = "its kubelet has been silent for 0:03:00, and 2 pods are (default/web-0, default/db-0) not gone"
    assert release == Release(ONE, said, held=True)
    assert isinstance(hook, CompleteHook)
    assert hook.reason == said
    assert look == LookAgain(LATER, "it is not gone yet")


def test_a_silence_that_may_pass_changes_nothing_and_how_long_that_is_its_group_says() -> None:
    assert Release not in kinds(unheard(179, WEB))
    patient = fleet(group(member(ONE, "Terminating:Wait"), tags={"regrow:silent-after": "600"}))
    assert Release not in kinds(unheard(599, WEB, fleet=patient))
    assert Release in kinds(unheard(600, WEB, fleet=patient))


def test_no_requests_are_waited_for_that_a_silent_machine_cannot_answer() -> None:
    ending = (Target(TARGET_GROUP, draining=True),)
    assert Evict in kinds(unheard(180, WEB, targets=ending))
    assert Evict not in kinds(unheard(179, WEB, targets=ending))


def test_a_silent_machine_without_pods_goes_as_any_other() -> None:
    assert Release not in kinds(unheard(600))
    assert one(CompleteHook, unheard(600)).reason == "none of its pods is left on it"


def test_a_silent_machine_that_no_hook_holds_is_looked_at_again() -> None:
    evict, look = plan_of(unheard(180, WEB, fleet=GOING))
    assert isinstance(evict, Evict)
    assert isinstance(look, LookAgain)
    assert (look.after, "silent for 0:03:00" in look.reason) == (UNHURRIED, True)


def test_when_its_time_is_over_a_silent_machine_goes_as_any_other() -> None:
    gone = silent(600)
    assert isinstance(gone.node, Node)
    late = replace(gone.node, unschedulable=True, annotations=drained_for(HOUR).annotations)
    assert "after the drain began" in one(Release, unheard(600, WEB, node=late)).reason
