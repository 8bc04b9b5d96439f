"""One pass over all control planes: the most urgent step of one of them, while the others wait.

What each needs is judged as for any machine; what etcd allows decides what of it may be done. As long as nothing could
be done about one, the next one is looked at in the same pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from functions.cluster import quorum
from functions.cluster.assess import Kind, Verdict, assess
from functions.cluster.control_plane import ControlPlane
from functions.cluster.etcd import Etcd, EtcdMember, tie
from functions.cluster.facts import Absent, Facts, Fleet, Memory, Unknown, known
from functions.cluster.heed import heeded
from functions.cluster.joining import Admission
from functions.cluster.machine import Group, Instance, InstanceId, InstanceState, Role
from functions.cluster.optout import pauses_by_tags
from functions.errors import ConfigurationError, RetryableError
from functions.messages import CONTROL_PLANE, Look, Order
from functions.remediate.act import Outcome, act
from functions.remediate.observe import observe
from functions.remediate.outside import Outside
from functions.remediate.plan import AT_ONCE, LATER, Plan
from functions.remediate.planning import keep_hooks, make_plan
from functions.remediate.plans.control_plane import (
    end_of_admission,
    needs_pass,
    plan_control_plane,
    plan_orphan,
    plan_snapshot,
    urgency,
)
from functions.remediate.reading import Cluster, around_of, control_planes, facts_of, read_cluster
from functions.remediate.reconcile import GIVE_UP_AFTER_TRIES, Judgement, carry_out, judged, try_again, write_down
from functions.remediate.telling import LASTS_FOR, tell_if_it_lasts, tell_if_possible
from functions.settings import Settings

_ASKED_AT_MOST = 7  # machines about etcd, which advises no more members; all but the first at the same time
_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)


def run_control_plane(look: Look, outside: Outside, settings: Settings, clock: Callable[[], datetime]) -> None:
    """Do the next thing about the control plane, and order the next look if one is called for.

    Raises RetryableError when not even that look can be ordered: the message then stays in the queue.
    """
    now = clock()
    try:
        around = ask_around_kubernetes(outside, settings.cluster)
        _take_out_ended(around, outside, settings.cluster, now=now)
        cluster = read_cluster(outside, settings.cluster, now=now)
    except (RetryableError, ConfigurationError) as error:
        _look_again(look, [Outcome((), LATER, f"unknown: {error}", failed=True)], outside, now=clock())
        return
    _keep_hooks(cluster, outside, settings, clock)
    outcomes: list[Outcome] = []
    if isinstance(around.etcd, Etcd) and quorum.lost(around.etcd):
        outcomes.append(_tell_lost(around.etcd, outside, settings, now=now))
    elif cluster.unread:
        outcomes.append(Outcome((), LATER, f"unknown: {cluster.unread}", failed=True))
    else:
        seen = put_together(cluster, around, outside, now=now)
        if isinstance(seen.etcd, Unknown):
            outcomes.append(_tell_unknown(seen.etcd, look, outside, settings, now=now))
        for judgement in judgements(cluster, seen, outside, settings, now=now):
            outcome = carry_out(judgement, outside, settings, clock)
            write_down(replace(look, machine=judgement.facts.id), judgement, outcome, outside, now=clock())
            outcomes.append(outcome)
            if outcome.done or outcome.failed:
                break  # whoever comes next is judged by what is true then
        if ill := seen.ill([one.id for one in cluster.instances.values() if one.state is InstanceState.RUNNING]):
            outcomes.append(_tell_ill(ill, seen, outside, settings, now=now))
    _look_again(look, outcomes, outside, now=clock())


def judgements(
    cluster: Cluster, seen: ControlPlane, outside: Outside, settings: Settings, *, now: datetime
) -> Iterator[Judgement]:
    """Yield what is to be done about each that needs something, the most urgent first; each is read whole for that."""
    every = settings.snapshot_every
    whole = Fleet(cluster.groups, others_known=bool(cluster.instances))
    for orphan in seen.orphans if not seen.unknown else ():
        plan = plan_orphan(orphan, seen, every)
        verdict = Verdict(Kind.DEAD, f"etcd member {orphan} is nobody's")
        yield _of_cluster(plan, verdict, whole, outside, settings, now)
    roughly = [(machine, *_rough(machine, cluster, whole, settings, now)) for machine in control_planes(cluster)]
    for machine, facts, verdict in sorted(roughly, key=lambda one: (urgency(one[2], one[1]), one[0])):
        if not needs_pass(facts, verdict, settings.policy.repair, seen):
            continue
        read = observe(machine, settings.cluster, outside, now=now, told=facts.told, line=Role.CONTROL_PLANE)
        yield judge_one(read, seen, cluster, outside, settings)
    plan = plan_snapshot(seen, every)
    if plan.steps:
        verdict = Verdict(Kind.HEALTHY, "nothing else is to be done")
        due = _of_cluster(plan, verdict, whole, outside, settings, now)
        if due.refusal is None:  # it will be due again; nobody needs to hear of that
            yield due


def judge_one(read: Facts, seen: ControlPlane, cluster: Cluster, outside: Outside, settings: Settings) -> Judgement:
    """Say what is to be done about one of them, given all of them."""
    facts = replace(read, notice=heeded(read, settings.policy))
    verdict = assess(facts, Role.CONTROL_PLANE)
    plan = plan_control_plane(verdict, facts, seen, settings.policy, settings.snapshot_every)
    if verdict.kind in (Kind.HEALTHY, Kind.PARKED, Kind.FOREIGN, Kind.HELD):
        ending = end_of_admission(facts, seen) if verdict.kind is not Kind.HELD else ()
        plan = Plan((*ending, *make_plan(verdict, facts, settings.policy).steps))
    if plan.rung:
        limits, group = settings.policy.limits, verdict.group
        facts = replace(facts, around=known(partial(around_of, cluster, outside, group, limits, now=facts.at)))
    return judged(facts, verdict, plan, settings)


@dataclass(frozen=True)
class AroundKubernetes:
    """What AWS says of the control planes, and one of them of etcd, before Kubernetes is asked anything.

    `health` is the state of each target, for each target group of the API.
    """

    groups: tuple[Group, ...]
    fleet: tuple[Instance, ...]
    etcd: Etcd | Unknown
    asked: InstanceId | None
    health: Mapping[str, Mapping[InstanceId, str]] | Unknown

    @property
    def registered(self) -> Mapping[InstanceId, str] | Unknown:
        if isinstance(self.health, Unknown):
            return self.health
        return {machine: state for targets in self.health.values() for machine, state in targets.items()}


def ask_around_kubernetes(outside: Outside, cluster: str) -> AroundKubernetes:
    """Ask AWS, and a machine about etcd. Changes nothing."""
    groups = [group for group in outside.autoscaling.groups(cluster) if group.role is Role.CONTROL_PLANE]
    listed = {member.id for group in groups for member in group.members}
    fleet = [one for one in outside.ec2.fleet(cluster) if one.role is Role.CONTROL_PLANE or one.id in listed]
    etcd, asked = _ask(quorum.whom_to_ask(fleet, in_service=_in_service(groups)), outside)
    target_groups = {group.api_target_group for group in groups if group.api_target_group}
    health = known(lambda: {one: outside.load_balancing.health(one) for one in target_groups})
    return AroundKubernetes(tuple(groups), tuple(fleet), etcd, asked, health)


def _take_out_ended(around: AroundKubernetes, outside: Outside, cluster: str, *, now: datetime) -> None:
    """Take out of the API's load balancer what EC2 says has ended.

    Until that is done each request to the API server may end at a machine that is dead. With etcd's quorum lost not
    even that is done, nor with a pause.
    """
    if isinstance(around.health, Unknown) or isinstance(around.etcd, Unknown) or quorum.lost(around.etcd):
        return
    pauses = known(lambda: (*outside.table.pauses(), *pauses_by_tags(around.groups, around.fleet, now)))
    if isinstance(pauses, Unknown):
        return
    ended = {
        one.id
        for one in around.fleet
        if one.state is InstanceState.TERMINATED
        and not any(pause.holds((cluster, one.group or "", one.id), now) for pause in pauses)
    }
    for target_group, targets in around.health.items():
        for machine in sorted(ended & {one for one, state in targets.items() if state != "draining"}):
            _take_out(machine, target_group, outside)


def _ask(machines: Sequence[InstanceId], outside: Outside) -> tuple[Etcd | Unknown, InstanceId | None]:
    """Ask the first about etcd; if it does not know of a quorum, all others at once, and believe one that does.

    One may be cut off from the others, or run no etcd; that the quorum is lost is said when nobody knows of one.
    """
    first, others = machines[:1], machines[1:_ASKED_AT_MOST]
    heard: list[tuple[InstanceId, Etcd | Unknown]] = []
    with ThreadPoolExecutor(max_workers=_ASKED_AT_MOST) as together:
        for some in (first, others):
            asked = [(one, together.submit(known, partial(outside.commands.etcd, one))) for one in some]
            heard += [(one, said.result()) for one, said in asked]
            for one, said in heard:
                if isinstance(said, Etcd) and not quorum.lost(said):
                    return said, one
    told = next(((said, one) for one, said in heard if isinstance(said, Etcd)), None)
    unknown = next((said for _, said in heard), Unknown("no control plane runs that could be asked about etcd"))
    return told or (unknown, None)


def _take_out(machine: InstanceId, target_group: str, outside: Outside) -> None:
    """One that cannot be taken out now is tried again by its plan, which tells a person."""
    try:
        outside.load_balancing.deregister(machine, target_group)
    except (RetryableError, ConfigurationError) as error:
        outside.journal.tell("deregister_failed", machine=machine, reason=str(error))
    else:
        outside.journal.tell("deregistered", machine=machine, target_group=target_group)


def _in_service(groups: list[Group]) -> frozenset[InstanceId]:
    return frozenset(member.id for group in groups for member in group.members if member.in_service)


def put_together(cluster: Cluster, around: AroundKubernetes, outside: Outside, *, now: datetime) -> ControlPlane:
    """Ask the API server whose etcd's members are, and the table what was begun."""
    machines = control_planes(cluster)
    nodes = [node for machine in machines if (node := cluster.nodes.get(machine))]
    joins = tuple(join for machine in machines for join in cluster.joins.get(machine, ()))
    records = tuple(record for machine in machines if (record := cluster.records.get(machine)))
    members = {member.id: member for group in cluster.groups for member in group.members}
    joined = frozenset(
        machine
        for machine in machines
        if (member := members.get(machine))
        and member.in_service
        and machine in cluster.nodes
        and not any(join.open for join in cluster.joins.get(machine, ()))
    )
    return ControlPlane(
        at=now,
        etcd=around.etcd,
        asked=around.asked,
        ties=tie(around.etcd, cluster.etcd_pods, nodes, cluster.instances.values(), records=records, joins=joins),
        joined=joined,
        joining=frozenset(join.instance for join in joins if join.open),
        registered=_targets(around.registered, lambda state: state != "draining"),
        serving=_targets(around.registered, lambda state: state == "healthy"),
        snapshot_at=known(outside.table.snapshot_at),
        admission=known(lambda: _admission(outside)),
    )


