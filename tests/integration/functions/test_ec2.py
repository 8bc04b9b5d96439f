"""EC2 tells what state an instance is in, and only its own word means that there is no such instance."""

from __future__ import annotations

from typing import Any

import pytest

from functions.cluster.facts import Absent
from functions.cluster.machine import Instance, InstanceId, InstanceState, Role
from functions.edges.ec2 import Ec2Edge
from tests.integration.functions.conftest import Clients
from tests.integration.functions.surroundings import IMAGE, a_group, a_subnet
from tests.unit.functions.builders import CLUSTER, WORKERS, machine


def test_a_running_instance_is_shown_with_its_address_group_cluster_and_role(clients: Clients) -> None:
    one = a_group(clients)[0]
    seen = Ec2Edge(clients("ec2")).instance(InstanceId(one))
    assert isinstance(seen, Instance)
    assert (seen.id, seen.state) == (one, InstanceState.RUNNING)
    assert (seen.cluster, seen.group, seen.role) == (CLUSTER, WORKERS, Role.WORKER)
    assert seen.address
    assert seen.launched_at.tzinfo


def test_a_stopped_and_a_terminated_instance_are_told_apart(clients: Clients) -> None:
    ec2 = clients("ec2")
    made = ec2.run_instances(ImageId=IMAGE, MinCount=2, MaxCount=2, SubnetId=a_subnet(clients))["Instances"]
    stopped, terminated = (InstanceId(one["InstanceId"]) for one in made)
    ec2.stop_instances(InstanceIds=[stopped])
    ec2.terminate_instances(InstanceIds=[terminated])
    states = [getattr(Ec2Edge(ec2).instance(one), "state", None) for one in (stopped, terminated)]
    assert states == [InstanceState.STOPPED, InstanceState.TERMINATED]


def test_an_instance_that_ec2_does_not_know_is_absent(clients: Clients) -> None:
    assert Ec2Edge(clients("ec2")).instance(machine(1)) == Absent()


def test_the_fleet_is_every_instance_of_this_cluster_and_no_other(clients: Clients) -> None:
    ours = a_group(clients)
    a_group(clients, name="other-worker", cluster="other")
    assert sorted(one.id for one in Ec2Edge(clients("ec2")).fleet(CLUSTER)) == sorted(ours)
    assert Ec2Edge(clients("ec2")).fleet("nobody") == ()


def test_a_drill_terminates_that_instance_alone(clients: Clients) -> None:
    victim, survivor = map(InstanceId, a_group(clients))
    edge = Ec2Edge(clients("ec2"))
    edge.terminate_without_shutdown(victim)
    states = [getattr(edge.instance(one), "state", None) for one in (victim, survivor)]
    assert states == [InstanceState.TERMINATED, InstanceState.RUNNING]


def test_an_instance_is_shown_with_what_its_certificates_may_name(clients: Clients) -> None:
    ec2 = clients("ec2")
    one = InstanceId(a_group(clients)[0])
    (interface,) = ec2.describe_instances(InstanceIds=[one])["Reservations"][0]["Instances"][0]["NetworkInterfaces"]
    ec2.assign_private_ip_addresses(
        NetworkInterfaceId=interface["NetworkInterfaceId"], SecondaryPrivateIpAddressCount=1
    )
    seen = Ec2Edge(ec2).instance(one)
    assert isinstance(seen, Instance)
    assert len(seen.private_addresses) == 2
    assert seen.address in seen.private_addresses
    assert seen.private_dns_name
    assert seen.image == IMAGE
    assert seen.zone.startswith("us-east-1")
    assert seen.launched_at.microsecond == 0


@pytest.mark.parametrize(
    ("options", "seen_as"),
    [
        ({"HttpTokens": "required", "HttpPutResponseHopLimit": 1}, ("required", 1)),
        ({"HttpTokens": "required", "HttpPutResponseHopLimit": 2}, ("required", 2)),
        ({}, ("optional", 1)),
    ],
)
def test_an_instance_is_shown_with_who_reaches_its_credentials_and_where_it_stands(
    clients: Clients, options: dict[str, Any], seen_as: tuple[str, int]
) -> None:
    ec2, iam, subnet = clients("ec2"), clients("iam"), a_subnet(clients)
    profile = iam.create_instance_profile(InstanceProfileName="worker")["InstanceProfile"]["Arn"]
    made = ec2.run_instances(
        ImageId=IMAGE,
        MinCount=1,
        MaxCount=1,
        SubnetId=subnet,
        MetadataOptions=options,
        IamInstanceProfile={"Arn": profile},
    )["Instances"][0]
    seen = Ec2Edge(ec2).instance(InstanceId(made["InstanceId"]))
    assert isinstance(seen, Instance)
    assert (seen.metadata_tokens, seen.metadata_hops) == seen_as
    assert (seen.profile, seen.subnet, seen.vpc) == (profile, subnet, made["VpcId"])


def test_of_each_interface_the_first_ipv6_address_is_the_machines(clients: Clients) -> None:
    ec2 = clients("ec2")
    made = ec2.run_instances(ImageId=IMAGE, MinCount=1, MaxCount=1, SubnetId=a_subnet(clients))["Instances"][0]
    second = ec2.create_network_interface(SubnetId=a_subnet(clients))["NetworkInterface"]["NetworkInterfaceId"]
    ec2.attach_network_interface(NetworkInterfaceId=second, InstanceId=made["InstanceId"], DeviceIndex=1)
    first = made["NetworkInterfaces"][0]["NetworkInterfaceId"]
    ec2.assign_ipv6_addresses(NetworkInterfaceId=first, Ipv6Addresses=["2600:1f18::7", "2600:1f18::8"])
    ec2.assign_ipv6_addresses(NetworkInterfaceId=second, Ipv6Addresses=["2600:1f18:1::9"])
    seen = Ec2Edge(ec2).instance(InstanceId(made["InstanceId"]))
    assert isinstance(seen, Instance)
    assert seen.ipv6_addresses == ("2600:1f18::7", "2600:1f18:1::9")


def test_an_image_is_known_by_its_tags_or_not_at_all(clients: Clients) -> None:
    ec2 = clients("ec2")
    ec2.create_tags(Resources=[IMAGE], Tags=[{"Key": "regrow:kubernetes-version", "Value": "v1.36.3"}])
    assert Ec2Edge(ec2).image_tags(IMAGE) == {"regrow:kubernetes-version": "v1.36.3"}
    assert Ec2Edge(ec2).image_tags("ami-0123456789abcdef0") == Absent()


def test_the_console_is_shown_as_text(clients: Clients) -> None:
    assert isinstance(Ec2Edge(clients("ec2")).console_output(InstanceId(a_group(clients)[0])), str)
