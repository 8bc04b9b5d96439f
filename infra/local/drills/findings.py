"""Say whether a cluster is whole again after a drill, from what the witness and the AWS APIs show. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from infra.local.drills.witness import SeenNode, SeenPod

WORKLOAD_APP = "web"


@dataclass(frozen=True)
class Before:
    """The cluster before a machine goes: how many pods the workload wants, and what is on that machine."""

    replicas: int
    victim: str
    node_uid: str
    pods: frozenset[str]  # uids of the workload's that ran on the victim


@dataclass(frozen=True)
class Sight:
    """The cluster at one moment. `members` is the group's list, instance to lifecycle state."""

    nodes: Mapping[str, SeenNode]
    pods: Mapping[str, SeenPod]
    members: Mapping[str, str]
    desired: int
    open_cases: tuple[str, ...]
    events_delivered: int


@dataclass(frozen=True)
class Finding:
    """One promise of a healed cluster, whether it was kept, and what was seen."""

    promise: str
    kept: bool
    seen: str


def judge(before: Before, sight: Sight, *, events_allowed: bool) -> tuple[Finding, ...]:
    """Return a finding for every promise; the cluster is healed when all are kept."""
    findings = [_node_gone(before, sight), pods_elsewhere(before, sight), *judge_standing(sight)]
    if not events_allowed:
        count = sight.events_delivered
        findings.append(Finding("no event was delivered", count == 0, f"{count} delivered"))
    return tuple(findings)


def judge_standing(sight: Sight) -> tuple[Finding, ...]:
    """Whether the cluster is whole, whatever became of any machine."""
    cases = ", ".join(sight.open_cases)
    return _group_at_size(sight), _nodes_ready(sight), Finding("no case is open", not cases, cases or "none")


def pods_missing(before: Before, pods: Mapping[str, SeenPod]) -> int:
    """How many of the workload's pods are not Ready on a machine other than the victim."""
    ready = [
        pod
        for uid, pod in pods.items()
        if pod.ready and pod.app == WORKLOAD_APP and pod.node != before.victim and uid not in before.pods
    ]
    return max(0, before.replicas - len(ready))


def _node_gone(before: Before, sight: Sight) -> Finding:
    left = [node.name for node in sight.nodes.values() if before.node_uid == node.uid or before.victim == node.name]
    return Finding("the old Node is gone", not left, ", ".join(left) or "gone")


def pods_elsewhere(before: Before, sight: Sight) -> Finding:
    left, missing = len(before.pods & set(sight.pods)), pods_missing(before, sight.pods)
    seen = f"{len(before.pods) - left} of {len(before.pods)} replaced, {missing} of {before.replicas} not Ready"
    return Finding("its pods are Ready elsewhere under new uids", left == 0 and missing == 0, seen)


def _group_at_size(sight: Sight) -> Finding:
    in_service = [machine for machine, state in sight.members.items() if state == "InService"]
    at_size = len(in_service) == sight.desired == len(sight.members)
    return Finding("the group is at its size", at_size, f"{len(in_service)} of {sight.desired} in service")


def _nodes_ready(sight: Sight) -> Finding:
    not_ready = [node.name for node in sight.nodes.values() if not node.ready or node.unschedulable]
    without = [machine for machine in sight.members if machine not in sight.nodes]
    return Finding("every Node is Ready", not not_ready and not without, ", ".join(not_ready + without) or "all")
