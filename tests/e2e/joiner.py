"""A machine that was launched and does not join by itself, and what can be done by whoever holds what it holds."""

from __future__ import annotations

import base64
import json
from collections.abc import Container, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError
from kubernetes import client

from infra.local.cluster import wait_for
from infra.local.drills.acts import set_capacity
from infra.local.drills.holder import (
    aws_as,
    bundle_name,
    bundle_of,
    client_with,
    forget_abandoned,
    run_in,
)
from tests.e2e.scene import Scene


@dataclass(frozen=True)
class Outcome:
    """What became of a certificate request. `refused` is the API server's status for one that it did not take."""

    word: str
    reason: str = ""
    refused: int | None = None
    convicted: str | None = None


@dataclass(frozen=True)
class Joiner:
    """One launch of one machine, as EC2, Regrow's table and the cluster know it."""

    scene: Scene
    id: str

    def ask(self, function: str) -> dict[str, Any]:
        """Have mint or approve look at this machine."""
        answer = self.scene.invoke(function, {"machine": self.id})
        assert "FunctionError" not in answer, answer["said"]
        said: dict[str, Any] = json.loads(answer["said"])
        return said

    def described(self) -> dict[str, Any]:
        found = self.scene.client("ec2").describe_instances(InstanceIds=[self.id])
        instance: dict[str, Any] = found["Reservations"][0]["Instances"][0]
        return instance

    def record(self, partition: str = "join") -> dict[str, Any] | None:
        """The join record or, in another partition, the approval of its latest launch."""
        items = [item for item in self.scene.cluster.query(partition) if item["instance"]["S"] == self.id]
        return max(items, key=lambda item: item["sk"]["S"], default=None)

    def state(self) -> str | None:
        record = self.record()
        return record["state"]["S"] if record else None

    def token_id(self) -> str:
        record = self.record()
        assert record
        return str(record["token_id"]["S"])

    def denied(self) -> str | None:
        """The proof that the approver has against it."""
        approval = self.record("approval")
        return approval.get("denied", {}).get("S") if approval else None

    def write(self, item: dict[str, Any]) -> None:
        self.scene.client("dynamodb").put_item(TableName=self._table, Item=item)

    def forget(self, item: dict[str, Any]) -> None:
        key = {name: item[name] for name in ("pk", "sk")}
        self.scene.client("dynamodb").delete_item(TableName=self._table, Key=key)

    def acquit(self) -> None:
        if approval := self.record("approval"):
            self.forget(approval)

    @contextmanager
    def recorded_otherwise(self, **changes: str | None) -> Iterator[None]:
        """Its record with other words in it; without a change there is no record."""
        record = self.record()
        assert record
        if changes:
            self.write(record | {name: {"S": value} for name, value in changes.items() if value is not None})
        else:
            self.forget(record)
        try:
            yield
        finally:
            self.write(record)

    def rest_is_over(self) -> None:
        """Whoever was at work on it is not any more: the time that a later call has to wait for that is past."""
        record = self.record()
        if record and record["state"]["S"] == "minting":
            self.write(record | {"busy_until": {"S": datetime.now(UTC).isoformat()}})

    def run(self, *argv: str) -> str:
        """Run something as root in the machine; what it says."""
        return run_in(self.scene.cluster, self.id, *argv)

    def aws(self, service: str) -> Any:
        """A client with the credentials that the metadata service gives this machine."""
        return aws_as(self.scene.cluster, self.id, service)

    @property
    def bundle_name(self) -> str:
        return bundle_name(self.scene.cluster, self.id)

    def bundle(self) -> dict[str, str]:
        """What it was handed, read with its own credentials."""
        return bundle_of(self.scene.cluster, self.id)

    def has_bundle(self) -> bool:
        with suppress(ClientError):
            self.scene.client("ssm").get_parameter(Name=self.bundle_name)
            return True
        return False

    @property
    def _table(self) -> str:
        return f"regrow-{self.scene.cluster.name}"


def secret_of(token_id: str) -> str:
    """The name of the token's Secret."""
    return f"bootstrap-token-{token_id}"


def is_let_in(api: client.ApiClient) -> bool:
    """Whether the API server knows this token at all."""
    try:
        client.CertificatesV1Api(api).list_certificate_signing_request()
    except client.ApiException as refusal:
        assert refusal.status == 401, refusal
        return False
    return True


