"""The milestones of a drill are about the machine that goes and about those that come, each at its own time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from infra.local.drills.findings import Before
from infra.local.drills.joining import APPROVED_BY_REGROW, CLIENT_SIGNER
from infra.local.drills.news import (
    ADVICE,
    HEALTH,
    LAUNCH_ACTION,
    LAUNCHED,
    NOT_LAUNCHED,
    TERMINATE_ACTION,
    WARNING,
    News,
)
from infra.local.drills.timeline import Timeline
from infra.local.drills.witness import DRAINING, Change, SeenNode, SeenPod, SeenRequest

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
OLD, STAYS, NEW = "i-000000001", "i-000000002", "i-000000003"


def after(seconds: float) -> datetime:
    return BEGAN + timedelta(seconds=seconds)


def node(name: str, **changes: Any) -> SeenNode:
    return replace(SeenNode(name, f"uid-{name}", ready=True, out_of_service=False, unschedulable=False), **changes)


@dataclass
class Seen:
    """What a witness has seen so far."""

    nodes: Mapping[str, SeenNode] = field(default_factory=lambda: {name: node(name) for name in (OLD, STAYS)})
    pods: Mapping[str, SeenPod] = field(default_factory=lambda: {"a": SeenPod("web-a", "a", OLD, ready=True)})


class Scene:
    """News with what they are read from."""

    def __init__(self, directory: Path) -> None:
        self.events, self.table, self.seen = directory / "events.log", dict[str, list[dict[str, Any]]](), Seen()
        self.timeline = Timeline(lambda _: None)
        self.news = News(self.events, lambda partition: self.table.get(partition, []), self.seen, self.timeline)
        self.news.about(Before(replicas=1, victim=OLD, node_uid=f"uid-{OLD}", pods=frozenset({"a"})))

    def event(self, seconds: float, machine: str, what: str) -> None:
        """One that AWS published."""
        action = " " in what
        detail = {"EC2InstanceId": machine} if action else {"instance-id": machine, "state": what}
        event = {"id": f"{machine}-{what}", "detail-type": what if action else "state change", "detail": detail}
        with self.events.open("a") as log:
            log.write(json.dumps({"at": after(seconds).isoformat(), "published": event}) + "\n")
        self.news.read()

    def history(self, seconds: float, machine: str, entry: dict[str, Any]) -> None:
        item = {"sk": {"S": after(seconds).isoformat()}, "entry": {"S": json.dumps(entry)}}
        self.table.setdefault(f"history#{machine}", []).append(item)
        self.news.read()

    def change(self, seconds: float, before: Any, now: Any) -> None:
        self.news.on_change(Change(after(seconds), now or before, before, now))


def passed(seconds: float, *steps: str) -> dict[str, Any]:
    done = [{"step": step, "at": after(seconds).isoformat(), "reason": "because"} for step in steps]
    return {"verdict": "arriving", "reason": "because", "steps": done, "then": None}


def test_a_machine_that_comes_has_a_milestone_for_each_step_of_its_way_in(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.event(0, OLD, "shutting-down")
    scene.event(1, NEW, "pending")
    scene.event(2, NEW, LAUNCH_ACTION)
    client = SeenRequest("csr-1", "u1", "system:bootstrap:abc123", CLIENT_SIGNER, NEW)
    serving = SeenRequest("csr-2", "u2", f"system:node:{NEW}", "kubernetes.io/kubelet-serving", NEW)
    for seconds, request in ((4.0, client), (6.0, serving)):
        scene.change(seconds, None, request)
        scene.change(seconds + 0.5, request, replace(request, approved_because=APPROVED_BY_REGROW))
    scene.change(7, None, node(NEW, ready=False))
    scene.change(8, node(NEW, ready=False), node(NEW))
    scene.event(9, NEW, LAUNCHED)
    assert scene.timeline.milestone_seconds() == {
        "launched": 1.0,
        "hook": 2.0,
        "requested": 4.0,
        "approved_client": 4.5,
        "requested_serving": 6.0,
        "approved_serving": 6.5,
        "ready": 8.0,
        "in_service": 9.0,
    }


def test_what_those_do_that_stay_is_no_milestone(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.event(0, OLD, "shutting-down")
    renewal = SeenRequest("csr-1", "u1", f"system:node:{STAYS}", "kubernetes.io/kubelet-serving", STAYS)
    scene.change(1, None, renewal)
    scene.change(2, renewal, replace(renewal, approved_because=APPROVED_BY_REGROW))
    scene.change(3, node(STAYS), node(STAYS, unschedulable=True))
    scene.change(4, node(STAYS, ready=False), node(STAYS))
    assert scene.timeline.milestone_seconds() == {}


def test_a_token_is_minted_when_its_record_says_issued(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.event(0, OLD, "shutting-down")
    scene.event(1, NEW, "pending")
    record = {"sk": {"S": f"{NEW}#then"}, "instance": {"S": NEW}, "state": {"S": "minting"}}
    scene.table["join"] = [record]
    scene.news.read()
    assert "minted" not in scene.timeline.milestones
    record["state"] = {"S": "issued"}
    scene.news.read()
    assert "minted" in scene.timeline.milestones


def test_a_machine_that_leaves_in_order_is_held_drained_and_let_go(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.timeline.begin(BEGAN)
    scene.event(1, OLD, TERMINATE_ACTION)
    scene.change(2, node(OLD), node(OLD, unschedulable=True, marks={DRAINING: "then"}))
    pod = SeenPod("web-a", "a", OLD, ready=True)
    evicted = replace(pod, evicted=True, ending=True, ready=False)
    scene.change(3, pod, evicted)
    scene.seen.pods = {"b": SeenPod("web-b", "b", STAYS, ready=True)}
    scene.change(4, evicted, None)
    scene.event(5, OLD, "shutting-down")
    scene.event(6, OLD, "terminated")
    scene.change(7, node(OLD), None)
    assert scene.timeline.milestone_seconds() == {
        "held": 1.0,
        "cordoned": 2.0,
        "evicted": 3.0,
        "drained": 4.0,
        "pods_ready": 4.0,
        "let_go": 5.0,
        "terminated": 6.0,
        "node_gone": 7.0,
    }


def test_what_was_written_down_before_the_drill_is_not_its_own(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.event(0, OLD, "shutting-down")
    scene.history(-60, OLD, passed(-60, "CompleteHook", "CloseCase"))
    assert not scene.news.histories[OLD] and "closed" not in scene.timeline.milestones
    scene.history(5, OLD, passed(5, "CloseCase"))
    assert scene.timeline.milestone_seconds() == {"closed": 5.0}


def test_a_launch_that_is_given_up_is_told_with_its_reason(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.event(0, OLD, "shutting-down")
    scene.event(1, NEW, "pending")
    scene.history(61, NEW, {"gave_up": "it has no token", "group": "g", "boot_log": "no such file"})
    scene.event(62, NEW, NOT_LAUNCHED)
    assert scene.timeline.milestone_seconds() == {"launched": 1.0, "abandoned": 62.0}
    assert f"{NEW} given up: it has no token" in [entry.what for entry in scene.timeline.entries]
    assert scene.news.histories[NEW][0]["boot_log"] == "no such file"


def test_what_is_announced_to_several_machines_is_told_of_each(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.timeline.begin(BEGAN)
    detail = {"affectedEntities": [{"entityValue": STAYS}, {"entityValue": OLD}], "statusCode": "upcoming"}
    event = {"id": "health", "detail-type": HEALTH, "detail": detail}
    scene.events.write_text(json.dumps({"at": after(1).isoformat(), "published": event}) + "\n")
    scene.news.read()
    assert set(scene.news.moments) == {(OLD, HEALTH), (STAYS, HEALTH)}
    assert scene.timeline.milestone_seconds() == {"announced": 1.0}


def test_a_machine_that_gets_well_again_has_milestones_of_that(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.timeline.begin(BEGAN)
    closed = node(OLD, unschedulable=True, excluded=True, marks={DRAINING: "then"})
    scene.change(1, node(OLD), closed)
    scene.event(2, OLD, "stopped")
    scene.event(3, OLD, "running")
    scene.change(4, closed, replace(closed, unschedulable=False))
    scene.change(5, replace(closed, unschedulable=False), node(OLD))
    assert scene.timeline.milestone_seconds() == {
        "cordoned": 1.0,
        "excluded": 1.0,
        "stopped": 2.0,
        "started": 3.0,
        "uncordoned": 4.0,
        "clean": 5.0,
    }


def test_a_machine_that_was_warned_is_taken_and_not_let_go(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.timeline.begin(BEGAN)
    scene.event(1, OLD, ADVICE)
    scene.event(1, OLD, WARNING)
    scene.event(121, OLD, "shutting-down")
    scene.event(122, OLD, TERMINATE_ACTION)
    assert scene.timeline.milestone_seconds() == {"advised": 1.0, "warned": 1.0, "taken": 121.0, "held": 122.0}


def test_what_is_tried_on_the_machine_in_doubt_has_a_milestone_each_and_that_of_others_has_none(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.event(0, OLD, "shutting-down")
    scene.history(1, STAYS, passed(1, "NoteDoubt", "Reboot"))
    scene.history(9, OLD, passed(2, "NoteDoubt", "RestartService"))
    scene.history(20, OLD, passed(20, "NoteDoubt", "Reboot"))
    scene.history(30, OLD, passed(30, "Replace"))
    at = scene.timeline.milestone_seconds()
    expected = {"noticed": 2, "restarted": 2, "rebooted": 20, "replaced": 30}
    assert {name: at.get(name) for name in expected} == expected
