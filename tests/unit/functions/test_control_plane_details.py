"""What the steps for a control plane say and name, when one in trouble can be spared, and who needs a pass at all."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from functions.cluster.assess import assess
from functions.cluster.control_plane import ControlPlane
from functions.cluster.doubt import Doubt, Repair, Rung, Try
from functions.cluster.etcd import Etcd, EtcdMember
from functions.cluster.facts import Absent, Facts
from functions.cluster.machine import (
    CORDONED_ANNOTATION,
    DRAINING_ANNOTATION,
    GROUP_TAG,
    NOTICE_ANNOTATION,
    InstanceState,
    Node,
    Role,
)
from functions.cluster.notice import SPOT_WARNS, Cause, Notice
from functions.cluster.quorum import heir
from functions.remediate.plan import (
    LATER,
    SOON,
    Admit,
    Approve,
    AwaitQuorum,
    CompleteHook,
    Evict,
    ForgetCertificates,
    GiveUpLaunch,
    Heartbeat,
    LookAgain,
    MoveLeader,
    OpenCase,
    Plan,
    Reboot,
    RemoveMember,
    RestartService,
    Revoke,
    TakeSnapshot,
)
from functions.remediate.plans.control_plane import needs_pass, plan_orphan, plan_snapshot
from tests.unit.functions.builders import NOW, ONE, case, facts, fleet, group, instance, join, member, memory, node, pod
from tests.unit.functions.builders import silent as silent_worker
from tests.unit.functions.etcds import etcd_member, unstarted
from tests.unit.functions.test_control_plane_plan import (
    ADMITTED,
    API,
    ARRIVING,
    DEAD,
    DRAINED,
    EVERY,
    FOUR,
    HAS_TOKEN,
    HEALED,
    JOINING,
    LABELS,
    LAUNCHED,
    LEAVING,
    OF_ONE,
    OF_THREE,
    OURS,
    OVER,
    PLANS,
    TAGS,
    THREE,
    TWO,
    TWO_THREE,
    UNKNOWN,
    a_control_plane,
    kinds,
    of_three,
    plan_of,
    seen,
)

NAME = str(OURS["name"])
SPOT = Notice(Cause.SPOT, "terminate", NOW, NOW + SPOT_WARNS)
READY = node(labels=LABELS)
ONE_SERVES = frozenset({ONE, TWO, THREE})
NO_BALANCER = of_three("Pending:Wait", api_target_group=None)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def taken(notice: Notice, *, drained: bool = True, **changes: Any) -> Facts:
    """A control plane of a Spot group that AWS takes while its group goes on with it."""
    marks = {NOTICE_ANNOTATION: notice.to_json(), CORDONED_ANNOTATION: ""}
    marks |= {DRAINING_ANNOTATION: NOW.isoformat()} if drained else {}
    there = node(labels=LABELS, unschedulable=True, annotations=marks)
    whole: dict[str, Any] = {"notice": notice, "node": there}
    return a_control_plane(**whole | changes)


MORE: dict[str, tuple[Facts, ControlPlane, list[type]]] = {
    "dead, its etcd still answers": (
        DEAD, seen(etcd_member(1), etcd_member(2, leads=True), etcd_member(3)), [*HEALED, LookAgain],
    ),
    "dead, its etcd still answers, no quorum without it": (
        DEAD, seen(etcd_member(1), etcd_member(2, answers=False), etcd_member(3), etcd_member(4)),
        [*HEALED[:3], AwaitQuorum],
    ),
    "ends by itself, its member is gone": (
        a_control_plane(InstanceState.SHUTTING_DOWN, "Terminating:Wait", node=DRAINED), TWO_THREE,
        [Heartbeat, CompleteHook, LookAgain],
    ),
    "leaving, its member has ended before it": (LEAVING, OF_THREE, [Heartbeat, RemoveMember, CompleteHook, LookAgain]),
    "AWS takes it, drained": (taken(SPOT), seen(), [MoveLeader, RemoveMember, LookAgain]),
    "AWS takes it, drained, no quorum without it": (
        taken(SPOT), seen(etcd_member(1), etcd_member(2, answers=False), etcd_member(3)), [AwaitQuorum],
    ),
    "AWS takes it, a pod is on it": (taken(SPOT, pods=(pod(),)), seen(), [Evict, LookAgain]),
    "AWS stops it, drained": (taken(replace(SPOT, what="stop")), seen(), [LookAgain]),
}  # fmt: skip


@pytest.mark.parametrize("name", MORE)
def test_the_steps_follow_from_what_was_seen(name: str) -> None:
    of, there, steps = MORE[name]
    assert kinds(plan_of(of, there)) == steps


def test_no_member_goes_before_its_machine_is_closed_and_drained() -> None:
    for open_one in (a_control_plane(notice=SPOT), taken(SPOT, drained=False)):
        assert not {RemoveMember, MoveLeader} & set(kinds(plan_of(open_one, seen())))


def test_where_there_is_no_load_balancer_none_is_left_joined_or_waited_for() -> None:
    given_up = plan_of(replace(JOINING, fleet=NO_BALANCER), seen(admission=OVER))
    assert kinds(given_up)[:3] == [Heartbeat, Revoke, GiveUpLaunch]
    ready = plan_of(replace(JOINING, fleet=NO_BALANCER, node=READY), seen(**OF_ONE))
    assert kinds(ready) == [CompleteHook, Approve, Revoke, ForgetCertificates, LookAgain]


def test_who_is_let_in_by_another_hand_or_is_in_service_already_leaves_its_turn_to_the_next() -> None:
    there = seen(serving=ONE_SERVES)
    assert kinds(plan_of(replace(ARRIVING, node=READY), there)) == [CompleteHook, ForgetCertificates, LookAgain]
    in_service = a_control_plane(instance=LAUNCHED, memory=HAS_TOKEN)
    assert kinds(plan_of(in_service, there)) == [Approve, Revoke, ForgetCertificates, LookAgain]


ALL = PLANS | MORE


@pytest.mark.parametrize("name", ALL)
def test_every_step_names_the_machine_who_is_asked_and_why(name: str) -> None:
    of, there, _ = ALL[name]
    node_ = of.node if isinstance(of.node, Node) else None
    names = {
        "instance": ONE,
        "of": ONE,
        "group": NAME,
        "asked": THREE,
        "load_balancers": (API,),
        "node_name": node_.name if node_ else None,
        "node_uid": node_.uid if node_ else None,
        "role": Role.CONTROL_PLANE,
    }
    for step in plan_of(of, there).steps:
        said = vars(step)
        assert {key: said[key] for key in names if key in said} == {key: names[key] for key in names if key in said}
        assert step.reason
        assert "None" not in step.reason
        if isinstance(step, LookAgain):
            assert step.after in (SOON, LATER)


@pytest.mark.parametrize("name", ALL)
def test_it_is_its_own_member_that_goes_for_dead_only_when_it_is_and_the_best_of_the_others_leads(name: str) -> None:
    of, there, _ = ALL[name]
    assert isinstance(there.etcd, Etcd) or not ({RemoveMember, MoveLeader} & set(kinds(plan_of(of, there))))
    for step in plan_of(of, there).steps:
        if isinstance(step, RemoveMember):
            own = there.member_of[ONE]
            assert (step.member, step.dead) == (own, assess(of, Role.CONTROL_PLANE).gone_for_good or not own.answers)
        if isinstance(step, MoveLeader) and isinstance(there.etcd, Etcd):
            assert step.to == heir(there.etcd, there.member_of[ONE])
        if isinstance(step, Admit):
            assert step.admitted is (there.admission == ADMITTED)


@pytest.mark.parametrize(("tagged", "known"), [(NAME, NAME), ("gone", None)])
def test_of_a_machine_of_which_nothing_else_is_left_the_member_goes_under_a_case(
    tagged: str, known: str | None
) -> None:
    ended = instance(ONE, InstanceState.TERMINATED, tags=TAGS | {GROUP_TAG: tagged})
    without = fleet(group(member(TWO), member(THREE), **OURS))
    left = a_control_plane(instance=ended, fleet=without, node=Absent())
    opens, removes = plan_of(left, OF_THREE).steps
    assert opens == OpenCase(ONE, known, ONE, "EC2: terminated", role=Role.CONTROL_PLANE)
    assert isinstance(removes, RemoveMember)
    opened = memory(case=case(ONE, role=Role.CONTROL_PLANE))
    assert kinds(plan_of(replace(left, memory=opened), OF_THREE))[:1] == [RemoveMember]


def test_an_orphan_goes_as_a_dead_member_and_who_keeps_it_is_named() -> None:
    orphan = unstarted(9)
    there = seen(etcd_member(2), etcd_member(3), orphan)
    assert plan_orphan(orphan, there, EVERY) == Plan((RemoveMember(orphan, THREE, True, "it is nobody's"),))
    joins = replace(there, joining=frozenset({FOUR, TWO}))
    assert plan_orphan(orphan, joins, EVERY) == Plan(
        (LookAgain(LATER, f"{orphan} may be of {TWO}, {FOUR}, which is joining"),)
    )
    answering = etcd_member(9, name="somebody")
    four = seen(etcd_member(2, answers=False), etcd_member(3), etcd_member(4), answering)
    (waits,) = plan_orphan(answering, four, EVERY).steps
    assert isinstance(waits, AwaitQuorum), "it counts for nothing, even if it answers"
    assert waits.of == str(answering)


def test_a_snapshot_that_is_due_says_why_is_awaited_and_needs_somebody_to_ask() -> None:
    (due,) = plan_snapshot(seen(snapshot_at=NOW - EVERY), EVERY).steps
    assert due == TakeSnapshot(THREE, "there is none that is younger than 1:00:00", overdue=False, awaited=True)
    for blind in (seen(snapshot_at=None, asked=None), seen(snapshot_at=None, ties=UNKNOWN), seen(snapshot_at=UNKNOWN)):
        assert plan_snapshot(blind, EVERY) == Plan()
    before = plan_of(DEAD, replace(OF_THREE, snapshot_at=NOW - EVERY)).steps
    assert [step.reason for step in before if isinstance(step, TakeSnapshot)] == ["a member of etcd is to be removed"]


@pytest.mark.parametrize(
    ("own", "serving", "lacks"),
    [
        (None, frozenset({TWO}), "its Node is Ready, and etcd has no member of it"),
        (etcd_member(1, learner=True), frozenset({TWO}), "its etcd member is still a learner"),
        (etcd_member(1, alarms=("NOSPACE", "CORRUPT")), ONE_SERVES, "its etcd member has raised NOSPACE, CORRUPT"),
        (etcd_member(1, answers=False), ONE_SERVES, "its etcd member does not answer"),
        (etcd_member(1), frozenset({TWO}), "its API server is not healthy for the load balancer yet"),
    ],
)
def test_what_a_ready_node_still_lacks_to_be_a_control_plane_is_said(
    own: EtcdMember | None, serving: frozenset[Any], lacks: str
) -> None:
    members = [etcd_member(2), etcd_member(3), *([own] if own else [])]
    joins = replace(JOINING, node=READY)
    assert plan_of(joins, seen(*members, serving=serving, **OF_ONE)).steps[-1] == LookAgain(SOON, lacks)
    late = plan_of(joins, seen(*members, serving=serving, admission=OVER))
    assert [step.reason for step in late.steps if isinstance(step, GiveUpLaunch)] == [lacks]


def test_a_launch_without_a_node_is_given_up_for_what_the_node_lacks() -> None:
    late = plan_of(*PLANS["given up before it was in etcd"][:2])
    (why,) = [step.reason for step in late.steps if isinstance(step, GiveUpLaunch)]
    assert why.startswith("it has its token and has not asked for its certificate")


@pytest.mark.parametrize(("age_s", "tells"), [(59, False), (60, True)])
def test_an_election_after_a_leader_that_is_dead_and_still_answers_is_no_news_either(age_s: int, tells: bool) -> None:
    begun = memory(case=replace(case(ONE, role=Role.CONTROL_PLANE), opened_at=ago(age_s)))
    there = seen(etcd_member(1, leads=True), etcd_member(2), etcd_member(3))
    (waits,) = [step for step in plan_of(replace(DEAD, memory=begun), there).steps if isinstance(step, AwaitQuorum)]
    assert waits.tells is tells


# One in trouble


def in_trouble(*tried: Rung, **changes: Any) -> Facts:
    """A control plane whose kubelet has been silent for twenty minutes."""
    rungs = tuple(Try(rung, ago(900)) for rung in tried)
    known = memory(doubt=Doubt(ONE, NAME, ago(1200), rungs))
    worker = silent_worker(1200, instance=instance(ONE, tags=TAGS), fleet=of_three(), memory=known)
    assert isinstance(worker.node, Node)
    return replace(worker, **{"node": replace(worker.node, labels=LABELS)} | changes)


def test_a_control_plane_that_can_be_spared_is_rebooted_and_any_is_restarted() -> None:
    assert kinds(plan_of(in_trouble(Rung.RESTART), seen())) == [Reboot, LookAgain]
    assert kinds(plan_of(in_trouble(), replace(seen(), etcd=UNKNOWN))) == [RestartService, LookAgain]


@pytest.mark.parametrize(
    ("there", "why"),
    [
        (replace(seen(), etcd=UNKNOWN), "unknown: SSM does not answer"),
        (replace(seen(), ties=UNKNOWN), "unknown: SSM does not answer"),
        (replace(seen(), asked=None), "unknown: no control plane could be asked"),
        (replace(seen(), joining=frozenset({FOUR, TWO})), f"{TWO}, {FOUR} is joining"),
        (TWO_THREE, "it is not known which member of etcd is its own"),
        (seen(etcd_member(1), etcd_member(2, answers=False), etcd_member(3)), "of 3 voters would be healthy"),
        (replace(seen(), serving=UNKNOWN), "unknown: SSM does not answer"),
        (replace(seen(), serving=frozenset({ONE})), "the API's load balancer has no other healthy target"),
        (replace(seen(), serving=frozenset()), "the API's load balancer has no other healthy target"),
    ],
)
def test_a_control_plane_that_cannot_be_spared_is_not_taken_down_and_a_person_hears_why(
    there: ControlPlane, why: str
) -> None:
    (waits,) = plan_of(in_trouble(Rung.RESTART), there).steps
    assert isinstance(waits, AwaitQuorum)
    assert waits.of == ONE
    assert waits.reason.startswith(f"{ONE} is in trouble and cannot be spared: ")
    assert why in waits.reason


# Who needs a pass

HEALTHY, PARKED = a_control_plane(), a_control_plane(listed="Standby")
ENDED = a_control_plane(InstanceState.TERMINATED, node=Absent())
MARKED = node(labels=LABELS, annotations={CORDONED_ANNOTATION: ""})
DOUBT = Doubt(ONE, NAME, ago(60))
SOME_TROUBLE: dict[str, Any] = {"instance": instance(ONE, tags=TAGS), "fleet": of_three()}


@pytest.mark.parametrize(
    ("of", "there", "needs"),
    [
        (HEALTHY, seen(), False),
        (HEALTHY, None, False),
        (replace(HEALTHY, memory=memory(case=case(ONE, role=Role.CONTROL_PLANE))), seen(), True),
        (replace(HEALTHY, memory=memory(joins=(join(role=Role.CONTROL_PLANE),))), seen(), True),
        (replace(HEALTHY, node=node(TWO, labels=LABELS)), seen(), True),
        (HEALTHY, seen(admission=ADMITTED), True),
        (HEALTHY, seen(admission=replace(ADMITTED, instance=TWO)), False),
        (replace(HEALTHY, memory=memory(doubt=DOUBT)), seen(), True),
        (replace(HEALTHY, node=MARKED), seen(), True),
        (replace(HEALTHY, node=Absent()), seen(), False),
        (PARKED, seen(), False),
        (replace(PARKED, node=MARKED), seen(), True),
        (replace(PARKED, memory=memory(doubt=DOUBT)), seen(), False),
        (ENDED, TWO_THREE, False),
        (ENDED, None, True),
        (ENDED, OF_THREE, True),
        (replace(ENDED, node=READY), TWO_THREE, True),
        (replace(DEAD, node=Absent()), TWO_THREE, True),
        (replace(ENDED, fleet=fleet(group(member(TWO), **OURS))), TWO_THREE, False),
        (in_trouble(Rung.RESTART), seen(), True),
        (silent_worker(60, **SOME_TROUBLE, memory=memory(doubt=DOUBT)), seen(), False),
        (LEAVING, seen(), True),
        (ARRIVING, TWO_THREE, True),
        (facts(instance=instance(tags={}), fleet=fleet(group(member(TWO), **OURS)), node=Absent()), seen(), False),
        (replace(HEALTHY, node=UNKNOWN), seen(), False),
    ],
)
def test_a_pass_is_needed_only_where_something_may_be_to_do(of: Facts, there: ControlPlane | None, needs: bool) -> None:
    assert needs_pass(of, assess(of, Role.CONTROL_PLANE), Repair(), there) is needs
