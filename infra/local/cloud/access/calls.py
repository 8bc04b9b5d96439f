"""A request to the API of AWS, read as moto reads it: which operation of which service, with which parameters."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from botocore.exceptions import DataNotFoundError
from moto.core.model import OperationModel
from moto.core.parse import PROTOCOL_PARSERS
from moto.core.request import Request, determine_request_protocol
from moto.core.routing import get_service_router
from moto.core.utils import get_service_model
from werkzeug.exceptions import NotFound

from infra.local.cloud.access.access import UnknownAccessError

_CREDENTIAL = re.compile(r"Credential=([^/,\s]+)/\d{8}/([^/]+)/([^/]+)/aws4_request")
_MODELS = {"elasticloadbalancing": "elbv2", "monitoring": "cloudwatch"}
"""Where botocore's name of a service is not the one that requests are signed for."""
_CLASSIC = "2012-06-01"
_PREFIXES = {"monitoring": "cloudwatch"}
"""Where the prefix of a service's actions is not the one that requests are signed for."""
_AGENTS_SERVICE, _AGENTS_OPERATIONS = "ec2messages", {"ssm": ("UpdateInstanceInformation",)}
"""What only the SSM Agent calls: botocore has no model of a whole service, nor of these operations of another."""


@dataclass(frozen=True)
class Signature:
    """Who signed a request, for which service. The signature itself is not checked: who has the key has its secret."""

    access_key: str
    token: str
    region: str
    service: str
    presigned: bool


@dataclass(frozen=True)
class Call:
    """`service` is the prefix of its actions; `params` have the names that the API reference has."""

    service: str
    operation: str
    params: Mapping[str, Any]
    region: str
    account: str

    def arn(self, resource: str) -> str:
        return f"arn:aws:{self.service}:{self.region}:{self.account}:{resource}"


def signature(environ: Mapping[str, Any]) -> Signature | None:
    """From the Authorization header, or from the query of a presigned URL; None for a request without either."""
    header = environ.get("HTTP_AUTHORIZATION", "")
    query = parse_qs(environ.get("QUERY_STRING", "")) if not header else {}
    signed = header or "Credential=" + query.get("X-Amz-Credential", [""])[0]
    found = _CREDENTIAL.search(signed)
    if found is None:
        return None
    token = environ.get("HTTP_X_AMZ_SECURITY_TOKEN") or query.get("X-Amz-Security-Token", [""])[0]
    return Signature(access_key=found[1], token=token, region=found[2], service=found[3].lower(), presigned=not header)


def read(environ: dict[str, Any], signed: Signature, account: str) -> Call:
    """The call in this request, whose body stays readable. UnknownAccessError for what cannot be understood."""
    if signed.presigned:
        # moto takes every one of them for a call to S3, whatever service it was signed for.
        raise UnknownAccessError(f"a presigned request to {signed.service}")
    body = _body(environ)
    if operation_of_agent := agents_operation(environ, signed):
        return Call(signed.service, operation_of_agent, agents_params(body), signed.region, account)
    request = Request({**environ, "wsgi.input": io.BytesIO(body)})
    if request.path == "/" and request.query_string and (body or "X-Amz-Target" in request.headers):
        # moto could take the operation from the one and this module from the other.
        raise UnknownAccessError(f"{signed.service}: an operation in the query and one in the body")
    try:
        model = get_service_model(_model_name(signed.service, request))
        operation, in_path = get_service_router(model.service_name).match(request)
    except (DataNotFoundError, NotFound, NotImplementedError) as error:
        raise UnknownAccessError(f"{signed.service}: {request.method} {request.path} is no operation") from error
    params = _parsed(operation, request, in_path)
    service = _PREFIXES.get(signed.service, signed.service)
    return Call(service, str(operation.name), params, signed.region, account)


def agents_operation(environ: Mapping[str, Any], signed: Signature) -> str | None:
    """The operation in a request that only the SSM Agent makes, None in every other one."""
    operation = str(environ.get("HTTP_X_AMZ_TARGET", "")).rpartition(".")[2]
    known = signed.service == _AGENTS_SERVICE or operation in _AGENTS_OPERATIONS.get(signed.service, ())
    return operation if known else None


def agents_params(body: bytes) -> dict[str, Any]:
    """The parameters of such a request; UnknownAccessError for a body that has none."""
    try:
        params = json.loads(body or b"{}")
    except ValueError as error:
        raise UnknownAccessError("the agent's request is no JSON") from error
    if not isinstance(params, dict):
        raise UnknownAccessError("the agent's request is no JSON object")
    return params


def _model_name(service: str, request: Request) -> str:
    """Classic load balancers are called under the same name as the others, in an older version of the API."""
    if service == "elasticloadbalancing" and request.values.get("Version") == _CLASSIC:
        return "elb"
    return _MODELS.get(service, service)


def _parsed(operation: OperationModel, request: Request, in_path: Mapping[str, Any]) -> dict[str, Any]:
    protocol = determine_request_protocol(operation.service_model, request.content_type)
    # What a form says is taken out of the body when it is read, so the body is read first.
    body = request.get_data(cache=True, parse_form_data=False)
    return dict(
        PROTOCOL_PARSERS[protocol](operation).parse(
            {
                "method": request.method,
                "values": request.values,
                "headers": request.headers,
                "body": body,
                "url_path": request.path,
                "url_params": in_path,
            }
        )
    )


def _body(environ: dict[str, Any]) -> bytes:
    """The body, put back for who comes next. botocore always says how long it is."""
    length = int(environ.get("CONTENT_LENGTH") or 0)
    body: bytes = environ["wsgi.input"].read(length) if length else b""
    environ["wsgi.input"] = io.BytesIO(body)
    return body
