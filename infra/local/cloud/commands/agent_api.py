"""What the SSM Agent calls and no SDK has: it registers, fetches messages, acknowledges them and replies.

Each of these is about the machine whose credentials sign it, and about no other.
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, cast

from moto.ssm.models import ssm_backends

from infra.local.cloud.access import calls, sessions
from infra.local.cloud.commands.run_command import RunCommandBackend
from infra.local.cloud.extension import ACCOUNT

log = logging.getLogger(__name__)

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]

LONG_POLL_S = 20.0
VISIBILITY_S = 10.0
"""Where GetMessages says nothing."""
_SOURCE = "ec2:sourceinstancearn"


class RefusedError(Exception):
    """`code` is AWS's."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class AgentApi:
    """A WSGI application that answers agents, and hands every other request on."""

    def __init__(self, inner: Application) -> None:
        self._inner = inner

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        signed = calls.signature(environ)
        operation = calls.agents_operation(environ, signed) if signed else None
        if signed is None or operation is None:
            return self._inner(environ, start_response)
        try:
            status, answer = HTTPStatus.OK, _answer(operation, _instance_of(signed.access_key), signed.region, environ)
        except RefusedError as error:
            log.info("%s was refused: %s: %s", operation, error.code, error)
            status, answer = HTTPStatus.BAD_REQUEST, {"__type": error.code, "message": str(error)}
        body = json.dumps(answer).encode()
        headers = [("Content-Type", "application/x-amz-json-1.1"), ("Content-Length", str(len(body)))]
        start_response(f"{status.value} {status.phrase}", headers)
        return [body]


def _answer(operation: str, instance_id: str, region: str, environ: dict[str, Any]) -> dict[str, Any]:
    backend = cast(RunCommandBackend, ssm_backends[ACCOUNT][region])
    params = _params(environ)
    named = params.get("InstanceId") or params.get("Destination") or instance_id
    if named != instance_id:
        raise RefusedError("AccessDeniedException", f"{instance_id} speaks for itself, not for {named}.")
    if operation == "UpdateInstanceInformation":
        backend.register(instance_id, params)
        return {}
    if operation == "GetMessages":
        visibility_s = float(params.get("VisibilityTimeoutInSeconds", VISIBILITY_S))
        message = backend.next_message(instance_id, visibility_s, LONG_POLL_S)
        found = [] if message is None else [message]
        return {"Destination": instance_id, "MessagesRequestId": params.get("MessagesRequestId"), "Messages": found}
    message_id = str(params.get("MessageId"))
    if operation == "AcknowledgeMessage":
        taken = backend.acknowledge(instance_id, message_id)
    elif operation == "SendReply":
        taken = _reply(backend, instance_id, message_id, str(params.get("Payload")))
    else:
        raise RefusedError("UnknownOperationException", f"The local AWS does not know ec2messages:{operation}.")
    if not taken:
        raise RefusedError("InvalidMessageException", f"{message_id} is not to be handled any more.")
    return {}


def _reply(backend: RunCommandBackend, instance_id: str, message_id: str, payload: str) -> bool:
    try:
        return backend.reply(instance_id, message_id, json.loads(payload))
    except (ValueError, KeyError, TypeError) as error:
        raise RefusedError("ValidationException", f"This is no reply of an agent: {error!r}") from error


def _instance_of(access_key: str) -> str:
    """The machine that these credentials were given to by its metadata service."""
    who = sessions.principal(access_key) if access_key.startswith(sessions.TEMPORARY) else None
    if who is None or _SOURCE not in who.context:
        raise RefusedError("AccessDeniedException", "Only a machine's own credentials speak for its agent.")
    return who.context[_SOURCE][0].rpartition("/")[2]


def _params(environ: dict[str, Any]) -> dict[str, Any]:
    body: bytes = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(body)
    return calls.agents_params(body)
