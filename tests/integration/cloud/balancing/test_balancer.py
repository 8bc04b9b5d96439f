"""The balancer: who gets connections, what health says, what becomes of connections that are there."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from pathlib import Path

import pytest

from infra.local.cloud.balancing.probes import probe
from infra.local.cloud.balancing.targets import HealthCheck
from tests.integration.cloud.balancing.conftest import Balancing
from tests.integration.cloud.balancing.servers import NamingServer, StatusServer, connected, named, self_signed
from tests.integration.cloud.functions.local_aws import eventually

PORT = 7443


def test_only_healthy_targets_get_new_connections(elb: Balancing) -> None:
    group = elb.group("healthy-only")
    balancer, good, bad = elb.balancer("healthy-only", group), elb.address(), elb.address()
    server = NamingServer(good, PORT, "good")
    elb.register(group, good, bad)
    eventually(lambda: elb.health(group) == {good: ("healthy", None), bad: ("unhealthy", "Target.FailedHealthChecks")})
    assert {named(balancer, PORT) for _ in range(20)} == {"good"}
    late = NamingServer(bad, PORT, "late")
    eventually(lambda: elb.states(group)[bad] == "healthy")
    assert {named(balancer, PORT) for _ in range(40)} == {"good", "late"}
    server.end()
    eventually(lambda: elb.states(group)[good] == "unhealthy")
    assert {named(balancer, PORT) for _ in range(20)} == {"late"}
    late.end()


def test_with_no_healthy_target_connections_go_to_all(elb: Balancing) -> None:
    group = elb.group("open", HealthCheckPort="1")
    balancer, target = elb.balancer("open", group), elb.address()
    server = NamingServer(target, PORT, "tried")
    elb.register(group, target)
    eventually(lambda: elb.states(group)[target] == "unhealthy")
    assert named(balancer, PORT) == "tried"
    server.end()


def test_without_targets_a_connection_is_reset(elb: Balancing) -> None:
    balancer = elb.balancer("empty", elb.group("empty"))
    eventually(lambda: named(balancer, PORT) == "ConnectionResetError")


def test_bytes_and_half_closes_go_both_ways(elb: Balancing) -> None:
    group = elb.group("bytes")
    balancer, target = elb.balancer("bytes", group), elb.address()
    server = NamingServer(target, PORT, "name")
    elb.register(group, target)
    eventually(lambda: elb.states(group)[target] == "healthy")
    with connected(balancer, PORT) as connection:
        assert connection.recv(4) == b"name"
        connection.sendall(b"x" * 1_000_000)
        connection.shutdown(socket.SHUT_WR)
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    assert received == b"x" * 1_000_000 + b"bye"
    server.end()


def test_a_draining_target_keeps_its_connections_and_gets_no_new_ones(elb: Balancing) -> None:
    group = elb.group("draining")
    elb.client("elbv2").modify_target_group_attributes(
        TargetGroupArn=group,
        Attributes=[
            {"Key": "deregistration_delay.timeout_seconds", "Value": "100"},
            {"Key": "deregistration_delay.connection_termination.enabled", "Value": "true"},
        ],
    )
    balancer, old, new = elb.balancer("draining", group), elb.address(), elb.address()
    servers = [NamingServer(old, PORT, "old"), NamingServer(new, PORT, "new")]
    elb.register(group, old)
    eventually(lambda: elb.states(group).get(old) == "healthy")
    with connected(balancer, PORT) as connection:
        assert connection.recv(3) == b"old"
        elb.register(group, new)
        eventually(lambda: elb.states(group).get(new) == "healthy")
        elb.deregister(group, old)
        assert elb.health(group)[old] == ("draining", "Target.DeregistrationInProgress")
        time.sleep(0.2)
        assert {named(balancer, PORT) for _ in range(10)} == {"new"}
        connection.sendall(b"still here")
        assert connection.recv(100) == b"still here"
        eventually(lambda: old not in elb.states(group))
        with pytest.raises(ConnectionResetError):
            eventually(lambda: connection.recv(100))
    for server in servers:
        server.end()


def test_nothing_drains_where_nobody_has_said_how_long_and_no_time_is_the_default(elb: Balancing) -> None:
    elbv2, silent, told = elb.client("elbv2"), elb.group("silent"), elb.group("told")
    delay = {"Key": "deregistration_delay.timeout_seconds", "Value": "100"}
    elbv2.modify_target_group_attributes(TargetGroupArn=told, Attributes=[delay])
    target = elb.address()
    for group in (silent, told):
        elb.register(group, target)
        elb.deregister(group, target)
    assert elb.states(silent) == {}
    assert elb.states(told) == {target: "draining"}


@pytest.mark.parametrize(
    ("terminate", "another", "survives"), [("true", True, False), ("false", True, True), ("true", False, True)]
)
def test_connections_of_a_target_that_becomes_unhealthy_end_if_the_group_says_so_and_another_one_is_healthy(
    elb: Balancing, terminate: str, another: bool, survives: bool
) -> None:
    target, other = elb.address(), elb.address()
    check, name = StatusServer(target, 8080), f"unwell-{terminate}-{another}"
    of_other = StatusServer(other, 8080)
    group = elb.group(name, HealthCheckProtocol="HTTP", HealthCheckPort="8080", HealthCheckPath="/ok")
    elb.client("elbv2").modify_target_group_attributes(
        TargetGroupArn=group,
        Attributes=[{"Key": "target_health_state.unhealthy.connection_termination.enabled", "Value": terminate}],
    )
    balancer, server = elb.balancer(name, group), NamingServer(target, PORT, "name")
    elb.register(group, target)
    eventually(lambda: elb.states(group)[target] == "healthy")
    with connected(balancer, PORT) as connection:
        assert connection.recv(4) == b"name"
        if another:
            elb.register(group, other)
            eventually(lambda: elb.states(group)[other] == "healthy")
        check.status = 503
        eventually(lambda: elb.health(group)[target] == ("unhealthy", "Target.ResponseCodeMismatch"))
        time.sleep(0.3)
        try:
            connection.sendall(b"echo")
            answer = connection.recv(4)
        except OSError:
            answer = b""
        assert (answer == b"echo") is survives
    assert set(check.paths) == {"/ok"}
    for each in (check, of_other, server):
        each.end()


def test_a_target_that_has_ended_lets_its_clients_wait_until_its_checks_find_out(elb: Balancing) -> None:
    group = elb.group("ended", TargetType="instance")
    balancer, ec2 = elb.balancer("ended", group), elb.client("ec2")
    ran = ec2.run_instances(ImageId="ami-0abcdef1234567890", MinCount=2, MaxCount=2, SubnetId=elb.subnets[0])
    ends, stays = (instance["InstanceId"] for instance in ran["Instances"])
    servers = [
        NamingServer(instance["PrivateIpAddress"], PORT, name)
        for instance, name in zip(ran["Instances"], ("ends", "stays"), strict=True)
    ]
    ec2.get_waiter("instance_running").wait(InstanceIds=[ends, stays], WaiterConfig={"Delay": 1})
    elb.register(group, ends)
    eventually(lambda: elb.states(group)[ends] == "healthy")
    ec2.terminate_instances(InstanceIds=[ends])
    eventually(lambda: named(balancer, PORT, timeout_s=0.1) == "TimeoutError")
    with connected(balancer, PORT) as waits:
        elb.register(group, stays)
        with pytest.raises(ConnectionResetError):
            waits.recv(100)
    assert {named(balancer, PORT) for _ in range(20)} == {"stays"}
    eventually(lambda: set(elb.states(group)) == {stays})
    for server in servers:
        server.end()


@pytest.mark.parametrize(("preserves", "answer"), [("true", "TimeoutError"), ("false", "self")])
def test_a_target_does_not_reach_itself_while_clients_keep_their_addresses(
    elb: Balancing, preserves: str, answer: str
) -> None:
    target, group = elb.address(), elb.group(f"hairpin-{preserves}")
    elb.client("elbv2").modify_target_group_attributes(
        TargetGroupArn=group, Attributes=[{"Key": "preserve_client_ip.enabled", "Value": preserves}]
    )
    balancer, server = elb.balancer(f"hairpin-{preserves}", group), NamingServer(target, PORT, "self")
    elb.register(group, target)
    eventually(lambda: elb.states(group)[target] == "healthy")
    assert named(balancer, PORT) == "self"
    assert named(balancer, PORT, source=target, timeout_s=0.3) == answer
    server.end()


@pytest.mark.parametrize(("kind", "preserved"), [("instance", "true"), ("ip", "false")])
def test_clients_keep_their_addresses_by_default_only_towards_instances(
    elb: Balancing, kind: str, preserved: str
) -> None:
    group = elb.group(f"by-default-{kind}", TargetType=kind)
    attributes = elb.client("elbv2").describe_target_group_attributes(TargetGroupArn=group)["Attributes"]
    assert {"Key": "preserve_client_ip.enabled", "Value": preserved} in attributes


def test_https_checks_take_any_certificate_and_look_at_the_status(elb: Balancing, tmp_path: Path) -> None:
    target = elb.address()
    server = StatusServer(target, PORT, tls=self_signed(tmp_path))
    group = elb.group("https", HealthCheckProtocol="HTTPS", HealthCheckPath="/readyz", Matcher={"HttpCode": "200"})
    elb.balancer("https", group)
    elb.register(group, target)
    eventually(lambda: elb.states(group)[target] == "healthy")
    server.status = 500
    eventually(lambda: elb.health(group)[target] == ("unhealthy", "Target.ResponseCodeMismatch"))
    assert set(server.paths) == {"/readyz"}
    server.end()


def test_a_target_of_an_unused_group_is_not_checked_and_says_so(elb: Balancing) -> None:
    group = elb.group("unused")
    elb.register(group, elb.address())
    assert list(elb.health(group).values()) == [("unused", "Target.NotInUse")]


def test_an_instance_is_reached_at_its_private_address_until_it_stops_or_ends(elb: Balancing) -> None:
    group = elb.group("instances", TargetType="instance")
    delay = {"Key": "deregistration_delay.timeout_seconds", "Value": "100"}
    elb.client("elbv2").modify_target_group_attributes(TargetGroupArn=group, Attributes=[delay])
    balancer, ec2 = elb.balancer("instances", group), elb.client("ec2")
    ran = ec2.run_instances(ImageId="ami-0abcdef1234567890", MinCount=1, MaxCount=1, SubnetId=elb.subnets[0])
    instance, address = ran["Instances"][0]["InstanceId"], ran["Instances"][0]["PrivateIpAddress"]
    server = NamingServer(address, PORT, "machine")
    ec2.get_waiter("instance_running").wait(InstanceIds=[instance], WaiterConfig={"Delay": 1})
    elb.register(group, instance)
    eventually(lambda: elb.states(group)[instance] == "healthy")
    assert named(balancer, PORT) == "machine"
    ec2.stop_instances(InstanceIds=[instance])
    eventually(lambda: elb.health(group)[instance] == ("unused", "Target.InvalidState"))
    eventually(lambda: named(balancer, PORT) == "ConnectionResetError")
    ec2.start_instances(InstanceIds=[instance])
    eventually(lambda: elb.states(group)[instance] == "healthy")
    ec2.terminate_instances(InstanceIds=[instance])
    eventually(lambda: elb.states(group).get(instance) == "draining")
    eventually(lambda: named(balancer, PORT) == "ConnectionResetError")
    server.end()


def test_deregistering_what_is_not_registered_is_no_error(elb: Balancing) -> None:
    elb.deregister(elb.group("nobody"), elb.address())


def test_a_stack_keeps_addresses_attributes_and_targets_and_takes_all_away(elb: Balancing) -> None:
    address, target = elb.address(), elb.address()
    template = {
        "Resources": {
            "Balancer": {
                "Type": "AWS::ElasticLoadBalancingV2::LoadBalancer",
                "Properties": {
                    "Type": "network",
                    "Scheme": "internal",
                    "SubnetMappings": [
                        {"SubnetId": elb.subnets[0], "PrivateIPv4Address": address},
                        {"SubnetId": elb.subnets[1]},
                    ],
                    "LoadBalancerAttributes": [{"Key": "load_balancing.cross_zone.enabled", "Value": "true"}],
                },
            },
            "Group": {
                "Type": "AWS::ElasticLoadBalancingV2::TargetGroup",
                "Properties": {
                    "VpcId": elb.vpc,
                    "Protocol": "TCP",
                    "Port": "7443",
                    "TargetType": "ip",
                    "HealthCheckIntervalSeconds": "10",
                    "HealthCheckTimeoutSeconds": 5,
                    "HealthyThresholdCount": 2,
                    "Targets": [{"Id": target}],
                    "TargetGroupAttributes": [{"Key": "deregistration_delay.timeout_seconds", "Value": "7"}],
                },
            },
            "Listener": {
                "Type": "AWS::ElasticLoadBalancingV2::Listener",
                "Properties": {
                    "LoadBalancerArn": {"Ref": "Balancer"},
                    "Protocol": "TCP",
                    "Port": "7443",
                    "DefaultActions": [{"Type": "forward", "TargetGroupArn": {"Ref": "Group"}}],
                },
            },
        },
        "Outputs": {"Name": {"Value": {"Fn::GetAtt": ["Balancer", "DNSName"]}}},
    }
    formation, elbv2 = elb.client("cloudformation"), elb.client("elbv2")
    server = NamingServer(target, PORT, "stacked")
    formation.create_stack(StackName="api", TemplateBody=json.dumps(template))
    eventually(lambda: named(address, PORT) == "stacked")
    (stack,) = formation.describe_stacks(StackName="api")["Stacks"]
    dns_name = stack["Outputs"][0]["OutputValue"]
    (balancer,) = (one for one in elbv2.describe_load_balancers()["LoadBalancers"] if one["DNSName"] == dns_name)
    addresses = [zone["LoadBalancerAddresses"][0]["PrivateIPv4Address"] for zone in balancer["AvailabilityZones"]]
    assert addresses[0] == address
    assert balancer["Type"] == "network"
    (group,) = elbv2.describe_target_groups(LoadBalancerArn=balancer["LoadBalancerArn"])["TargetGroups"]
    assert group["HealthCheckIntervalSeconds"] == 10
    attributes = elbv2.describe_target_group_attributes(TargetGroupArn=group["TargetGroupArn"])["Attributes"]
    assert {"Key": "deregistration_delay.timeout_seconds", "Value": "7"} in attributes
    formation.delete_stack(StackName="api")
    eventually(lambda: named(address, PORT) == "ConnectionRefusedError")
    assert group["TargetGroupArn"] not in [
        one["TargetGroupArn"] for one in elbv2.describe_target_groups()["TargetGroups"]
    ]
    server.end()


@pytest.mark.parametrize("turns", range(40))
def test_a_check_that_is_called_off_ends_at_whatever_moment(turns: int) -> None:
    server = NamingServer("127.77.1.1", PORT, "well")

    async def called_off() -> bool:
        check = HealthCheck("TCP", None, "/", "200", interval_s=1.0, timeout_s=5.0, healthy_after=2, unhealthy_after=2)
        checking = asyncio.create_task(probe(check, "127.77.1.1", PORT))
        for _ in range(turns):
            await asyncio.sleep(0)
        if checking.done() or not checking.cancel():
            return True
        await asyncio.wait([checking])
        return checking.cancelled()

    assert asyncio.run(called_off())
    server.end()
