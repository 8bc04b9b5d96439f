"""Say what is wrong with a machine that runs. Pure: the same facts give the same answer.

What counts, and what for:

- The kubelet renews its lease each 10 s and the controller manager calls a Node unreachable after some 40 s without
  (Kubernetes, "Leases" and "Node status"). A kubelet is silent when both say so: the lease is written by the machine's
  own clock, which may be wrong, and the controller manager may be late.
- A Ready condition that is False is the kubelet's own word that it cannot run pods.
- EC2's status checks count beside a silent kubelet, from when both are so. While a kubelet answers, a failing check is
  evidence and no more: the two contradict each other. Those of attached volumes are only evidence, too.
- Other conditions (pressure, and what the node-problem-detector reports) are told, never acted on: most of them stay
  when their reason is gone (node-problem-detector, issue 474), so they prove nothing about now.
- What was so before the machine was started last says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from functions.cluster.doubt import Impairment, Sign, Trouble
from functions.cluster.facts import Absent, Facts, Unknown
from functions.cluster.machine import Condition, Instance, InstanceState, Node

LEASE_STALE = timedelta(seconds=40)  # kube-controller-manager's default node-monitor-grace-period was this up to 1.31
_RUNTIME_WORDS = ("container runtime", "pleg", "runtime is down", "runtimeready")
_READY = "Ready"
_MOST_NAMED = 5  # of other conditions: who has root on a machine can invent any number


@dataclass(frozen=True)
class _Failing:
    """Since when a kubelet fails, what says so, whether it still speaks, and whether it blames its runtime."""

    since: datetime
    evidence: tuple[str, ...]
    speaks: bool = False
    runtime: bool = False


def trouble_of(facts: Facts) -> Trouble | None:
    """Return what is wrong with a running machine that has joined, None when nothing is known to be."""
    kubelet = _kubelet(facts)
    if kubelet is None:
        return None
    failing = _impairments(facts)
    checks = tuple(f"EC2: its {one.check} status check fails since {_at(one.since)}" for one in failing)
    others = tuple(f"{one.type} is {one.status} since {_at(one.since)}" for one in reported(facts.node)[:_MOST_NAMED])
    evidence = (*checks, *kubelet.evidence, *others)
    of_machine = [one for one in failing if one.check != "ebs"]
    if of_machine and not kubelet.speaks:
        since = min((one.since for one in of_machine if one.since), default=kubelet.since)
        return Trouble(Sign.IMPAIRED, max(since, kubelet.since), evidence)  # alone, neither of the two is impairment
    return Trouble(Sign.SILENT, kubelet.since, evidence, kubelet.runtime)


def reported(node: object) -> tuple[Condition, ...]:
    """Return the conditions by which somebody reports a problem of a Node; its readiness is not among them.

    Most are True when there is a problem; those that are named as a readiness (NetworkingReady, …) are so when not.
    """
    if not isinstance(node, Node):
        return ()
    return tuple(
        one
        for one in node.conditions
        if one.type != _READY and one.status == ("False" if one.type.endswith(_READY) else "True")
    )


def silent_for(facts: Facts) -> timedelta:
    """For how long the kubelet of a running machine is known not to have been heard of."""
    kubelet = _kubelet(facts)
    return timedelta(0) if kubelet is None or kubelet.speaks else facts.at - kubelet.since


def _kubelet(facts: Facts) -> _Failing | None:
    """What is wrong with its kubelet; None when that is well, or not known."""
    instance, node = facts.instance, facts.node
    if not isinstance(instance, Instance) or instance.state is not InstanceState.RUNNING:
        return None
    if isinstance(node, Unknown) or isinstance(facts.renewed_at, Unknown):
        return None
    if isinstance(node, Absent):
        return _without_node(facts, instance)
    ready = next((one for one in node.conditions if one.type == _READY), None)
    if ready is None or ready.since is None or ready.status not in ("False", "Unknown"):
        return None
    began, said = max(ready.since, instance.launched_at), f"its Node is not Ready since {_at(ready.since)}"
    if ready.status == "False":
        blamed = f"{ready.reason} {ready.message}".lower()
        runtime = any(word in blamed for word in _RUNTIME_WORDS)
        found = _Failing(began, (f"{said} ({ready.reason}: {ready.message})",), speaks=True, runtime=runtime)
    elif heard_at := _heard_at(facts):
        began = max(heard_at, instance.launched_at, ready.since - LEASE_STALE)
        evidence = (f"its kubelet renewed its lease last at {_at(heard_at)}", f"{said} ({ready.reason})")
        found = _Failing(began, evidence)
        if facts.at - heard_at < LEASE_STALE:
            return None
    else:
        found = _Failing(began, (f"{said} ({ready.reason}: {ready.message})", "it has no lease that counts"))
    return found if facts.at - began >= LEASE_STALE else None


def _heard_at(facts: Facts) -> datetime | None:
    """When the kubelet renewed its lease last; a time to come is of a clock that is wrong."""
    renewed_at = facts.renewed_at
    return renewed_at if isinstance(renewed_at, datetime) and renewed_at <= facts.at + LEASE_STALE else None


def _without_node(facts: Facts, instance: Instance) -> _Failing | None:
    """A machine that had joined and has no Node: somebody deleted it, and a kubelet makes one only when it starts."""
    if facts.record is None:
        return None
    doubt = facts.doubt
    since = doubt.since if doubt and not doubt.calm_since else facts.at
    return _Failing(max(since, instance.launched_at), ("it has joined, and has no Node",))


def _impairments(facts: Facts) -> tuple[Impairment, ...]:
    return () if isinstance(facts.impairments, Unknown) else facts.impairments


def _at(moment: datetime | None) -> str:
    return f"{moment:%H:%M:%SZ}" if moment else "some time"
