"""Say what would be done about one machine, or about each of the cluster, and why. Nothing is changed by it.

Of one machine everything is read, as a pass reads it. Of the whole cluster all is read by pages: pods and volumes are
not asked for, so a plan shows which steps are due there, not how far each has come.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from functions.cluster import optout, quorum
from functions.cluster.assess import Kind, Verdict, assess
from functions.cluster.control_plane import ControlPlane
from functions.cluster.etcd import Etcd
from functions.cluster.facts import Facts, Fleet, Memory, Pause, Unknown, in_flight, known
from functions.cluster.heed import heeded
from functions.cluster.machine import PAUSE_ANNOTATION, InstanceId, Node, Role
from functions.messages import Look
from functions.remediate.control_planes import ask_around_kubernetes, judge_one, put_together
from functions.remediate.guards import Refusal
from functions.remediate.observe import observe, readiness
from functions.remediate.outside import Outside
from functions.remediate.plan import Plan
from functions.remediate.planning import make_plan
from functions.remediate.reading import Cluster, around_of, control_planes, facts_of, read_cluster
from functions.remediate.reconcile import Judgement, judge, judged
from functions.remediate.sweep import find_work
from functions.settings import Settings

_NOT_ASKED = Unknown("pods are not asked for in a look at the whole cluster")


@dataclass(frozen=True)
class Explained:
    """One machine: what a pass would do. `control_plane` is what was seen of all of those, if it is one."""

    judgement: Judgement
    control_plane: ControlPlane | None = None


@dataclass(frozen=True)
class Overview:
    """Every machine of the cluster, in the order of their ids, and what holds for more than one.

    `held` says why nothing is done at all. `pauses` are those that have not ended, wherever they were written.
    """

    cluster: Cluster
    judgements: tuple[Judgement, ...]
    held: str | None
    control_plane: ControlPlane | None
    pauses: tuple[Pause, ...] | Unknown
    misread: tuple[optout.OptOut, ...]
    in_flight: frozenset[InstanceId]


def explain_machine(machine: InstanceId, outside: Outside, settings: Settings, *, now: datetime) -> Explained:
    judgement = judge(Look(machine, "a person asks"), outside, settings, now=now)
    if not judgement.verdict.control_plane:
        return Explained(judgement)
    cluster = known(lambda: read_cluster(outside, settings.cluster, now=now))
    if isinstance(cluster, Unknown):
        return Explained(replace(judgement, refusal=_unknown(cluster)))
    line = known(lambda: _see(cluster, outside, settings, now))
    told = facts_of(machine, cluster, settings.cluster, now, Fleet(cluster.groups, others_known=True)).told
    read = observe(machine, settings.cluster, outside, now=now, told=told, line=Role.CONTROL_PLANE)
    return Explained(_judge_in_line(read, line, outside, settings), line.seen if isinstance(line, _Line) else None)


def explain_cluster(outside: Outside, settings: Settings, *, now: datetime) -> Overview:
    """Raises RetryableError when Auto Scaling does not answer: without it there is nothing to go by."""
    cluster = read_cluster(outside, settings.cluster, now=now)
    held = find_work(cluster, settings.cluster, settings.policy, now=now).held
    ours = frozenset(() if held else control_planes(cluster))
    line = known(lambda: _see(cluster, outside, settings, now)) if ours else None
    written = known(outside.table.pauses)
    read = tuple(_facts(cluster, written, outside, settings, now))

    def explained(facts: Facts) -> Judgement:
        if held:
            return Judgement(facts, Verdict(Kind.HELD, held), Plan(), None)
        return (
            _judge_in_line(facts, line, outside, settings)
            if line and facts.id in ours
            else _judge_worker(facts, settings)
        )

    return Overview(
        cluster=cluster,
        judgements=tuple(explained(facts) for facts in read),
        held=held,
        control_plane=line.seen if isinstance(line, _Line) else None,
        pauses=written if isinstance(written, Unknown) else _pauses(read, written, cluster, now),
        misread=optout.misread(cluster.groups, cluster.instances.values(), cluster.nodes, now),
        in_flight=in_flight(cluster.cases.values()),
    )


@dataclass(frozen=True)
class _Line:
    """What is seen of all control planes, and why nothing is done to any of them, if so."""

    cluster: Cluster
    seen: ControlPlane
    stopped: str | None


def _see(cluster: Cluster, outside: Outside, settings: Settings, now: datetime) -> _Line:
    seen = put_together(cluster, ask_around_kubernetes(outside, settings.cluster), outside, now=now)
    if isinstance(seen.etcd, Etcd) and quorum.lost(seen.etcd):
        return _Line(cluster, seen, "etcd has lost its quorum: a person has to restore it (docs/runbooks/etcd.md)")
    return _Line(cluster, seen, f"unknown: {cluster.unread}" if cluster.unread else None)


def _judge_in_line(facts: Facts, line: _Line | Unknown, outside: Outside, settings: Settings) -> Judgement:
    if isinstance(line, Unknown):
        return Judgement(facts, assess(facts, Role.CONTROL_PLANE), Plan(), _unknown(line))
    judgement = judge_one(facts, line.seen, line.cluster, outside, settings)
    if line.stopped and judgement.plan.touches:
        return replace(judgement, refusal=Refusal(line.stopped, None))
    return judgement


def _unknown(fact: Unknown) -> Refusal:
    return Refusal(f"unknown: {fact.reason}", None)


def _facts(
    cluster: Cluster, pauses: tuple[Pause, ...] | Unknown, outside: Outside, settings: Settings, now: datetime
) -> Iterator[Facts]:
    """As the sweep sees each machine, with what it leaves to passes: pauses, machines in flight, Nodes of the group."""
    ready = readiness(cluster.nodes.values(), cluster.records.values())
    flying = in_flight(cluster.cases.values())
    around = known(partial(around_of, cluster, outside, None, settings.policy.limits, now=now))
    fleet, alone = (Fleet(cluster.groups, others_known=known_too) for known_too in (True, False))
    for machine in cluster.machines:
        others = any(instance != machine for instance in cluster.instances)
        facts = facts_of(machine, cluster, settings.cluster, now, fleet if others else alone)
        memory = facts.memory
        if isinstance(memory, Memory):
            memory = pauses if isinstance(pauses, Unknown) else replace(memory, pauses=pauses, in_flight=flying)
        facts = replace(facts, memory=memory, nodes_ready=ready, around=around)
        if isinstance(facts.node, Node) and PAUSE_ANNOTATION in facts.node.annotations:
            key = optout.holds_key(machine)
            facts = replace(facts, annotation_holds_since=known(lambda k=key: outside.table.said_since(k, now=now)))  # type: ignore[misc]
        yield replace(facts, notice=heeded(facts, settings.policy))


def _judge_worker(facts: Facts, settings: Settings) -> Judgement:
    verdict = assess(facts)
    read = replace(facts, pods=_NOT_ASKED) if verdict.kind is Kind.LEAVING else facts
    plan = make_plan(verdict, read, settings.policy)
    return judged(facts, verdict, plan, settings)


def _pauses(read: tuple[Facts, ...], written: tuple[Pause, ...], cluster: Cluster, now: datetime) -> tuple[Pause, ...]:
    found = dict.fromkeys((*written, *optout.pauses_by_tags(cluster.groups, cluster.instances.values(), now)))
    found |= dict.fromkeys(pause for facts in read for pause in optout.pauses_of(facts))
    return tuple(pause for pause in found if now < pause.until)
