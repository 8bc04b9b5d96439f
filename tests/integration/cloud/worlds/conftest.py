"""A world whose AWS is the real one of the local world, and whose machines boot for real but run no Kubernetes."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import boto3
import pytest

from infra.local.cluster import Cluster
from infra.local.network.plan import AWS_ENDPOINT
from infra.local.places import MachinePlace
from infra.local.worlds.world import World
from tests.integration.local.worlds.conftest import state
from tests.integration.local.worlds.light import eventually

__all__ = ["state"]
T = TypeVar("T")


class Session:
    def client(self, service: str) -> Any:
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        return boto3.client(service, region_name="us-east-1", endpoint_url=f"http://{AWS_ENDPOINT}", **keys)


@dataclass(frozen=True)
class Site:
    """`inside` calls a function in a thread that is in the world's network."""

    cluster: Cluster
    threads: ThreadPoolExecutor

    def inside(self, call: Callable[..., T], *arguments: Any, **named: Any) -> T:
        return self.threads.submit(call, *arguments, **named).result()

    def ec2(self, operation: str, **arguments: Any) -> Any:
        return self.inside(lambda: getattr(self.cluster.client("ec2"), operation)(**arguments))

    def run(self, script: str, **options: Any) -> str:
        """A machine whose user data, this shell script, has said `armed`."""
        image = self.ec2("describe_images", Owners=["self"])["Images"][0]["ImageId"]
        subnet = self.ec2("describe_subnets", Filters=[{"Name": "tag:Name", "Values": ["regrow"]}])["Subnets"][0]
        place = {"ImageId": image, "SubnetId": subnet["SubnetId"]}
        asked = {**place, "UserData": f"#!/bin/sh\n{script}\n", **options}
        instance_id = str(self.ec2("run_instances", MinCount=1, MaxCount=1, **asked)["Instances"][0]["InstanceId"])
        eventually(lambda: "armed" in self.log(instance_id), within_s=60)
        eventually(lambda: self.state(instance_id) == "running", within_s=60)
        return instance_id

    def instance(self, instance_id: str) -> dict[str, Any]:
        found = self.ec2("describe_instances", InstanceIds=[instance_id])
        instance: dict[str, Any] = found["Reservations"][0]["Instances"][0]
        return instance

    def state(self, instance_id: str) -> str:
        return str(self.instance(instance_id)["State"]["Name"])

    def until(self, instance_id: str, state: str) -> None:
        eventually(lambda: self.state(instance_id) == state, within_s=60)

    def place(self, instance_id: str) -> MachinePlace:
        return self.cluster.world.place.machine(instance_id)

    def log(self, instance_id: str) -> str:
        file = self.place(instance_id).log / "boot.log"
        return file.read_text() if file.exists() else ""

    def execute(self, instance_id: str, *argv: str) -> str:
        """What a command in the machine prints."""
        command = self.cluster.world.machine_command(instance_id, argv)
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout


@pytest.fixture(scope="module")
def site(state: Path) -> Iterator[Site]:  # noqa: ARG001 - whose directory the world is in
    world = World.up("ends")
    threads = ThreadPoolExecutor(max_workers=2, initializer=world.enter_network)
    yield Site(Cluster(world, Session()), threads)
    threads.shutdown()
    world.down()
