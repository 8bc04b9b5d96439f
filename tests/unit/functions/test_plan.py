"""Which steps follow from which facts, in which order; and what no plan ever holds."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import assume, given, settings

from functions.cluster.assess import Kind, assess
from functions.cluster.facts import Abandoned, Absent, Case, Facts, Memory, Phase, Unknown
from functions.cluster.heed import heeded
from functions.cluster.joining import JoinState
from functions.cluster.machine import (
    CORDONED_ANNOTATION,
    DRAINING_ANNOTATION,
    EXCLUDED_ANNOTATION,
    NOTICE_ANNOTATION,
    UNINITIALIZED_TAINT,
    Instance,
    InstanceState,
    Node,
    Taint,
    Target,
    Transition,
)
from functions.cluster.notice import REBALANCE_HOLDS, SPOT_WARNS, Cause, Notice, ScheduledEvent
from functions.cluster.policy import Policy
from functions.remediate.plan import (
    AT_ONCE,
    LATER,
    SOON,
    Approve,
    AwaitDetach,
    AwaitQuorum,
    AwaitReplacement,
    CloseCase,
    CompleteHook,
    Cordon,
    CountAbandoned,
    DeleteNode,
    DeleteOverdue,
    DeletePods,
    Evict,
    Fence,
    ForgetAbandoned,
    GiveUpLaunch,
    Heartbeat,
    JoinLoadBalancers,
    LeaveLoadBalancers,
    LookAgain,
    Mint,
    MoveLeader,
    NoteDoubt,
    OpenCase,
    Plan,
    Reboot,
    Release,
    RemoveMember,
    Replace,
    RestartService,
    Restore,
    Revoke,
    Step,
    SuspendLaunch,
    TakeSnapshot,
)
from functions.remediate.planning import make_plan
from functions.remediate.plans.arriving import give_up
from tests.unit.functions.builders import (
    NOW,
    ONE,
    OUT_OF_SERVICE,
    TARGET_GROUP,
    THREE,
    TWO,
    WORKERS,
    approval,
    case,
    facts,
    fenced,
    fleet,
    group,
    instance,
    join,
    launched,
    machine,
    member,
    memory,
    node,
    pod,
    record,
)
from tests.unit.functions.strategies import FACTS

TERMINATED = instance(ONE, InstanceState.TERMINATED)
STOPPED = instance(ONE, InstanceState.STOPPED)
WAITS = fleet(group(member(ONE, "Terminating:Wait"), member(TWO)))
LEFT = fleet(group(member(TWO), desired=1))
SHORT = fleet(group(member(TWO)))
CLEANING, REPLACING = memory(case=case()), memory(case=case(phase=Phase.REPLACING))
PODS = (pod(), pod("job", finished=True))
POLICY = Policy()
SERVES = (Target(TARGET_GROUP),)
REQUESTS_END = (Target(TARGET_GROUP, draining=True),)
SPOT = Notice(Cause.SPOT, "terminate", NOW, NOW + SPOT_WARNS)
REBALANCE = Notice(Cause.REBALANCE, "rebalance", NOW, NOW + REBALANCE_HOLDS)
LAUNCHING = fleet(group(member(ONE, "Pending:Wait"), member(TWO)))
ENDING = replace(pod("db-0"), ending=True)
TEN_MINUTES_AGO = NOW - timedelta(minutes=10)
STAYS = (replace(pod("proxy"), daemon=True), replace(pod("static"), mirror=True))


def draining(since: timedelta = timedelta(minutes=1)) -> Node:
    marks = {CORDONED_ANNOTATION: "", DRAINING_ANNOTATION: (NOW - since).isoformat(), EXCLUDED_ANNOTATION: ""}
    return node(unschedulable=True, annotations=marks)


def told(notice: Notice, *, drains: bool = True) -> Node:
    """The Node of a machine whose notice a pass has heeded."""
    base = draining() if drains else node(unschedulable=True, annotations={CORDONED_ANNOTATION: ""})
    return replace(base, annotations=base.annotations | {NOTICE_ANNOTATION: notice.to_json()})


def spot(**changes: Any) -> Facts:
    return facts(**{"instance": instance(spot=True), "told": SPOT} | changes)


def maintenance(at: datetime) -> Notice:
    return Notice(Cause.MAINTENANCE, "instance-reboot", NOW, at)


def planned(at: datetime, *, description: str = "", **changes: Any) -> Facts:
    event = ScheduledEvent("instance-reboot", at, description)
    return facts(**{"told": maintenance(at), "scheduled": (event,)} | changes)


def arriving(**changes: Any) -> Facts:
    """A worker that its launch hook holds, launched half a minute ago, without a Node."""
    whole: dict[str, Any] = {"instance": launched(), "fleet": LAUNCHING, "node": Absent()}
    return facts(**whole | changes)


def given_up(*others: str, **changes: Any) -> Facts:
    abandoned = tuple(Abandoned(group_name, machine(number)) for number, group_name in enumerate(others, start=100))
    memory_ = memory(joins=(join(launched_at=NOW - timedelta(seconds=480)),), abandoned=abandoned)
    return arriving(**{"instance": launched(age=timedelta(seconds=480)), "memory": memory_} | changes)


PLANS: dict[str, tuple[Facts, list[type[Step]]]] = {
    "just terminated": (
        facts(instance=TERMINATED, fleet=WAITS, pods=PODS, attachments=("csi-1",)),
        [
            OpenCase, Fence, DeletePods, LeaveLoadBalancers, AwaitDetach, DeleteNode, CompleteHook, AwaitReplacement,
            LookAgain,
        ],
    ),
    "terminated, its group has not noticed": (
        facts(instance=TERMINATED, pods=PODS),
        [OpenCase, Fence, DeletePods, LeaveLoadBalancers, AwaitDetach, DeleteNode, AwaitReplacement, LookAgain],
    ),
    "terminated, fenced, volumes attached": (
        facts(instance=TERMINATED, node=fenced(), attachments=("csi-1",), memory=CLEANING),
        [LeaveLoadBalancers, AwaitDetach, DeleteNode, AwaitReplacement, LookAgain],
    ),
    "terminated, fenced but opened for pods again": (
        facts(instance=TERMINATED, node=fenced(unschedulable=False), memory=CLEANING),
        [Fence, LeaveLoadBalancers, AwaitDetach, DeleteNode, AwaitReplacement, LookAgain],
    ),
    "terminated, Node gone, waits in its hook": (
        facts(instance=TERMINATED, node=Absent(), fleet=WAITS, memory=CLEANING),
        [LeaveLoadBalancers, CompleteHook, AwaitReplacement, LookAgain],
    ),
    "terminated, nothing left, the pass before was killed": (
        facts(instance=TERMINATED, node=Absent(), fleet=SHORT, memory=CLEANING),
        [AwaitReplacement, LookAgain],
    ),
    "only finished pods": (
        facts(instance=TERMINATED, fleet=LEFT, pods=(pod("job", finished=True),), node=fenced(), memory=CLEANING),
        [AwaitDetach, DeleteNode, AwaitReplacement, LookAgain],
    ),
    "no target groups": (
        facts(instance=TERMINATED, fleet=fleet(group(member(ONE), member(TWO), target_groups=()))),
        [OpenCase, Fence, AwaitDetach, DeleteNode, AwaitReplacement, LookAgain],
    ),
    "its group is gone": (
        facts(instance=TERMINATED, fleet=fleet(group(name="other"))),
        [OpenCase, Fence, AwaitDetach, DeleteNode, AwaitReplacement, LookAgain],
    ),
    "terminated, never joined, waits in its hook": (
        facts(instance=TERMINATED, node=Absent(), fleet=WAITS),
        [OpenCase, LeaveLoadBalancers, CompleteHook, AwaitReplacement, LookAgain],
    ),
    "terminated long ago, nothing left, no case": (
        facts(instance=TERMINATED, node=Absent(), fleet=LEFT),
        [],
    ),
    "being replaced, the group is short": (
        facts(instance=TERMINATED, node=Absent(), fleet=SHORT, memory=REPLACING),
        [LookAgain],
    ),
    "being replaced, its group still lists it": (
        facts(instance=TERMINATED, node=Absent(), memory=REPLACING, nodes_ready={TWO: True}),
        [LookAgain],
    ),
    "being replaced, and only now its hook waits": (
        facts(instance=TERMINATED, node=Absent(), fleet=WAITS, memory=REPLACING),
        [CompleteHook, AwaitReplacement, LookAgain],
    ),
    "being replaced, the new Node is not Ready": (
        facts(instance=TERMINATED, node=Absent(), fleet=LEFT, memory=REPLACING, nodes_ready={TWO: False}),
        [LookAgain],
    ),
    "being replaced, the Nodes cannot be listed": (
        facts(instance=TERMINATED, node=Absent(), fleet=LEFT, memory=REPLACING, nodes_ready=Unknown("no answer")),
        [LookAgain],
    ),
    "replaced": (facts(instance=TERMINATED, node=Absent(), fleet=LEFT, memory=REPLACING), [CloseCase]),
    "replaced, EC2 has forgotten it": (
        facts(instance=Absent(), node=Absent(), fleet=LEFT, memory=replace(REPLACING, record=record())),
        [CloseCase],
    ),
    "its group went while it was being replaced": (
        facts(instance=TERMINATED, node=Absent(), fleet=fleet(group(name="other")), memory=REPLACING),
        [CloseCase],
    ),
    "being replaced, the group is short, and two others are dead": (
        facts(
            instance=TERMINATED, node=Absent(), fleet=SHORT,
            memory=replace(REPLACING, in_flight=frozenset({TWO, THREE})),
        ),
        [],
    ),
    "being replaced, the group is short, and one other is dead": (
        facts(
            instance=TERMINATED, node=Absent(), fleet=SHORT,
            memory=replace(REPLACING, in_flight=frozenset({ONE, TWO})),
        ),
        [LookAgain],
    ),
    "being replaced for ten minutes, the group is short": (
        facts(
            instance=TERMINATED, node=Absent(), fleet=SHORT,
            memory=memory(case=case(phase=Phase.REPLACING, opened_at=TEN_MINUTES_AGO)),
        ),
        [],
    ),
    "replaced after ten minutes": (
        facts(
            instance=TERMINATED, node=Absent(), fleet=LEFT,
            memory=memory(case=case(phase=Phase.REPLACING, opened_at=TEN_MINUTES_AGO)),
        ),
        [CloseCase],
    ),
    "being replaced, its record has not been told": (
        facts(
            instance=TERMINATED, node=Absent(), fleet=SHORT,
            memory=replace(REPLACING, joins=(join(state=JoinState.ENDED),)),
        ),
        [Revoke, LookAgain],
    ),
    "being cleaned up, its record has not been told": (
        facts(
            instance=TERMINATED, node=Absent(), fleet=SHORT,
            memory=replace(CLEANING, joins=(join(state=JoinState.ENDED),)),
        ),
        [AwaitReplacement, Revoke, LookAgain],
    ),
    "stopped": (
        facts(instance=STOPPED, pods=PODS),
        [OpenCase, Fence, DeletePods, LeaveLoadBalancers, AwaitReplacement, LookAgain],
    ),
    "stopped, waits in its hook": (
        facts(instance=STOPPED, fleet=WAITS, node=fenced(), memory=CLEANING),
        [LeaveLoadBalancers, AwaitReplacement, LookAgain],
    ),
    "stopped, all done": (facts(instance=STOPPED, node=fenced(), memory=REPLACING), [LookAgain]),
    "runs again after all was done": (
        facts(node=fenced(), memory=REPLACING), [JoinLoadBalancers, Restore, CloseCase]
    ),
    "runs again": (facts(node=fenced(), memory=CLEANING), [JoinLoadBalancers, Restore, CloseCase]),
    "runs again, and a person has stopped registrations": (
        facts(
            node=fenced(), memory=CLEANING,
            fleet=fleet(group(member(ONE), member(TWO), suspended=frozenset({"AddToLoadBalancer"}))),
        ),
        [Restore, CloseCase],
    ),
    "starts again": (
        facts(instance=instance(ONE, InstanceState.PENDING), node=fenced(), memory=CLEANING), [LookAgain]
    ),
    "runs again, its group is gone": (
        facts(node=fenced(), memory=CLEANING, fleet=fleet(group(name="other"))), [Restore, CloseCase]
    ),
    "goes on in service, it was leaving by its state and is not": (
        facts(node=draining()), [JoinLoadBalancers, Restore]
    ),
    "runs, drained by us, its group no longer lists it": (facts(node=draining(), fleet=LEFT), []),
    "runs again, restored already": (facts(memory=CLEANING), [CloseCase]),
    "runs again, its Node is away": (facts(node=Absent(), memory=CLEANING), [LookAgain]),
    "shutting down": (
        facts(instance=instance(ONE, InstanceState.SHUTTING_DOWN), targets=SERVES),
        [Cordon, LeaveLoadBalancers, LookAgain],
    ),
    "shutting down, cordoned by a person": (
        facts(instance=instance(ONE, InstanceState.SHUTTING_DOWN), node=node(unschedulable=True)),
        [Cordon, LookAgain],
    ),
    "shutting down, cordoned by us": (
        facts(instance=instance(ONE, InstanceState.SHUTTING_DOWN), node=draining()),
        [LookAgain],
    ),
    "shutting down with pods": (
        facts(instance=instance(ONE, InstanceState.SHUTTING_DOWN), pods=PODS),
        [Cordon, LookAgain],
    ),
    "its group lets it go while it runs, nothing on it": (
        facts(fleet=WAITS, pods=STAYS), [Heartbeat, Cordon, LookAgain]
    ),
    "its group lets it go, pods on it": (
        facts(fleet=WAITS, pods=PODS, targets=SERVES), [Heartbeat, Cordon, LeaveLoadBalancers, LookAgain]
    ),
    "closed for new work, pods on it": (
        facts(fleet=WAITS, node=draining(), pods=PODS), [Heartbeat, Evict, LookAgain]
    ),
    "closed for new work, its requests are let end": (
        facts(fleet=WAITS, node=draining(), pods=PODS, targets=REQUESTS_END), [Heartbeat, LookAgain]
    ),
    "its requests have had their share of the time": (
        facts(fleet=WAITS, node=draining(timedelta(minutes=20)), pods=PODS, targets=REQUESTS_END),
        [Heartbeat, Evict, LookAgain],
    ),
    "closed for new work, and somebody has put it back into a target group": (
        facts(fleet=WAITS, node=draining(), pods=PODS, targets=SERVES), [Heartbeat, LeaveLoadBalancers, LookAgain]
    ),
    "its load balancers cannot be asked at first": (
        facts(fleet=WAITS, pods=PODS, targets=Unknown("no answer")), [Heartbeat, Cordon, LeaveLoadBalancers, LookAgain]
    ),
    "its load balancers cannot be asked": (
        facts(fleet=WAITS, node=draining(), pods=PODS, targets=Unknown("no answer")), [Heartbeat, LookAgain]
    ),
    "its load balancers cannot be asked for long": (
        facts(fleet=WAITS, node=draining(timedelta(minutes=20)), pods=PODS, targets=Unknown("no answer")),
        [Heartbeat, Evict, LookAgain],
    ),
    "AWS takes it in two minutes": (spot(pods=PODS, targets=SERVES), [Cordon, LeaveLoadBalancers, LookAgain]),
    "AWS takes it, closed for new work": (spot(node=told(SPOT), pods=PODS), [Evict, LookAgain]),
    "AWS takes it, only advised so far": (spot(node=told(REBALANCE, drains=False), pods=PODS), [Cordon, LookAgain]),
    "AWS takes it, empty": (spot(node=told(SPOT), pods=STAYS), [LookAgain]),
    "AWS takes it in ten seconds": (
        spot(at=SPOT.until - timedelta(seconds=10), node=told(SPOT), pods=PODS), [Evict, Release, LookAgain]
    ),
    "AWS takes it, and its group lets it go": (
        spot(fleet=WAITS, node=told(SPOT), pods=STAYS), [Heartbeat, CompleteHook, LookAgain]
    ),
    "AWS takes it in ten seconds, and its group lets it go": (
        spot(at=SPOT.until - timedelta(seconds=10), fleet=WAITS, node=told(SPOT), pods=PODS),
        [Evict, Release, CompleteHook, LookAgain],
    ),
    "AWS was to take it, and has not": (
        spot(at=SPOT.until + timedelta(minutes=10), node=told(SPOT), pods=PODS), [JoinLoadBalancers, Restore]
    ),
    "AWS takes what is no Spot machine": (facts(told=SPOT), []),
    "AWS takes it while it joins": (
        spot(fleet=LAUNCHING, node=Absent(), memory=memory(joins=(join(),))), [Revoke, LookAgain]
    ),
    "AWS advises to leave it": (spot(told=REBALANCE, pods=PODS), [Cordon]),
    "AWS has advised to leave it": (spot(told=None, node=told(REBALANCE, drains=False), pods=PODS), []),
    "AWS had advised to leave it": (
        spot(told=None, at=REBALANCE.until, node=told(REBALANCE, drains=False)), [Restore]
    ),
    "AWS advises to leave it while it joins": (
        spot(instance=launched(spot=True), told=REBALANCE, fleet=LAUNCHING, node=Absent()), [Heartbeat, Mint, LookAgain]
    ),
    "EC2 reboots it next week": (planned(NOW + timedelta(days=7)), []),
    "EC2 reboots it in an hour": (planned(NOW + timedelta(hours=1), pods=PODS), [Cordon, LookAgain]),
    "EC2 reboots it in an hour, drained": (
        planned(NOW + timedelta(hours=1), node=told(maintenance(NOW + timedelta(hours=1))), pods=STAYS), []
    ),
    "EC2 has rebooted it": (
        planned(NOW, description="[Completed] done", node=told(maintenance(NOW)), pods=PODS),
        [JoinLoadBalancers, Restore],
    ),
    "EC2 does not reboot it after all": (
        planned(NOW, description="[Canceled] not needed", node=told(maintenance(NOW)), pods=PODS),
        [JoinLoadBalancers, Restore],
    ),
    "EC2 no longer says that it reboots it": (
        facts(scheduled=(), node=told(maintenance(NOW)), pods=PODS), [JoinLoadBalancers, Restore]
    ),
    "EC2 does not say whether it reboots it": (
        facts(scheduled=Unknown("no answer"), node=told(maintenance(NOW + timedelta(hours=1)))), []
    ),
    "Health speaks of what EC2 does not know": (facts(told=maintenance(NOW), scheduled=()), []),
    "in standby": (facts(fleet=fleet(group(member(ONE, "Standby"), member(TWO))), pods=PODS), []),
    "in standby, its token is still there": (
        facts(fleet=fleet(group(member(ONE, "Standby"), member(TWO))), memory=memory(joins=(join(),))), [Revoke]
    ),
    "in standby and stopped": (
        facts(instance=STOPPED, fleet=fleet(group(member(ONE, "Standby"), member(TWO))), node=node(ready=False)), []
    ),
    "in standby and stopped, pods on it": (
        facts(instance=STOPPED, fleet=fleet(group(member(ONE, "Standby"), member(TWO))), pods=PODS),
        [OpenCase, Fence, DeletePods, LeaveLoadBalancers, AwaitReplacement, LookAgain],
    ),
    "in standby and stopped, pods taken off": (
        facts(
            instance=STOPPED, fleet=fleet(group(member(ONE, "Standby"), member(TWO))), node=fenced(), memory=REPLACING
        ),
        [CloseCase],
    ),
    "back from standby": (facts(node=fenced()), [JoinLoadBalancers, Restore]),
    "in the warm pool, stopped": (
        facts(instance=STOPPED, fleet=fleet(group(member(ONE, "Warmed:Stopped"), member(TWO))), node=node(ready=False)),
        [],
    ),
    "leaves the warm pool for good": (
        facts(fleet=fleet(group(member(ONE, "Warmed:Terminating:Wait"), member(TWO)))), [CompleteHook]
    ),
    "terminated in the warm pool": (
        facts(instance=TERMINATED, node=Absent(), fleet=fleet(group(member(ONE, "Warmed:Terminated"), member(TWO)))),
        [],
    ),
    "drained, one pod is still ending": (
        facts(fleet=WAITS, node=draining(), pods=(ENDING, *STAYS)), [Heartbeat, LookAgain]
    ),
    "drained but for a finished pod": (
        facts(fleet=WAITS, node=draining(), pods=(*STAYS, pod("job", finished=True))),
        [Heartbeat, Evict, CompleteHook, LookAgain],
    ),
    "drained": (facts(fleet=WAITS, node=draining(), pods=STAYS), [Heartbeat, CompleteHook, LookAgain]),
    "being drained, its pods cannot be listed": (
        facts(fleet=WAITS, node=draining(), pods=Unknown("no answer")), [Heartbeat, LookAgain]
    ),
    "being drained for too long": (
        facts(fleet=WAITS, node=draining(timedelta(minutes=61)), pods=PODS),
        [Evict, Release, CompleteHook, LookAgain]
    ),
    "drained for too long with no hook that holds it": (
        facts(instance=instance(ONE, InstanceState.STOPPING), node=draining(timedelta(minutes=61)), pods=PODS),
        [Evict, LookAgain],
    ),
    "let go before it had a Node": (
        facts(fleet=WAITS, node=Absent()), [Heartbeat, CompleteHook, LookAgain]
    ),
    "let go while it was joining": (
        facts(fleet=WAITS, node=Absent(), memory=memory(joins=(join(),))),
        [Heartbeat, Revoke, CompleteHook, LookAgain],
    ),
    "just launched": (arriving(), [Heartbeat, Mint, LookAgain]),
    "launched, not yet in its hook": (
        arriving(fleet=fleet(group(member(ONE, "Pending"), member(TWO)))), [Mint, LookAgain]
    ),
    "launched into a group without a hook": (arriving(fleet=fleet()), [Mint, LookAgain]),
    "in service for long without a Node": (facts(node=Absent()), []),
    "on its way into a warm pool": (arriving(fleet=fleet(group(member(ONE, "Warmed:Pending:Wait")))), [CompleteHook]),
    "minting was cut short": (
        arriving(memory=memory(joins=(join(state=JoinState.MINTING),))), [Heartbeat, Mint, LookAgain]
    ),
    "has its token": (arriving(memory=memory(joins=(join(),))), [Heartbeat, Approve, LookAgain]),
    "its token is about to run out": (
        arriving(memory=memory(joins=(join(expires_at=NOW + timedelta(seconds=59)),))), [Heartbeat, Mint, LookAgain]
    ),
    "its token has a minute left": (
        arriving(memory=memory(joins=(join(expires_at=NOW + timedelta(seconds=60)),))), [Heartbeat, Mint, LookAgain]
    ),
    "has a token of an earlier launch": (
        arriving(memory=memory(joins=(join(launched_at=NOW - timedelta(days=1)),))), [Heartbeat, Mint, LookAgain]
    ),
    "its Node is there and not Ready": (
        arriving(node=node(ready=False), memory=memory(joins=(join(),))), [Heartbeat, Approve, LookAgain]
    ),
    "its Node is Ready and names no instance": (
        arriving(node=node(provider_id=""), memory=memory(joins=(join(),))), [Heartbeat, Approve, LookAgain]
    ),
    "its Node is Ready and not initialised": (
        arriving(node=node(taints=(Taint(UNINITIALIZED_TAINT, "NoSchedule", "true"),)), memory=memory(joins=(join(),))),
        [Heartbeat, Approve, LookAgain],
    ),
    "joined": (
        arriving(node=node(), memory=memory(joins=(join(),))), [CompleteHook, Approve, Revoke, LookAgain]
    ),
    "joined after others were given up": (
        arriving(node=node(), memory=memory(joins=(join(),), abandoned=(Abandoned(WORKERS, TWO),))),
        [CompleteHook, ForgetAbandoned, Approve, Revoke, LookAgain],
    ),
    "joined by another's hand": (arriving(node=node()), [CompleteHook, LookAgain]),
    "in service, its token is still there": (
        facts(instance=launched(), memory=memory(joins=(join(),))), [Approve, Revoke, LookAgain]
    ),
    "in service, its serving certificate is not asked for": (
        facts(
            instance=launched(),
            memory=memory(joins=(join(state=JoinState.ENDED),), approvals=(approval(client_at=NOW),)),
        ),
        [Approve, LookAgain],
    ),
    "in service, its client certificate is five minutes old": (
        facts(
            instance=launched(),
            memory=memory(
                joins=(join(state=JoinState.ENDED),), approvals=(approval(client_at=NOW - timedelta(minutes=5)),)
            ),
        ),
        [Approve, LookAgain],
    ),
    "in service, what was approved is forgotten": (
        facts(instance=launched(), memory=memory(joins=(join(state=JoinState.ENDED),))), []
    ),
    "in service with both certificates": (
        facts(
            instance=launched(),
            memory=memory(
                joins=(join(state=JoinState.ENDED),), approvals=(approval(client_at=NOW, serving_at=NOW),)
            ),
        ),
        [],
    ),
    "in service, and its kubelet never asks for a serving certificate": (
        facts(
            instance=launched(),
            memory=memory(
                joins=(join(state=JoinState.ENDED),), approvals=(approval(client_at=NOW - timedelta(minutes=6)),)
            ),
        ),
        [],
    ),
    "has run for long, its token was forgotten": (
        facts(memory=memory(joins=(join(launched_at=NOW - timedelta(days=2)),))), [Revoke]
    ),
    "never joined": (
        given_up(), [Heartbeat, Revoke, GiveUpLaunch, CountAbandoned, CompleteHook, LookAgain]
    ),
    "the second in a row that never joined": (
        given_up(WORKERS, "other", "other"), [Heartbeat, Revoke, GiveUpLaunch, CountAbandoned, CompleteHook, LookAgain]
    ),
    "the third in a row that never joined": (
        given_up(WORKERS, WORKERS),
        [Heartbeat, Revoke, GiveUpLaunch, CountAbandoned, SuspendLaunch, CompleteHook, LookAgain],
    ),
    "the third in a row, and a person has suspended the group already": (
        given_up(
            WORKERS, WORKERS, fleet=fleet(group(member(ONE, "Pending:Wait"), suspended=frozenset({"Launch"})))
        ),
        [Heartbeat, Revoke, GiveUpLaunch, CountAbandoned, CompleteHook, LookAgain],
    ),
    "dead, nothing left but its token": (
        facts(instance=TERMINATED, node=Absent(), fleet=LEFT, memory=memory(joins=(join(),))), [Revoke]
    ),
    "dead, nothing left but a record that has not been told": (
        facts(instance=TERMINATED, node=Absent(), fleet=LEFT, memory=memory(joins=(join(state=JoinState.ENDED),))),
        [Revoke],
    ),
    "dead, and its record is to be forgotten": (
        facts(
            instance=TERMINATED, node=Absent(), fleet=LEFT,
            memory=memory(joins=(join(state=JoinState.ENDED, keep_until=NOW),)),
        ),
        [],
    ),
    "its Node is named after another instance": (
        arriving(node=node(TWO, provider_id=f"aws:///us-east-1a/{ONE}"), memory=memory(joins=(join(),))),
        [Heartbeat, Mint, LookAgain],
    ),
    "its Node says that it is another instance": (
        arriving(node=node(provider_id=f"aws:///us-east-1a/{TWO}"), memory=memory(joins=(join(),))),
        [Heartbeat, Mint, LookAgain],
    ),
    "being drained since a time to come": (
        facts(fleet=WAITS, node=draining(-timedelta(hours=1)), pods=PODS),
        [Heartbeat, Cordon, LookAgain],
    ),
    "never joined, and no hook holds it": (given_up(fleet=fleet()), [Revoke, GiveUpLaunch]),
    "never joined, the table does not answer": (
        given_up(memory=Unknown("no answer")), [Heartbeat, GiveUpLaunch, CountAbandoned, CompleteHook, LookAgain]
    ),
    "comes back from standby, and its Node does not": (
        given_up(memory=memory(record=record(age=timedelta(seconds=479)))), [LookAgain]
    ),
    "never joined, and was written down when it was launched": (
        given_up(memory=memory(record=record(age=timedelta(seconds=480)))),
        [Heartbeat, GiveUpLaunch, CountAbandoned, CompleteHook, LookAgain],
    ),
    "never got a token": (
        given_up(memory=memory()), [Heartbeat, GiveUpLaunch, CountAbandoned, CompleteHook, LookAgain]
    ),
    "asked for what it must not have": (
        arriving(memory=memory(joins=(join(),), approvals=(approval(denied="it asked to be another"),))),
        [Heartbeat, Revoke, GiveUpLaunch, CountAbandoned, CompleteHook, LookAgain],
    ),
    "asked for what it must not have, and its Node is Ready": (
        arriving(node=node(), memory=memory(joins=(join(),), approvals=(approval(denied="it asked to be another"),))),
        [Heartbeat, Revoke, GiveUpLaunch, CountAbandoned, CompleteHook, LookAgain],
    ),
    "not joined in time, but Kubernetes does not answer": (given_up(node=Unknown("no answer")), [Heartbeat, LookAgain]),
    "died before it joined": (
        arriving(instance=launched(state=InstanceState.TERMINATED), memory=memory(joins=(join(),))),
        [OpenCase, LeaveLoadBalancers, CompleteHook, AwaitReplacement, Revoke, LookAgain],
    ),
    "detached from its group while it was joining": (
        facts(instance=launched(tags={}), fleet=LEFT, node=Absent(), memory=memory(joins=(join(),))), [Revoke]
    ),
    "healthy": (facts(), []),
    "healthy, cordoned by a person": (facts(node=node(unschedulable=True)), []),
    "foreign": (facts(instance=instance(tags={}), fleet=LEFT, node=Absent()), []),
    "detached from its group while its case is open": (
        facts(instance=instance(tags={}), fleet=LEFT, node=Absent(), memory=CLEANING),
        [CloseCase],
    ),
    "held, EC2 does not answer": (facts(instance=Unknown("no answer")), [LookAgain]),
    "held, its Node is another's": (facts(node=node(provider_id=f"aws:///us-east-1a/{TWO}")), []),
}  # fmt: skip


def plan_of(seen: Facts) -> Plan:
    heard = heard_of(seen)
    return make_plan(assess(heard), heard, POLICY)


def heard_of(seen: Facts) -> Facts:
    return replace(seen, notice=heeded(seen, POLICY))


def kind_of(seen: Facts) -> Kind:
    return assess(heard_of(seen)).kind


@pytest.mark.parametrize("name", PLANS)
def test_the_steps_follow_from_the_facts_in_this_order(name: str) -> None:
    seen, steps = PLANS[name]
    assert [type(step) for step in plan_of(seen).steps] == steps


@pytest.mark.parametrize("name", PLANS)
def test_every_step_names_the_machine_its_group_and_its_node_and_says_why(name: str) -> None:
    seen = heard_of(PLANS[name][0])
    verdict, node_ = assess(seen), seen.node if isinstance(seen.node, Node) else None
    names = {
        "instance": ONE,
        "group": verdict.group.name if verdict.group else None,
        "node_name": node_.name if node_ else None,
        "node_uid": node_.uid if node_ else None,
        "load_balancers": (TARGET_GROUP,),
    }
    for step in plan_of(seen).steps:
        said = vars(step)
        assert {key: said[key] for key in names if key in said} == {key: names[key] for key in names if key in said}
        assert step.reason
        assert "None" not in step.reason


@pytest.mark.parametrize("name", PLANS)
def test_a_hook_is_completed_or_kept_waiting_only_while_it_waits_and_a_launch_abandoned_only_when_given_up(
    name: str,
) -> None:
    seen = heard_of(PLANS[name][0])
    verdict, steps = assess(seen), plan_of(seen).steps
    given_up_ = verdict.kind is Kind.DEAD or any(isinstance(step, GiveUpLaunch) for step in steps)
    for step in steps:
        if isinstance(step, CompleteHook | Heartbeat):
            assert verdict.waits(step.transition)
        if isinstance(step, CompleteHook):
            assert step.abandon is (given_up_ and step.transition is Transition.LAUNCHING)
        if isinstance(step, CloseCase):
            assert step.forget is verdict.gone_for_good
        if isinstance(step, LookAgain):
            assert step.after in (AT_ONCE, SOON, LATER)


@pytest.mark.parametrize(
    ("name", "how_far"),
    [
        ("just launched", "it has no token to join with"),
        ("has its token", "it has its token and has not asked for its certificate"),
        ("its Node is there and not Ready", "its Node is not Ready"),
        ("its Node is Ready and names no instance", "its Node names no instance"),
        ("comes back from standby, and its Node does not", "it has no token to join with; it was well before"),
        ("never joined", "it has its token and has not asked for its certificate, 0:08:00 after its launch"),
        ("the third in a row that never joined", "3 launches in a row: it has its token and has not asked"),
    ],
)
def test_how_far_a_machine_has_come_is_told(name: str, how_far: str) -> None:
    assert any(step.reason.startswith(how_far) for step in plan_of(PLANS[name][0]).steps)


def test_a_machine_with_its_certificate_and_without_a_node_is_told_as_such_also_when_it_is_given_up() -> None:
    certified = (approval(launched_at=NOW - timedelta(seconds=480), client_at=NOW),)
    (joins,) = (given_up().joins,)
    (late,) = (step for step in plan_of(given_up(memory=memory(joins=joins, approvals=certified))).steps
               if isinstance(step, GiveUpLaunch))  # fmt: skip
    assert late.reason.startswith("it has its certificate and no Node")
    *_, look = plan_of(arriving(memory=memory(joins=(join(),), approvals=(approval(client_at=NOW),)))).steps
    assert look == LookAgain(SOON, "it has its certificate and no Node")
    for approvals, how_far in (((), "it has its token and has not asked"), (certified, "it has its certificate")):
        known = memory(joins=joins, approvals=approvals, record=record(age=timedelta(seconds=479)))
        (look,) = plan_of(given_up(memory=known)).steps
        assert look.reason.startswith(how_far)
        assert look.reason.endswith("; it was well before: its hook's own time counts")


def test_a_machine_that_has_joined_is_looked_at_soon_only_while_its_token_is_there() -> None:
    assert plan_of(PLANS["joined"][0]).steps[-1] == LookAgain(SOON, "it is on its way into service")
    assert plan_of(PLANS["joined by another's hand"][0]).steps[-1] == LookAgain(LATER, "it is on its way into service")


def test_what_no_group_has_is_given_up_without_one() -> None:
    seen = given_up()
    assert [type(step) for step in give_up(replace(assess(seen), group=None), seen, "it is late")] == [Revoke]


@pytest.mark.parametrize(
    ("of_a_daemon_set", "made_at", "deleted"),
    [
        (True, NOW + timedelta(seconds=1), False),
        (True, NOW, True),
        (True, None, True),
        (False, NOW + timedelta(seconds=1), True),
    ],
)
def test_only_what_a_daemon_set_has_made_since_the_death_is_left_for_it_would_only_be_made_again(
    of_a_daemon_set: bool, made_at: datetime | None, deleted: bool
) -> None:
    one = replace(pod(), daemon=of_a_daemon_set, created_at=made_at)
    seen = facts(instance=TERMINATED, node=fenced(), pods=(one,), memory=CLEANING)
    assert any(isinstance(step, DeletePods) for step in plan_of(seen).steps) == deleted
    assert any(isinstance(step, DeletePods) for step in plan_of(replace(seen, memory=memory())).steps)


@pytest.mark.parametrize(("others", "looks"), [({TWO}, True), ({TWO, THREE}, False), ({ONE, TWO}, True)])
def test_of_many_dead_machines_the_sweep_sees_when_their_groups_are_whole(others: set[Any], looks: bool) -> None:
    steps = plan_of(facts(instance=TERMINATED, memory=replace(CLEANING, in_flight=frozenset(others)))).steps
    assert any(isinstance(step, LookAgain) for step in steps) == looks


def test_every_step_says_why_and_names_what_it_touches() -> None:
    steps = plan_of(facts(instance=TERMINATED, fleet=WAITS, pods=PODS)).steps
    assert all(step.reason for step in steps)
    assert steps[0] == OpenCase(ONE, WORKERS, ONE, "EC2: terminated")
    assert steps[1] == Fence(ONE, f"uid-of-{ONE}", "EC2: terminated")
    assert steps[2] == DeletePods(ONE, (pod(),), "their machine is dead")
    assert steps[3] == LeaveLoadBalancers(ONE, (TARGET_GROUP,), "it cannot serve", serves=False)
    assert steps[6] == CompleteHook(ONE, WORKERS, Transition.TERMINATING, "nothing of it is left to wait for")


@given(FACTS)
def test_a_node_is_deleted_only_when_gone_for_good_fenced_and_released(seen: Facts) -> None:
    kinds = [type(step) for step in plan_of(seen).steps]
    if DeleteNode not in kinds:
        return
    before = kinds[: kinds.index(DeleteNode)]
    assert assess(seen).gone_for_good
    assert isinstance(seen.node, Node)
    assert Fence in before or (seen.node.out_of_service and seen.node.unschedulable)
    assert AwaitDetach in before


@given(FACTS)
def test_no_step_names_anything_but_the_machine_that_was_looked_at(seen: Facts) -> None:
    for step in plan_of(seen).steps:
        if isinstance(step, Cordon | Fence | Restore | DeleteNode):
            assert isinstance(seen.node, Node)
            assert (step.node_name, step.node_uid) == (seen.node.name, seen.node.uid)
        elif isinstance(step, DeletePods | DeleteOverdue | Evict):
            assert not isinstance(seen.pods, Unknown)
            assert set(step.pods) <= set(seen.pods)
        elif isinstance(step, AwaitDetach):
            assert isinstance(seen.node, Node)
            assert step.node_name == seen.node.name
        elif isinstance(step, SuspendLaunch | ForgetAbandoned):
            assert step.group == getattr(assess(seen).group, "name", None)
        elif isinstance(step, NoteDoubt | RestartService | Reboot | Replace):
            assert step.doubt.instance == seen.id
        elif not isinstance(step, LookAgain | TakeSnapshot | MoveLeader | RemoveMember | AwaitQuorum):
            assert step.instance == seen.id


@given(FACTS)
def test_nothing_is_deleted_of_a_machine_unless_it_is_dead(seen: Facts) -> None:
    harm = (OpenCase, Fence, DeletePods, DeleteNode, AwaitReplacement)
    if any(isinstance(step, harm) for step in plan_of(seen).steps):
        assert kind_of(seen) is Kind.DEAD


@given(FACTS)
def test_a_machine_that_runs_is_let_go_only_when_none_of_its_pods_is_left_or_a_person_is_told(seen: Facts) -> None:
    steps = plan_of(seen).steps
    going = [step for step in steps if isinstance(step, CompleteHook) and step.transition is Transition.TERMINATING]
    parked = kind_of(seen) is Kind.PARKED  # on its way out of a warm pool: nothing was ever scheduled there
    if going and not parked and kind_of(seen) is not Kind.DEAD:
        told = any(isinstance(step, Release) for step in steps)
        node_gone = isinstance(seen.node, Absent)
        assert told or node_gone or not any(one.awaited for one in seen.known_pods)
        assert not isinstance(seen.node, Unknown)


@given(FACTS)
def test_a_launch_goes_on_only_with_a_ready_node_of_that_instance(seen: Facts) -> None:
    for step in plan_of(seen).steps:
        if isinstance(step, CompleteHook) and step.transition is Transition.LAUNCHING and not step.abandon:
            if kind_of(seen) is Kind.PARKED:
                continue  # it goes into a warm pool, not into service
            assert isinstance(seen.node, Node)
            assert (seen.node.ready, seen.node.provider_id) == (True, f"aws:///us-east-1a/{ONE}")


@given(FACTS)
def test_a_launch_is_given_up_only_after_its_deadline_on_proof_or_when_it_is_dead(seen: Facts) -> None:
    for step in plan_of(seen).steps:
        if isinstance(step, GiveUpLaunch) or (isinstance(step, CompleteHook) and step.abandon):
            assert isinstance(seen.instance, Instance)
            late = seen.at >= seen.instance.launched_at + POLICY.join_deadline
            found = seen.approval_of(seen.instance.launched_at)
            assert late or (found and found.denied) or assess(seen).gone_for_good
            assert not isinstance(seen.node, Unknown)


@given(FACTS)
def test_held_and_foreign_machines_are_never_touched(seen: Facts) -> None:
    """Our own notes may be closed, and what was ours taken back; nothing of the machine is changed."""
    kind = kind_of(seen)
    if kind is Kind.HELD:
        assert {type(step) for step in plan_of(seen).steps} <= {LookAgain, Heartbeat, Mint}
    if kind is Kind.FOREIGN:
        assert {type(step) for step in plan_of(seen).steps} <= {CloseCase, Revoke}


@given(FACTS)
def test_no_act_on_a_dead_machine_comes_before_its_case_is_open(seen: Facts) -> None:
    plan = plan_of(seen)
    # What it could join with goes in any case.
    acts = [step for step in plan.steps if not isinstance(step, Revoke | LookAgain)]
    if kind_of(seen) is Kind.DEAD and acts and not (isinstance(seen.memory, Memory) and seen.memory.case):
        assert isinstance(acts[0], OpenCase)


@given(FACTS)
@settings(max_examples=300)
def test_a_plan_that_was_carried_out_is_not_needed_again(seen: Facts) -> None:
    assume(isinstance(seen.memory, Memory))
    for _ in range(3):
        before = plan_of(seen)
        seen = carried_out(before, seen)
    after = plan_of(seen)
    # Deregistering what is not registered changes nothing; a case is closed at last, and then it is closed. What asks
    # another function, and a hook's heartbeat, go on until their answer changes something.
    asking = {Mint, Revoke, Approve, Heartbeat, GiveUpLaunch, CountAbandoned, SuspendLaunch}
    assert {type(step) for step in after.steps} <= {LookAgain, CloseCase, LeaveLoadBalancers, *asking}
    assert CloseCase not in {type(step) for step in plan_of(carried_out(after, seen)).steps}


def carried_out(plan: Plan, seen: Facts) -> Facts:
    """The facts that the next pass finds when every step was taken and nothing else has happened."""
    changes: dict[str, Any] = {}
    node_, memory_, fleet_ = seen.node, seen.memory, seen.fleet
    assert isinstance(memory_, Memory)
    for step in plan.steps:
        match step:
            case OpenCase():
                opened = Case(step.instance, NOW, Phase.CLEANING, step.group, step.node_name)
                memory_ = replace(memory_, case=opened)
            case Cordon() if isinstance(node_, Node):
                marks = {DRAINING_ANNOTATION: NOW.isoformat()} if step.drains else {}
                marks |= {NOTICE_ANNOTATION: step.notice.to_json()} if step.notice else {}
                node_ = replace(node_, unschedulable=True, annotations=node_.annotations | marks)
            case LeaveLoadBalancers():
                changes["targets"] = ()
            case Fence() if isinstance(node_, Node):
                node_ = replace(node_, unschedulable=True, taints=(OUT_OF_SERVICE,))
            case Restore() if isinstance(node_, Node):
                node_ = replace(node_, unschedulable=False, taints=(), annotations={})
            case DeletePods():
                changes["pods"] = tuple(one for one in seen.known_pods if one.finished)
            case Evict():
                changes["pods"] = tuple(one for one in seen.known_pods if one.ending or not one.awaited)
            case ForgetAbandoned():
                memory_ = replace(memory_, abandoned=())
            case AwaitDetach():
                changes["attachments"] = ()
            case DeleteNode():
                node_ = Absent()
            case CompleteHook():
                fleet_ = fleet(group(member(TWO), target_groups=()))
            case AwaitReplacement():
                assert memory_.case
                memory_ = replace(memory_, case=replace(memory_.case, phase=Phase.REPLACING))
            case CloseCase():
                memory_ = replace(memory_, case=None)
    return replace(seen, node=node_, memory=memory_, fleet=fleet_, **changes)
