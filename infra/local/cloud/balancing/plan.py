"""What the balancer must do, read out of moto: who listens where, and which targets stand behind. No network here."""

from __future__ import annotations

from dataclasses import dataclass

from moto.ec2.models import ec2_backends
from moto.elbv2.models import FakeAction, FakeListener, elbv2_backends

from infra.local.cloud.balancing.balancer_api import AddressedLoadBalancer, ProbedTargetGroup
from infra.local.cloud.balancing.targets import HealthCheck
from infra.local.cloud.extension import ACCOUNT, REGION

TargetKey = tuple[str, str]
"""A target group's ARN and a target's id."""


@dataclass(frozen=True)
class Target:
    """A registered target: where its traffic goes, and how it is checked.

    A stopped or terminated instance has no address: what is sent to it goes nowhere.
    """

    address: str | None
    port: int
    check: HealthCheck


@dataclass(frozen=True)
class Group:
    """What a target group asks for beside its targets."""

    draining: frozenset[str]
    preserves_client_address: bool
    ends_connections_of_unhealthy: bool
    ends_connections_after_draining: bool


@dataclass(frozen=True)
class Plan:
    """Everything at one moment. `listeners` maps address and port to target groups with their weights."""

    listeners: dict[tuple[str, int], tuple[tuple[str, int], ...]]
    targets: dict[TargetKey, Target]
    groups: dict[str, Group]


def current(second_s: float) -> Plan:
    """The plan as the API has it now."""
    elbv2 = elbv2_backends[ACCOUNT][REGION]
    listeners: dict[tuple[str, int], tuple[tuple[str, int], ...]] = {}
    for balancer in list(elbv2.load_balancers.values()):
        if isinstance(balancer, AddressedLoadBalancer) and balancer.type == "network":
            for listener in list(balancer.listeners.values()):
                for address in balancer.private_addresses.values():
                    if listener.protocol == "TCP":
                        listeners[(address, int(listener.port))] = _forwarded(listener)
    used = {arn for groups in listeners.values() for arn, _ in groups}
    targets: dict[TargetKey, Target] = {}
    groups: dict[str, Group] = {}
    for group in list(elbv2.target_groups.values()):
        if group.arn in used and isinstance(group, ProbedTargetGroup):
            check = _check(group, second_s)
            for target in list(group.targets.values()):
                key = (group.arn, target["Id"])
                targets[key] = Target(_address(group, target["Id"]), int(target["Port"]), check)
            attributes = group.attributes
            groups[group.arn] = Group(
                draining=frozenset(group.draining()),
                preserves_client_address=_true(attributes.get("preserve_client_ip.enabled")),
                ends_connections_of_unhealthy=_true(
                    attributes.get("target_health_state.unhealthy.connection_termination.enabled")
                ),
                ends_connections_after_draining=_true(
                    attributes.get("deregistration_delay.connection_termination.enabled")
                ),
            )
    return Plan(listeners, targets, groups)


def forget_ended(key: TargetKey) -> None:
    """Deregister a target whose instance has terminated. One that was only stopped stays."""
    group = elbv2_backends[ACCOUNT][REGION].target_groups.get(key[0])
    if not isinstance(group, ProbedTargetGroup) or group.target_type != "instance":
        return
    instance = ec2_backends[ACCOUNT][REGION].get_instance_by_id(key[1])
    if instance is None or instance.state == "terminated":
        group.deregister([{"Id": key[1]}])


def _forwarded(listener: FakeListener) -> tuple[tuple[str, int], ...]:
    found: list[tuple[str, int]] = []
    for action in listener.default_actions:
        found += _groups_of(action)
    return tuple(found)


def _groups_of(action: FakeAction) -> list[tuple[str, int]]:
    if "ForwardConfig" in action.data:
        groups = action.data["ForwardConfig"].get("TargetGroups", [])
        return [(group["TargetGroupArn"], int(group.get("Weight", 1))) for group in groups]
    return [(action.data["TargetGroupArn"], 1)] if "TargetGroupArn" in action.data else []


def _address(group: ProbedTargetGroup, target_id: str) -> str | None:
    if group.target_type == "ip":
        return target_id
    instance = ec2_backends[ACCOUNT][REGION].get_instance_by_id(target_id)
    # One on its way down still answers for a while: the probes find out, as they do in the cloud.
    return None if instance is None or instance.state in ("stopped", "terminated") else str(instance.private_ip)


def _check(group: ProbedTargetGroup, second_s: float) -> HealthCheck:
    port = str(group.health_check_port)
    matcher = getattr(group, "matcher", None) or {}
    return HealthCheck(
        protocol=group.health_check_protocol or "TCP",
        port=int(port) if port.isdecimal() else None,
        path=group.health_check_path or "/",
        codes=matcher.get("HttpCode", "200-399"),
        interval_s=int(group.health_check_interval_seconds) * second_s,
        timeout_s=int(group.health_check_timeout_seconds) * second_s,
        healthy_after=int(group.healthy_threshold_count),
        unhealthy_after=int(group.unhealthy_threshold_count),
    )


def _true(value: object) -> bool:
    return str(value).lower() == "true"
