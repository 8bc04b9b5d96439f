"""EC2 schedules maintenance for two workers in one event, and calls it off again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from infra.local.cluster import Cluster, wait_for
from infra.local.drills.acts import before_kill
from infra.local.drills.announcing import cancel, complete, schedule
from infra.local.drills.findings import Finding, judge_standing
from infra.local.drills.held import left_on
from infra.local.drills.news import HEALTH
from infra.local.drills.stage import Played, Stage
from infra.local.drills.targets import Targets, target_group, when_out
from infra.local.drills.watcher import Watcher, in_order, judge_evictions, within
from infra.local.drills.witness import Change, SeenNode

CODE = "instance-reboot"
AHEAD = timedelta(minutes=30)
"""Less than a drain may take, an hour unless set otherwise: so both begin to be drained at once."""

CORDONED_WITHIN_S = 20.0
DRAINED_WITHIN_S = 180.0
SWEPT_WITHIN_S = 120.0


@dataclass(frozen=True)
class Closed:
    """One of the machines, ahead of its maintenance. `left`: pods on it; `node`: None when it has none."""

    machine: str
    announced_at: datetime | None
    cordoned_at: datetime | None
    out_of_targets_at: datetime | None
    first_ended_at: datetime | None
    node: SeenNode | None
    left: Sequence[str]
    state: str


def judge_closed(seen: Closed) -> tuple[Finding, ...]:
    """A finding for every promise about one of the machines ahead of its maintenance. Pure."""
    name, node = seen.machine, seen.node
    waits = node is not None and node.unschedulable and node.excluded and node.draining
    return (
        within(
            f"{name} was closed within {CORDONED_WITHIN_S:.0f} s of the event",
            seen.announced_at,
            seen.cordoned_at,
            CORDONED_WITHIN_S,
        ),
        in_order(
            f"{name} was out of its target groups before its first pod ended",
            seen.out_of_targets_at,
            seen.first_ended_at,
        ),
        Finding(f"{name} is empty ahead of it", not seen.left, ", ".join(sorted(seen.left)) or "empty"),
        Finding(
            f"{name} is in its group and has its Node, closed",
            waits and seen.state == "InService",
            f"{seen.state}, {_signs(node)}",
        ),
    )


@dataclass(frozen=True)
class Reopened:
    """The machines after the maintenance was called off. `kept`: the one that a person had cordoned before."""

    nodes: Mapping[str, SeenNode | None]
    kept: str
    serving: frozenset[str]


def judge_reopened(seen: Reopened) -> tuple[Finding, ...]:
    """A finding for every promise about machines whose maintenance was called off. Pure."""
    findings = []
    for machine, node in seen.nodes.items():
        ours = node is None or node.excluded or bool(node.marks)
        findings.append(Finding(f"no mark and no label is left on {machine}", not ours, _signs(node)))
        cordoned = node is not None and node.unschedulable
        if machine == seen.kept:
            findings.append(Finding(f"the person's cordon of {machine} stays", cordoned, _signs(node)))
        else:
            findings.append(Finding(f"{machine} is uncordoned", node is not None and not cordoned, _signs(node)))
    left_out = sorted(set(seen.nodes) - seen.serving)
    findings.append(Finding("they get requests again", not left_out, ", ".join(left_out) or "both"))
    return tuple(findings)


def _signs(node: SeenNode | None) -> str:
    if node is None:
        return "no Node"
    signs = {"cordoned": node.unschedulable, "kept from load balancers": node.excluded}
    return ", ".join([*(sign for sign, there in signs.items() if there), *node.marks]) or "clean"


def plan_maintenance(stage: Stage) -> Played:
    """Called off once both are empty; then another one for the machine that nobody has cordoned, which is completed."""
    cluster, timeline = stage.cluster, stage.timeline
    machines = sorted(cluster.members()[0])[:2]
    free, kept = machines
    watchers = [Watcher(machine) for machine in machines]
    for watcher in watchers:
        watcher.begin(stage.witness.pods.values())
        stage.news.listeners.append(watcher.see)
    stage.news.about(before_kill(stage.witness, free))
    with target_group(cluster) as targets, cordoned_by_a_person(cluster, kept):
        wait_for("the machines in their target group", lambda: targets.machines() >= set(machines), within_s=30)
        findings, event = _empty_both(stage, machines, watchers, targets)
        findings += _reopen(stage, targets, kept, machines, lambda: cancel(cluster, event))
        findings += (_again(stage, free, targets),)
    findings += stage.until(lambda: judge_standing(stage.sight()), within_s=60)
    between = timeline.between
    figures = {
        "announced_to_cordoned_s": between("announced", "cordoned"),
        "announced_to_drained_s": between("announced", "drained"),
        "called_off_to_uncordoned_s": between("called_off", "uncordoned"),
    }
    return Played(free, findings, figures)


def _empty_both(
    stage: Stage, machines: Sequence[str], watchers: Sequence[Watcher], targets: Targets
) -> tuple[tuple[Finding, ...], str]:
    """Have EC2 schedule the event; what was found when both were empty, and the event's name."""
    cluster, news = stage.cluster, stage.news
    expected = sum(len(before_kill(stage.witness, machine).pods) for machine in machines)
    closed_at = dict[str, datetime]()

    def see(change: Change) -> None:
        node = change.after
        if isinstance(node, SeenNode) and node.draining:
            closed_at.setdefault(node.name, change.at)

    news.listeners.append(see)
    stage.show(
        f"EC2 is to reboot {' and '.join(machines)} in {AHEAD.total_seconds() / 60:.0f} min, which run {expected} pods"
    )
    with when_out(targets, machines) as out_of_targets_at:
        stage.timeline.begin(datetime.now(UTC))
        event = schedule(cluster, machines, CODE, datetime.now(UTC) + AHEAD)

        def closed(watcher: Watcher) -> tuple[Finding, ...]:
            machine = watcher.machine
            return judge_closed(
                Closed(
                    machine,
                    announced_at=news.moments.get((machine, HEALTH)),
                    cordoned_at=closed_at.get(machine),
                    out_of_targets_at=out_of_targets_at.get(machine),
                    first_ended_at=watcher.first_ended_at,
                    node=stage.witness.nodes.get(machine),
                    left=sorted(left_on(stage, machine)),
                    state=cluster.members()[0].get(machine, "gone"),
                )
            )

        def findings() -> tuple[Finding, ...]:
            lost = {name: evicted for watcher in watchers for name, evicted in watcher.lost.items()}
            least = min((each.least_ready for each in watchers if each.least_ready is not None), default=None)
            of_each = (finding for watcher in watchers for finding in closed(watcher))
            return (*of_each, *judge_evictions(lost, expected, least))

        return stage.until(findings, within_s=DRAINED_WITHIN_S), event


