"""One run of a drill against a cluster that is up.

A drill acts by the APIs that a person has, watches, and judges by what an independent witness saw. After each of them
the same is asked of what lets machines in: nothing of it is left over, no stranger got in, and the deployed policies
let everything through that was needed.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from infra.local.cluster import Cluster
from infra.local.drills.acts import prepare_workload
from infra.local.drills.alerts import Subscriber
from infra.local.drills.denials import AwsLog, judge_denials
from infra.local.drills.findings import Finding
from infra.local.drills.joining import judge_joining, see_joining
from infra.local.drills.kinds import Kind
from infra.local.drills.news import News
from infra.local.drills.stage import Stage
from infra.local.drills.timeline import Timeline
from infra.local.drills.witness import Witness

NOTHING_LEFT_WITHIN_S = 90.0
"""What a pass has missed, the minute's sweep finds."""


def run(cluster: Cluster, kind: Kind, show: Callable[[str], None]) -> dict[str, Any]:
    """Prepare, play, watch until all is whole or the time is over; return the record of it."""
    aws_log = AwsLog(cluster.world.place.log / "aws.log")
    witness = Witness(cluster.kubeconfig)
    witness.start()
    alerts = Subscriber(cluster.session, cluster.topic_arn(), region=cluster.session.region_name)
    try:
        with kind.groundwork(cluster, witness):
            prepare_workload(cluster, witness)
            timeline = Timeline(show)
            news = News(cluster.world.place.log / "events.log", cluster.query, witness, timeline)
            stage = Stage(cluster, witness, timeline, news, alerts, show)
            witness.tell = news.on_change
            played = kind.play(stage)
            left: tuple[Finding, ...] = ()
            if not kind.ends_world:  # there is nobody left to ask
                left = stage.until(lambda: judge_joining(see_joining(cluster, witness)), within_s=NOTHING_LEFT_WITHIN_S)
            witness.tell = lambda _: None  # what follows only puts back what the drill had found
    finally:
        witness.stop()
        alerts.end()
    findings = (*played.findings, *left, judge_denials(aws_log.lines()))
    return {
        "drill": kind.name,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "delays": cluster.delays,
        "machine": played.machine,
        "healed": all(finding.kept for finding in findings),
        "milestones": timeline.milestone_seconds(),
        **played.figures,
        "findings": [_as_data(finding) for finding in findings],
        "timeline": timeline.as_data(),
    }


def _as_data(finding: Finding) -> dict[str, Any]:
    return {"promise": finding.promise, "kept": finding.kept, "seen": finding.seen}
