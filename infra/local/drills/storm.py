"""EC2 takes many Spot machines back at once: how soon each is closed for new work.

The machines are on paper (see crowd.py): real instances of EC2, real Nodes, no kubelet. Regrow sees no difference.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from infra.local.cluster import Cluster, wait_for
from infra.local.drills.acts import rules_disabled
from infra.local.drills.announcing import interrupt
from infra.local.drills.crowd import NAMESPACE, Crowd, crowd
from infra.local.drills.findings import Finding
from infra.local.drills.invocations import Invocations, read_invocations
from infra.local.drills.news import WARNING
from infra.local.drills.stage import Played, Stage
from infra.local.drills.witness import Change, SeenNode

MACHINES = 50
PODS_EACH = 3
CORDONED_WITHIN_S = 10.0
"""For 99 of 100."""

EMPTY_WITHIN_S = 100.0
"""Two minutes of notice, less a margin."""

SPOT = {"InstanceMarketOptions": {"MarketType": "spot"}}
_FUNCTIONS = ("intake", "remediate")


@dataclass(frozen=True)
class Storm:
    """When each machine was announced to be taken, as EC2 told, and cordoned, as the witness saw."""

    warned: Mapping[str, datetime]
    cordoned: Mapping[str, datetime]

    @property
    def waits_s(self) -> list[float]:
        """From each event to its cordon."""
        both = self.warned.keys() & self.cordoned.keys()
        return sorted((self.cordoned[machine] - self.warned[machine]).total_seconds() for machine in both)


def judge_storm(storm: Storm, machines: int, pods_left: int) -> tuple[Finding, ...]:
    """Pure."""
    waits_s = storm.waits_s
    p99_s = percentile(waits_s, 99)
    all_seen = len(waits_s) == machines
    return (
        Finding("every machine was announced and is cordoned", all_seen, f"{len(waits_s)} of {machines}"),
        Finding(
            f"99 of 100 were cordoned within {CORDONED_WITHIN_S:.0f} s of their event",
            all_seen and p99_s is not None and p99_s <= CORDONED_WITHIN_S,
            "none yet" if p99_s is None else f"p50 {percentile(waits_s, 50):.1f} s, p99 {p99_s:.1f} s",
        ),
        Finding("none of their pods is left on them", pods_left == 0, f"{pods_left} left"),
    )


def percentile(values: Sequence[float], share: int) -> float | None:
    """The smallest of the values that at least so many of a hundred do not exceed: the nearest rank."""
    if not values:
        return None
    return sorted(values)[max(0, math.ceil(len(values) * share / 100) - 1)]


def take_many(stage: Stage, machines: int = MACHINES) -> Played:
    """Interrupt all of them in one experiment, and watch until each is cordoned and empty."""
    cluster = stage.cluster
    every_rule = [rule["Name"] for rule in cluster.client("events").list_rules()["Rules"]]
    cordoned: dict[str, datetime] = {}
    with quietly(cluster, every_rule, machines) as (many, loud), many.beating():
        stage.show(f"{machines} Spot machines with {PODS_EACH} pods each are in service")
        marks = {name: _log(cluster, name).stat().st_size if _log(cluster, name).exists() else 0 for name in _FUNCTIONS}
        stage.news.listeners.append(_write_down(cordoned))
        loud()
        stage.timeline.begin(datetime.now(UTC))
        interrupt(cluster, many.machines)

        def findings() -> tuple[Finding, ...]:
            moments = stage.news.moments
            warned = {machine: moments[machine, WARNING] for machine in many.machines if (machine, WARNING) in moments}
            return judge_storm(Storm(warned, cordoned), machines, _pods_left(many))

        found = stage.until(findings, within_s=EMPTY_WITHIN_S)
        moments = stage.news.moments
        storm = Storm({one: moments[one, WARNING] for one in many.machines if (one, WARNING) in moments}, cordoned)
        runs = {name: _invocations(cluster, name, marks[name]) for name in _FUNCTIONS}
        for name, ran in runs.items():
            stage.show(f"{name}: {ran.count} invocations, {ran.cold} cold, {ran.at_once} at once")
    waits_s = storm.waits_s
    return Played(
        f"{machines} Spot machines",
        found,
        {
            "warned_to_cordoned_p50_s": percentile(waits_s, 50),
            "warned_to_cordoned_p99_s": percentile(waits_s, 99),
            "warned_to_cordoned_most_s": waits_s[-1] if waits_s else None,
            **{f"{name}_{key}": float(number) for name, ran in runs.items() for key, number in _told_of(ran).items()},
        },
    )


@contextmanager
def quietly(cluster: Cluster, rules: Sequence[str], machines: int) -> Iterator[tuple[Crowd, Callable[[], None]]]:
    """The crowd with its Nodes, pods and records; nobody is told of its coming, nor of its going.

    The second thing that is handed out lets events through from then on.
    """
    events = cluster.client("events")

    def loud() -> None:
        for rule in rules:
            events.enable_rule(Name=rule)

    with rules_disabled(cluster, rules), crowd(cluster, "storm", machines, template=SPOT) as many:
        many.make_nodes()
        many.run_pods(PODS_EACH)
        cluster.sweep()  # which writes each of them down
        known = set(many.machines)
        wait_for("a record of each machine", lambda: known <= _recorded(cluster), within_s=60, every_s=1.0)
        suspended = {"AutoScalingGroupName": many.group, "ScalingProcesses": ["Launch"]}
        cluster.client("autoscaling").suspend_processes(**suspended)  # nobody would make Nodes for replacements
        try:
            yield many, loud
        finally:
            for rule in rules:
                events.disable_rule(Name=rule)


def _write_down(cordoned: dict[str, datetime]) -> Callable[[Change], None]:
    """What the witness tells, as far as it says when each Node was first seen cordoned."""

    def on_change(change: Change) -> None:
        if isinstance(change.after, SeenNode) and change.after.unschedulable:
            cordoned.setdefault(change.after.name, change.at)

    return on_change


def _recorded(cluster: Cluster) -> set[str]:
    return {item["sk"]["S"] for item in cluster.query("machine")}


def _pods_left(many: Crowd) -> int:
    listed = many.core.list_namespaced_pod(NAMESPACE, _preload_content=False)
    return len(json.loads(listed.data)["items"])


def _log(cluster: Cluster, function: str) -> Path:
    return cluster.world.place.log / "functions" / f"{cluster.function(function)}.log"


def _invocations(cluster: Cluster, function: str, since: int) -> Invocations:
    if not _log(cluster, function).exists():
        return read_invocations([])  # it was never invoked
    with _log(cluster, function).open("rb") as log:
        log.seek(since)
        return read_invocations(log.read().decode(errors="replace").splitlines())


def _told_of(ran: Invocations) -> dict[str, int]:
    return {"invocations": ran.count, "cold": ran.cold, "at_once": ran.at_once, "slowest_ms": ran.slowest_ms}
