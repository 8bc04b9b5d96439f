"""The plan for a machine that is to join: let it in by right, or give its launch up."""

from __future__ import annotations

from datetime import datetime, timedelta

from functions.cluster.assess import Verdict
from functions.cluster.facts import Facts, Memory
from functions.cluster.joining import Approval, JoinRecord, JoinState
from functions.cluster.machine import LAUNCH_PROCESS, Instance, Node, Transition, instance_of_provider_id
from functions.remediate.plan import (
    LATER,
    SOON,
    Approve,
    CompleteHook,
    CountAbandoned,
    ForgetAbandoned,
    GiveUpLaunch,
    Heartbeat,
    LookAgain,
    Mint,
    Revoke,
    Step,
    SuspendLaunch,
)

ABANDONED_IN_A_ROW = 3  # then something is wrong with all of them, and one more would be no better
_RENEW_BEFORE = timedelta(seconds=60)
SERVING_WITHIN = timedelta(minutes=5)


def arriving(verdict: Verdict, facts: Facts, until: datetime) -> tuple[Step, ...]:
    """Return the next steps for a machine that Auto Scaling has launched and that is not in the cluster yet.

    At `until` it is given up.
    """
    if not isinstance(facts.instance, Instance):
        return ()  # nothing arrives that EC2 does not know
    launched_at = facts.instance.launched_at
    join, approval = facts.join_of(launched_at), facts.approval_of(launched_at)
    denied = approval.denied if approval else None
    if isinstance(facts.node, Node) and _is_ready(facts.node, facts) and not denied:
        return _joined(verdict, facts, join)
    steps: list[Step] = []
    if verdict.group and verdict.waits(Transition.LAUNCHING):
        steps.append(Heartbeat(facts.id, verdict.group.name, Transition.LAUNCHING, "it is joining"))
    if denied:
        return (*steps, *give_up(verdict, facts, denied))
    late = facts.at >= until
    if late and _was_well(facts, launched_at):
        return (LookAgain(LATER, f"{_how_far(facts, join, approval)}; it was well before: its hook's own time counts"),)
    if late:
        because = f"{_how_far(facts, join, approval)}, {facts.at - launched_at} after its launch"
        return (*steps, *give_up(verdict, facts, because))

    if not _has_token(join, facts.at):
        steps.append(Mint(facts.id, verdict.reason))
    else:
        steps.append(Approve(facts.id, "it may have asked for its certificates"))
    return (*steps, LookAgain(SOON, _how_far(facts, join, approval)))


def _joined(verdict: Verdict, facts: Facts, join: JoinRecord | None) -> tuple[Step, ...]:
    ready = "its Node is Ready and says that it is this instance"
    steps: list[Step] = []
    if verdict.group and verdict.waits(Transition.LAUNCHING):
        steps.append(CompleteHook(facts.id, verdict.group.name, Transition.LAUNCHING, ready))
    if verdict.group and any(one.group == verdict.group.name for one in facts.abandoned):
        steps.append(ForgetAbandoned(verdict.group.name, ready))
    if join:
        steps.append(Approve(facts.id, "its serving certificate may still be asked for"))
    if join and join.open:
        steps.append(Revoke(facts.id, f"{ready}: its token and bundle go"))
    after = SOON if join and join.open else LATER  # all is done then; a hook that is somebody else's may hold it long
    return (*steps, LookAgain(after, "it is on its way into service"))


def give_up(verdict: Verdict, facts: Facts, because: str) -> tuple[Step, ...]:
    """End the launch. A machine that no hook holds is in service: it keeps running, and a person is told."""
    steps: list[Step] = [Revoke(facts.id, f"its launch is given up: {because}")] if facts.joins else []
    group = verdict.group
    if group is None:
        return tuple(steps)
    steps.append(GiveUpLaunch(facts.id, group.name, because))
    if verdict.waits(Transition.LAUNCHING):
        steps.append(CountAbandoned(facts.id, group.name, because))
        others = {one.instance for one in facts.abandoned if one.group == group.name} - {facts.id}
        by_a_person = LAUNCH_PROCESS in group.suspended and group.launch_suspended_until is None
        if len(others) + 1 >= ABANDONED_IN_A_ROW and not by_a_person:
            steps.append(SuspendLaunch(group.name, f"{len(others) + 1} launches in a row: {because}"))
        steps.append(CompleteHook(facts.id, group.name, Transition.LAUNCHING, because, abandon=True))
        steps.append(LookAgain(LATER, "it is not gone yet"))
    return tuple(steps)


def _is_ready(node: Node, facts: Facts) -> bool:
    return node.ready and node.initialised and instance_of_provider_id(node.provider_id) == facts.id


def _was_well(facts: Facts, launched_at: datetime) -> bool:
    """Whether it has been in service since that launch: it comes back from standby, and its launch is no measure."""
    record = facts.memory.record if isinstance(facts.memory, Memory) else None
    return record is not None and record.first_seen > launched_at


def _has_token(join: JoinRecord | None, at: datetime) -> bool:
    """Whether no minting is called for. One that has ended is not taken up again for the same launch."""
    if join is None or join.state is JoinState.MINTING:
        return False
    return join.state is JoinState.ENDED or at < join.expires_at - _RENEW_BEFORE


def _how_far(facts: Facts, join: JoinRecord | None, approval: Approval | None) -> str:
    if isinstance(facts.node, Node):
        return "its Node is not Ready" if facts.node.provider_id else "its Node names no instance"
    if approval and approval.client_at:
        return "it has its certificate and no Node"
    if join and join.state is JoinState.ISSUED:
        return "it has its token and has not asked for its certificate"
    return "it has no token to join with"
