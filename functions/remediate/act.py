"""Carry a plan out, step by step, and say of each step what became of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never

from functions.cluster.facts import Case, Facts, Memory, Phase
from functions.errors import ConfigurationError, RefusedError, RetryableError
from functions.remediate.outside import Outside
from functions.remediate.plan import (
    LATER,
    Admit,
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
    ForgetCertificates,
    ForgetDoubt,
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
    TellDoubt,
    UploadCertificates,
)
from functions.remediate.steps import drain, etcd, hooks, joining, node, repair, serving, volumes
from functions.remediate.steps.waiting import Unchanged, Waiting
from functions.settings import Settings


@dataclass(frozen=True)
class Done:
    """One step that was taken, and when it ended."""

    step: Step
    at: datetime


@dataclass(frozen=True)
class Outcome:
    """How far a plan got. `look_again` is None when nothing is left to look for; `failed` when a call went wrong;
    `waits` when a step has to wait for others than us."""

    done: tuple[Done, ...]
    look_again: timedelta | None = None
    reason: str = ""
    failed: bool = False
    waits: bool = False


def act(plan: Plan, facts: Facts, outside: Outside, settings: Settings, clock: Callable[[], datetime]) -> Outcome:
    """Take the plan's steps in order until one has to wait or cannot be taken.

    A call that fails ends the pass, never the case: the next pass reads everything anew.
    """
    done: list[Done] = []
    for step in plan.steps:
        if isinstance(step, LookAgain):
            return Outcome(tuple(done), step.after, step.reason)
        try:
            outcome = _take(step, facts, outside, settings, clock())
        except RefusedError as error:
            return Outcome(tuple(done), LATER, f"{type(step).__name__} is refused: {error}")
        except (RetryableError, ConfigurationError) as error:
            return Outcome(tuple(done), LATER, f"{type(step).__name__} failed: {error}", failed=True)
        if isinstance(outcome, Waiting):
            return Outcome(tuple(done), outcome.after, outcome.reason, waits=True)
        if outcome is None:
            done.append(Done(step, clock()))
            outside.journal.tell("step", step=type(step).__name__, reason=step.reason)
    return Outcome(tuple(done))


def _take(step: Step, facts: Facts, outside: Outside, settings: Settings, at: datetime) -> Waiting | Unchanged | None:
    """Take one step. None: something was done about it."""
    match step:
        case OpenCase():
            case = Case(step.instance, at, Phase.CLEANING, step.group, step.node_name, step.role)
            outside.table.open_case(case, max_in_flight=settings.max_in_flight)
        case Cordon():
            node.cordon(step, outside.kubernetes, at=at)
        case Fence():
            node.fence(step, outside.kubernetes, at=at)
        case Restore():
            node.restore(step, outside.kubernetes)
        case DeletePods():
            outside.kubernetes.delete_pods(step.pods, grace_s=0)
        case DeleteOverdue():
            outside.kubernetes.delete_pods(step.pods, grace_s=settings.drain.grace_s)
        case LeaveLoadBalancers():
            serving.leave(step, outside, at=at)
        case JoinLoadBalancers():
            serving.join(step, outside, at=at)
        case AwaitDetach():
            deadline = settings.detach_deadline
            return volumes.await_detach(step, outside, opened_at=_opened_at(facts), at=at, deadline=deadline)
        case DeleteNode():
            node.delete_node(step, outside.kubernetes)
        case Evict():
            return drain.evict(step, outside, grace_s=settings.drain.grace_s)
        case CompleteHook():
            return hooks.complete(step, outside)
        case Heartbeat():
            return hooks.heartbeat(step, outside, at=at)
        case Release():
            return hooks.release(step, outside, at=at)
        case Mint():
            return joining.mint(step, outside, at=at)
        case Revoke():
            return joining.revoke(step, outside)
        case Approve():
            return joining.approve(step, outside)
        case Admit():
            return etcd.admit(step, outside, at=at, join_deadline=settings.join_deadline)
        case UploadCertificates():
            etcd.upload_certificates(step, outside)
        case ForgetCertificates():
            return etcd.forget_certificates(step, outside)
        case TakeSnapshot():
            return etcd.take_snapshot(step, outside, at=at, bucket=settings.snapshot_bucket)
        case MoveLeader():
            return etcd.move_leader(step, outside)
        case RemoveMember():
            return etcd.remove_member(step, outside, at=at)
        case AwaitQuorum():
            return etcd.await_quorum(step, outside, at=at)
        case GiveUpLaunch():
            return joining.give_up_launch(step, outside, at=at)
        case CountAbandoned():
            joining.count_abandoned(step, outside, at=at)
        case SuspendLaunch():
            joining.suspend_launch(step, outside, at=at, lasting=settings.launch_suspended)
        case ForgetAbandoned():
            outside.table.forget_abandoned(step.group)
        case AwaitReplacement():
            outside.table.await_replacement(step.instance)
        case CloseCase():
            outside.table.close_case(step.instance)
            if step.forget:
                outside.table.forget(step.instance)
        case NoteDoubt():
            outside.table.note_doubt(step.doubt, at=at)
        case ForgetDoubt():
            outside.table.forget_doubt(step.instance)
        case RestartService():
            repair.restart(step, outside, at=at)
        case Reboot():
            repair.reboot(step, outside, at=at)
        case Replace():
            return repair.replace(step, outside, at=at)
        case TellDoubt():
            return repair.tell(step, outside, at=at)
        case LookAgain():
            return Waiting(step.reason, step.after)
        case _:
            assert_never(step)
    return None


def _opened_at(facts: Facts) -> datetime:
    if isinstance(facts.memory, Memory) and facts.memory.case:
        return facts.memory.case.opened_at
    return facts.at
