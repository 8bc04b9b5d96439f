"""Look at everything once a minute: all machines of the managed groups and all Nodes against each other.

The sweep decides nothing about a machine. It finds those that need a pass, for events that never came, and writes
down healthy machines so that they are known again when EC2 has forgotten them. Its cost grows by pages of the APIs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from functions.cluster import optout
from functions.cluster.assess import Kind, Verdict, assess, too_few
from functions.cluster.etcd import seems_ill
from functions.cluster.facts import Absent, Facts, Fleet, Memory, Phase, Record, Unknown
from functions.cluster.heed import heeded
from functions.cluster.machine import Group, Instance, InstanceId, InstanceState, Node, Role
from functions.cluster.policy import Policy
from functions.cluster.radius import Brake, brakes
from functions.cluster.trouble import reported
from functions.errors import ConfigurationError, RetryableError
from functions.messages import CONTROL_PLANE, Look, Order
from functions.remediate.outside import Outside
from functions.remediate.planning import make_plan
from functions.remediate.plans.control_plane import needs_pass
from functions.remediate.reading import Cluster, control_planes, facts_of, read_cluster, sightings
from functions.remediate.reconcile import ALERT_EVERY, QUARANTINE_TOLD_EVERY
from functions.remediate.telling import alert_once, tell_if_it_lasts, tell_if_possible
from functions.settings import Settings

_SOON_AGAIN = timedelta(minutes=3)
_REPORTED_FOR = timedelta(minutes=5)  # pressure comes and goes
_NAMED = 20
_KINDS_TOLD = 20
OF_THE_CLUSTER = InstanceId("cluster")  # whose history is kept under this name
_MISREAD_TOLD = 10
_DEAD_FOR_A_PLACE = 10  # sent in a minute for each place in flight; more could not have their turn by the next
_ETCD_EVERY_MIN = 30  # a look at etcd although nothing seems to be wrong: for snapshots, and what nobody knows of


@dataclass(frozen=True)
class Sweep:
    """What one sweep found: the machines that need a pass, the new records, and why it stopped short, if it did.

    `brakes` are those that this sweep calls for.
    """

    looked_at: int
    looks: tuple[Look, ...] = ()
    records: tuple[Record, ...] = ()
    held: str | None = None
    api_silent: bool = False
    brakes: tuple[Brake, ...] = ()


def run_sweep(outside: Outside, settings: Settings, *, now: datetime) -> Sweep:
    """Send a look for every machine that needs one.

    Raises RetryableError when Auto Scaling does not answer, or nobody could be told that the sweep holds: the next one
    comes in a minute.
    """
    cluster = read_cluster(outside, settings.cluster, now=now)
    found = find_work(cluster, settings.cluster, settings.policy, max_in_flight=settings.max_in_flight, now=now)
    if found.looks:
        outside.queues.look_now(*(Order(look, f"sweep-{look.machine}-{now:%Y%m%dT%H%M}") for look in found.looks))
    for record in found.records:
        outside.table.remember(record)
    _hold(found.brakes, outside, settings, now=now)
    _tell_blind(cluster, outside, settings, now=now)
    _tell_reported(cluster, outside, now=now)
    _resume_launches(cluster.groups, settings.cluster, outside, now=now)
    _approve_pending(outside)
    _tell_misread(cluster, outside, now=now)
    outside.journal.tell(
        "sweep",
        looked_at=found.looked_at,
        looks={look.machine: look.reason for look in found.looks},
        records=len(found.records),
        held=found.held,
        brakes={brake.scope: brake.reason for brake in found.brakes},
    )
    outside.journal.count("sweep_held" if found.held else "sweep")
    if found.held:
        _tell_held(found, outside, settings, now=now)
    return found


def _tell_held(found: Sweep, outside: Outside, settings: Settings, *, now: datetime) -> None:
    """Why the API server is silent the pass over the control planes may know better, and has told by the next sweep."""
    asked = any(look.machine == CONTROL_PLANE for look in found.looks)
    if found.api_silent and asked and outside.table.first_time("sweep-begins-to-hold", now=now, within=_SOON_AGAIN):
        return
    subject = f"The sweep of {settings.cluster} holds"
    alert_once(outside, "sweep-held", subject, found.held or "", now=now, within=ALERT_EVERY)


def _hold(brakes: tuple[Brake, ...], outside: Outside, settings: Settings, *, now: datetime) -> None:
    """Write down which machines are left alone for now; a person is told once of all, not once for each of them.

    One that cannot be written down is the next sweep's; who looks around at all machines sees it all the same.
    """
    new: list[Brake] = []
    try:
        for brake in brakes:
            outside.journal.count("brake")
            outside.table.note_brake(brake)
            if outside.table.first_time(_key_of(brake), now=now, within=ALERT_EVERY):
                new.append(brake)
        if new:
            why = ". ".join(f"{brake.scope}: {brake.reason}; {brake.lifted_by}" for brake in new)
            text = f"None of them is restarted, rebooted or replaced on a doubt. {why}."
            subject = f"Machines of {settings.cluster} are in trouble and left alone: {new[0].scope}"
            outside.alerts.alert(subject, text)
    except (RetryableError, ConfigurationError) as error:
        outside.journal.tell("brake_untold", scopes=[brake.scope for brake in brakes], reason=str(error))
        outside.journal.count("alert_failed")
        for brake in new:
            _if_possible(outside, partial(outside.table.unsay, _key_of(brake)))
        return
    told: dict[str, object] = {
        "brakes": {brake.scope: brake.reason for brake in new},
        "then": "they let go by themselves",
    }
    if new:
        _if_possible(outside, partial(outside.table.write_history, OF_THE_CLUSTER, now, told))


def _if_possible(outside: Outside, write: Callable[[], object]) -> None:
    try:
        write()
    except (RetryableError, ConfigurationError) as error:
        outside.journal.tell("record_failed", machine=OF_THE_CLUSTER, reason=str(error))


def _key_of(brake: Brake) -> str:
    """The same as of a machine that is refused by it."""
    return f"refused#brake {brake.scope}"


def _tell_blind(cluster: Cluster, outside: Outside, settings: Settings, *, now: datetime) -> None:
    """Without the leases nobody is in trouble as far as we see, and nothing else of the sweep misses them."""
    if isinstance(cluster.renewals, Unknown) and not cluster.unread:
        subject = f"The kubelets of {settings.cluster} are not heard"
        text = (
            f"{cluster.renewals.reason}. As long as that is so no silent machine is found or repaired. The right to "
            "read Leases is in infra/kubernetes/remediate.yaml."
        )
        tell_if_it_lasts(outside, "leases-unread", subject, text, now=now, within=ALERT_EVERY)
        outside.journal.count("leases_unread")


def _tell_reported(cluster: Cluster, outside: Outside, *, now: datetime) -> None:
    """What is reported of Nodes (pressure, a read-only disk, …) is for a person: one alert a day for each kind.

    Not all at once: who has root on a machine may invent kinds.
    """
    lasting: defaultdict[str, list[str]] = defaultdict(list)
    for machine, node in sorted(cluster.nodes.items()):
        for condition in reported(node):
            if condition.since and now - condition.since >= _REPORTED_FOR:
                lasting[condition.type].append(f"{machine} since {condition.since:%FT%TZ}: {condition.message}")
    for kind, machines in sorted(lasting.items())[:_KINDS_TOLD]:
        more = f"\nand {len(machines) - _NAMED} more" if len(machines) > _NAMED else ""
        text = "\n".join(machines[:_NAMED]) + f"{more}\nNothing is done about a machine because of this alone."
        tell_if_possible(outside, f"condition#{kind}", f"{kind} is reported", text, now=now, within=timedelta(days=1))


def _resume_launches(groups: tuple[Group, ...], cluster: str, outside: Outside, *, now: datetime) -> None:
    """End our suspensions that are over. A failure here waits for the next minute, and so does what is paused."""
    over = [group for group in groups if group.launch_suspended_until and now >= group.launch_suspended_until]
    for group in over:
        try:
            pauses = (*outside.table.pauses(), *optout.pauses_by_tags((group,), (), now))
            if any(pause.holds((cluster, group.name), now) for pause in pauses):
                continue
            outside.table.forget_abandoned(group.name)
            outside.autoscaling.resume_launch(group.name)
        except (RetryableError, ConfigurationError) as error:
            outside.journal.tell("resume_failed", group=group.name, reason=str(error))
            outside.journal.count("resume_failed")
        else:
            outside.journal.tell("launch_resumed", group=group.name)


def _tell_misread(cluster: Cluster, outside: Outside, *, now: datetime) -> None:
    """Opt-outs that are not as they must be; not all at once, since a machine can write on its Node what it likes."""
    wrong = optout.misread(cluster.groups, cluster.instances.values(), cluster.nodes, now)
    for one in wrong[:_MISREAD_TOLD]:
        subject = f"The pause of {one.of} is not understood"
        holds = f"Until it is, nothing is done to {one.of}" if one.pause else "It holds nothing back"
        text = f"The {one.source} of {one.of}: {one.wrong}. {holds}."
        tell_if_possible(
            outside, f"opt-out#{one.of}#{one.source}", subject, text, now=now, within=QUARANTINE_TOLD_EVERY
        )


def _approve_pending(outside: Outside) -> None:
    """Serving certificates are renewed each year, with no case open. A failure here waits for the next minute."""
    try:
        answer = outside.joining.approve(None)
    except (RetryableError, ConfigurationError) as error:
        outside.journal.tell("approve_failed", reason=str(error))
        outside.journal.count("approve_failed")
        return
    if answer.did != "nothing":
        outside.journal.tell("approve", did=answer.did, reason=answer.reason)


def find_work(cluster: Cluster, name: str, policy: Policy, *, now: datetime, max_in_flight: int = 2) -> Sweep:
    """Return what one reading calls for. Pure.

    Of dead machines that no case is open of, no more are sent than can have their turn until the next sweep.
    """
    machines = cluster.machines
    if cluster.unread:
        line = control_planes(cluster)
        urgent = tuple(
            Look(machine, reason, notice=cluster.announced.get(machine))
            for machine in machines
            if machine not in line and (reason := _cannot_wait(machine, cluster))
        )
        of_etcd = (Look(CONTROL_PLANE, f"the sweep: {cluster.unread}"),) if line else ()
        held = f"not all could be read: {cluster.unread}"
        return Sweep(len(machines), (*of_etcd, *urgent), held=held, api_silent=cluster.api_silent)
    if cluster.nodes and not set(cluster.nodes) & set(cluster.instances):
        held = (
            f"EC2 knows none of the {len(cluster.nodes)} instances that the Nodes name: wrong region or account, or "
            "the instances lack the tag regrow:cluster. Nothing is done until it knows one."
        )
        return Sweep(len(machines), held=held)

    looks: list[Look] = []
    records: list[Record] = []
    control_plane = set(control_planes(cluster))
    because: str | None = None
    braked = brakes(sightings(cluster, now), policy.limits, now)
    most_dead, waiting = _DEAD_FOR_A_PLACE * max_in_flight, 0  # dead machines without a case
    fleet, alone = (Fleet(cluster.groups, others_known=known_too) for known_too in (True, False))
    for machine in machines:
        others = any(instance != machine for instance in cluster.instances)
        seen = facts_of(machine, cluster, name, now, fleet if others else alone)
        facts = replace(seen, notice=heeded(seen, policy))
        if machine in control_plane:
            verdict = assess(facts, Role.CONTROL_PLANE)
            if machine not in cluster.cases and _is_braked(verdict, facts, (*braked, *cluster.brakes)):
                continue
            if because is None and needs_pass(facts, verdict, policy.repair):
                because = f"{machine} is {verdict.kind.value}: {verdict.reason}"
            if record := _new_record(verdict, facts, Role.CONTROL_PLANE):
                records.append(record)
            continue
        verdict = assess(facts)
        if machine not in cluster.cases and _is_braked(verdict, facts, (*braked, *cluster.brakes)):
            continue
        reason = _needs_pass(verdict, facts, cluster, policy)
        waiting += bool(reason and verdict.kind is Kind.DEAD and machine not in cluster.cases)
        if reason and (machine in cluster.cases or verdict.kind is not Kind.DEAD or waiting <= most_dead):
            looks.append(Look(machine, f"the sweep: {reason}", notice=facts.notice))
        if record := _new_record(verdict, facts, Role.WORKER):
            records.append(record)
    because = because or seems_ill(cluster.etcd_pods, cluster.nodes.values(), at=now)
    if control_plane and (because or now.minute % _ETCD_EVERY_MIN == 0):
        looks.insert(0, Look(CONTROL_PLANE, f"the sweep: {because or 'etcd is looked at from time to time'}"))
    return Sweep(len(machines), tuple(looks), tuple(records), brakes=braked)


def _is_braked(verdict: Verdict, facts: Facts, held: tuple[Brake, ...]) -> bool:
    """Whether nothing can come of a look at a machine in trouble."""
    if verdict.kind is not Kind.DOUBTFUL:
        return False
    zone = facts.instance.zone if isinstance(facts.instance, Instance) else ""
    return any(brake.holds(verdict.group.name if verdict.group else None, zone, facts.at) for brake in held)


def _cannot_wait(machine: InstanceId, cluster: Cluster) -> str | None:
    """Say why a machine is looked at even when something does not answer: above all, hooks may not run out."""
    if machine in cluster.cases:
        return "its case is open"
    if notice := cluster.announced.get(machine):
        return str(notice)
    members = (group.member(machine) for group in cluster.groups)
    if waiting := next((member for member in members if member and member.held), None):
        return f"Auto Scaling: {waiting.lifecycle_state}"
    return "its joining is open" if any(join.open for join in cluster.joins.get(machine, ())) else None


def _needs_pass(verdict: Verdict, facts: Facts, cluster: Cluster, policy: Policy) -> str | None:
    if case := cluster.cases.get(facts.id):
        short = case.phase is Phase.REPLACING and verdict.group and too_few(verdict.group)
        if short and not make_plan(verdict, facts, policy).touches:
            return None  # nothing is left of it, and its group is not whole
        return f"its case is open since {case.opened_at:%FT%TZ}"
    if isinstance(facts.instance, Absent) and facts.id in cluster.records:
        return "EC2 no longer knows it"  # the pass reads our record of it, and so can tell what it was
    if verdict.kind is Kind.PARKED and isinstance(facts.node, Node) and _stopped(facts) and facts.at.minute % 10 == 0:
        return "it was stopped while it is parked: whether pods are on it is not known here"
    if verdict.quarantined:
        return f"it contradicts itself: {verdict.reason}"
    draining = isinstance(facts.node, Node) and facts.node.draining_since(facts.at) is not None
    if make_plan(verdict, facts, policy).steps or (verdict.kind is Kind.LEAVING and draining):
        return f"it is {verdict.kind.value}: {verdict.reason}"
    return None


def _stopped(facts: Facts) -> bool:
    return isinstance(facts.instance, Instance) and facts.instance.state is InstanceState.STOPPED


def _new_record(verdict: Verdict, facts: Facts, role: Role) -> Record | None:
    known_already = isinstance(facts.memory, Memory) and facts.memory.record
    if known_already or verdict.kind is not Kind.HEALTHY:
        return None
    if verdict.group is None or not isinstance(facts.node, Node):
        return None
    return Record(facts.id, verdict.group.name, role, facts.node.name, facts.node.uid, facts.at)
