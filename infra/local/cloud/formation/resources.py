"""The classes that moto's CloudFormation finds instead of its own, and how it comes to look for them."""

from __future__ import annotations

from moto.cloudformation import parsing

from infra.local.cloud.formation import alerts, buckets, documents, groups, stack_update, stores

RESOURCES = (
    *groups.RESOURCES,
    *stores.RESOURCES,
    *alerts.RESOURCES,
    *buckets.RESOURCES,
    *documents.RESOURCES,
)
"""All that are in place once this module is imported: moto asks for subclasses, the last one of a type wins."""


def install() -> None:
    """Have moto's CloudFormation look for its classes afresh, and update stacks as `stack_update` does."""
    stack_update.install()
    buckets.install()
    parsing.get_model_list.cache_clear()
    parsing.get_model_map.cache_clear()
    parsing.get_name_type_map.cache_clear()
