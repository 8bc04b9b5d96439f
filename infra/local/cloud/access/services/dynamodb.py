"""DynamoDB, with the keys of fine-grained access (DynamoDB developer guide, "Using IAM policy conditions")."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from moto.dynamodb.models import Table, dynamodb_backends
from moto.dynamodb.parsing.key_condition_expression import parse_expression

from infra.local.cloud.access.access import Access, context_of, tags_under
from infra.local.cloud.access.calls import Call

_EXPRESSIONS = (
    "ConditionExpression",
    "FilterExpression",
    "KeyConditionExpression",
    "ProjectionExpression",
    "UpdateExpression",
)
# Attribute names may not be reserved words, so that these are never attributes.
_WORDS = frozenset({"set", "remove", "add", "delete", "and", "or", "not", "between", "in"})
_ATTRIBUTE = re.compile(r"(?<![\w.#:])(#\w+|[A-Za-z_]\w*)(?!\w*\s*\()")
_WITHIN_TRANSACTIONS = {
    "Put": "PutItem",
    "Update": "UpdateItem",
    "Delete": "DeleteItem",
    "ConditionCheck": "ConditionCheckItem",
}
_READS = frozenset({"GetItem", "BatchGetItem", "Query", "Scan"})


def _one(call: Call) -> Iterable[Access]:
    yield _access(call, call.operation, call.params, [call.params])


def _batch(call: Call) -> Iterable[Access]:
    """One decision for each table, over all keys and attributes of the batch together."""
    for table, requests in call.params["RequestItems"].items():
        if call.operation == "BatchGetItem":
            items = [{**requests, "Key": key} for key in requests["Keys"]]
        else:
            items = [next(iter(request.values())) for request in requests]
        yield _access(call, call.operation, {**_options(requests), "TableName": table}, items)


def _transaction(call: Call) -> Iterable[Access]:
    """Each item is authorised as the call that would do it alone."""
    for item in call.params["TransactItems"]:
        ((kind, params),) = item.items()
        enclosed = {"dynamodb:EnclosingOperation": call.operation}
        yield _access(call, _WITHIN_TRANSACTIONS.get(kind, "GetItem"), params, [params], enclosed)


def _table_only(call: Call) -> Iterable[Access]:
    table = _name(call.params["TableName"])
    yield Access(f"dynamodb:{call.operation}", call.arn(f"table/{table}"))


def _access(
    call: Call, operation: str, params: Mapping[str, Any], items: Sequence[Mapping[str, Any]], *more: Mapping[str, str]
) -> Access:
    name = _name(params["TableName"])
    table = dynamodb_backends[call.account][call.region].tables.get(name)
    tags = {tag["Key"]: tag["Value"] for tag in table.tags} if table is not None else {}
    index = params.get("IndexName")
    keys = [key for item in items for key in _leading_keys(item, table, index)]
    attributes = sorted({attribute for item in items for attribute in _attributes(item)})
    context = context_of(
        tags_under(["aws:ResourceTag"], tags),
        {
            "dynamodb:LeadingKeys": list(dict.fromkeys(keys)) or None,
            "dynamodb:Attributes": attributes or None,
            "dynamodb:Select": _select(params) if operation in _READS else None,
            "dynamodb:ReturnValues": params.get("ReturnValues"),
        },
        *more,
    )
    arn = call.arn(f"table/{name}")
    return Access(f"dynamodb:{operation}", f"{arn}/index/{index}" if index else arn, context)


def _leading_keys(params: Mapping[str, Any], table: Table | None, index: str | None) -> list[str]:
    """The values of the partition key that the request names; a scan names none."""
    if table is None:
        return []
    schema = next((each.schema for each in table.all_indexes() if each.name == index), None) if index else table.schema
    hash_key = next((part["AttributeName"] for part in schema or () if part["KeyType"] == "HASH"), "")
    given = params.get("Key") or params.get("Item") or {}
    if hash_key in given:
        return [_plain(given[hash_key])]
    if "KeyConditionExpression" in params:
        hash_conditions, _, _ = parse_expression(
            key_condition_expression=params["KeyConditionExpression"],
            expression_attribute_values=params.get("ExpressionAttributeValues", {}),
            expression_attribute_names=params.get("ExpressionAttributeNames", {}),
            schema=schema or [],
        )
        return [_plain(value) for _, value in hash_conditions]
    return []


def _attributes(params: Mapping[str, Any]) -> set[str]:
    """The top-level attributes that the request names: in keys, items and expressions, and the older lists of names."""
    names = params.get("ExpressionAttributeNames", {})
    found = {*params.get("Key", ()), *params.get("Item", ()), *params.get("AttributesToGet", ())}
    for older in ("Expected", "AttributeUpdates", "KeyConditions", "QueryFilter", "ScanFilter"):
        found |= set(params.get(older, ()))
    for expression in _EXPRESSIONS:
        for word in _ATTRIBUTE.findall(params.get(expression) or ""):
            if word.startswith("#"):
                found.add(names.get(word, word).partition(".")[0])
            elif word.lower() not in _WORDS:
                found.add(word)
    return found


def _select(params: Mapping[str, Any]) -> str:
    if params.get("Select"):
        return str(params["Select"])
    specific = params.get("ProjectionExpression") or params.get("AttributesToGet")
    return "SPECIFIC_ATTRIBUTES" if specific else "ALL_ATTRIBUTES"


def _options(requests: Any) -> Mapping[str, Any]:
    return requests if isinstance(requests, Mapping) else {}


def _name(name_or_arn: str) -> str:
    return name_or_arn.rpartition("table/")[2]


def _plain(value: Mapping[str, Any]) -> str:
    return str(next(iter(value.values())))


OPERATIONS = {
    **dict.fromkeys(("DeleteItem", "GetItem", "PutItem", "Query", "Scan", "UpdateItem"), _one),
    **dict.fromkeys(("BatchGetItem", "BatchWriteItem"), _batch),
    **dict.fromkeys(("TransactGetItems", "TransactWriteItems"), _transaction),
    **dict.fromkeys(("DescribeTable", "DescribeTimeToLive"), _table_only),
}
