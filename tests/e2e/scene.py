"""The shared cluster with an admin's eyes on it, and what a test may do to it from outside."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from kubernetes import client, config

from functions.cluster.machine import InstanceId
from functions.messages import Look
from infra.local.cluster import Cluster, wait_for
from infra.local.drills.acts import WORKLOAD, invoke_drill
from infra.local.drills.alerts import Subscriber
from infra.local.drills.joining import see_joins
from infra.local.places import CHECKOUT
from tests.e2e.journal import Journal

HEALED_WITHIN_S = 120.0
"""The sweep, which comes once a minute, may be what finds it."""


@dataclass(frozen=True)
class Scene:
    """`core` and `storage` are the Kubernetes client's, with the admin's kubeconfig."""

    cluster: Cluster
    core: Any
    storage: Any
    alerts: Subscriber

    def client(self, service: str) -> Any:
        return self.cluster.client(service)

    def function(self, name: str) -> str:
        return self.cluster.function(name)

    def workers(self) -> list[str]:
        """The machines in service of the workers' group."""
        members, _ = self.cluster.members()
        return sorted(machine for machine, state in members.items() if state == "InService")

    def control_plane(self) -> str:
        group = f"regrow-{self.cluster.name}-control-plane"
        answer = self.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[group])
        return str(answer["AutoScalingGroups"][0]["Instances"][0]["InstanceId"])

    def kill(self, machine: str) -> None:
        """Behind its group's back, with no shutdown."""
        self.client("ec2").terminate_instances(InstanceIds=[machine], SkipOsShutdown=True)

    def place_in_group(self, machine: str) -> str | None:
        """Its lifecycle state, None when the workers' group has forgotten it."""
        return self.cluster.members()[0].get(machine)

    def state_of(self, machine: str) -> str:
        """What EC2 says."""
        answer = self.client("ec2").describe_instances(InstanceIds=[machine])
        return str(answer["Reservations"][0]["Instances"][0]["State"]["Name"])

    def nodes(self) -> dict[str, Any]:
        return {node.metadata.name: node for node in self.core.list_node().items}

    def pods_on(self, machine: str) -> list[Any]:
        found = self.core.list_pod_for_all_namespaces(field_selector=f"spec.nodeName={machine}")
        pods: list[Any] = found.items
        return pods

    def case(self, machine: str) -> dict[str, str] | None:
        """The open case about a machine, None when there is none."""
        for item in self.cluster.query("case"):
            if item["sk"]["S"] == machine:
                return {key: next(iter(value.values())) for key, value in item.items()}
        return None

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Ask the deployed drill function; WorldError when it refuses."""
        return invoke_drill(self.cluster, request)

    def history(self, machine: str) -> list[dict[str, Any]]:
        """What passes did about a machine, as Regrow reports it."""
        entries: list[dict[str, Any]] = self.ask({"do": "report", "machine": machine})["history"]
        return entries

    def steps(self, machine: str) -> list[str]:
        """The steps that were taken about a machine since its launch, oldest first."""
        return [step["step"] for entry in self.history(machine) for step in entry.get("steps", ())]

    def invoke(self, function: str, payload: object) -> dict[str, Any]:
        """Invoke a deployed function and wait; its whole answer, with the text of it under `said`."""
        answer = self.client("lambda").invoke(
            FunctionName=self.function(function), Payload=json.dumps(payload).encode()
        )
        return {**answer, "said": answer["Payload"].read().decode()}

    def sweep(self) -> None:
        """Have the minute's sweep now. Finds that a sweep of this minute had before are dropped as doubles."""
        answer = self.invoke("sweep", sample("sweep"))
        assert "FunctionError" not in answer, answer["said"]

    def journal(self, function: str) -> Journal:
        """What a deployed function writes from now on."""
        return Journal(self.cluster.world.place.log / "functions" / f"{self.function(function)}.log")

    def send_pass(self, body: str, *, group: str) -> None:
        """Put a message into the queue of passes."""
        self.client("sqs").send_message(
            QueueUrl=self.queue_url("pass.fifo"),
            MessageBody=body,
            MessageGroupId=group,
            MessageDeduplicationId=str(uuid4()),
        )

    def send_in(self, body: str) -> None:
        """Put a message into the inbox, as rules, topics and hooks do."""
        self.client("sqs").send_message(QueueUrl=self.queue_url("inbox"), MessageBody=body)

    def look_at(self, machine: str) -> None:
        """Order a pass over a machine, as an event would."""
        look = Look(InstanceId(machine), "a test asks for it")
        self.send_pass(look.to_json(), group=look.message_group)

    @contextmanager
    def pass_visibility(self, seconds: int) -> Iterator[None]:
        """Let messages that were not worked off come back this soon, instead of the template's forty seconds."""
        sqs, queue = self.client("sqs"), self.queue_url("pass.fifo")
        before = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["VisibilityTimeout"])["Attributes"]
        sqs.set_queue_attributes(QueueUrl=queue, Attributes={"VisibilityTimeout": str(seconds)})
        try:
            yield
        finally:
            sqs.set_queue_attributes(QueueUrl=queue, Attributes=before)

    def dead_letters(self) -> list[tuple[str, str]]:
        """Message group and body of each pass that was given up, oldest first. They are taken out."""
        sqs, queue = self.client("sqs"), self.queue_url("pass-dead.fifo")
        found: list[tuple[str, str]] = []
        asked = {"QueueUrl": queue, "MaxNumberOfMessages": 10, "AttributeNames": ["MessageGroupId"]}
        while messages := sqs.receive_message(**asked).get("Messages"):
            for message in messages:
                found.append((message["Attributes"]["MessageGroupId"], message["Body"]))
                sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        return found

    def queue_url(self, name: str) -> str:
        return str(self.client("sqs").get_queue_url(QueueName=self.function(name))["QueueUrl"])

    def is_whole(self) -> bool:
        members, desired = self.cluster.members()
        machines = {self.control_plane(), *members}
        nodes = self.nodes()
        return (
            len(members) == desired
            and set(members.values()) == {"InService"}
            and set(nodes) == machines
            and all(_ready(node) for node in nodes.values())
            and not self.cluster.query("case")
            and not self.cluster.query("flight")
            and all(join.state == "ended" for join in see_joins(self.cluster))
        )

    def await_whole(self, within_s: float = HEALED_WITHIN_S) -> None:
        wait_for("a whole cluster: Nodes, group and no open case", self.is_whole, within_s=within_s, every_s=0.2)

    def await_healed(self, victim: str, within_s: float = HEALED_WITHIN_S) -> None:
        """Wait until nothing is left of the victim, its case is closed, and the cluster is whole without it."""
        gone = lambda: victim not in self.cluster.members()[0] and self.is_whole()  # noqa: E731
        wait_for(f"a cluster that is whole without {victim}", gone, within_s=within_s, every_s=0.2)
        assert "CloseCase" in self.steps(victim)


def scene_of(cluster: Cluster) -> Scene:
    """With pods on the machines: every case has some to move."""
    api = config.new_client_from_config(str(cluster.kubeconfig))
    cluster.kubectl("apply", "-f", str(WORKLOAD))
    alerts = Subscriber(cluster.session, cluster.topic_arn(), region=cluster.session.region_name)
    return Scene(cluster, client.CoreV1Api(api), client.StorageV1Api(api), alerts)


def sample(name: str) -> Any:
    """One of the payloads that are kept for tests and for people who invoke a function by hand."""
    return json.loads((CHECKOUT / "events" / f"{name}.json").read_text())


def settings_of(cluster: Cluster) -> dict[str, str]:
    """The environment that the deployed passes have."""
    function = cluster.client("lambda").get_function_configuration(FunctionName=f"regrow-{cluster.name}-remediate")
    variables: dict[str, str] = function["Environment"]["Variables"]
    return variables


def _ready(node: Any) -> bool:
    ready = any(one.type == "Ready" and one.status == "True" for one in node.status.conditions or [])
    return ready and not node.spec.unschedulable
