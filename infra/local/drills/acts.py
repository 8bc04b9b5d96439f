"""What drills do to a cluster, by the APIs that a person has, and undo again."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from infra.local.cluster import Cluster, wait_for
from infra.local.drills.findings import WORKLOAD_APP, Before
from infra.local.drills.witness import Witness
from infra.local.places import WorldError

WORKLOAD = Path(__file__).with_name("workload.yaml")
REPLICAS = 20
AT_LEAST_READY = 15
"""What the workload's disruption budget says."""


def prepare_workload(cluster: Cluster, witness: Witness) -> None:
    """Bring the pods up, so that every worker has some to lose."""
    cluster.kubectl("apply", "-f", str(WORKLOAD))
    wait_for("the workload's pods, Ready on every worker", lambda: _spread(cluster, witness), within_s=120)


def before_kill(witness: Witness, victim: str) -> Before:
    pods = witness.pods.items()
    lost = frozenset(uid for uid, pod in pods if pod.node == victim and pod.app == WORKLOAD_APP)
    return Before(REPLICAS, victim, witness.nodes[victim].uid, lost)


def invoke(cluster: Cluster, function: str, request: dict[str, Any]) -> dict[str, Any]:
    """Invoke a deployed function as a person would and wait; its error is raised in its own words."""
    payload = json.dumps(request).encode()
    answer = cluster.client("lambda").invoke(FunctionName=cluster.function(function), Payload=payload)
    said: dict[str, Any] = json.loads(answer["Payload"].read())
    if "FunctionError" in answer:
        raise WorldError(f"The {function} function says: {said.get('errorMessage', said)}")
    return said


def invoke_drill(cluster: Cluster, request: dict[str, Any]) -> dict[str, Any]:
    return invoke(cluster, "drill", request)


def await_whole(cluster: Cluster, witness: Witness, *, without: str | None = None, within_s: float = 240.0) -> None:
    """Wait until as many workers are in service as are wanted, each with a Ready Node, and nothing is under way."""

    def whole() -> bool:
        members, desired = cluster.members()
        nodes = witness.nodes
        return (
            without not in {*members, *nodes}
            and len(members) == desired
            and set(members.values()) == {"InService"}
            and all(machine in nodes and nodes[machine].ready and nodes[machine].untouched for machine in members)
            and not cluster.query("case")
            and all(item["state"]["S"] == "ended" for item in cluster.query("join"))
        )

    wait_for(f"a whole cluster without {without}" if without else "a whole cluster", whole, within_s=within_s)


def event_rules(cluster: Cluster) -> list[str]:
    """Every rule that an event could match; the sweep's schedule is none of them."""
    return [rule["Name"] for rule in cluster.client("events").list_rules()["Rules"] if rule.get("EventPattern")]


@contextmanager
def rules_disabled(cluster: Cluster, rules: Sequence[str]) -> Iterator[None]:
    events = cluster.client("events")
    for rule in rules:
        events.disable_rule(Name=rule)
    try:
        yield
    finally:
        for rule in rules:
            events.enable_rule(Name=rule)


@contextmanager
def protected(cluster: Cluster, machines: Sequence[str]) -> Iterator[None]:
    """Auto Scaling takes none of these when it makes the group smaller."""
    autoscaling = cluster.client("autoscaling")
    which = {"AutoScalingGroupName": cluster.worker_group}
    autoscaling.set_instance_protection(**which, InstanceIds=list(machines), ProtectedFromScaleIn=True)
    try:
        yield
    finally:
        still = [machine for machine in machines if machine in cluster.members()[0]]
        if still:
            autoscaling.set_instance_protection(**which, InstanceIds=still, ProtectedFromScaleIn=False)


@contextmanager
def configured(cluster: Cluster, functions: Sequence[str], variables: dict[str, str]) -> Iterator[None]:
    """These functions have these variables too. They get back exactly what they had."""
    client = cluster.client("lambda")
    before = {
        name: client.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
        for name in map(cluster.function, functions)
    }

    def configure(name: str, variables: dict[str, str]) -> None:
        client.update_function_configuration(FunctionName=name, Environment={"Variables": variables})
        client.get_waiter("function_updated_v2").wait(FunctionName=name)

    try:
        for name, had in before.items():
            configure(name, {**had, **variables})
        yield
    finally:
        for name, had in before.items():
            configure(name, had)


def set_capacity(cluster: Cluster, desired: int) -> None:
    cluster.client("autoscaling").set_desired_capacity(
        AutoScalingGroupName=cluster.worker_group, DesiredCapacity=desired, HonorCooldown=False
    )


def template_version(cluster: Cluster, change_user_data: Callable[[str], str]) -> dict[str, str]:
    """The workers' launch template with other user data, as a new version of it: what a group's setting names."""
    ec2, template = cluster.client("ec2"), cluster.workers()["LaunchTemplate"]
    named = {"LaunchTemplateId": template["LaunchTemplateId"]}
    versions = ec2.describe_launch_template_versions(**named, Versions=[template["Version"]])
    data = versions["LaunchTemplateVersions"][0]["LaunchTemplateData"]
    user_data = change_user_data(base64.b64decode(data["UserData"]).decode())
    made = ec2.create_launch_template_version(
        **named,
        SourceVersion=template["Version"],
        LaunchTemplateData={"UserData": base64.b64encode(user_data.encode()).decode()},
    )
    return {**named, "Version": str(made["LaunchTemplateVersion"]["VersionNumber"])}


def _spread(cluster: Cluster, witness: Witness) -> bool:
    """Whether all pods are Ready and no worker is without; an earlier drill has left them all on one."""
    pods = [pod for pod in witness.pods.values() if pod.app == WORKLOAD_APP]
    if len(pods) != REPLICAS or not all(pod.ready for pod in pods):
        return False
    idle = set(cluster.members()[0]) - {pod.node for pod in pods}
    if idle:
        cluster.kubectl("rollout", "restart", "deployment/web")
        cluster.kubectl("rollout", "status", "deployment/web", "--timeout=120s")
    return not idle
