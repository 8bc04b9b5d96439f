"""CloudFormation's load balancers and target groups with the properties that moto leaves out, and with deletion."""

# ruff: noqa: ARG003 - moto fixes the arguments
from __future__ import annotations

from typing import Any

from moto.cloudformation import parsing
from moto.core.common_models import CloudFormationModel
from moto.elbv2.models import ELBv2Backend, FakeListener, FakeLoadBalancer, FakeTargetGroup, elbv2_backends


class LoadBalancerResource(CloudFormationModel):
    """`AWS::ElasticLoadBalancingV2::LoadBalancer`: its type, subnet mappings, attributes and tags too."""

    @staticmethod
    def cloudformation_name_type() -> str:
        return "Name"

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::ElasticLoadBalancingV2::LoadBalancer"

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        return bool(FakeLoadBalancer.has_cfn_attr(attr))

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str, **kwargs: Any
    ) -> FakeLoadBalancer:
        properties = cloudformation_json["Properties"]
        backend = _backend(account_id, region_name)
        balancer = backend.create_load_balancer(
            name=resource_name,
            security_groups=properties.get("SecurityGroups") or [],
            subnet_ids=properties.get("Subnets") or [],
            subnet_mappings=properties.get("SubnetMappings") or [],
            scheme=properties.get("Scheme", "internet-facing"),
            loadbalancer_type=properties.get("Type"),
            ip_address_type=properties.get("IpAddressType", "ipv4"),
            tags=properties.get("Tags") or [],
        )
        return _with_attributes(backend, balancer, properties)

    @classmethod
    def update_from_cloudformation_json(
        cls, original_resource: Any, new_resource_name: str, cloudformation_json: Any, account_id: str, region_name: str
    ) -> FakeLoadBalancer:
        """Attributes change in place. A change of anything else would replace the balancer, which is not done here."""
        return _with_attributes(_backend(account_id, region_name), original_resource, cloudformation_json["Properties"])


class TargetGroupResource(CloudFormationModel):
    """`AWS::ElasticLoadBalancingV2::TargetGroup`: its attributes, targets and tags too."""

    @staticmethod
    def cloudformation_name_type() -> str:
        return "Name"

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::ElasticLoadBalancingV2::TargetGroup"

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        return bool(FakeTargetGroup.has_cfn_attr(attr))

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str, **kwargs: Any
    ) -> FakeTargetGroup:
        properties = cloudformation_json["Properties"]
        backend = _backend(account_id, region_name)
        group = backend.create_target_group(
            name=resource_name,
            vpc_id=properties.get("VpcId"),
            protocol=properties.get("Protocol"),
            protocol_version=properties.get("ProtocolVersion"),
            port=_number(properties.get("Port")),
            healthcheck_enabled=str(properties.get("HealthCheckEnabled", True)).lower(),
            healthcheck_protocol=properties.get("HealthCheckProtocol"),
            healthcheck_port=_text(properties.get("HealthCheckPort")),
            healthcheck_path=properties.get("HealthCheckPath"),
            healthcheck_interval_seconds=_number(properties.get("HealthCheckIntervalSeconds")),
            healthcheck_timeout_seconds=_number(properties.get("HealthCheckTimeoutSeconds")),
            healthy_threshold_count=_text(properties.get("HealthyThresholdCount")),
            unhealthy_threshold_count=_text(properties.get("UnhealthyThresholdCount")),
            matcher=properties.get("Matcher"),
            target_type=properties.get("TargetType", "instance"),
            ip_address_type=properties.get("IpAddressType"),
            tags=properties.get("Tags") or [],
        )
        return _completed(backend, group, properties)

    @classmethod
    def update_from_cloudformation_json(
        cls, original_resource: Any, new_resource_name: str, cloudformation_json: Any, account_id: str, region_name: str
    ) -> FakeTargetGroup:
        """Health checks, attributes and targets change in place."""
        properties = cloudformation_json["Properties"]
        backend = _backend(account_id, region_name)
        group = backend.modify_target_group(
            original_resource.arn,
            health_check_proto=properties.get("HealthCheckProtocol"),
            health_check_port=_text(properties.get("HealthCheckPort")),
            health_check_path=properties.get("HealthCheckPath"),
            health_check_interval=_number(properties.get("HealthCheckIntervalSeconds")),
            health_check_timeout=_number(properties.get("HealthCheckTimeoutSeconds")),
            healthy_threshold_count=_text(properties.get("HealthyThresholdCount")),
            unhealthy_threshold_count=_text(properties.get("UnhealthyThresholdCount")),
        )
        return _completed(backend, group, properties)

    @classmethod
    def delete_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str
    ) -> None:
        _backend(account_id, region_name).delete_target_group(resource_name)


class ListenerResource(CloudFormationModel):
    """`AWS::ElasticLoadBalancingV2::Listener`: moto's, and deleted with its stack."""

    @staticmethod
    def cloudformation_name_type() -> str:
        return ""

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::ElasticLoadBalancingV2::Listener"

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str, **kwargs: Any
    ) -> FakeListener:
        return FakeListener.create_from_cloudformation_json(
            resource_name, cloudformation_json, account_id, region_name, **kwargs
        )

    @classmethod
    def update_from_cloudformation_json(
        cls, original_resource: Any, new_resource_name: str, cloudformation_json: Any, account_id: str, region_name: str
    ) -> FakeListener:
        return FakeListener.update_from_cloudformation_json(
            original_resource, new_resource_name, cloudformation_json, account_id, region_name
        )

    @classmethod
    def delete_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str
    ) -> None:
        backend = _backend(account_id, region_name)
        # With its load balancer gone before it, the listener is gone too.
        if any(resource_name in balancer.listeners for balancer in backend.load_balancers.values()):
            backend.delete_listener(resource_name)


def install() -> None:
    """Have moto's CloudFormation find these classes: the last one of a type wins, once its caches are empty."""
    parsing.get_model_list.cache_clear()
    parsing.get_model_map.cache_clear()
    parsing.get_name_type_map.cache_clear()


def _with_attributes(backend: ELBv2Backend, balancer: FakeLoadBalancer, properties: dict[str, Any]) -> FakeLoadBalancer:
    attributes = {entry["Key"]: str(entry["Value"]) for entry in properties.get("LoadBalancerAttributes") or []}
    backend.modify_load_balancer_attributes(balancer.arn, attributes)
    return balancer


def _completed(backend: ELBv2Backend, group: FakeTargetGroup, properties: dict[str, Any]) -> FakeTargetGroup:
    attributes = {entry["Key"]: str(entry["Value"]) for entry in properties.get("TargetGroupAttributes") or []}
    backend.modify_target_group_attributes(group.arn, attributes)
    if targets := properties.get("Targets"):
        backend.register_targets(group.arn, targets)
    return group


def _backend(account_id: str, region_name: str) -> ELBv2Backend:
    return elbv2_backends[account_id][region_name]


def _number(value: Any) -> int | None:
    return None if value is None else int(value)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
