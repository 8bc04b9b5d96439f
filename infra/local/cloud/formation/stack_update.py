"""Stack updates as CloudFormation does them where moto looks only at a resource's own text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from moto.cloudformation import models as cloudformation_models
from moto.cloudformation.parsing import ResourceMap

FOLLOWERS = ("AWS::AutoScaling::AutoScalingGroup",)
"""Types that are updated with what they refer to. Others have no attribute that could have changed with it."""


class FollowingResources(ResourceMap):
    """Updates a group with its launch template though its own text stays the same, and in order of reference."""

    def build_resource_diff(
        self, other_template: dict[str, Any], parameters: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        diff: dict[str, Any] = super().build_resource_diff(other_template, parameters)
        resources = other_template["Resources"]
        changed = set(diff["Modify"])
        for name, resource in resources.items():
            if resource["Type"] in FOLLOWERS and name not in diff["Add"] and changed & set(_referred(resource)):
                changed.add(name)
        diff["Modify"] = _in_order([name for name in resources if name in changed], resources)
        return diff


def _referred(part: Any) -> Iterator[str]:
    """The names that Ref, Fn::GetAtt and Fn::Sub in this part of a template speak of."""
    if isinstance(part, dict):
        for key, value in part.items():
            if key == "Ref" and isinstance(value, str):
                yield value
            elif key == "Fn::GetAtt":
                yield value[0] if isinstance(value, list) else value.partition(".")[0]
            elif key == "Fn::Sub":
                text = value[0] if isinstance(value, list) else value
                yield from (name.partition(".")[0] for name in re.findall(r"\$\{([^!}][^}]*)\}", text))
                yield from _referred(value[1:] if isinstance(value, list) else None)
            else:
                yield from _referred(value)
    elif isinstance(part, list):
        for entry in part:
            yield from _referred(entry)


def _in_order(names: list[str], resources: dict[str, Any]) -> list[str]:
    """What is referred to comes before what refers to it."""
    ordered: list[str] = []

    def place(name: str) -> None:
        for needed in _referred(resources[name]):
            if needed in names and needed not in ordered and needed != name:
                place(needed)
        if name not in ordered:
            ordered.append(name)

    for name in names:
        place(name)
    return ordered


def install() -> None:
    """Every stack made from now on is updated this way."""
    cloudformation_models.ResourceMap = FollowingResources
