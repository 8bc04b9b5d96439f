"""Elastic Load Balancing. Describe calls know no resource."""

from __future__ import annotations

from collections.abc import Iterable

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


def _access(call: Call, arn: str) -> Access:
    held = elbv2_backends[call.account][call.region].tagging_service.get_tag_dict_for_resource(arn)
    return Access(f"elasticloadbalancing:{call.operation}", arn, context_of(tags_under(_TAG_PREFIXES, held)))


OPERATIONS = {
    **dict.fromkeys(
        ("DeregisterTargets", "ModifyTargetGroup", "ModifyTargetGroupAttributes", "RegisterTargets"), _on_target_group
    ),
    **dict.fromkeys(("AddTags", "RemoveTags"), _tags),
}
