"""One run of a drill against a cluster that is up.

The kill is the deployed drill function's, the same that a person invokes in a real account. Nothing here moves the
world: it asks for the kill, watches, and judges by what an independent witness saw.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from infra.local.cluster import Cluster, wait_for
from infra.local.drills.findings import Before, Finding, Sight, judge
from infra.local.drills.kinds import Kind
from infra.local.drills.news import News
from infra.local.drills.timeline import Timeline
from infra.local.drills.witness import Witness
from infra.local.places import WorldError

WORKLOAD = Path(__file__).with_name("workload.yaml")
REPLICAS = 20
HEALED_WITHIN_S = {"instant": 180.0, "aws": 420.0}
_LOOK_EVERY_S = 0.1


def run(cluster: Cluster, kind: Kind, show: Callable[[str], None]) -> dict[str, Any]:
    """Prepare, kill, watch until all is whole or the time is over; return the record of it."""
    witness = Witness(cluster.kubeconfig)
    witness.start()
    try:
        prepare_workload(cluster, witness)
        with nullcontext() if kind.events else rules_disabled(cluster, event_rules(cluster, show)):
            return _kill_and_watch(cluster, kind, witness, show)
    finally:
        witness.stop()


def _kill_and_watch(cluster: Cluster, kind: Kind, witness: Witness, show: Callable[[str], None]) -> dict[str, Any]:
    would = invoke_drill(cluster, {"do": "drill", "dry_run": True})
    victim = would["machine"]
    before = before_kill(witness, victim)
    timeline = Timeline(show)
    news = News(cluster, witness, timeline, before)
    witness.tell = news.on_change
    show(f"killing {victim} of {would['group']}, which runs {len(before.pods)} of {REPLICAS} pods")
    invoke_drill(cluster, {"do": "drill", "machine": victim})

    deadline = time.monotonic() + HEALED_WITHIN_S[cluster.delays]
    while True:
        news.read()
        findings = judge(before, _sight(cluster, witness, news), events_allowed=kind.events)
        healed = all(finding.kept for finding in findings) and "closed" in timeline.milestones
        if healed or time.monotonic() > deadline:
            return _record(cluster, kind, timeline, findings, victim=victim, healed=healed)
        time.sleep(_LOOK_EVERY_S)


def prepare_workload(cluster: Cluster, witness: Witness) -> None:
    """Bring the pods up, so that every worker has some to lose."""
    cluster.kubectl("apply", "-f", str(WORKLOAD))
    wait_for("the workload's pods, Ready on every worker", lambda: _spread(cluster, witness), within_s=120)


def before_kill(witness: Witness, victim: str) -> Before:
    lost = frozenset(uid for uid, pod in witness.pods.items() if pod.node == victim)
    return Before(REPLICAS, victim, witness.nodes[victim].uid, lost)


def invoke_drill(cluster: Cluster, request: dict[str, Any]) -> dict[str, Any]:
    """Invoke the deployed drill function as a person would; its refusal is raised in its own words."""
    name = f"regrow-{cluster.name}-drill"
    answer = cluster.client("lambda").invoke(FunctionName=name, Payload=json.dumps(request).encode())
    said: dict[str, Any] = json.loads(answer["Payload"].read())
    if "FunctionError" in answer:
        raise WorldError(f"The drill function says: {said.get('errorMessage', said)}")
    return said


def _spread(cluster: Cluster, witness: Witness) -> bool:
    """Whether all pods are Ready and no worker is without; an earlier drill has left them all on one."""
    pods = list(witness.pods.values())
    if len(pods) != REPLICAS or not all(pod.ready for pod in pods):
        return False
    idle = set(cluster.members()[0]) - {pod.node for pod in pods}
    if idle:
        cluster.kubectl("rollout", "restart", "deployment/web")
        cluster.kubectl("rollout", "status", "deployment/web", "--timeout=120s")
    return not idle


def event_rules(cluster: Cluster, show: Callable[[str], None]) -> list[str]:
    """Every rule that an event could match; the sweep's schedule is none of them."""
    rules = [rule["Name"] for rule in cluster.client("events").list_rules()["Rules"] if rule.get("EventPattern")]
    show(f"{len(rules)} event rules are disabled: only the sweep can find out now")
    return rules


@contextmanager
def rules_disabled(cluster: Cluster, rules: Sequence[str]) -> Iterator[None]:
    events = cluster.client("events")
    for rule in rules:
        events.disable_rule(Name=rule)
    try:
        yield
    finally:
        for rule in rules:
            events.enable_rule(Name=rule)


def _sight(cluster: Cluster, witness: Witness, news: News) -> Sight:
    members, desired = cluster.members()
    cases = tuple(item["sk"]["S"] for item in cluster.query("case"))
    return Sight(witness.nodes, witness.pods, members, desired, cases, news.events_delivered)


def _record(
    cluster: Cluster, kind: Kind, timeline: Timeline, findings: tuple[Finding, ...], *, victim: str, healed: bool
) -> dict[str, Any]:
    return {
        "drill": kind.name,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "delays": cluster.delays,
        "machine": victim,
        "healed": healed,
        "milestones": timeline.milestone_seconds(),
        "terminated_to_pods_ready_s": timeline.between("terminated", "pods_ready"),
        "findings": [{"promise": one.promise, "kept": one.kept, "seen": one.seen} for one in findings],
        "timeline": timeline.as_data(),
    }
