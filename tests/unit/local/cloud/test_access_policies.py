"""Which statements of a policy apply, and what is decided when they contradict each other."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.local.cloud.access.access import Access, UnknownAccessError, context_of
from infra.local.cloud.access.policies import Decision, Policy, decide

PARAMETERS = "arn:aws:ssm:us-east-1:123456789012:parameter"
READ = Access("ssm:GetParameter", f"{PARAMETERS}/regrow/a/join")


def policy(*statements: dict[str, Any], version: str = "2012-10-17") -> Policy:
    return Policy.parse("tried", {"Version": version, "Statement": list(statements)})


def said(effect: str = "Allow", **elements: Any) -> dict[str, Any]:
    return {"Effect": effect, "Action": "ssm:GetParameter", "Resource": "*", **elements}


def without(statement: dict[str, Any], element: str) -> dict[str, Any]:
    return {name: value for name, value in statement.items() if name != element}


def decided(*statements: dict[str, Any], access: Access = READ, given: dict[str, str] | None = None) -> Decision:
    return decide([policy(*statements)], access, context_of(access.context, given or {}))


def test_what_nobody_allows_is_denied() -> None:
    assert decide([], READ, {}) is Decision.NOT_ALLOWED
    assert decided(said(Action="ssm:PutParameter")) is Decision.NOT_ALLOWED


@pytest.mark.parametrize(
    "action", ["ssm:GetParameter", "SSM:getparameter", "ssm:Get*", "ssm:GetParamete?", "*", ["ec2:*", "ssm:*"]]
)
def test_actions_are_compared_without_case_and_with_wildcards(action: Any) -> None:
    assert decided(said(Action=action)) is Decision.ALLOWED


@pytest.mark.parametrize("action", ["ssm:GetParameters", "ssm:Get", "sqs:*", "ssm:GetParameter??"])
def test_other_actions_do_not_match(action: str) -> None:
    assert decided(said(Action=action)) is Decision.NOT_ALLOWED


@pytest.mark.parametrize(
    ("resource", "decision"),
    [
        (f"{PARAMETERS}/regrow/a/join", Decision.ALLOWED),
        (f"{PARAMETERS}/regrow/a/*", Decision.ALLOWED),
        (f"{PARAMETERS}/regrow/?/join", Decision.ALLOWED),
        ("arn:*:join", Decision.NOT_ALLOWED),
        ("arn:*/join", Decision.ALLOWED),
        (f"{PARAMETERS}/regrow/A/join", Decision.NOT_ALLOWED),
        (f"{PARAMETERS}/regrow/a/join/*", Decision.NOT_ALLOWED),
    ],
)
def test_resources_are_compared_with_case_and_wildcards(resource: str, decision: Decision) -> None:
    assert decided(said(Resource=resource)) is decision


def test_not_action_means_every_other_action() -> None:
    others = without(said(NotAction="ssm:Put*"), "Action")
    assert decided(others) is Decision.ALLOWED
    assert decided(others, access=Access("ssm:PutParameter")) is Decision.NOT_ALLOWED


def test_not_resource_means_every_other_resource() -> None:
    others = without(said("Deny", NotResource=f"{PARAMETERS}/regrow/a/*"), "Resource")
    assert decided(said(), others) is Decision.ALLOWED
    assert decided(said(), others, access=Access("ssm:GetParameter", f"{PARAMETERS}/b")) is Decision.DENIED


def test_a_deny_beats_every_allow_wherever_it_stands() -> None:
    allow, deny = policy(said()), policy(said("Deny", Action="ssm:*"))
    assert decide([allow, deny], READ, {}) is Decision.DENIED
    assert decide([deny, allow], READ, {}) is Decision.DENIED


def test_all_conditions_of_a_statement_must_hold() -> None:
    condition = {"StringEquals": {"aws:PrincipalAccount": "1", "aws:RequestedRegion": "us-east-1"}}
    both = said(Condition=condition)
    assert decided(both, given={"aws:PrincipalAccount": "1", "aws:RequestedRegion": "us-east-1"}) is Decision.ALLOWED
    assert decided(both, given={"aws:PrincipalAccount": "1"}) is Decision.NOT_ALLOWED


def test_a_variable_in_a_resource_stands_for_what_the_request_has() -> None:
    own = said(Resource=PARAMETERS + "/regrow/${aws:RequestedRegion}/join")
    assert decided(own, given={"aws:RequestedRegion": "a"}) is Decision.ALLOWED
    assert decided(own, given={"aws:RequestedRegion": "*"}) is Decision.NOT_ALLOWED
    assert decided(own) is Decision.NOT_ALLOWED


def test_a_deny_whose_variable_has_no_value_fails_open_as_in_aws() -> None:
    tag = "aws:ResourceTag/InstanceArn"
    open_one = said("Deny", Condition={"StringNotEquals": {tag: "${ec2:SourceInstanceARN}"}})
    closed_one = said("Deny", Condition={"StringNotEquals": {tag: "${ec2:SourceInstanceARN, 'none'}"}})
    assert decided(said(), open_one) is Decision.ALLOWED
    assert decided(said(), closed_one) is Decision.DENIED


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        (said(Principal="*"), "no element"),
        (said(Condition={"StringIs": {"aws:userid": "a"}}), "condition operator 'StringIs'"),
        (said(Condition={"StringEquals": {"aws:SourceIp": "a"}}), "condition key 'aws:SourceIp'"),
        (said(NotAction="ssm:*"), "either Action or NotAction"),
        (without(said(), "Resource"), "either Resource or NotResource"),
        (said("allow"), "effect"),
    ],
)
def test_what_cannot_be_evaluated_is_told_with_the_policys_name(statement: dict[str, Any], why: str) -> None:
    with pytest.raises(UnknownAccessError, match=f"'tried'.*{why}"):
        policy(statement)


@pytest.mark.parametrize("document", ["{", "[]", "{}", '{"Statement": "all"}'])
def test_what_is_no_policy_document_is_told(document: str) -> None:
    with pytest.raises(UnknownAccessError, match="'tried'"):
        Policy.parse("tried", document)


actions = st.sampled_from(["ssm:GetParameter", "ssm:PutParameter", "ssm:*", "sqs:SendMessage", "*"])
resources = st.sampled_from(["*", READ.resource, f"{PARAMETERS}/regrow/b/*"])
conditions = st.sampled_from(
    [
        {},
        {"StringEquals": {"aws:PrincipalAccount": "1"}},
        {"StringNotEquals": {"aws:PrincipalAccount": "1"}},
        {"Null": {"ec2:SourceInstanceARN": "true"}},
        {"StringEquals": {"aws:PrincipalAccount": "${aws:userid}"}},
    ]
)
statements = st.builds(
    lambda effect, action, resource, condition: said(effect, Action=action, Resource=resource, Condition=condition),
    st.sampled_from(["Allow", "Deny"]),
    actions,
    resources,
    conditions,
)


@given(st.lists(statements, max_size=6), st.randoms())
def test_the_order_of_statements_never_matters(given_ones: list[dict[str, Any]], chance: Any) -> None:
    mixed = list(given_ones)
    chance.shuffle(mixed)
    account = {"aws:PrincipalAccount": "1"}
    assert decided(*given_ones, given=account) is decided(*mixed, given=account)


@given(st.lists(statements, max_size=6), statements)
def test_one_more_deny_never_allows_and_one_more_allow_never_denies(
    given_ones: list[dict[str, Any]], more: dict[str, Any]
) -> None:
    before, after = decided(*given_ones), decided(*given_ones, more)
    if more["Effect"] == "Deny":
        assert before is Decision.ALLOWED or after is not Decision.ALLOWED
    else:
        assert after is before or (before, after) == (Decision.NOT_ALLOWED, Decision.ALLOWED)