def _reopen(
    stage: Stage, targets: Targets, kept: str, machines: Sequence[str], over: Callable[[], None]
) -> tuple[Finding, ...]:
    """The maintenance is over in this way; what was found when Regrow had given the machines back."""
    stage.timeline.add(datetime.now(UTC), "drill", "the event is called off", milestone="called_off")
    over()

    def findings() -> tuple[Finding, ...]:
        nodes = stage.witness.nodes
        reopened = Reopened({each: nodes.get(each) for each in machines}, kept, frozenset(targets.machines()))
        return judge_reopened(reopened)

    return stage.until(findings, within_s=SWEPT_WITHIN_S)


def _again(stage: Stage, machine: str, targets: Targets) -> Finding:
    """Another event for one of them, which EC2 says is completed once the machine is closed."""
    promise = f"{machine} is closed for the next event, and open again once that is completed"
    event = schedule(stage.cluster, [machine], CODE, datetime.now(UTC) + AHEAD)

    def closed() -> bool:
        node = stage.witness.nodes.get(machine)
        return node is not None and node.draining

    def open_again() -> bool:
        node = stage.witness.nodes.get(machine)
        return node is not None and node.untouched and machine in targets.machines()

    was_closed = stage.comes_true("closed", closed, within_s=SWEPT_WITHIN_S)
    complete(stage.cluster, event)
    opened = stage.comes_true("open again", open_again, within_s=SWEPT_WITHIN_S)
    seen = f"closed {was_closed.seen}, open {opened.seen} of its completion"
    return Finding(promise, was_closed.kept and opened.kept, seen)


@contextmanager
def cordoned_by_a_person(cluster: Cluster, machine: str) -> Iterator[None]:
    cluster.kubectl("cordon", machine)
    try:
        yield
    finally:
        cluster.kubectl("uncordon", machine)
