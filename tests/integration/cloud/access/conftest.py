"""One account for each module of tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from infra.deploy import CHECKOUT, TEMPLATE
from infra.deployment.stack import ensure_stack
from infra.local.cloud import extension
from infra.local.cloud.balancing import balancer_api
from infra.local.cloud.balancing.balancer import Balancer
from infra.local.cloud.formation import load_balancers
from infra.local.cloud.queues import fifo
from infra.local.cloud.server import Cloud
from tests.integration.cloud.access.account import CLUSTER, IMAGE, Account
from tests.integration.cloud.machines.rig import QUICK, ListedMachines

CLUSTER_TEMPLATE = CHECKOUT / "infra" / "cluster" / "template.yaml"


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    """Both stacks are deployed as they are in the checkout, with machines that are names on a list."""
    balancer = Balancer(claim=lambda _: None)
    cloud = Cloud(ListedMachines(), QUICK, lambda _: None)
    cloud.install()
    fifo.install()
    balancer_api.install(balancer.health_of, balancer.second_s)
    load_balancers.install()
    cloud.start()
    try:
        yield _deployed(cloud)
    finally:
        cloud.stop()
        extension.restore()


def _deployed(cloud: Cloud) -> Account:
    empty = Account(cloud, {}, "")
    ec2, formation = empty.client("ec2"), empty.client("cloudformation")
    # Inside 127.0.0.0/8, so that the tests can speak to the metadata service from a machine's address.
    vpc = ec2.create_vpc(CidrBlock="127.79.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"127.79.{number}.0/24", AvailabilityZone=f"us-east-1{zone}")
        for number, zone in ((1, "a"), (2, "b"))
    ]
    ids = [made["Subnet"]["SubnetId"] for made in subnets]
    parameters = {
        "ClusterName": CLUSTER,
        "VpcId": vpc,
        "SubnetIds": ",".join(ids),
        "VpcCidr": "127.79.0.0/16",
        "ImageId": IMAGE,
    }
    outputs = ensure_stack(formation, "cluster", CLUSTER_TEMPLATE.read_text(), parameters, lambda _: None)
    named = {"ClusterName": CLUSTER}
    outputs |= ensure_stack(formation, "remediator", TEMPLATE.read_text(), named, lambda _: None)
    return Account(cloud, outputs, ids[0])
