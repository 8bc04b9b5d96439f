"""Elastic Load Balancing: where an instance is a target, and taking it out.

A load balancer is named as in `Target.of`: a target group by its ARN, a classic load balancer by its name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import ClientError

from functions.cluster.machine import InstanceId, Target
from functions.edges.aws import code, speaking_to

# Of target groups, and of classic load balancers and their instances (API references, Errors). InvalidTarget is also
# said of an instance that does not run, which is no success for one that is to serve.
_DELETED = frozenset({"TargetGroupNotFound", "LoadBalancerNotFound"})
_GONE = _DELETED | {"InvalidTarget", "InvalidInstance"}
_NOT_REGISTERED = "Target.NotRegistered"


class LoadBalancingEdge:
    """`client` is a boto3 ELBv2 client, `classic` one of the first version's."""

    def __init__(self, client: Any, classic: Any) -> None:
        self._client = client
        self._classic = classic

    def targets(self, instance: InstanceId, load_balancers: Iterable[str]) -> tuple[Target, ...]:
        asked = (
            self._classic_target(instance, one) if _classic(one) else self._target(instance, one)
            for one in load_balancers
        )
        return tuple(target for target in asked if target)

    def register(self, instance: InstanceId, load_balancer: str) -> None:
        if _classic(load_balancer):
            with speaking_to("Elastic Load Balancing", "RegisterInstancesWithLoadBalancer"), _is_success(_DELETED):
                self._classic.register_instances_with_load_balancer(
                    LoadBalancerName=load_balancer, Instances=[{"InstanceId": instance}]
                )
            return
        with speaking_to("Elastic Load Balancing", "RegisterTargets"), _is_success(_DELETED):
            self._client.register_targets(TargetGroupArn=load_balancer, Targets=[{"Id": instance}])

    def deregister(self, instance: InstanceId, load_balancer: str) -> None:
        if _classic(load_balancer):
            with speaking_to("Elastic Load Balancing", "DeregisterInstancesFromLoadBalancer"), _is_success(_GONE):
                self._classic.deregister_instances_from_load_balancer(
                    LoadBalancerName=load_balancer, Instances=[{"InstanceId": instance}]
                )
            return
        with speaking_to("Elastic Load Balancing", "DeregisterTargets"), _is_success(_GONE):
            self._client.deregister_targets(TargetGroupArn=load_balancer, Targets=[{"Id": instance}])

    def health(self, target_group: str) -> dict[InstanceId, str]:
        with speaking_to("Elastic Load Balancing", "DescribeTargetHealth"):
            seen = self._client.describe_target_health(TargetGroupArn=target_group)["TargetHealthDescriptions"]
        return {InstanceId(one["Target"]["Id"]): one["TargetHealth"]["State"] for one in seen}

    def _target(self, instance: InstanceId, target_group: str) -> Target | None:
        with speaking_to("Elastic Load Balancing", "DescribeTargetHealth"):
            try:
                answer = self._client.describe_target_health(TargetGroupArn=target_group, Targets=[{"Id": instance}])
            except ClientError as error:
                if code(error) in _GONE:
                    return None
                raise
        for one in answer["TargetHealthDescriptions"]:
            health = one["TargetHealth"]
            if health.get("Reason") != _NOT_REGISTERED:
                return Target(target_group, draining=health["State"] == "draining")
        return None

    def _classic_target(self, instance: InstanceId, name: str) -> Target | None:
        """Say whether it is registered; a classic load balancer does not tell which requests it still lets end."""
        with speaking_to("Elastic Load Balancing", "DescribeInstanceHealth"):
            try:
                answer = self._classic.describe_instance_health(
                    LoadBalancerName=name, Instances=[{"InstanceId": instance}]
                )
            except ClientError as error:
                if code(error) in _GONE:
                    return None
                raise
        there = any(one["InstanceId"] == instance and one["State"] != "Unknown" for one in answer["InstanceStates"])
        return Target(name) if there else None


@contextmanager
def _is_success(codes: frozenset[str]) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if code(error) not in codes:
            raise


def _classic(load_balancer: str) -> bool:
    return not load_balancer.startswith("arn:")