def as_function(scene: Scene, name: str, service: str) -> Any:
    """A client with the role of a deployed function."""
    sts = scene.client("sts")
    role = f"arn:aws:iam::{sts.get_caller_identity()['Account']}:role/{scene.function(name)}"
    given = sts.assume_role(RoleArn=role, RoleSessionName="e2e")["Credentials"]
    return client_with(service, given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])


def answer_of(aws: Any, operation: str, **arguments: Any) -> str:
    """`ok`, or the code of the error."""
    try:
        getattr(aws, operation)(**arguments)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return "ok"


@contextmanager
def launched(scene: Scene, *, let_alone: bool = True) -> Iterator[Joiner]:
    """One worker more than before, that runs; let alone: nobody but the test asks for its joining.

    At the end the group is as large as before, and the machine gone, joined or not.
    """
    autoscaling, group = scene.client("autoscaling"), {"AutoScalingGroupName": scene.cluster.worker_group}
    before, desired = scene.cluster.members()
    try:
        with paused(scene) if let_alone else nullcontext():
            set_capacity(scene.cluster, desired + 1)
            wait_for("a machine that runs", lambda: bool(_running(scene, before)), within_s=30, every_s=0.05)
            yield Joiner(scene, _running(scene, before)[0])
    finally:
        # Nothing takes the place of what is taken away meanwhile.
        autoscaling.suspend_processes(**group, ScalingProcesses=["Launch"])
        for machine in scene.cluster.members()[0].keys() - before:
            with suppress(ClientError):  # it is leaving already
                autoscaling.terminate_instance_in_auto_scaling_group(
                    InstanceId=machine, ShouldDecrementDesiredCapacity=False
                )
            scene.look_at(machine)
        take_back(scene, *pending(scene))
        wait_for("its end", lambda: scene.cluster.members()[0].keys() <= before.keys(), within_s=60)
        set_capacity(scene.cluster, desired)
        autoscaling.resume_processes(**group, ScalingProcesses=["Launch"])
        forget_abandoned(scene.cluster)


@contextmanager
def paused(scene: Scene) -> Iterator[None]:
    """A person may end the pause of the workers' group before that."""
    group = scene.cluster.worker_group
    scene.ask({"do": "pause", "of": group, "minutes": 30, "reason": "a test is at work"})
    try:
        yield
    finally:
        scene.ask({"do": "resume", "of": group})


@contextmanager
def without_sweeps(scene: Scene) -> Iterator[None]:
    """The minute's sweep would decide requests beside the test."""
    events = scene.client("events")
    rules = [rule["Name"] for rule in events.list_rules()["Rules"] if rule.get("ScheduleExpression")]
    assert rules
    for rule in rules:
        events.disable_rule(Name=rule)
    try:
        yield
    finally:
        for rule in rules:
            events.enable_rule(Name=rule)


def _running(scene: Scene, before: Container[str]) -> list[str]:
    members = scene.cluster.members()[0].items()
    return [
        machine
        for machine, state in members
        if machine not in before and state == "Pending:Wait" and scene.state_of(machine) == "running"
    ]


def word_on(scene: Scene, name: str) -> tuple[str, str]:
    """Approved, Denied or Pending, and why."""
    status = _requests(scene).read_certificate_signing_request(name).status
    for condition in status.conditions or []:
        return str(condition.type), str(condition.message)
    return "Pending", ""


def await_certificate(scene: Scene, name: str) -> bytes:
    """PEM of what the cluster's signer made of an approved request."""

    def certificate() -> str:
        return _requests(scene).read_certificate_signing_request(name).status.certificate or ""

    wait_for(f"the certificate of {name}", lambda: bool(certificate()), within_s=10, every_s=0.05)
    return base64.b64decode(certificate())


def take_back(scene: Scene, *names: str) -> None:
    """Take a request away; one that nobody has decided would wait for a day."""
    for name in names:
        with suppress(client.ApiException):
            _requests(scene).delete_certificate_signing_request(name)


def pending(scene: Scene) -> list[str]:
    found = _requests(scene).list_certificate_signing_request().items
    return [request.metadata.name for request in found if not request.status.conditions]


def _requests(scene: Scene) -> client.CertificatesV1Api:
    return client.CertificatesV1Api(scene.core.api_client)
