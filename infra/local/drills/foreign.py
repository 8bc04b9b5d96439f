"""A stranger knocks: a group that is not the cluster's launches a machine that wants to join, and somebody asks for
certificates with a bootstrap user that Regrow never made.

Nothing happens is the promise. So every way in is tried while somebody watches: Auto Scaling's events reach Regrow by
themselves, the sweep is ordered, and the two functions that let machines in are asked for this machine by name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from infra.local.cluster import Cluster, wait_for
from infra.local.drills.acts import invoke
from infra.local.drills.csrs import client_csr
from infra.local.drills.findings import Finding
from infra.local.drills.joining import see_bundles, see_joins, see_tokens
from infra.local.drills.news import LAUNCH_ACTION, TERMINATE_ACTION
from infra.local.drills.stage import Played, Stage
from infra.local.drills.witness import SeenRequest
from infra.local.places import WorldError

LEFT_ALONE_S = 20.0
TOKEN_ID = "f0re19"  # noqa: S105 - the name of a token that nobody has made
BOOTSTRAP_USER = f"system:bootstrap:{TOKEN_ID}"
BOOTSTRAP_GROUPS = ("system:bootstrappers", "system:bootstrappers:regrow:worker")
HOOKS = {"arrives": "LAUNCHING", "leaves": "TERMINATING"}
HOOK_TIMEOUT_S = 3600


@dataclass(frozen=True)
class Untouched:
    """What Regrow could have changed of a cluster: its Nodes with their marks, its pods, what lets machines in."""

    nodes: Mapping[str, tuple[str, bool, bool, bool]]
    pods: frozenset[str]
    tokens: frozenset[str]
    bundles: frozenset[str]
    joins: frozenset[str]


@dataclass(frozen=True)
class Stranger:
    """What became of the stranger's machine and requests while Regrow was asked about them."""

    state: str
    expected_state: str
    requests: tuple[SeenRequest, ...]
    answers: tuple[str, ...]
    """What mint said when it was asked for this machine."""


def judge_untouched(before: Untouched, after: Untouched, when: str) -> tuple[Finding, ...]:
    """A finding for each kind of thing that must be as it was. Pure."""
    changed = [name for name, seen in before.nodes.items() if after.nodes.get(name) != seen]
    gone = before.pods - after.pods
    made = sorted((after.tokens - before.tokens) | (after.bundles - before.bundles) | (after.joins - before.joins))
    return (
        Finding(f"{when}: no Node was cordoned, tainted or deleted", not changed, ", ".join(changed) or "none"),
        Finding(f"{when}: no pod was evicted or deleted", not gone, f"{len(gone)} of {len(before.pods)} gone"),
        Finding(f"{when}: nothing was minted", not made, ", ".join(made) or "nothing"),
    )


def judge_stranger(stranger: Stranger, when: str) -> tuple[Finding, ...]:
    """A finding for each thing that Regrow could have done for or to the stranger. Pure."""
    decided = [request for request in stranger.requests if not request.pending]
    refused = bool(stranger.answers) and all(answer in ("nothing", "refused") for answer in stranger.answers)
    return (
        Finding(f"{when}: its hook was left alone", stranger.state == stranger.expected_state, stranger.state),
        Finding(
            f"{when}: its certificate requests were neither approved nor denied",
            bool(stranger.requests) and not decided,
            f"{len(decided)} of {len(stranger.requests)} decided",
        ),
        Finding(f"{when}: mint, asked by name, refused", refused, ", ".join(stranger.answers) or "not asked"),
    )