def _targets(
    registered: Mapping[InstanceId, str] | Unknown, wanted: Callable[[str], bool]
) -> frozenset[InstanceId] | Unknown:
    if isinstance(registered, Unknown):
        return registered
    return frozenset(machine for machine, state in registered.items() if wanted(state))


def _admission(outside: Outside) -> Admission | None:
    admission = outside.table.admission()
    return admission if isinstance(admission, Admission) else None


def _rough(
    machine: InstanceId, cluster: Cluster, whole: Fleet, settings: Settings, now: datetime
) -> tuple[Facts, Verdict]:
    facts = facts_of(machine, cluster, settings.cluster, now, whole)
    facts = replace(facts, notice=heeded(facts, settings.policy))
    return facts, assess(facts, Role.CONTROL_PLANE)


def _of_cluster(
    plan: Plan, verdict: Verdict, fleet: Fleet, outside: Outside, settings: Settings, now: datetime
) -> Judgement:
    """What is to be done about no machine in particular."""
    memory = known(lambda: Memory(None, None, outside.table.pauses(), frozenset()))
    facts = Facts(settings.cluster, CONTROL_PLANE, now, Absent(), fleet, memory)
    return judged(facts, verdict, plan, settings)


def _keep_hooks(cluster: Cluster, outside: Outside, settings: Settings, clock: Callable[[], datetime]) -> None:
    """All that a hook holds wait on, whoever's turn it is; what must not wait is done by the plans."""
    fleet = Fleet(cluster.groups, others_known=True)
    for machine in control_planes(cluster):
        place = fleet.place_of(machine)
        if place and place[1].held:
            waiting = Verdict(Kind.HELD, "it waits for its turn", *place)
            facts = facts_of(machine, cluster, settings.cluster, clock(), fleet)
            act(keep_hooks(waiting, facts), facts, outside, settings, clock)


