"""One AWS in this process, with machines that only exist on a list, asked through its API over HTTP."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import boto3
import pytest
from botocore.config import Config

from infra.local.cloud.delays import INSTANT, Delays
from infra.local.cloud.server import Cloud
from infra.local.machines.hardware import MachineSpec

T = TypeVar("T")

QUICK = dataclasses.replace(
    INSTANT, autoscaling_retry_s=0.05, hook_second_s=0.002, os_shutdown_grace_s=0.01, status_check_s=0.05
)
"""A hook's shortest timeout, 30 s, lasts 60 ms."""


class ListedMachines:
    """Hardware that starts and ends at once and keeps a record of what it was asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.specs: dict[str, MachineSpec] = {}
        self.broken = False
        self.consoles: dict[str, bytes] = {}
        self._on: set[str] = set()
        self._cut: set[str] = set()
        self._lock = threading.Lock()

    def start(self, spec: MachineSpec) -> None:
        if self.broken:
            raise OSError("There is no room for another machine.")
        with self._lock:
            self.calls.append(("start", spec.instance_id))
            self.specs[spec.instance_id] = spec
            self._on.add(spec.instance_id)

    def kill(self, instance_id: str) -> None:
        self._off("kill", instance_id)

    def shutdown(self, instance_id: str, grace_s: float) -> None:
        self._off("shutdown", instance_id, grace_s)

    def reboot(self, instance_id: str) -> None:
        with self._lock:
            self.calls.append(("reboot", instance_id))

    def remove(self, instance_id: str) -> None:
        self._off("remove", instance_id)

    def console(self, instance_id: str, most_bytes: int) -> bytes:
        return self.consoles.get(instance_id, b"")[-most_bytes:]

    def running(self) -> frozenset[str]:
        with self._lock:
            return frozenset(self._on)

    def cut(self, instance_id: str) -> None:
        with self._lock:
            self._cut.add(instance_id)

    def mend(self, instance_id: str) -> None:
        with self._lock:
            self._cut.discard(instance_id)

    def reachable(self) -> frozenset[str]:
        with self._lock:
            return frozenset(self._on - self._cut)

    def crash(self, instance_id: str) -> None:
        """The machine is gone and nobody was asked."""
        with self._lock:
            self._on.discard(instance_id)

    def _off(self, *call: Any) -> None:
        with self._lock:
            self.calls.append(call)
            self._on.discard(call[1])


@dataclasses.dataclass
class Aws:
    """The running AWS and what a test asks it."""

    cloud: Cloud
    machines: ListedMachines
    events: list[dict[str, Any]]
    subnets: tuple[str, str]
    vpc: str

    def client(self, service: str, **credentials: str) -> Any:
        given = {"aws_access_key_id": "test", "aws_secret_access_key": "test", **credentials}
        config = Config(retries={"max_attempts": 1})
        return boto3.client(service, region_name="us-east-1", endpoint_url=self.cloud.endpoint, config=config, **given)

    def events_of(self, detail_type: str, instance_id: str | None = None) -> list[dict[str, Any]]:
        return [
            event
            for event in list(self.events)
            if event["detail-type"] == detail_type
            and instance_id in (None, event["detail"].get("instance-id"), event["detail"].get("EC2InstanceId"))
        ]

    def instance(self, instance_id: str) -> dict[str, Any]:
        described = self.client("ec2").describe_instances(InstanceIds=[instance_id])
        found: dict[str, Any] = described["Reservations"][0]["Instances"][0]
        return found

    def state(self, instance_id: str) -> str:
        return str(self.instance(instance_id)["State"]["Name"])

    def run(self, **options: Any) -> str:
        """One running instance."""
        image = {"ImageId": "ami-0abcdef1234567890", "MinCount": 1, "MaxCount": 1, "SubnetId": self.subnets[0]}
        given: dict[str, Any] = {**image, **options}
        instance_id = str(self.client("ec2").run_instances(**given)["Instances"][0]["InstanceId"])
        eventually(lambda: self.state(instance_id) == "running")
        return instance_id


def eventually(look: Callable[[], T], within_s: float = 5.0) -> T:
    """What `look` gives as soon as it is true; fails when it does not come true in time."""
    until = time.monotonic() + within_s
    while not (seen := look()):
        assert time.monotonic() < until, f"did not come true within {within_s} s"
        time.sleep(0.005)
    return seen


def never(look: Callable[[], Any], for_s: float = 0.15) -> None:
    """Fails when `look` comes true in this time."""
    until = time.monotonic() + for_s
    while time.monotonic() < until:
        assert not look()
        time.sleep(0.01)


@pytest.fixture
def delays() -> Delays:
    return QUICK


@pytest.fixture
def aws(delays: Delays) -> Iterator[Aws]:
    machines, events = ListedMachines(), list[dict[str, Any]]()
    cloud = Cloud(machines, delays, events.append)
    cloud.install()
    cloud.start()
    ec2 = boto3.client(
        "ec2",
        region_name="us-east-1",
        endpoint_url=cloud.endpoint,
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    # Inside 127.0.0.0/8, so that the tests can speak to the metadata service from a machine's address.
    vpc = ec2.create_vpc(CidrBlock="127.77.0.0/16")["Vpc"]["VpcId"]

    def subnet(number: int, zone: str) -> str:
        made = ec2.create_subnet(VpcId=vpc, CidrBlock=f"127.77.{number}.0/24", AvailabilityZone=zone)
        return str(made["Subnet"]["SubnetId"])

    try:
        yield Aws(cloud, machines, events, (subnet(1, "us-east-1a"), subnet(2, "us-east-1b")), vpc)
    finally:
        cloud.stop()
