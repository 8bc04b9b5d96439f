"""Say what is wrong with a machine that runs. Pure: the same facts give the same answer.

What counts, and what for:

- The kubelet renews its lease each 10 s and the controller manager calls a Node unreachable after some 40 s without
  (Kubernetes, "Leases" and "Node status"). A stale lease is the kubelet's silence itself; a Ready condition that is
  not True counts when the lease does not say that the kubelet lives, or when it is the kubelet's own word.
- EC2's status checks count beside a silent kubelet, from when both are so. While a kubelet answers, a failing check is
  told and no more: the two contradict each other. Those of attached volumes are only told.
- Other conditions (pressure, and what the node-problem-detector reports) are told, never acted on: most of them stay
  when their reason is gone (node-problem-detector, issue 474), so they prove nothing about now.
- What was so before the machine was started last says nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from functions.cluster.doubt import Impairment, Sign, Trouble
from functions.cluster.facts import Absent, Facts, Unknown
from functions.cluster.machine import Condition, Instance, Node

LEASE_STALE = timedelta(seconds=40)  # kube-controller-manager's default node-monitor-grace-period was this up to 1.31
_RUNTIME_WORDS = ("container runtime", "pleg", "runtime is down", "runtimeready")
_HARMLESS_WHEN_TRUE = frozenset({"Ready"})


def trouble_of(facts: Facts) -> Trouble | None:
    """Return what is wrong with a running machine that has joined, None when nothing is known to be."""
    if not isinstance(facts.instance, Instance):
        return None
    silence = _silence(facts, facts.instance)
    if silence is None:
        return None
    since, evidence, runtime = silence
    told = [f"{one.type} is {one.status} since {_at(one.since)}" for one in reported(facts.node)]
    failing = [one for one in _impairments(facts) if one.check != "ebs"]
    if failing:
        checks = [f"EC2: its {one.check} status check fails since {_at(one.since)}" for one in failing]
        impaired_since = min((one.since for one in failing if one.since), default=facts.at)
        return Trouble(Sign.IMPAIRED, max(impaired_since, since), (*checks, *evidence, *told))
    return Trouble(Sign.SILENT, since, (*evidence, *told), runtime)


def reported(node: object) -> tuple[Condition, ...]:
    """Return the conditions by which somebody reports a problem of a Node; its readiness is not among them."""
    if not isinstance(node, Node):
        return ()
    return tuple(one for one in node.conditions if one.status == "True" and one.type not in _HARMLESS_WHEN_TRUE)


def is_silent(facts: Facts) -> bool:
    """Whether its kubelet has not been heard of for longer than any kubelet needs."""
    return isinstance(facts.renewed_at, datetime) and facts.at - facts.renewed_at >= LEASE_STALE


def _silence(facts: Facts, instance: Instance) -> tuple[datetime, tuple[str, ...], bool] | None:
    """Since when, the evidence, and whether it is the container runtime; None for a kubelet that is well or unknown."""
    renewed_at, node = facts.renewed_at, facts.node
    if isinstance(renewed_at, Unknown) or isinstance(node, Unknown):
        return None
    if isinstance(node, Absent):
        return _without_node(facts, instance)
    ready = next((one for one in node.conditions if one.type == "Ready"), None)
    if isinstance(renewed_at, datetime) and facts.at - max(renewed_at, instance.launched_at) >= LEASE_STALE:
        said = [f"its kubelet renewed its lease last at {_at(renewed_at)}"]
        if ready and ready.status != "True":
            said.append(f"its Node is not Ready since {_at(ready.since)} ({ready.reason})")
        return max(renewed_at, instance.launched_at), tuple(said), False
    own_word = ready is not None and ready.status == "False"
    if ready is None or ready.since is None or not (own_word or (ready.status == "Unknown" and renewed_at == Absent())):
        return None
    since = max(ready.since, instance.launched_at)
    if facts.at - since < LEASE_STALE:
        return None
    runtime = any(word in f"{ready.reason} {ready.message}".lower() for word in _RUNTIME_WORDS)
    return since, (f"its Node is not Ready since {_at(ready.since)} ({ready.reason}: {ready.message})",), runtime


def _without_node(facts: Facts, instance: Instance) -> tuple[datetime, tuple[str, ...], bool] | None:
    """A machine that had joined and has no Node: somebody deleted it, and a kubelet makes one only when it starts."""
    doubt = facts.doubt
    had_joined = facts.record is not None or any(not join.open for join in facts.joins)
    if not had_joined:
        return None
    since = max(doubt.since if doubt else facts.at, instance.launched_at)
    return since, ("it has joined, and has no Node",), False


def _impairments(facts: Facts) -> Iterable[Impairment]:
    return () if isinstance(facts.impairments, Unknown) else facts.impairments


def _at(moment: datetime | None) -> str:
    return f"{moment:%H:%M:%SZ}" if moment else "some time"
