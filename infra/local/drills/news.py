"""What is heard during a drill, made into entries of its timeline: events, passes with their steps, Nodes and pods."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from infra.local.cluster import Cluster
from infra.local.drills.findings import Before, pods_missing
from infra.local.drills.timeline import Tail, Timeline
from infra.local.drills.witness import Change, SeenNode, Witness


class News:
    """Listens from its making on; `read` takes in what lies in logs and tables, `on_change` what the witness sees."""

    def __init__(self, cluster: Cluster, witness: Witness, timeline: Timeline, before: Before) -> None:
        self._cluster = cluster
        self._witness = witness
        self._timeline = timeline
        self._before = before
        self._log = Tail(cluster.world.place.log / "events.log")
        self._log.new()  # what came before is not this drill's
        self._published: dict[str, dict[str, Any]] = {}
        self._passes: set[str] = set()
        self.events_delivered = 0

    def read(self) -> None:
        for line in self._log.new():
            if "published" in line:
                self._on_published(datetime.fromisoformat(line["at"]), line["published"])
            elif line["delivered"]["error"] is None:
                self._on_delivered(line["delivered"])
        if self._timeline.killed_at:
            for item in self._cluster.query(f"history#{self._before.victim}"):
                self._on_pass(item["sk"]["S"], json.loads(item["entry"]["S"]))

    def on_change(self, change: Change) -> None:
        if isinstance(change.of, SeenNode):
            self._on_node(change.of.name, change.at, change.before, change.after)
        elif not pods_missing(self._before, self._witness.pods) and "pods_ready" not in self._timeline.milestones:
            what = f"all {self._before.replicas} Ready, none on {self._before.victim}"
            self._timeline.add(change.at, "pods", what, milestone="pods_ready")

    def _on_published(self, at: datetime, event: dict[str, Any]) -> None:
        self._published[event["id"]] = event
        machine, what = _machine_of(event), event["detail"].get("state") or event["detail-type"]
        if machine == self._before.victim and self._timeline.killed_at is None:
            self._timeline.kill(at)
        if machine is None or self._timeline.killed_at is None:
            return
        of_victim = machine == self._before.victim
        milestone = {(True, "terminated"): "terminated", (False, "pending"): "launched"}.get((of_victim, what))
        self._timeline.add(at, "AWS", f"{machine}: {what}", milestone=milestone)

    def _on_delivered(self, delivery: dict[str, Any]) -> None:
        event = self._published.get(delivery["event_id"])
        if event is None or _machine_of(event) != self._before.victim:
            return
        self.events_delivered += 1
        to = delivery["target_arn"].rsplit(":", 1)[-1]
        at = datetime.fromisoformat(delivery["at"])
        self._timeline.add(at, "event", f"{delivery['detail_type']} -> {to}", milestone="event")

    def _on_pass(self, at: str, entry: dict[str, Any]) -> None:
        if at in self._passes:
            return
        self._passes.add(at)
        for step in entry["steps"]:
            milestone = "closed" if step["step"] == "CloseCase" else None
            done_at = datetime.fromisoformat(step["at"])
            self._timeline.add(done_at, "step", f"{step['step']}: {step['reason']}", milestone=milestone)
        then = f", then: {entry['then']}" if entry["then"] else ""
        self._timeline.add(datetime.fromisoformat(at), "pass", f"{entry['verdict']} ({entry['reason']}){then}")

    def _on_node(self, name: str, at: datetime, before: Any, after: Any) -> None:
        of_victim = name == self._before.victim
        if after is None:
            self._timeline.add(at, "Node", f"{name} is gone", milestone="node_gone" if of_victim else None)
        elif after.out_of_service and not (before and before.out_of_service):
            self._timeline.add(at, "Node", f"{name} is tainted out of service", milestone="tainted")
        elif after.ready and not (before and before.ready):
            self._timeline.add(at, "Node", f"{name} is Ready", milestone=None if of_victim else "ready")
        elif before is None:
            self._timeline.add(at, "Node", f"{name} has joined")


def _machine_of(event: dict[str, Any]) -> str | None:
    detail = event["detail"]
    machine: str | None = detail.get("instance-id") or detail.get("EC2InstanceId")
    return machine
