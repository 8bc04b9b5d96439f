"""Turn a verdict into the steps that follow from it. Pure; every step says why."""

from __future__ import annotations

from datetime import datetime

from functions.cluster.assess import Kind, Verdict
from functions.cluster.facts import Absent, Facts, Phase
from functions.cluster.joining import JoinState
from functions.cluster.machine import (
    DRAINING_ANNOTATION,
    FENCED_ANNOTATION,
    REGISTER_PROCESS,
    Instance,
    InstanceState,
    Node,
    Transition,
)
from functions.cluster.policy import Policy
from functions.remediate.plan import (
    LATER,
    SOON,
    Approve,
    CloseCase,
    CompleteHook,
    JoinLoadBalancers,
    LookAgain,
    Mint,
    Plan,
    Restore,
    Revoke,
    Step,
)
from functions.remediate.plans.arriving import SERVING_WITHIN, arriving
from functions.remediate.plans.dead import dead
from functions.remediate.plans.doubtful import calm, doubtful
from functions.remediate.plans.hooks import heartbeats
from functions.remediate.plans.leaving import leaving


def make_plan(verdict: Verdict, facts: Facts, policy: Policy) -> Plan:
    """Return the steps that the verdict calls for, given what is left of the machine."""
    match verdict.kind:
        case Kind.DEAD:
            return dead(verdict, facts)
        case Kind.LEAVING:
            return Plan(leaving(verdict, facts, policy))
        case Kind.ARRIVING:
            return Plan(arriving(verdict, facts, join_until(facts, policy)))
        case Kind.PARKED:
            return Plan((*_revoke(verdict, facts), *_parked(verdict, facts)))
        case Kind.DOUBTFUL:
            return Plan((*_revoke(verdict, facts), *doubtful(verdict, facts, policy.repair)))
        case Kind.HEALTHY:
            return Plan((*_revoke(verdict, facts), *calm(facts), *_healthy(verdict, facts)))
        case Kind.HELD if verdict.may_change:
            return Plan((*keep_hooks(verdict, facts).steps, LookAgain(LATER, verdict.reason)))
        case Kind.FOREIGN:
            closing = (CloseCase(facts.id, verdict.reason),) if facts.case else ()
            return Plan((*_revoke(verdict, facts), *closing))
        case Kind.HELD:
            return Plan((*keep_hooks(verdict, facts).steps, *_hold_token(verdict, facts)))


def join_until(facts: Facts, policy: Policy) -> datetime:
    """Return when a worker's launch is given up."""
    launched_at = facts.instance.launched_at if isinstance(facts.instance, Instance) else facts.at
    return launched_at + policy.join_deadline


def keep_hooks(verdict: Verdict, facts: Facts) -> Plan:
    """Neither doubt nor a refusal may let a hook run out: that would end a machine undrained, or one that may join."""
    return Plan(heartbeats(verdict, facts))


def _hold_token(verdict: Verdict, facts: Facts) -> tuple[Step, ...]:
    """Who is let in and turns out to be doubtful is the minter's to judge: it refuses, and takes back what it may.

    A control plane's token is renewed in its own line alone, where etcd is seen.
    """
    if any(join.open for join in facts.joins) and not verdict.control_plane:
        return (Mint(facts.id, verdict.reason), LookAgain(LATER, verdict.reason))
    return ()


def _revoke(verdict: Verdict, facts: Facts) -> tuple[Step, ...]:
    """A machine that is not to join may not go on having what it could join with."""
    if any(join.open for join in facts.joins):
        return (Revoke(facts.id, f"it is {verdict.kind.value}: its token and bundle go"),)
    return ()


def _parked(verdict: Verdict, facts: Facts) -> tuple[Step, ...]:
    """Hooks that hold it on its way into or out of a warm pool have nothing to wait for; it joins when it is wanted."""
    hooks = tuple(
        CompleteHook(facts.id, verdict.group.name, transition, f"nothing is to be done: {verdict.reason}")
        for transition in Transition
        if verdict.group and verdict.waits(transition)
    )
    closing = (CloseCase(facts.id, f"it is out of service by will: {verdict.reason}"),) if facts.case else ()
    return (*hooks, *closing)


def _healthy(verdict: Verdict, facts: Facts) -> tuple[Step, ...]:
    """A machine that was dead or leaving by its state, and is not any more, gets back what we took."""
    steps: tuple[Step, ...] = ()
    stays = facts.case or (verdict.member and verdict.member.in_service)
    if stays and isinstance(facts.node, Node) and facts.node.marked:
        why = "its machine runs, and nobody takes it out"
        steps = (*_serve_again(verdict, facts.node, facts, why), Restore(facts.node.name, facts.node.uid, why))
    if steps and isinstance(facts.instance, Instance) and facts.instance.state is InstanceState.PENDING:
        return (LookAgain(SOON, "it is starting: load balancers take only what runs"),)
    if not facts.case:
        return (*steps, *_last_certificate(facts))
    if isinstance(facts.node, Absent) and facts.case.phase is Phase.CLEANING:
        return (LookAgain(LATER, "it runs again, its Node has not come back yet"),)
    return (*steps, CloseCase(facts.id, "it runs again"))


def _serve_again(verdict: Verdict, node: Node, facts: Facts, why: str) -> tuple[Step, ...]:
    """Auto Scaling registers a machine only when it enters service. The marks go last: they say that we took it out."""
    group = verdict.group
    if group is None or not group.load_balancers or REGISTER_PROCESS in group.suspended:
        return ()
    taken_out = not {FENCED_ANNOTATION, DRAINING_ANNOTATION}.isdisjoint(node.annotations)
    return (JoinLoadBalancers(facts.id, group.load_balancers, why),) if taken_out else ()


def _last_certificate(facts: Facts) -> tuple[Step, ...]:
    """A kubelet may ask for its serving certificate when its machine is already in service."""
    if not isinstance(facts.instance, Instance):
        return ()
    join, approval = facts.join_of(facts.instance.launched_at), facts.approval_of(facts.instance.launched_at)
    if not (join and join.state is JoinState.ENDED and approval and approval.client_at):
        return ()
    if approval.serving_at or approval.denied or facts.at > approval.client_at + SERVING_WITHIN:
        return ()
    waiting = "it has not asked for its serving certificate"
    return (Approve(facts.id, waiting), LookAgain(SOON, waiting))
