"""What is heard during a drill, made into entries of its timeline: events, passes with their steps, Nodes and pods."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from infra.local.drills.findings import Before, pods_missing
from infra.local.drills.timeline import Tail, Timeline
from infra.local.drills.witness import Change, SeenNode, SeenPod, SeenRequest

LAUNCH_ACTION = "EC2 Instance-launch Lifecycle Action"
TERMINATE_ACTION = "EC2 Instance-terminate Lifecycle Action"
LAUNCHED = "EC2 Instance Launch Successful"
NOT_LAUNCHED = "EC2 Instance Launch Unsuccessful"
ADVICE = "EC2 Instance Rebalance Recommendation"
WARNING = "EC2 Spot Instance Interruption Warning"
HEALTH = "AWS Health Event"
_OF_THE_ONE_THAT_GOES = {
    ADVICE: "advised",
    WARNING: "warned",
    HEALTH: "announced",
    TERMINATE_ACTION: "held",
    "terminated": "terminated",
    "stopped": "stopped",
    "running": "started",
}
_OF_THOSE_THAT_COME = {"pending": "launched", LAUNCH_ACTION: "hook", LAUNCHED: "in_service", NOT_LAUNCHED: "abandoned"}

_OF_STEPS = {"CloseCase": "closed", "SuspendLaunch": "suspended"}
_OF_DOUBTS = {"NoteDoubt": "noticed", "RestartService": "restarted", "Reboot": "rebooted", "Replace": "replaced"}

Query = Callable[[str], list[dict[str, Any]]]


class Sights(Protocol):
    """What is asked of the witness."""

    @property
    def nodes(self) -> Mapping[str, SeenNode]: ...

    @property
    def pods(self) -> Mapping[str, SeenPod]: ...


class News:
    """Listens from its making on; `read` takes in what lies in logs and tables, `on_change` what the witness sees.

    It is about one machine that goes, told by `about`, and about all that come.
    """

    def __init__(self, events: Path, query: Query, witness: Sights, timeline: Timeline) -> None:
        """`events`: the log of AWS's events; `query`: the items of a partition of Regrow's table."""
        self._query = query
        self._witness = witness
        self._timeline = timeline
        self._log = Tail(events)
        self._log.new()  # what came before is not this drill's
        self._published: dict[str, dict[str, Any]] = {}
        self._told: set[tuple[str, str]] = set()
        self._join_states: dict[str, str] = {}
        self._known = frozenset(witness.nodes)
        self._before = Before(0, "", "", frozenset())
        self.coming: list[str] = []
        """The machines that were launched since the drill began, in that order."""
        self.moments: dict[tuple[str, str], datetime] = {}
        """When it was first told of a machine that it had this state, or this title of an event."""
        self.histories: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        """What Regrow has written down about a machine since the drill began, as far as it was read."""
        self.listeners: list[Callable[[Change], None]] = []
        self.events_delivered = 0

    def about(self, before: Before) -> None:
        """From now on this is the machine that goes."""
        self._before = before

    def read(self) -> None:
        for line in self._log.new():
            if "published" in line:
                self._on_published(datetime.fromisoformat(line["at"]), line["published"])
            elif line["delivered"]["error"] is None:
                self._on_delivered(line["delivered"])
        if self._timeline.began_at:
            self._read_joins(datetime.now(UTC))
            for machine in filter(None, (self._before.victim, *self.coming)):
                for item in self._query(f"history#{machine}"):
                    self._on_history(machine, item["sk"]["S"], json.loads(item["entry"]["S"]))

    def on_change(self, change: Change) -> None:
        if isinstance(change.of, SeenNode):
            self._on_node(change.of.name, change.at, change.before, change.after)
        elif isinstance(change.of, SeenRequest):
            self._on_request(change.of, change.at, change.before, change.after)
        elif isinstance(change.of, SeenPod):
            self._on_pod(change.of, change.at, change.before)
        for listener in self.listeners:
            listener(change)

    def _on_published(self, at: datetime, event: dict[str, Any]) -> None:
        self._published[event["id"]] = event
        what = event["detail"].get("state") or event["detail-type"]
        for machine in machines_of(event):
            self._on_told(at, machine, what)

    def _on_told(self, at: datetime, machine: str, what: str) -> None:
        of_victim = machine == self._before.victim
        if of_victim and self._timeline.began_at is None:
            self._timeline.begin(at)
        if self._timeline.began_at is None:
            return
        self.moments.setdefault((machine, what), at)
        if not of_victim and what == "pending":
            self.coming.append(machine)
        milestone = None
        if of_victim and what == "shutting-down" and "held" in self._timeline.milestones:
            milestone = "let_go"
        elif of_victim and what == "shutting-down" and "warned" in self._timeline.milestones:
            milestone = "taken"
        elif of_victim:
            milestone = _OF_THE_ONE_THAT_GOES.get(what)
        elif machine in self.coming:
            milestone = _OF_THOSE_THAT_COME.get(what)
        self._timeline.add(at, "AWS", f"{machine}: {what}", milestone=milestone)

    def _on_delivered(self, delivery: dict[str, Any]) -> None:
        event = self._published.get(delivery["event_id"])
        if event is None or self._before.victim not in machines_of(event):
            return
        self.events_delivered += 1
        to = delivery["target_arn"].rsplit(":", 1)[-1]
        at = datetime.fromisoformat(delivery["at"])
        self._timeline.add(at, "event", f"{delivery['detail_type']} -> {to}", milestone="event")

    def _read_joins(self, now: datetime) -> None:
        for item in self._query("join"):
            key, state = item["sk"]["S"], item["state"]["S"]
            if self._join_states.get(key) != state and item["instance"]["S"] in self.coming:
                because = f": {item['ended_because']['S']}" if "ended_because" in item else ""
                what = f"{item['instance']['S']} {state}{because}"
                self._timeline.add(now, "join", what, milestone="minted" if state == "issued" else None)
            self._join_states[key] = state

    def _on_history(self, machine: str, at: str, entry: dict[str, Any]) -> None:
        began_at = self._timeline.began_at
        if (machine, at) in self._told or began_at is None or datetime.fromisoformat(at) < began_at:
            return
        self._told.add((machine, at))
        self.histories[machine].append({"at": at, **entry})
        for step in entry.get("steps", ()):
            milestone = _OF_STEPS.get(step["step"])
            if machine == self._before.victim:
                milestone = milestone or _OF_DOUBTS.get(step["step"])
            done_at = datetime.fromisoformat(step["at"])
            self._timeline.add(done_at, "step", f"{machine} {step['step']}: {step['reason']}", milestone=milestone)
        if "gave_up" in entry:
            self._timeline.add(datetime.fromisoformat(at), "pass", f"{machine} given up: {entry['gave_up']}")
        if "verdict" in entry:
            then = f", then: {entry['then']}" if entry.get("then") else ""
            what = f"{machine} {entry['verdict']} ({entry['reason']}){then}"
            self._timeline.add(datetime.fromisoformat(at), "pass", what)

    def _on_node(self, name: str, at: datetime, before: Any, after: Any) -> None:
        of_victim, comes = name == self._before.victim, name not in self._known
        if after is None:
            self._timeline.add(at, "Node", f"{name} is gone", milestone="node_gone" if of_victim else None)
            return
        if before is None:
            self._timeline.add(at, "Node", f"{name} has joined")
        if after.unschedulable and not (before and before.unschedulable):
            self._timeline.add(at, "Node", f"{name} is cordoned", milestone="cordoned" if of_victim else None)
        if after.excluded and not (before and before.excluded):
            what = f"{name} is kept from load balancers that controllers own"
            self._timeline.add(at, "Node", what, milestone="excluded" if of_victim else None)
        if before and before.unschedulable and not after.unschedulable:
            self._timeline.add(at, "Node", f"{name} is uncordoned", milestone="uncordoned" if of_victim else None)
        if before and not before.untouched and after.untouched:
            what = f"{name} is as if nothing had been"
            self._timeline.add(at, "Node", what, milestone="clean" if of_victim else None)
        if after.out_of_service and not (before and before.out_of_service):
            what = f"{name} is tainted out of service"
            self._timeline.add(at, "Node", what, milestone="tainted" if of_victim else None)
        if after.ready and not (before and before.ready):
            self._timeline.add(at, "Node", f"{name} is Ready", milestone="ready" if comes else None)

    def _on_request(self, request: SeenRequest, at: datetime, before: Any, after: Any) -> None:
        if after is None:
            return
        kind, suffix = ("serving", "_serving") if request.serving else ("client", "")
        comes = request.node not in self._known
        what = f"{kind} certificate of {request.node} ({request.name})"
        if before is None:
            self._timeline.add(at, "cert", f"{what} is asked for", milestone=f"requested{suffix}" if comes else None)
        if after.approved_because is not None and (before is None or before.approved_because is None):
            milestone = f"approved_{kind}" if comes else None
            self._timeline.add(at, "cert", f"{what} is approved: {after.approved_because}", milestone=milestone)
        if after.denied and not (before and before.denied):
            self._timeline.add(at, "cert", f"{what} is denied")

    def _on_pod(self, pod: SeenPod, at: datetime, before: Any) -> None:
        milestones, victim = self._timeline.milestones, self._before.victim
        if not victim:
            return
        if pod.node == victim and pod.evicted and not (before and before.evicted):
            self._timeline.add(at, "pods", f"{pod.name} is evicted", milestone="evicted")
        pods = self._witness.pods
        drained = "evicted" in milestones and not any(each.node == victim for each in pods.values())
        if drained and "drained" not in milestones:
            self._timeline.add(at, "pods", f"none is left on {victim}", milestone="drained")
        if "pods_ready" not in milestones and not pods_missing(self._before, pods):
            what = f"all {self._before.replicas} Ready, none on {victim}"
            self._timeline.add(at, "pods", what, milestone="pods_ready")


def machines_of(event: dict[str, Any]) -> tuple[str, ...]:
    """Which machines an event is about: of AWS Health, every one that it affects."""
    detail = event["detail"]
    affected = [entity["entityValue"] for entity in detail.get("affectedEntities", ())]
    one: str | None = detail.get("instance-id") or detail.get("EC2InstanceId")
    return (one,) if one else tuple(affected)
