"""A machine of the cluster is in an attacker's hands from its first moment. It has a good token of its own, and asks
with it for what is another's, in every way that the bytes of a request leave open.

It is launched like any worker, with user data that let it do nothing by itself; what it does the drill does, with the
credentials that the machine itself is given. Passes are paused until all has been asked: then they find what the
approver wrote down.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError
from kubernetes import client

from infra.local.cluster import Cluster, wait_for
from infra.local.drills.acts import invoke, invoke_drill, set_capacity
from infra.local.drills.csrs import client_csr
from infra.local.drills.findings import Finding
from infra.local.drills.foreign import judge_untouched, see
from infra.local.drills.holder import (
    CLIENT_SIGNER,
    CLIENT_USAGES,
    SERVING_SIGNER,
    SERVING_USAGES,
    bundle_of,
    forget_abandoned,
    send,
    with_token,
)
from infra.local.drills.hostile_requests import for_the_identity_of, in_another_form
from infra.local.drills.joining import see_bundles, see_joins, see_tokens
from infra.local.drills.never_joining import faulty_user_data
from infra.local.drills.stage import Played, Stage
from infra.local.drills.witness import SeenRequest

AT_LEAST = 20
_CALLS = 20
"""Of the approver, which decides ten requests of a machine in each."""


@dataclass(frozen=True)
class Asked:
    """What the machine asked for and what has become of it. `refused` are those that the API server did not take.

    `answers` is the word on each request that it took, by the way in which it asked.
    """

    refused: tuple[str, ...]
    answers: Mapping[str, str]
    convicted: str | None

    def with_the_word(self, word: str) -> list[str]:
        return sorted(way for way, answer in self.answers.items() if answer == word)


@dataclass(frozen=True)
class Fate:
    """What is left of the machine in the end. `alerts` are the subjects of those about it."""

    listed: bool
    join: str
    tokens: tuple[str, ...]
    bundles: tuple[str, ...]
    alerts: tuple[str, ...]


def judge_asked(asked: Asked) -> tuple[Finding, ...]:
    """A finding for every promise about the requests. Pure."""
    ways, denied = len(asked.answers), asked.with_the_word("Denied")
    approved, pending = asked.with_the_word("Approved"), asked.with_the_word("Pending")
    return (
        Finding(
            f"it could ask in {AT_LEAST} ways and more",
            ways >= AT_LEAST,
            f"{ways} taken by the API server, {len(asked.refused)} refused by it",
        ),
        Finding("none of them was approved", not approved, ", ".join(approved) or "none"),
        Finding("each was denied", len(denied) == ways, ", ".join(pending) or f"all {ways}"),
        Finding("its launch was convicted, with the proof", bool(asked.convicted), asked.convicted or "no proof"),
    )


def judge_fate(fate: Fate) -> tuple[Finding, ...]:
    """A finding for every promise about the machine. Pure."""
    left = (*fate.tokens, *fate.bundles)
    return (
        Finding("its launch was given up", not fate.listed, "its group has it still" if fate.listed else "gone"),
        Finding("its joining has ended", fate.join == "ended", fate.join),
        Finding("its token and its bundle are gone", not left, ", ".join(left) or "gone"),
        Finding("a person was told", any("never joined" in one for one in fate.alerts), ", ".join(fate.alerts) or "no"),
    )


def join_as_another(stage: Stage) -> Played:
    cluster, witness, timeline = stage.cluster, stage.witness, stage.timeline
    before = see(stage)
    timeline.begin(datetime.now(UTC))
    with one_more(stage) as machine:
        stage.show(f"{machine} is a worker like any other, in an attacker's hands")
        said = invoke(cluster, "mint", {"machine": machine})
        timeline.add(datetime.now(UTC), "asked", f"mint: {said['did']}: {said['reason']}")
        sent, refused = ask_for_everything(stage, machine)
        decide_all(stage, machine, sent)
        findings = judge_asked(
            Asked(
                refused=refused,
                answers={way: word_on(witness.requests_ever.values(), name) for way, name in sent.items()},
                convicted=conviction_of(cluster, machine),
            )
        )
        invoke_drill(cluster, {"do": "resume", "of": cluster.worker_group})
        cluster.sweep()
        findings += stage.until(lambda: judge_fate(_fate(stage, machine)), within_s=120)
        after = see(stage, without=machine)
        others = replace(after, joins=after.joins - {machine})  # its own token was good, and had its record
        findings += judge_untouched(before, others, "all the while")
    return Played(machine, findings, {"ways": float(len(sent)), "refused_by_the_api_server": float(len(refused))})


def ask_for_everything(stage: Stage, machine: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """Send every request with the machine's own token; the names of those that were taken, and which were not."""
    cluster = stage.cluster
    holder = with_token(bundle_of(cluster, machine))
    victims = (min(set(cluster.members()[0]) - {machine}), cluster.initialised_by() or "")
    requests: dict[str, tuple[str, str, tuple[str, ...]]] = {
        f"{way}, of {victim}": (csr, CLIENT_SIGNER, CLIENT_USAGES)
        for victim in victims
        for way, csr in for_the_identity_of(victim, machine).items()
    }
    requests |= {way: (csr, CLIENT_SIGNER, CLIENT_USAGES) for way, csr in in_another_form(machine, victims[0]).items()}
    own = client_csr(machine)
    requests |= {
        "c15 to serve as well": (own, CLIENT_SIGNER, (*CLIENT_USAGES, "server auth")),
        "c15 to sign": (own, CLIENT_SIGNER, (*CLIENT_USAGES, "cert sign")),
        "s22 to serve, with a token": (own, SERVING_SIGNER, SERVING_USAGES),
        "its own, after all that": (own, CLIENT_SIGNER, CLIENT_USAGES),
    }
    sent, refused = {}, []
    for way, (csr, signer, usages) in requests.items():
        try:
            sent[way] = send(holder, csr, signer, usages)
        except client.ApiException as refusal:
            stage.timeline.add(datetime.now(UTC), "API server", f"{way}: {refusal.status}")
            refused.append(way)
    stage.show(f"it has asked in {len(sent)} ways; {len(refused)} more the API server did not take")
    return sent, tuple(refused)


