"""The CloudFormation templates as data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

REMEDIATOR = Path(__file__).parents[1] / "infra" / "remediator" / "template.yaml"


class TemplateLoader(yaml.SafeLoader):
    """Reads a template with CloudFormation's short forms: `!Ref X` and its like become the text after the tag."""


def _short_form(loader: TemplateLoader, _tag: str, node: yaml.Node) -> object:
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    assert isinstance(node, yaml.MappingNode)
    return loader.construct_mapping(node, deep=True)


TemplateLoader.add_multi_constructor("!", _short_form)


def resources(template: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.load(template.read_text(), TemplateLoader)["Resources"]  # noqa: S506 - a safe one
    return found


def event_pattern() -> dict[str, Any]:
    """What EventBridge puts into the inbox."""
    pattern: dict[str, Any] = resources(REMEDIATOR)["EventRule"]["Properties"]["EventPattern"]
    return pattern
