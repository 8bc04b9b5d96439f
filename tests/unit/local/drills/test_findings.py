"""A drill says "healed" only of a cluster that is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from infra.local.drills.findings import Before, Sight, judge, pods_missing
from infra.local.drills.witness import SeenNode, SeenPod

VICTIM, OTHER, NEW = "i-000000001", "i-000000002", "i-000000003"
BEFORE = Before(replicas=4, victim=VICTIM, node_uid="old-node", pods=frozenset({"a", "b"}))


def node(name: str, **changes: object) -> SeenNode:
    whole = SeenNode(name, f"uid-of-{name}", ready=True, out_of_service=False, unschedulable=False)
    return replace(whole, **changes)  # type: ignore[arg-type]


def pods(*uids: str, on: str = OTHER, ready: bool = True) -> dict[str, SeenPod]:
    return {uid: SeenPod(f"web-{uid}", uid, on, ready) for uid in uids}


HEALED = Sight(
    nodes={OTHER: node(OTHER), NEW: node(NEW), "cp": node("cp")},
    pods=pods("c", "d", "e", "f"),
    members={OTHER: "InService", NEW: "InService"},
    desired=2,
    open_cases=(),
    events_delivered=3,
)


def broken(sight: Sight, *, events_allowed: bool = True) -> list[str]:
    return [finding.promise for finding in judge(BEFORE, sight, events_allowed=events_allowed) if not finding.kept]


def test_a_whole_cluster_keeps_every_promise() -> None:
    assert broken(HEALED) == []


@pytest.mark.parametrize(
    ("sight", "promise"),
    [
        (replace(HEALED, nodes={**HEALED.nodes, VICTIM: node(VICTIM, uid="old-node")}), "the old Node is gone"),
        (replace(HEALED, pods=pods("c", "d", "e")), "its pods are Ready elsewhere under new uids"),
        (replace(HEALED, pods=pods("c", "d", "e", "a")), "its pods are Ready elsewhere under new uids"),
        (
            replace(HEALED, pods={**pods("c", "d", "e"), **pods("f", ready=False)}),
            "its pods are Ready elsewhere under new uids",
        ),
        (replace(HEALED, members={OTHER: "InService"}), "the group is at its size"),
        (replace(HEALED, members={OTHER: "InService", NEW: "Pending"}), "the group is at its size"),
        (replace(HEALED, nodes={**HEALED.nodes, NEW: node(NEW, ready=False)}), "every Node is Ready"),
        (replace(HEALED, nodes={**HEALED.nodes, NEW: node(NEW, unschedulable=True)}), "every Node is Ready"),
        (replace(HEALED, nodes={OTHER: node(OTHER), "cp": node("cp")}), "every Node is Ready"),
        (replace(HEALED, open_cases=(VICTIM,)), "no case is open"),
    ],
)
def test_what_is_missing_breaks_its_promise_and_no_other(sight: Sight, promise: str) -> None:
    assert broken(sight) == [promise]


def test_a_drill_without_events_fails_when_one_was_delivered() -> None:
    assert broken(HEALED, events_allowed=False) == ["no event was delivered"]
    assert broken(replace(HEALED, events_delivered=0), events_allowed=False) == []


def test_pods_that_went_down_with_the_machine_never_count_as_ready() -> None:
    assert pods_missing(BEFORE, {**pods("a", "b", on=VICTIM), **pods("c", "d")}) == 2