def decide_all(stage: Stage, machine: str, sent: Mapping[str, str]) -> None:
    """Have the approver look until there is a word on each; it decides only so many of one machine at a time."""
    names = set(sent.values())
    for _ in range(_CALLS):
        said = invoke(stage.cluster, "approve", {"machine": machine})
        stage.timeline.add(datetime.now(UTC), "asked", f"approve: {said['did']}: {len(said['denied'])} denied")
        if not said["held"] and not said["denied"]:
            break
    stage.comes_true(
        "the witness has seen the word on each",
        lambda: not any(one.pending for one in stage.witness.requests.values() if one.name in names),
        within_s=10,
    )


def word_on(requests: Any, name: str) -> str:
    """Approved, Denied or Pending, as the witness saw it."""
    seen: SeenRequest = next(one for one in requests if one.name == name)
    if seen.approved_because is not None:
        return "Approved"
    return "Denied" if seen.denied else "Pending"


def conviction_of(cluster: Cluster, machine: str) -> str | None:
    """The proof that the approver wrote down."""
    approvals = [item for item in cluster.query("approval") if item["instance"]["S"] == machine]
    return next((item["denied"]["S"] for item in approvals if "denied" in item), None)


def _fate(stage: Stage, machine: str) -> Fate:
    cluster = stage.cluster
    return Fate(
        listed=machine in cluster.members()[0],
        join=next((join.state for join in see_joins(cluster) if join.machine == machine), "no record"),
        tokens=see_tokens(cluster),
        bundles=see_bundles(cluster),
        alerts=tuple(alert.subject for alert in stage.alerts.heard(machine)),
    )


@contextmanager
def one_more(stage: Stage) -> Iterator[str]:
    """One worker more that does nothing by itself, of which passes keep away; in the end the group is as it was."""
    cluster = stage.cluster
    group, autoscaling = {"AutoScalingGroupName": cluster.worker_group}, cluster.client("autoscaling")
    before, desired = cluster.members()
    pause = {"do": "pause", "of": cluster.worker_group, "minutes": 30, "reason": "a drill is at work"}
    try:
        invoke_drill(cluster, pause)
        with faulty_user_data(cluster):
            set_capacity(cluster, desired + 1)
            wait_for("a machine in its launch hook", lambda: bool(_waiting(cluster, before)), within_s=120)
        # Nothing takes the place of what is given up.
        autoscaling.suspend_processes(**group, ScalingProcesses=["Launch"])
        yield _waiting(cluster, before)
    finally:
        invoke_drill(cluster, {"do": "resume", "of": cluster.worker_group})
        autoscaling.suspend_processes(**group, ScalingProcesses=["Launch"])
        for machine in cluster.members()[0].keys() - before.keys():
            with suppress(ClientError):  # it is leaving already
                autoscaling.terminate_instance_in_auto_scaling_group(
                    InstanceId=machine, ShouldDecrementDesiredCapacity=False
                )
        wait_for("its end", lambda: cluster.members()[0].keys() <= before.keys(), within_s=120)
        set_capacity(cluster, desired)
        autoscaling.resume_processes(**group, ScalingProcesses=["Launch"])
        forget_abandoned(cluster)


def _waiting(cluster: Cluster, before: Mapping[str, str]) -> str:
    """The new machine, when it runs."""
    ec2 = cluster.client("ec2")
    for machine, state in cluster.members()[0].items():
        if machine not in before and state == "Pending:Wait":
            found = ec2.describe_instances(InstanceIds=[machine])["Reservations"][0]["Instances"][0]
            return machine if found["State"]["Name"] == "running" else ""
    return ""
