"""Condition operators hold when IAM says that they do, also where a key is missing or has several values."""

from __future__ import annotations

from typing import Any

import pytest

from infra.local.cloud.access.access import UnknownAccessError, context_of
from infra.local.cloud.access.conditions import Condition
from infra.local.cloud.access.patterns import UnresolvedError

OWNER = "aws:ResourceTag/owner"
ARN = "ec2:SourceInstanceARN"
ROLES = "arn:aws:iam::123456789012:role/"


def owned(operator: str, expected: Any, owner: str | None) -> bool:
    return Condition.parse(operator, OWNER, expected, variables=True).holds(context_of({OWNER: owner}))


@pytest.mark.parametrize(
    ("operator", "expected", "owner", "outcome"),
    [
        ("StringEquals", "ann", "ann", True),
        ("StringEquals", "ann", "Ann", False),
        ("StringEquals", ["bob", "ann"], "ann", True),
        ("StringEquals", "a*", "ann", False),
        ("StringEquals", "ann", None, False),
        ("StringNotEquals", "ann", "bob", True),
        ("StringNotEquals", ["ann", "bob"], "bob", False),
        ("StringNotEquals", "ann", None, True),
        ("StringEqualsIgnoreCase", "ann", "ANN", True),
        ("StringNotEqualsIgnoreCase", "ann", "ANN", False),
        ("StringLike", "a*", "ann", True),
        ("StringLike", "a?n", "ann", True),
        ("StringLike", "a?", "ann", False),
        ("StringLike", "a.n", "ann", False),
        ("StringNotLike", "a*", "bob", True),
        ("StringNotLike", "a*", None, True),
        ("StringEqualsIfExists", "ann", None, True),
        ("StringEqualsIfExists", "ann", "bob", False),
        ("StringNotEqualsIfExists", "ann", None, True),
        ("Null", "true", None, True),
        ("Null", "true", "ann", False),
        ("Null", "false", "ann", True),
        ("Null", False, None, False),
        ("Bool", "true", "true", True),
        ("Bool", True, "false", False),
        ("Bool", "true", None, False),
        ("NumericLessThan", "2.0", "1.0", True),
        ("NumericLessThan", "2.0", "2.0", False),
        ("NumericLessThan", "2.0", None, False),
        ("NumericLessThan", "2.0", "two", False),
        ("NumericLessThanEquals", 2, "2.0", True),
        ("NumericEquals", "2", "2.0", True),
        ("NumericNotEquals", "2", "2.0", False),
        ("NumericGreaterThan", "2", "10", True),
        ("NumericGreaterThanEquals", "2", "1", False),
        ("ArnLike", ROLES + "*", ROLES + "ann", True),
        ("ArnEquals", ROLES + "a*", ROLES + "ann", True),
        ("ArnLike", "arn:aws:*", ROLES + "ann", False),
        ("ArnLike", "arn:aws:iam::*:role/ann", ROLES + "ann", True),
        ("ArnNotLike", ROLES + "b*", ROLES + "ann", True),
        ("ArnNotEquals", ROLES + "ann", None, True),
    ],
)
def test_an_operator_compares_one_value(operator: str, expected: Any, owner: str | None, outcome: bool) -> None:
    assert owned(operator, expected, owner) is outcome


@pytest.mark.parametrize(
    ("operator", "keys", "outcome"),
    [
        ("ForAllValues:StringEquals", ["case", "pause"], True),
        ("ForAllValues:StringEquals", ["case", "history"], False),
        ("ForAllValues:StringEquals", None, True),
        ("ForAllValues:StringNotEquals", ["history"], True),
        ("ForAllValues:StringNotEquals", ["history", "case"], False),
        ("ForAnyValue:StringEquals", ["history", "case"], True),
        ("ForAnyValue:StringEquals", ["history"], False),
        ("ForAnyValue:StringEquals", None, False),
        ("ForAnyValue:StringNotEquals", ["case", "history"], True),
        ("ForAllValues:StringLikeIfExists", None, True),
        ("ForAnyValue:StringLikeIfExists", None, True),
    ],
)
def test_a_set_operator_looks_at_every_value(operator: str, keys: list[str] | None, outcome: bool) -> None:
    condition = Condition.parse(operator, "dynamodb:LeadingKeys", ["case", "pause"], variables=True)
    assert condition.holds(context_of({"dynamodb:LeadingKeys": keys})) is outcome


