"""The AWS process of a world: `python -m infra.local.cloud NAME`, inside the world's namespaces. SIGTERM ends it."""

from __future__ import annotations

import argparse
import json
import logging
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import boto3
from pyroute2 import IPRoute

from infra.local.building import emulator
from infra.local.cloud.access import trail
from infra.local.cloud.balancing import balancer_api
from infra.local.cloud.balancing.balancer import Balancer
from infra.local.cloud.delays import Delays
from infra.local.cloud.events import rule_api, topic_api
from infra.local.cloud.events.bus import EventBus
from infra.local.cloud.events.schedules import Schedules
from infra.local.cloud.extension import REGION
from infra.local.cloud.formation import load_balancers
from infra.local.cloud.functions import lambda_api
from infra.local.cloud.functions.environments import Functions
from infra.local.cloud.functions.pollers import Pollers
from infra.local.cloud.queues import fifo
from infra.local.cloud.server import Cloud
from infra.local.machines.files import KUBERNETES_VERSION
from infra.local.machines.machines import Machines
from infra.local.machines.paper import PaperBeside
from infra.local.network.bridge import BRIDGE
from infra.local.network.plan import AWS_ENDPOINT, METADATA, VPC
from infra.local.places import WorldPlace

log = logging.getLogger(__name__)

HTTP_PORT = 80
VERSION_TAG = "regrow:kubernetes-version"
"""What Regrow reads of an image before it lets a machine of it join."""

SUBNETS = {"a": "10.77.1.0/24", "b": "10.77.2.0/24"}
"""One in each zone."""


class Part(Protocol):
    """Something of AWS that works by itself."""

    def start(self) -> None: ...

    def stop(self) -> None: ...


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m infra.local.cloud", description=__doc__)
    parser.add_argument("name", help="the world")
    place = WorldPlace.of(parser.parse_args().name)
    _log_to(place.log / "aws.log")
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    cloud, parts = assemble(place)

    def prepare(endpoint: str) -> None:
        make_network(endpoint)
        make_image(endpoint)
        for part in parts:
            part.start()

    try:
        cloud.start(prepare)
        log.info("AWS answers at %s", cloud.endpoint)
        ended.wait()
    finally:
        for part in reversed(parts):
            part.stop()
        cloud.stop()
    return 0


def assemble(place: WorldPlace) -> tuple[Cloud, Sequence[Part]]:
    """The whole AWS of this world, extensions installed, nothing started."""
    delays = Delays.named(json.loads(place.settings.read_text())["delays"])
    functions = Functions(
        place.directory, f"http://{AWS_ENDPOINT}", emulator.ensure(), retry_after_s=delays.async_retry_s
    )
    bus = EventBus(functions, delay_s=delays.eventbridge_s, log=place.log / "events.log")
    balancer = Balancer(claim=claim)
    cloud = Cloud(
        PaperBeside(Machines.of_world(place.name)),
        delays,
        bus.publish,
        host=str(AWS_ENDPOINT),
        port=HTTP_PORT,
        metadata_host=str(METADATA),
        metadata_port=HTTP_PORT,
    )
    cloud.install()
    fifo.install()
    lambda_api.install(functions)
    topic_api.install(functions)
    rule_api.install(bus)
    balancer_api.install(balancer.health_of, balancer.second_s, delays.deregistration_s)
    load_balancers.install()
    return cloud, (functions, bus, Schedules(bus), Pollers(functions, pickup_s=delays.poller_s), balancer)


def claim(address: str) -> None:
    """Put a load balancer's address on the bridge, if it is not there."""
    with IPRoute() as ip:
        if not ip.get_addr(address=address):
            ip.addr("add", index=ip.link_lookup(ifname=BRIDGE)[0], address=address, prefixlen=VPC.prefixlen)


def make_network(endpoint: str) -> None:
    """The VPC that the world's bridge is, with a subnet in each zone; all are tagged Name=regrow."""
    ec2 = _ec2(endpoint)

    def tagged(kind: str) -> list[dict[str, object]]:
        return [{"ResourceType": kind, "Tags": [{"Key": "Name", "Value": "regrow"}]}]

    vpc = ec2.create_vpc(CidrBlock=str(VPC), TagSpecifications=tagged("vpc"))["Vpc"]["VpcId"]
    for zone, subnet in SUBNETS.items():
        ec2.create_subnet(
            VpcId=vpc, CidrBlock=subnet, AvailabilityZone=f"{REGION}{zone}", TagSpecifications=tagged("subnet")
        )


def make_image(endpoint: str) -> None:
    """The account's own image, which all machines of a world have: tagged with what is on it."""
    ec2 = _ec2(endpoint)
    image = ec2.register_image(Name="regrow")["ImageId"]
    ec2.create_tags(Resources=[image], Tags=[{"Key": VERSION_TAG, "Value": KUBERNETES_VERSION}])


def _ec2(endpoint: str) -> Any:
    # moto checks no signature, so that any key does.
    anybody = {"aws_access_key_id": "world", "aws_secret_access_key": "world"}
    return boto3.client("ec2", region_name=REGION, endpoint_url=endpoint, **anybody)


def _log_to(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(filename=file, level=logging.INFO, format=form)
    logging.getLogger("botocore").setLevel(logging.WARNING)
    trail.write_to(file.with_name("trail.log"))


if __name__ == "__main__":
    raise SystemExit(main())
