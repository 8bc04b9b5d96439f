"""From what was seen of a control plane and of etcd to the steps: a table, their order, and what no plan ever holds."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions.cluster import quorum
from functions.cluster.assess import Kind, Verdict, assess
from functions.cluster.control_plane import ControlPlane
from functions.cluster.etcd import Etcd, EtcdMember, Tie
from functions.cluster.facts import Absent, Facts, Unknown
from functions.cluster.joining import Admission
from functions.cluster.machine import (
    CONTROL_PLANE_LABEL,
    DRAINING_ANNOTATION,
    ROLE_TAG,
    InstanceId,
    InstanceState,
    Role,
    Transition,
)
from functions.remediate.plan import (
    Admit,
    Approve,
    AwaitDetach,
    AwaitQuorum,
    AwaitReplacement,
    CompleteHook,
    CountAbandoned,
    DeleteNode,
    Fence,
    ForgetCertificates,
    GiveUpLaunch,
    Heartbeat,
    JoinLoadBalancers,
    LeaveLoadBalancers,
    LookAgain,
    Mint,
    MoveLeader,
    OpenCase,
    Plan,
    RemoveMember,
    Revoke,
    TakeSnapshot,
    UploadCertificates,
)
from functions.remediate.plans.control_plane import plan_control_plane, plan_orphan, plan_snapshot, urgency
from tests.unit.functions.builders import (
    NOW,
    ONE,
    SETTINGS,
    approval,
    case,
    facts,
    fleet,
    group,
    instance,
    join,
    machine,
    member,
    memory,
    node,
)
from tests.unit.functions.etcds import etcd_member, etcd_of, unstarted

TWO, THREE, FOUR = machine(2), machine(3), machine(4)
API = "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/api/0123456789abcdef"
EVERY = timedelta(hours=1)
TAGS = instance().tags | {ROLE_TAG: "control-plane"}
OURS = {"name": "drill-control-plane", "role": Role.CONTROL_PLANE, "target_groups": (), "api_target_group": API}
LABELS = {CONTROL_PLANE_LABEL: ""}
UNKNOWN = Unknown("SSM does not answer")


def of_three(state: str = "InService", **changes: Any) -> Any:
    members = (member(ONE, state), member(TWO), member(THREE))
    return fleet(group(*members, **OURS | {"desired": 3} | changes))


def a_control_plane(state: InstanceState = InstanceState.RUNNING, listed: str = "InService", **changes: Any) -> Facts:
    """ONE of three."""
    whole = {"instance": instance(ONE, state, tags=TAGS), "fleet": of_three(listed), "node": node(labels=LABELS)}
    return facts(**whole | changes)


def seen(*members: EtcdMember, **changes: Any) -> ControlPlane:
    """etcd of these, each tied to the machine that it is named after, asked of THREE."""
    etcd = etcd_of(*(members or (etcd_member(1), etcd_member(2), etcd_member(3))), asked=THREE)
    ties = tuple(
        Tie(one, InstanceId(one.name) if one.name else None, one.name or None, "by its name", orphan=not one.name)
        for one in etcd.members
    )
    whole = ControlPlane(
        at=NOW,
        etcd=etcd,
        asked=THREE,
        ties=ties,
        joined=frozenset({TWO, THREE}),
        registered=frozenset({TWO, THREE}),
        serving=frozenset({TWO, THREE}),
        snapshot_at=NOW,
    )
    return replace(whole, **changes)


def plan_of(of: Facts, there: ControlPlane) -> Plan:
    return plan_control_plane(assess(of, Role.CONTROL_PLANE), of, there, SETTINGS.policy, EVERY)


def kinds(plan: Plan) -> list[type]:
    return [type(step) for step in plan.steps]


SILENT = etcd_member(1, answers=False)
OF_THREE = seen(SILENT, etcd_member(2), etcd_member(3))
DEAD = a_control_plane(InstanceState.TERMINATED, "Terminating:Wait")
DRAINED = node(labels=LABELS, unschedulable=True, annotations={DRAINING_ANNOTATION: NOW.isoformat()})
LEAVING = a_control_plane(listed="Terminating:Wait", node=DRAINED)
LAUNCHED = instance(ONE, tags=TAGS, launched_at=NOW - timedelta(seconds=30))
ARRIVING = a_control_plane(listed="Pending:Wait", instance=LAUNCHED, node=Absent())
TWO_THREE = seen(etcd_member(2), etcd_member(3))
ADMITTED = Admission(ONE, NOW + timedelta(minutes=8), NOW)
OVER = Admission(ONE, NOW, NOW - timedelta(seconds=20))
HAS_TOKEN = memory(joins=(join(ONE, role=Role.CONTROL_PLANE),))
JOINING = replace(ARRIVING, memory=HAS_TOKEN)
LEARNER = etcd_member(1, learner=True)
OF_ONE: dict[str, Any] = {"joining": frozenset({ONE}), "admission": ADMITTED}
HEALED = [OpenCase, LeaveLoadBalancers, Fence, RemoveMember, AwaitDetach, DeleteNode, CompleteHook, AwaitReplacement]
GIVEN_UP = [LeaveLoadBalancers, Heartbeat, Revoke, GiveUpLaunch, CountAbandoned]
ENDS = [CompleteHook, ForgetCertificates, LookAgain]
LET_IN = [Heartbeat, Admit, UploadCertificates, Mint]

PLANS: dict[str, tuple[Facts, ControlPlane, list[type]]] = {
    "dead": (DEAD, OF_THREE, [*HEALED, LookAgain]),
    "dead, a snapshot is due": (
        DEAD,
        replace(OF_THREE, snapshot_at=NOW - EVERY),
        [OpenCase, LeaveLoadBalancers, Fence, TakeSnapshot, *HEALED[3:], LookAgain],
    ),
    "dead, when the last snapshot was is unknown": (DEAD, replace(OF_THREE, snapshot_at=UNKNOWN), [*HEALED, LookAgain]),
    "dead, its member is gone": (DEAD, TWO_THREE, [*HEALED[:3], *HEALED[4:], LookAgain]),
    "dead, no quorum": (
        DEAD,
        seen(SILENT, etcd_member(2, answers=False), etcd_member(3)),
        [OpenCase, LeaveLoadBalancers, Fence, AwaitQuorum],
    ),
    "dead, a learner is there": (DEAD, seen(SILENT, etcd_member(2), etcd_member(3), etcd_member(4, learner=True)),
                                 [OpenCase, LeaveLoadBalancers, Fence, AwaitQuorum]),
    "dead, etcd unknown": (DEAD, replace(OF_THREE, etcd=UNKNOWN, ties=UNKNOWN), [Heartbeat, LookAgain]),
    "dead, whose members they are unknown": (DEAD, replace(OF_THREE, ties=UNKNOWN), [Heartbeat, LookAgain]),
    "dead, nobody could be asked": (DEAD, replace(OF_THREE, asked=None), [Heartbeat, LookAgain]),
    "dead while it joined": (
        replace(DEAD, memory=HAS_TOKEN, node=Absent()),
        seen(replace(LEARNER, answers=False), etcd_member(2), etcd_member(3), **OF_ONE),
        [OpenCase, LeaveLoadBalancers, ForgetCertificates, RemoveMember, CompleteHook, AwaitReplacement, Revoke,
         LookAgain],
    ),
    "stopped": (a_control_plane(InstanceState.STOPPED), OF_THREE,
                [OpenCase, LeaveLoadBalancers, Fence, AwaitReplacement, LookAgain]),
    "leaving, drained": (LEAVING, seen(), [Heartbeat, MoveLeader, RemoveMember, CompleteHook, LookAgain]),
    "leaving, drained, another leads": (
        LEAVING,
        seen(etcd_member(1), etcd_member(2, leads=True), etcd_member(3)),
        [Heartbeat, RemoveMember, CompleteHook, LookAgain],
    ),
    "leaving, no quorum without it": (
        LEAVING, seen(etcd_member(1), etcd_member(2, answers=False), etcd_member(3)), [Heartbeat, AwaitQuorum],
    ),
    "leaving, its member is gone": (LEAVING, TWO_THREE, [Heartbeat, CompleteHook, LookAgain]),
    "leaving, etcd unknown": (LEAVING, replace(seen(), etcd=UNKNOWN), [Heartbeat, LookAgain]),
    "ends by itself": (a_control_plane(InstanceState.SHUTTING_DOWN, "Terminating:Wait", node=DRAINED), seen(),
                       [Heartbeat, LookAgain, LookAgain]),
    "arriving": (ARRIVING, TWO_THREE, [*LET_IN, JoinLoadBalancers, LookAgain]),
    "arriving, registered already": (
        ARRIVING, replace(TWO_THREE, registered=frozenset({ONE, TWO, THREE})), [*LET_IN, LookAgain],
    ),
    "arriving, etcd unknown": (ARRIVING, replace(TWO_THREE, etcd=UNKNOWN), [Heartbeat, LookAgain]),
    "joining": (JOINING, seen(LEARNER, etcd_member(2), etcd_member(3), **OF_ONE),
                [Heartbeat, Approve, JoinLoadBalancers, LookAgain]),
    "its token ran out, its member is there": (
        replace(JOINING, memory=memory(joins=(join(role=Role.CONTROL_PLANE, issued_at=NOW - timedelta(minutes=15)),))),
        seen(**OF_ONE), [*LET_IN, JoinLoadBalancers, LookAgain],
    ),
    "given up before it was in etcd": (
        JOINING, replace(TWO_THREE, admission=OVER, joining=frozenset({ONE})), [*GIVEN_UP, *ENDS],
    ),
    "given up as a learner": (
        JOINING, seen(LEARNER, etcd_member(2), etcd_member(3), admission=OVER), [*GIVEN_UP, RemoveMember, *ENDS],
    ),
    "given up as a voter without a Node": (
        JOINING, seen(admission=OVER), [*GIVEN_UP, MoveLeader, RemoveMember, *ENDS],
    ),
    "given up, no quorum without it": (
        JOINING, seen(etcd_member(1), etcd_member(2, answers=False), etcd_member(3), admission=OVER),
        [*GIVEN_UP, AwaitQuorum],
    ),
    "given up, its API server never served": (
        replace(JOINING, node=node(labels=LABELS)), seen(admission=OVER), [*GIVEN_UP, MoveLeader, RemoveMember, *ENDS],
    ),
    "late in service with its Node: it keeps what it has": (
        a_control_plane(instance=LAUNCHED, memory=HAS_TOKEN, node=node(labels=LABELS, ready=False)),
        seen(admission=OVER), [Revoke, GiveUpLaunch],
    ),
    "Ready, a learner": (replace(JOINING, node=node(labels=LABELS)),
                         seen(LEARNER, etcd_member(2), etcd_member(3), **OF_ONE),
                         [Heartbeat, Approve, JoinLoadBalancers, LookAgain]),
    "Ready, not in etcd": (replace(JOINING, node=node(labels=LABELS)), replace(TWO_THREE, **OF_ONE),
                           [Heartbeat, Approve, JoinLoadBalancers, LookAgain]),
    "Ready and healthy, a voter": (
        replace(JOINING, node=node(labels=LABELS), memory=replace(HAS_TOKEN, approvals=(approval(client_at=NOW),))),
        seen(**OF_ONE, serving=frozenset({ONE, TWO, THREE})),
        [CompleteHook, Approve, Revoke, ForgetCertificates, LookAgain],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANS)
def test_the_steps_follow_from_what_was_seen(name: str) -> None:
    of, there, steps = PLANS[name]
    assert kinds(plan_of(of, there)) == steps


GATES: dict[str, tuple[ControlPlane, str]] = {
    "a member is silent": (
        seen(etcd_member(2), etcd_member(3), etcd_member(4, answers=False)), "1 of 3 etcd members do not answer",
    ),
    "an alarm": (seen(etcd_member(2, alarms=("NOSPACE",)), etcd_member(3)), "etcd has raised an alarm: NOSPACE"),
    "a learner": (seen(etcd_member(2), etcd_member(3), etcd_member(4, learner=True)), "a learner is present"),
    "one voter too many": (seen(etcd_member(2), etcd_member(3), etcd_member(4)), "etcd has 3 voters"),
    "one voter too few": (seen(etcd_member(3)), "etcd has 1 voters"),
    "another joins": (replace(TWO_THREE, joining=frozenset({FOUR})), f"it waits for its turn: {FOUR} is joining"),
    "as many have joined": (
        replace(TWO_THREE, joined=frozenset({TWO, THREE, FOUR})), "wants 3 machines, and as many have joined already",
    ),
    "nobody serves": (replace(TWO_THREE, serving=frozenset()), "no healthy target"),
    "only a stranger serves": (replace(TWO_THREE, serving=frozenset({FOUR})), "no healthy target"),
    "who serves is unknown": (replace(TWO_THREE, serving=UNKNOWN), "SSM does not answer"),
}  # fmt: skip


@pytest.mark.parametrize("name", GATES)
def test_nobody_gets_a_token_before_etcd_and_the_load_balancer_are_ready_and_the_reason_is_said(name: str) -> None:
    there, reason = GATES[name]
    *beats, last = plan_of(ARRIVING, there).steps
    assert kinds(Plan(tuple(beats))) == [Heartbeat]
    assert isinstance(last, LookAgain)
    assert reason in last.reason


@pytest.mark.parametrize("name", GATES)
def test_who_waits_at_the_gate_for_a_quarter_of_an_hour_has_a_person_told(name: str) -> None:
    there, reason = GATES[name]
    for age_min, waits in ((14, LookAgain), (15, AwaitQuorum)):
        launched = replace(LAUNCHED, launched_at=NOW - timedelta(minutes=age_min))
        *beats, last = plan_of(replace(ARRIVING, instance=launched), there).steps
        assert kinds(Plan((*beats, last))) == [Heartbeat, waits]
        assert reason in last.reason


def test_a_plan_says_how_many_voters_etcd_is_to_have_and_who_is_asked() -> None:
    (admit,) = [step for step in plan_of(ARRIVING, TWO_THREE).steps if isinstance(step, Admit)]
    assert (admit.instance, admit.asked, admit.wanted) == (ONE, THREE, 3)


def test_an_election_is_waited_for_without_a_word_and_only_for_a_minute() -> None:
    assert isinstance(OF_THREE.etcd, Etcd)
    members = tuple(replace(one, leads=one.id == SILENT.id) for one in OF_THREE.etcd.members)
    there = replace(OF_THREE, etcd=replace(OF_THREE.etcd, members=members))
    for age, tells in ((0, False), (59, False), (61, True)):
        begun = memory(case=replace(case(ONE, role=Role.CONTROL_PLANE), opened_at=NOW - timedelta(seconds=age)))
        (waits,) = [step for step in plan_of(replace(DEAD, memory=begun), there).steps if isinstance(step, AwaitQuorum)]
        assert waits.tells == tells


def test_an_orphan_waits_for_whoever_is_joining_and_goes_when_nobody_is() -> None:
    orphan = unstarted(9)
    there = seen(etcd_member(2), etcd_member(3), orphan)
    assert kinds(plan_orphan(orphan, replace(there, joining=frozenset({FOUR})), EVERY)) == [LookAgain]
    assert kinds(plan_orphan(orphan, there, EVERY)) == [RemoveMember]


def test_no_voter_goes_while_an_orphan_is_there() -> None:
    there = seen(SILENT, etcd_member(2), etcd_member(3))
    stranger = etcd_member(9, name="somebody", answers=False)
    ties = (*there.ties, Tie(stranger, None, None, "nobody's", orphan=True))  # type: ignore[misc]
    plan = plan_of(DEAD, replace(there, ties=ties))
    assert [type(step) for step in plan.steps][-1] is AwaitQuorum


@pytest.mark.parametrize(
    ("age", "due", "overdue"), [(None, True, True), (59, False, False), (60, True, False), (120, True, True)]
)
def test_a_snapshot_is_due_by_the_clock_and_told_of_when_one_is_missing_for_twice_as_long(
    age: int | None, *, due: bool, overdue: bool
) -> None:
    plan = plan_snapshot(seen(snapshot_at=None if age is None else NOW - timedelta(minutes=age)), EVERY)
    assert [step.overdue for step in plan.steps if isinstance(step, TakeSnapshot)] == ([overdue] if due else [])


def test_what_is_most_urgent_comes_first_and_of_equals_what_has_begun() -> None:
    begun = facts(memory=memory(case=case(ONE, role=Role.CONTROL_PLANE)))
    order = [
        (Kind.DEAD, begun),
        (Kind.DEAD, facts()),
        (Kind.LEAVING, facts()),
        (Kind.HEALTHY, facts()),
        (Kind.ARRIVING, facts(memory=memory(joins=(join(),)))),
        (Kind.ARRIVING, facts()),
        (Kind.HELD, facts()),
    ]
    urgencies = [urgency(Verdict(kind, "so"), of) for kind, of in order]
    assert urgencies == sorted(set(urgencies))


MEMBERS = st.builds(
    lambda number, learner, answers, alarm, named: etcd_member(
        number,
        learner=learner,
        answers=answers,
        alarms=("NOSPACE",) if alarm else (),
        **({} if named else {"name": ""}),
    ),
    st.integers(1, 7),
    st.sampled_from([False, False, False, True]),
    st.sampled_from([True, True, False]),
    st.sampled_from([False, False, False, True]),
    st.sampled_from([True, True, True, False]),
)
ETCDS = st.lists(MEMBERS, min_size=1, max_size=7, unique_by=lambda one: one.id)
SUBJECTS = st.sampled_from([DEAD, LEAVING, ARRIVING, JOINING, replace(JOINING, node=node(labels=LABELS))])
SEEN = st.builds(
    lambda members, linearizable, admission, joined, serving, stale: replace(
        there := seen(*members),
        etcd=replace(there.etcd, linearizable=linearizable),
        admission=admission,
        joined=frozenset(joined),
        serving=frozenset(serving),
        snapshot_at=NOW - timedelta(hours=3) if stale else NOW,
    ),
    ETCDS,
    st.sampled_from([True, True, True, False]),
    st.sampled_from([None, ADMITTED, OVER]),
    st.sets(st.sampled_from([TWO, THREE, FOUR])),
    st.sets(st.sampled_from([ONE, TWO, THREE])),
    st.booleans(),
)


@settings(max_examples=600, deadline=None)
@given(SUBJECTS, SEEN)
def test_no_plan_ever_removes_a_member_where_the_quorum_says_no(of: Facts, there: ControlPlane) -> None:
    assert isinstance(there.etcd, Etcd)
    plans = [plan_of(of, there), *(plan_orphan(orphan, there, EVERY) for orphan in there.orphans)]
    for plan in plans:
        removals = [step for step in plan.steps if isinstance(step, RemoveMember)]
        assert len(removals) <= 1
        for step in removals:
            if step.member.learner:
                assert quorum.may_remove_learner(there.etcd, step.member) is None
            else:
                assert quorum.may_remove(there.etcd, step.member, dead=step.dead) is None
        if any(isinstance(step, AwaitQuorum) for step in plan.steps):
            assert isinstance(plan.steps[-1], AwaitQuorum)


@settings(max_examples=600, deadline=None)
@given(SUBJECTS, SEEN)
def test_neither_node_nor_hook_goes_before_the_member(of: Facts, there: ControlPlane) -> None:
    steps = kinds(plan_of(of, there))
    member_ = there.member_of.get(of.id)
    ends = [
        step
        for step in plan_of(of, there).steps
        if isinstance(step, DeleteNode)
        or (isinstance(step, CompleteHook) and (step.abandon or step.transition is Transition.TERMINATING))
    ]
    if ends and member_:
        assert steps.index(RemoveMember) < steps.index(type(ends[0]))


@settings(max_examples=600, deadline=None)
@given(SUBJECTS, SEEN)
def test_only_a_healthy_voter_that_serves_is_put_into_service(of: Facts, there: ControlPlane) -> None:
    for step in plan_of(of, there).steps:
        if isinstance(step, CompleteHook) and step.transition is Transition.LAUNCHING and not step.abandon:
            joined = there.member_of[of.id]
            assert joined.voter
            assert joined.healthy
            assert not isinstance(there.serving, Unknown)
            assert of.id in there.serving
        if isinstance(step, Mint):
            assert isinstance(there.etcd, Etcd)
            in_etcd = of.id in there.member_of
            assert in_etcd or quorum.may_admit(there.etcd, wanted=len(there.joined) + 1) is None
