"""Elastic Load Balancing. Describe calls know no resource."""

from __future__ import annotations

from collections.abc import Iterable

from moto.elb.models import elb_backends
from moto.elbv2.models import elbv2_backends

from infra.local.cloud.access.access import Access, context_of, request_tags, tags_under
from infra.local.cloud.access.calls import Call

_TAG_PREFIXES = ("aws:ResourceTag", "elasticloadbalancing:ResourceTag")


def _on_target_group(call: Call) -> Iterable[Access]:
    yield _access(call, call.params["TargetGroupArn"])


def _tags(call: Call) -> Iterable[Access]:
    given = {tag["Key"]: tag.get("Value", "") for tag in call.params.get("Tags", [])}
    removed = call.params.get("TagKeys")
    for arn in call.params["ResourceArns"]:
        access = _access(call, arn)
        tags = {"aws:TagKeys": removed} if removed else request_tags(given)
        yield Access(access.action, arn, context_of(access.context, tags))


def _on_classic(call: Call) -> Iterable[Access]:
    """A classic load balancer is known by its name."""
    name = call.params["LoadBalancerName"]
    balancer = elb_backends[call.account][call.region].load_balancers.get(name)
    tags = dict(balancer.tags) if balancer is not None else {}
    arn = call.arn(f"loadbalancer/{name}")
    yield Access(f"elasticloadbalancing:{call.operation}", arn, context_of(tags_under(_TAG_PREFIXES, tags)))


def _access(call: Call, arn: str) -> Access:
    held = elbv2_backends[call.account][call.region].tagging_service.get_tag_dict_for_resource(arn)
    return Access(f"elasticloadbalancing:{call.operation}", arn, context_of(tags_under(_TAG_PREFIXES, held)))


OPERATIONS = {
    **dict.fromkeys(
        ("DeregisterTargets", "ModifyTargetGroup", "ModifyTargetGroupAttributes", "RegisterTargets"), _on_target_group
    ),
    **dict.fromkeys(("DeregisterInstancesFromLoadBalancer", "RegisterInstancesWithLoadBalancer"), _on_classic),
    **dict.fromkeys(("AddTags", "RemoveTags"), _tags),
}