def _tell_lost(etcd: Etcd, outside: Outside, settings: Settings, *, now: datetime) -> Outcome:
    """Without a quorum nothing can be changed, and nothing automatic is safe."""
    answering = [voter.name or voter.id for voter in etcd.voters if voter.answers]
    silent = [str(voter) for voter in etcd.voters if not voter.answers]
    said = f"{len(answering)} of {len(etcd.voters)} voters answer ({', '.join(answering)})"
    text = (
        f"{said}; these do not: {'; '.join(silent)}. Nothing is done to any control plane before a person has restored "
        "the quorum: docs/runbooks/etcd.md. The newest snapshot is in the bucket "
        f"{settings.snapshot_bucket}."
    )
    subject = f"etcd of {settings.cluster} has lost its quorum"
    if tell_if_possible(outside, "quorum-lost", subject, text, now=now, within=_HOUR):
        known(lambda: outside.table.first_time("sweep-held", now=now, within=_HOUR))  # it holds for the same reason
    outside.journal.tell("quorum_lost", reason=said)
    outside.journal.count("quorum_lost")
    return Outcome((), LATER, f"etcd has lost its quorum: {said}", failed=True)


def _tell_ill(
    ill: tuple[EtcdMember, ...], seen: ControlPlane, outside: Outside, settings: Settings, *, now: datetime
) -> Outcome:
    """A machine that runs is never ended for its etcd: a person has to see to it before the quorum is lost."""
    voters = seen.etcd.voters if isinstance(seen.etcd, Etcd) else ()
    answering = sum(voter.answers for voter in voters)
    spare = answering - quorum.quorum(len(voters))
    alarms = sorted({alarm for member in ill for alarm in member.alarms})
    said = "; ".join(
        f"{member} "
        + (f"has raised {', '.join(member.alarms)}" if member.alarms else "does not answer, and EC2 runs it")
        for member in ill
    )
    means = f"{answering} of {len(voters)} voters answer: " + (f"{spare} more may fail" if spare else "none may fail")
    text = (
        f"{said}. {means}{'' if 'NOSPACE' not in alarms else ', and nothing can be written to Kubernetes'}. Nothing is "
        "removed or replaced because of it, and no control plane can join. The run-book is docs/runbooks/etcd.md."
    )
    key = f"etcd-ill#{'+'.join([*(member.id for member in ill), *alarms])}"
    subject = f"etcd of {settings.cluster} runs and is not whole"
    new = tell_if_it_lasts(outside, key, subject, text, now=now, within=_HOUR if alarms or not spare else _DAY)
    outside.journal.tell("etcd_ill", reason=said)
    return Outcome((), 2 * LASTS_FOR if new else None, f"whether that lasts: {said}")


