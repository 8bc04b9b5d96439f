"""Refusals as each service's protocol says them, so that SDKs see the code that AWS would give."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from xml.sax.saxutils import escape

from infra.local.cloud.access.access import Access
from infra.local.cloud.access.policies import Decision


class Kind(Enum):
    """Why a request is not carried out."""

    DENIED = "denied"
    UNKNOWN_KEY = "unknown key"
    EXPIRED = "expired"
    INTERNAL = "internal"
    UNSIGNED = "unsigned"


@dataclass(frozen=True)
class Code:
    """The error's code and HTTP status; `query` is the code of a JSON service's former query protocol."""

    name: str
    status: int
    query: str | None = None


@dataclass(frozen=True)
class Refusal:
    status: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


_INVALID_TOKEN = "The security token included in the request is invalid."  # noqa: S105 - AWS's text
_TEXTS = {
    Kind.UNKNOWN_KEY: _INVALID_TOKEN,
    Kind.EXPIRED: "The security token included in the request is expired",
    Kind.UNSIGNED: "Request is missing Authentication Token",
}
_QUERY = {
    Kind.DENIED: Code("AccessDenied", 403),
    Kind.UNKNOWN_KEY: Code("InvalidClientTokenId", 403),
    Kind.EXPIRED: Code("ExpiredToken", 403),
    Kind.INTERNAL: Code("InternalFailure", 500),
    Kind.UNSIGNED: Code("MissingAuthenticationToken", 403),
}
_JSON = {
    Kind.DENIED: Code("AccessDeniedException", 400),
    Kind.UNKNOWN_KEY: Code("UnrecognizedClientException", 400),
    Kind.EXPIRED: Code("ExpiredTokenException", 400),
    Kind.INTERNAL: Code("InternalFailure", 500),
    Kind.UNSIGNED: Code("MissingAuthenticationTokenException", 400),
}
_REST_JSON = {kind: Code(code.name, max(code.status, 403)) for kind, code in _JSON.items()}
_EC2 = {
    Kind.DENIED: Code("UnauthorizedOperation", 403),
    Kind.UNKNOWN_KEY: Code("AuthFailure", 401),
    Kind.EXPIRED: Code("RequestExpired", 400),
    Kind.INTERNAL: Code("InternalError", 500),
    Kind.UNSIGNED: Code("MissingAuthenticationToken", 403),
}
_SNS = {**_QUERY, Kind.DENIED: Code("AuthorizationError", 403)}
_SQS = {kind: Code(_JSON[kind].name, code.status, query=code.name) for kind, code in _QUERY.items()}
_S3 = {
    Kind.DENIED: Code("AccessDenied", 403),
    Kind.UNKNOWN_KEY: Code("InvalidAccessKeyId", 403),
    Kind.EXPIRED: Code("ExpiredToken", 400),
    Kind.INTERNAL: Code("InternalError", 500),
    Kind.UNSIGNED: Code("AccessDenied", 403),
}
_OF_SERVICE = {"s3": _S3, "ec2": _EC2, "sns": _SNS, "sqs": _SQS, "lambda": _REST_JSON}


def denied(principal_arn: str, access: Access, decision: Decision, service: str, json_form: bool) -> Refusal:
    """In AWS's words (IAM user guide, "Troubleshoot access denied error messages")."""
    reason = decision.value.format(action=access.action)
    text = (
        f"User: {principal_arn} is not authorized to perform: {access.action} on resource: {access.resource} {reason}"
    )
    if service == "ec2":
        text = f"You are not authorized to perform this operation. {text}"
    return refusal(Kind.DENIED, service, json_form, text)


def refusal(kind: Kind, service: str, json_form: bool, text: str | None = None) -> Refusal:
    """`json_form`: whether the request was JSON, which some services take beside forms."""
    code = _OF_SERVICE.get(service, _JSON if json_form else _QUERY)[kind]
    message = text or _TEXTS[kind]
    request_id = str(uuid.uuid4())
    if json_form:
        body = json.dumps({"__type": f"com.amazon.coral.service#{code.name}", "message": message}).encode()
        headers = [("Content-Type", "application/x-amz-json-1.0"), ("X-Amzn-ErrorType", code.name)]
        if code.query:
            fault = "Receiver" if kind is Kind.INTERNAL else "Sender"
            headers.append(("x-amzn-query-error", f"{code.query};{fault}"))
    else:
        body = _xml(code, message, request_id, service).encode()
        headers = [("Content-Type", "text/xml")]
    headers += [("x-amzn-RequestId", request_id), ("Content-Length", str(len(body)))]
    return Refusal(f"{code.status} {HTTPStatus(code.status).phrase}", tuple(headers), body)


def _xml(code: Code, message: str, request_id: str, service: str) -> str:
    error = f"<Code>{code.query or code.name}</Code><Message>{escape(message)}</Message>"
    if service == "s3":
        return f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{error}<RequestId>{request_id}</RequestId></Error>'
    if service == "ec2":
        inner = f"<Errors><Error>{error}</Error></Errors><RequestID>{request_id}</RequestID>"
        return f'<?xml version="1.0" encoding="UTF-8"?>\n<Response>{inner}</Response>'
    fault = "Sender" if code.status < 500 else "Receiver"
    inner = f"<Error><Type>{fault}</Type>{error}</Error><RequestId>{request_id}</RequestId>"
    return f"<ErrorResponse>{inner}</ErrorResponse>"
