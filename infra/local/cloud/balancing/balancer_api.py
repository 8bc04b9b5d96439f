"""moto's Elastic Load Balancing for network load balancers that really balance: addresses, draining, true health."""

from __future__ import annotations

import time
from collections.abc import Callable
from ipaddress import IPv4Network
from typing import Any

from moto.ec2.models import EC2Backend
from moto.elbv2 import models
from moto.elbv2.models import AvailabilityZone, ELBv2Backend, FakeHealthStatus, FakeLoadBalancer, FakeTargetGroup

from infra.local.cloud.balancing.targets import DRAINING, NOT_REGISTERED, Health
from infra.local.cloud.extension import put_in_place, replace

HealthOf = Callable[[str, str], Health]
"""The health of a registered target, by target group ARN and target id."""

# What a network load balancer's target groups have by default and moto lacks.
_NETWORK_DEFAULTS = {
    "deregistration_delay.connection_termination.enabled": "false",
    "proxy_protocol_v2.enabled": "false",
    "target_health_state.unhealthy.connection_termination.enabled": "true",
}


class AddressedZone(AvailabilityZone):
    """A zone of a load balancer with the address that the balancer has in it."""

    def __init__(self, subnet: Any, private_address: str) -> None:
        super().__init__(subnet)
        self.load_balancer_addresses = [{"PrivateIPv4Address": private_address}]


class AddressedLoadBalancer(FakeLoadBalancer):
    """A load balancer that knows its private address in each subnet."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.private_addresses: dict[str, str] = {}

    @property
    def availability_zones(self) -> list[AvailabilityZone]:
        return [
            AddressedZone(subnet, self.private_addresses[subnet.id])
            if subnet.id in self.private_addresses
            else AvailabilityZone(subnet)
            for subnet in self.subnets
        ]


class ProbedTargetGroup(FakeTargetGroup):
    """A target group whose deregistered targets drain, and whose targets' health is what the probes found."""

    health_of: HealthOf
    second_s = 1.0
    deregistration_s = 300.0

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.attributes["deregistration_delay.timeout_seconds"] = f"{self.deregistration_s:.0f}"
        self.draining_since: dict[str, tuple[dict[str, Any], float]] = {}
        if self.protocol in ("TCP", "TLS", "UDP", "TCP_UDP"):
            self.attributes.update(_NETWORK_DEFAULTS)
            # NLB user guide, "Client IP preservation": off by default for addresses behind TCP and TLS alone.
            by_address = self.target_type == "ip" and self.protocol in ("TCP", "TLS")
            self.attributes["preserve_client_ip.enabled"] = "false" if by_address else "true"

    def register(self, targets: list[dict[str, Any]]) -> None:
        super().register(targets)
        for target in targets:
            self.draining_since.pop(target["Id"], None)
            self.terminated_targets.pop(target["Id"], None)

    def deregister(self, targets: list[dict[str, Any]]) -> None:
        """A target that is not registered is no error, as Elastic Load Balancing documents."""
        known = [target for target in targets if target["Id"] in self.targets]
        for target in known:
            self.draining_since[target["Id"]] = (self.targets[target["Id"]], time.monotonic())
        super().deregister(known)

    def deregister_terminated_instances(self, instance_ids: list[str]) -> None:
        """Not yet: the balancer does that once it has heard of their end."""

    def draining(self) -> dict[str, dict[str, Any]]:
        """The deregistered targets whose deregistration delay is not over."""
        delay_s = float(self.attributes["deregistration_delay.timeout_seconds"]) * self.second_s
        now = time.monotonic()
        self.draining_since = {id_: entry for id_, entry in self.draining_since.items() if now - entry[1] < delay_s}
        return {id_: target for id_, (target, _) in self.draining_since.items()}

    def health_for(self, target: dict[str, Any], ec2_backend: EC2Backend) -> FakeHealthStatus:  # noqa: ARG002
        target_id = target["Id"]
        draining = self.draining()
        if target_id in self.targets:
            known, health = self.targets[target_id], type(self).health_of(self.arn, target_id)
        elif target_id in draining:
            known, health = draining[target_id], DRAINING
        else:
            known, health = {"Port": target.get("Port", self.port)}, NOT_REGISTERED
        port = self.health_check_port if self.health_check_port != "traffic-port" else str(known["Port"])
        return FakeHealthStatus(target_id, known["Port"], port, health.state, health.reason, health.description)


class BalancedELB(ELBv2Backend):
    """moto's Elastic Load Balancing with addresses; without targets named, health includes the draining ones."""

    def create_load_balancer(
        self,
        name: str,
        security_groups: list[str],
        subnet_ids: list[str],
        subnet_mappings: list[dict[str, str]] | None = None,
        scheme: str = "internet-facing",
        loadbalancer_type: str | None = None,
        ip_address_type: str = "ipv4",
        tags: list[dict[str, str]] | None = None,
    ) -> FakeLoadBalancer:
        balancer = super().create_load_balancer(
            name, security_groups, subnet_ids, subnet_mappings, scheme, loadbalancer_type, ip_address_type, tags
        )
        if balancer.type == "network" and isinstance(balancer, AddressedLoadBalancer):
            given = {mapping["SubnetId"]: mapping.get("PrivateIPv4Address") for mapping in subnet_mappings or []}
            for subnet in balancer.subnets:
                balancer.private_addresses[subnet.id] = given.get(subnet.id) or self._free_address(subnet.cidr_block)
        return balancer

    def describe_target_health(self, target_group_arn: str, targets: list[dict[str, Any]]) -> list[FakeHealthStatus]:
        group = self.target_groups.get(target_group_arn)
        if not targets and isinstance(group, ProbedTargetGroup):
            targets = [*group.targets.values(), *({"Id": target_id} for target_id in group.draining())]
            if not targets:
                return []
        described: list[FakeHealthStatus] = super().describe_target_health(target_group_arn, targets)
        return described

    def _free_address(self, subnet_cidr: str) -> str:
        """From the end of the subnet downwards: instances get theirs from its beginning."""
        network = IPv4Network(subnet_cidr)
        taken = {
            address
            for balancer in self.load_balancers.values()
            if isinstance(balancer, AddressedLoadBalancer)
            for address in balancer.private_addresses.values()
        }
        last = int(network.broadcast_address) - 1
        free = (str(network[number - int(network.network_address)]) for number in range(last, last - 250, -1))
        return next(address for address in free if address not in taken)


def install(health_of: HealthOf, second_s: float = 1.0, deregistration_s: float = 300.0) -> None:
    """Put the extension in place, before the first backend is made. `second_s`: see Balancer.

    `deregistration_s`: the deregistration delay of target groups for which none is set.
    """
    replace(models, "FakeLoadBalancer", AddressedLoadBalancer)
    probed = {"health_of": staticmethod(health_of), "second_s": second_s, "deregistration_s": deregistration_s}
    replace(models, "FakeTargetGroup", type("ProbedGroup", (ProbedTargetGroup,), probed))
    put_in_place(models.elbv2_backends, BalancedELB)