def meet_a_stranger(stage: Stage) -> Played:
    """From its launch to its end, with a Node of its name in the cluster."""
    cluster, timeline, show = stage.cluster, stage.timeline, stage.show
    before = see(stage)
    findings: list[Finding] = []
    timeline.begin(datetime.now(UTC))
    with foreign_group(cluster) as group:
        wait_for(
            "the stranger's machine in its launch hook", lambda: bool(_waiting(group, "Pending:Wait")), within_s=120
        )
        machine = _waiting(group, "Pending:Wait")
        show(f"the stranger's machine is {machine} of {group.name}, launched as a worker of {cluster.name}")
        with requests_by(stage, machine), node_named(cluster, machine, group.zone(machine)):
            wait_for("a Node of its name", lambda: machine in stage.witness.nodes, within_s=10)
            findings += _left_alone(stage, group, machine, before, "while it arrives", "Pending:Wait")
            group.complete(machine, "arrives")
            wait_for("the stranger's machine in service", lambda: group.state(machine) == "InService", within_s=60)
            findings += _left_alone(stage, group, machine, before, "in service", "InService")
            group.scale(0)
            wait_for("its terminate hook", lambda: group.state(machine) == "Terminating:Wait", within_s=60)
            findings += _left_alone(stage, group, machine, before, "while it leaves", "Terminating:Wait")
            group.complete(machine, "leaves")
            wait_for("its end", lambda: (machine, "terminated") in _read(stage).moments, within_s=180)
            findings += _left_alone(stage, group, machine, before, "after its end", "gone")
            told = [title for title in (LAUNCH_ACTION, TERMINATE_ACTION) if (machine, title) in stage.news.moments]
            findings.append(Finding("AWS told Regrow of both hooks", len(told) == len(HOOKS), ", ".join(told)))
    whole = stage.until(lambda: (_as_before(stage, before),), within_s=60)
    return Played(machine, (*findings, *whole))


def see(stage: Stage, *, without: str = "") -> Untouched:
    """The cluster as it is, without what the drill itself has put there."""
    cluster, witness = stage.cluster, stage.witness
    return Untouched(
        nodes={
            node.name: (node.uid, node.unschedulable, node.draining, node.out_of_service)
            for node in witness.nodes.values()
            if node.name != without
        },
        pods=frozenset(uid for uid, pod in witness.pods.items() if not pod.ending),
        tokens=frozenset(see_tokens(cluster)),
        bundles=frozenset(see_bundles(cluster)),
        joins=frozenset(join.machine for join in see_joins(cluster)),
    )


def _left_alone(
    stage: Stage, group: ForeignGroup, machine: str, before: Untouched, when: str, state: str
) -> tuple[Finding, ...]:
    """Have Regrow look in every way there is, give it time, and see that nothing has come of it."""
    own = stage.witness.nodes.get(machine)
    stage.cluster.sweep()
    answers = tuple(_asked(stage, function, machine) for function in ("mint", "approve"))
    stage.watch_for(LEFT_ALONE_S)
    requests = tuple(request for request in stage.witness.requests.values() if request.user == BOOTSTRAP_USER)
    stranger = Stranger(group.state(machine), state, requests, answers[:1])
    node = stage.witness.nodes.get(machine)
    kept = own is not None and node is not None and (node.uid, node.unschedulable) == (own.uid, own.unschedulable)
    return (
        *judge_stranger(stranger, when),
        *judge_untouched(before, see(stage, without=machine), when),
        Finding(f"{when}: the Node of its name was left alone", kept, "there" if node else "gone"),
    )


def _asked(stage: Stage, function: str, machine: str) -> str:
    try:
        answer = invoke(stage.cluster, function, {"machine": machine})
    except WorldError as error:
        stage.timeline.add(datetime.now(UTC), "asked", str(error))
        return "error"
    stage.timeline.add(datetime.now(UTC), "asked", f"{function}: {answer['did']}: {answer['reason']}")
    return str(answer["did"])


def _as_before(stage: Stage, before: Untouched) -> Finding:
    after = see(stage)
    return Finding(
        "the cluster is as it was", after.nodes == before.nodes and after.pods >= before.pods, "Nodes and pods"
    )


def _read(stage: Stage) -> Any:
    stage.news.read()
    return stage.news