def test_several_values_without_a_set_operator_are_a_mistake_that_is_told() -> None:
    condition = Condition.parse("StringEquals", "dynamodb:LeadingKeys", "case", variables=True)
    with pytest.raises(UnknownAccessError, match="set operator"):
        condition.holds(context_of({"dynamodb:LeadingKeys": ["case", "pause"]}))


@pytest.mark.parametrize("operator", ["StringEqual", "DateLessThan", "IpAddress", "ForAllValues:Null", "stringequals"])
def test_an_operator_that_is_not_known_is_never_passed_over(operator: str) -> None:
    with pytest.raises(UnknownAccessError, match="condition operator"):
        Condition.parse(operator, OWNER, "ann", variables=True)


def test_a_key_that_is_not_known_is_never_passed_over() -> None:
    with pytest.raises(UnknownAccessError, match="condition key 'aws:SourceIp'"):
        Condition.parse("StringEquals", "aws:SourceIp", "10.0.0.1", variables=True)


def test_a_limit_that_is_no_number_is_told() -> None:
    with pytest.raises(UnknownAccessError, match="no number"):
        owned("NumericLessThan", "two", "1")


def test_keys_know_no_case() -> None:
    condition = Condition.parse("StringEquals", "AWS:resourcetag/OWNER", "ann", variables=True)
    assert condition.holds(context_of({OWNER: "ann"}))


def variable(text: str, operator: str, tag: str | None, arn: str | None, *, variables: bool = True) -> bool:
    condition = Condition.parse(operator, OWNER, text, variables=variables)
    return condition.holds(context_of({OWNER: tag, ARN: arn}))


@pytest.mark.parametrize(
    ("text", "operator", "tag", "arn", "outcome"),
    [
        ("${ec2:SourceInstanceARN}", "StringEquals", "i-a", "i-a", True),
        ("${ec2:SourceInstanceARN}", "StringEquals", "i-a", "i-b", False),
        ("${EC2:sourceinstancearn}", "StringEquals", "i-a", "i-a", True),
        ("of ${ec2:SourceInstanceARN}!", "StringEquals", "of i-a!", "i-a", True),
        ("${ec2:SourceInstanceARN, 'none'}", "StringEquals", "none", None, True),
        ("${ec2:SourceInstanceARN,'none'}", "StringNotEquals", "i-a", None, True),
        ("${ec2:SourceInstanceARN,'none'}", "StringNotEquals", None, "i-a", True),
        ("${ec2:SourceInstanceARN,'none'}", "StringNotEquals", "i-a", "i-a", False),
        ("${*}", "StringLike", "i-a", None, False),
        ("${*}", "StringLike", "*", None, True),
        ("${$}", "StringEquals", "$", None, True),
        ("${ec2:SourceInstanceARN}", "StringLike", "i-a", "*", False),
        ("${ec2:SourceInstanceARN}", "StringLike", "*", "*", True),
    ],
)
def test_a_variable_stands_for_what_the_request_has(
    text: str, operator: str, tag: str | None, arn: str | None, outcome: bool
) -> None:
    assert variable(text, operator, tag, arn) is outcome


@pytest.mark.parametrize("operator", ["StringEquals", "StringNotEquals", "StringLike"])
@pytest.mark.parametrize("tag", ["i-a", None])
def test_a_variable_without_value_and_default_takes_its_statement_out(operator: str, tag: str | None) -> None:
    with pytest.raises(UnresolvedError):
        variable("${ec2:SourceInstanceARN}", operator, tag, None)


def test_policies_of_the_old_version_have_no_variables() -> None:
    assert variable("${ec2:SourceInstanceARN}", "StringEquals", "${ec2:SourceInstanceARN}", "i-a", variables=False)


def test_a_variable_that_is_not_known_is_told() -> None:
    with pytest.raises(UnknownAccessError, match="aws:FederatedProvider"):
        variable("${aws:FederatedProvider}", "StringEquals", "i-a", None)