def _tell_unknown(etcd: Unknown, look: Look, outside: Outside, settings: Settings, *, now: datetime) -> Outcome:
    """A machine that does not answer once is no news; a person hears of it when so many looks have learnt nothing."""
    if look.tries >= GIVE_UP_AFTER_TRIES:
        subject = f"Nobody answers for etcd of {settings.cluster}"
        text = (
            f"{etcd.reason}. Nothing is done to any control plane that has to do with etcd until one answers; Regrow "
            "looks again by itself. The run-book is docs/runbooks/etcd.md."
        )
        tell_if_possible(outside, "etcd-unknown", subject, text, now=now, within=_HOUR)
    outside.journal.count("etcd_unknown")
    return Outcome((), LATER, f"unknown: {etcd.reason}", failed=True)


def _look_again(look: Look, outcomes: list[Outcome], outside: Outside, *, now: datetime) -> None:
    """As soon as the most impatient of all wants it."""
    waits = [(outcome.look_again, outcome.reason) for outcome in outcomes if outcome.look_again is not None]
    if not waits:
        return
    soonest, reason = min(waits)
    again = Look(CONTROL_PLANE, reason)
    if any(outcome.failed for outcome in outcomes) and not any(outcome.done for outcome in outcomes):
        try_again(look, again, outside, now=now)
    elif soonest == AT_ONCE:
        outside.queues.look_now(Order(again, f"then-{CONTROL_PLANE}-{now.isoformat()}"))
    else:
        outside.queues.look_later(again, now=now, after=soonest)
