"""Refusals are read by botocore as the errors that AWS's services give."""

from __future__ import annotations

import json

import pytest
from botocore.parsers import create_parser
from botocore.session import get_session

from infra.local.cloud.access.access import Access
from infra.local.cloud.access.policies import Decision
from infra.local.cloud.access.refusals import Kind, Refusal, denied, refusal

# The service as requests are signed for it, its model, whether it speaks JSON, and its codes in the order of `Kind`.
SERVICES = [
    ("ec2", "ec2", False, ["UnauthorizedOperation", "AuthFailure", "RequestExpired", "InternalError"]),
    ("sns", "sns", False, ["AuthorizationError", "InvalidClientTokenId", "ExpiredToken", "InternalFailure"]),
    ("sqs", "sqs", True, ["AccessDenied", "InvalidClientTokenId", "ExpiredToken", "InternalFailure"]),
    ("autoscaling", "autoscaling", False, ["AccessDenied", "InvalidClientTokenId", "ExpiredToken", "InternalFailure"]),
    ("elasticloadbalancing", "elbv2", False, ["AccessDenied", "InvalidClientTokenId", "ExpiredToken"]),
    ("sts", "sts", False, ["AccessDenied", "InvalidClientTokenId", "ExpiredToken"]),
    ("ssm", "ssm", True, ["AccessDeniedException", "UnrecognizedClientException", "ExpiredTokenException"]),
    ("dynamodb", "dynamodb", True, ["AccessDeniedException", "UnrecognizedClientException", "ExpiredTokenException"]),
    ("lambda", "lambda", True, ["AccessDeniedException", "UnrecognizedClientException", "ExpiredTokenException"]),
    ("logs", "logs", True, ["AccessDeniedException", "UnrecognizedClientException", "ExpiredTokenException"]),
]
CASES = [
    (signed, model, json_form, kind, code)
    for signed, model, json_form, codes in SERVICES
    for kind, code in zip(Kind, codes, strict=False)
]


def read(model: str, json_form: bool, answer: Refusal) -> dict[str, str]:
    """What botocore takes out of it, with the protocol that the request was made in."""
    service = get_session().get_service_model(model)
    protocol = service.metadata["protocol"]
    assert json_form == (protocol in ("json", "rest-json"))
    operation = service.operation_model(service.operation_names[0])
    response = {
        "status_code": int(answer.status.split()[0]),
        "headers": {name.lower(): value for name, value in answer.headers},
        "body": answer.body,
    }
    error: dict[str, str] = create_parser(protocol).parse(response, operation.output_shape)["Error"]
    return error


@pytest.mark.parametrize(("signed", "model", "json_form", "kind", "code"), CASES)
def test_a_refusal_has_the_services_own_code(signed: str, model: str, json_form: bool, kind: Kind, code: str) -> None:
    error = read(model, json_form, refusal(kind, signed, json_form, "Because <I> say & mean so."))
    assert error["Code"] == code
    assert error["Message"] == "Because <I> say & mean so."


def test_a_denial_says_who_what_and_why_as_aws_does() -> None:
    access = Access("ssm:GetParameter", "arn:aws:ssm:us-east-1:123456789012:parameter/a")
    who = "arn:aws:sts::123456789012:assumed-role/worker/i-1"
    start = f"User: {who} is not authorized to perform: ssm:GetParameter on resource: {access.resource}"
    for decision, reason in [
        (Decision.NOT_ALLOWED, "because no identity-based policy allows the ssm:GetParameter action"),
        (Decision.DENIED, "with an explicit deny in an identity-based policy"),
    ]:
        answer = denied(who, access, decision, "ssm", json_form=True)
        assert json.loads(answer.body)["message"] == f"{start} {reason}"
        assert answer.status == "400 Bad Request"


def test_ec2_begins_a_denial_in_its_own_way() -> None:
    answer = denied("arn:who", Access("ec2:TerminateInstances"), Decision.NOT_ALLOWED, "ec2", json_form=False)
    message = read("ec2", False, answer)["Message"]
    assert message.startswith("You are not authorized to perform this operation. User: arn:who is not authorized")


@pytest.mark.parametrize(("signed", "json_form"), [("ec2", False), ("sqs", True), ("ssm", True), ("lambda", True)])
def test_what_cannot_be_decided_is_a_fault_of_the_server(signed: str, json_form: bool) -> None:
    assert refusal(Kind.INTERNAL, signed, json_form, "why").status.startswith("500 ")