@dataclass(frozen=True)
class ForeignGroup:
    """A group without the cluster's tag, with hooks of its own."""

    name: str
    client: Any

    def members(self) -> dict[str, dict[str, Any]]:
        found = self.client.describe_auto_scaling_groups(AutoScalingGroupNames=[self.name])["AutoScalingGroups"]
        return {member["InstanceId"]: member for member in found[0]["Instances"]} if found else {}

    def state(self, machine: str) -> str:
        return str(self.members().get(machine, {}).get("LifecycleState", "gone"))

    def zone(self, machine: str) -> str:
        return str(self.members()[machine]["AvailabilityZone"])

    def scale(self, size: int) -> None:
        self.client.set_desired_capacity(AutoScalingGroupName=self.name, DesiredCapacity=size)

    def complete(self, machine: str, hook: str) -> None:
        self.client.complete_lifecycle_action(
            AutoScalingGroupName=self.name,
            LifecycleHookName=hook,
            InstanceId=machine,
            LifecycleActionResult="CONTINUE",
        )


def _waiting(group: ForeignGroup, state: str) -> str:
    members = group.members().items()
    return next((machine for machine, member in members if member["LifecycleState"] == state), "")


@contextmanager
def foreign_group(cluster: Cluster) -> Iterator[ForeignGroup]:
    """One machine by the workers' own launch template: same image, role and user data, and no tag of the cluster."""
    client, workers = cluster.client("autoscaling"), cluster.workers()
    group = ForeignGroup(f"stranger-{cluster.name}", client)
    template = {key: workers["LaunchTemplate"][key] for key in ("LaunchTemplateId", "Version")}
    hooks = [
        {
            "LifecycleHookName": name,
            "LifecycleTransition": f"autoscaling:EC2_INSTANCE_{transition}",
            "HeartbeatTimeout": HOOK_TIMEOUT_S,
            "DefaultResult": "ABANDON",
        }
        for name, transition in HOOKS.items()
    ]
    client.create_auto_scaling_group(
        AutoScalingGroupName=group.name,
        MinSize=0,
        MaxSize=1,
        DesiredCapacity=1,
        LaunchTemplate=template,
        VPCZoneIdentifier=workers["VPCZoneIdentifier"],
        LifecycleHookSpecificationList=hooks,
    )
    try:
        yield group
    finally:
        client.delete_auto_scaling_group(AutoScalingGroupName=group.name, ForceDelete=True)


@contextmanager
def requests_by(stage: Stage, machine: str) -> Iterator[None]:
    """A user without a record asks for client certificates: for the stranger's machine, and for one of the cluster's.

    As admin in that user's name: what the API server shows of them is the same as with a token of it.
    """
    cluster = stage.cluster
    names = {f"stranger-{number}": node for number, node in enumerate((machine, min(cluster.members()[0])))}
    impersonated = (f"--as={BOOTSTRAP_USER}", *(f"--as-group={group}" for group in BOOTSTRAP_GROUPS))
    manifest = cluster.world.place.directory / "stranger.json"
    try:
        for name, node in names.items():
            manifest.write_text(json.dumps(request_for(name, node)))
            cluster.kubectl("create", "-f", str(manifest), *impersonated)
        wait_for("the stranger's requests", lambda: len(_of_stranger(stage)) == len(names), within_s=10)
        yield
    finally:
        cluster.kubectl("delete", "certificatesigningrequests", *names, "--ignore-not-found")


def _of_stranger(stage: Stage) -> list[SeenRequest]:
    return [request for request in stage.witness.requests.values() if request.user == BOOTSTRAP_USER]


def request_for(name: str, node: str) -> dict[str, Any]:
    """A request for a Node's client certificate, as its kubelet would make it."""
    return {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": name},
        "spec": {
            "request": client_csr(node, key=ec.generate_private_key(ec.SECP256R1())),
            "signerName": "kubernetes.io/kube-apiserver-client-kubelet",
            "usages": ["digital signature", "client auth"],
        },
    }


@contextmanager
def node_named(cluster: Cluster, machine: str, zone: str) -> Iterator[None]:
    """A Node that says it is the stranger's machine, as one of another owner's would."""
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": machine},
        "spec": {"providerID": f"aws:///{zone}/{machine}"},
    }
    manifest = cluster.world.place.directory / "stranger-node.json"
    manifest.write_text(json.dumps(node))
    try:
        cluster.kubectl("create", "-f", str(manifest))
        yield
    finally:
        with suppress(WorldError):
            cluster.kubectl("delete", "node", machine, "--ignore-not-found", "--wait=false")
