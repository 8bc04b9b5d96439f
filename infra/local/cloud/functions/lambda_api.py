"""moto's Lambda with functions that really run: the Invoke API, and the services that invoke through it."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from typing import Any

from moto.awslambda import models
from moto.awslambda.exceptions import LambdaClientError
from moto.awslambda.models import LambdaBackend, LambdaFunction

from infra.local.cloud.extension import put_in_place, replace
from infra.local.cloud.functions.deployed import deployed
from infra.local.cloud.functions.emulation import EmulatorError
from infra.local.cloud.functions.environments import Functions
from infra.local.cloud.functions.invocation import ThrottledError
from infra.local.cloud.functions.packages import PackageRefusedError


class TooManyRequestsError(LambdaClientError):
    code = 429

    def __init__(self) -> None:
        super().__init__("TooManyRequestsException", "Rate Exceeded.")


class InvalidRequestContentError(LambdaClientError):
    def __init__(self, why: str) -> None:
        super().__init__("InvalidRequestContentException", f"Could not parse request body into json: {why}")


class ServiceError(LambdaClientError):
    code = 500

    def __init__(self, why: str) -> None:
        super().__init__("ServiceException", why)


class EmulatedFunction(LambdaFunction):
    """A function that keeps its dead-letter configuration, which moto drops."""

    def __init__(self, account_id: str, spec: dict[str, Any], region: str, version: str | int = 1) -> None:
        super().__init__(account_id, spec, region, version)
        self.dead_letter_config: dict[str, str] = spec.get("DeadLetterConfig") or {}

    def get_configuration(self, on_create: bool = False) -> dict[str, Any]:
        configuration: dict[str, Any] = super().get_configuration(on_create)
        if self.dead_letter_config:
            configuration["DeadLetterConfig"] = self.dead_letter_config
        return configuration

    def update_configuration(self, config_updates: dict[str, Any]) -> dict[str, Any]:
        self.dead_letter_config = config_updates.get("DeadLetterConfig", self.dead_letter_config)
        configuration: dict[str, Any] = super().update_configuration(config_updates)
        return configuration


class EmulatedLambda(LambdaBackend):
    """moto's Lambda, whose invocations are run by `functions`."""

    functions: Functions

    def create_function(self, spec: dict[str, Any]) -> LambdaFunction:
        function = super().create_function(spec)
        self._prepare(function.function_arn)
        return function

    def update_function_code(self, function_name: str, qualifier: str, body: dict[str, Any]) -> dict[str, Any] | None:
        configuration: dict[str, Any] | None = super().update_function_code(function_name, qualifier, body)
        self._prepare(function_name)
        return configuration

    def _prepare(self, function: str) -> None:
        """A package that cannot be run is told at the first invocation, as Lambda tells it."""
        with suppress(PackageRefusedError):
            self.functions.prepare(function)

    def invoke(
        self, function_name: str, qualifier: str | None, body: Any, headers: Any, response_headers: Any
    ) -> str | bytes | None:
        """The Invoke API: RequestResponse, Event and DryRun, with Lambda's headers."""
        function = deployed(function_name, qualifier)
        payload = body if isinstance(body, bytes) else (body or "").encode()
        try:
            json.loads(payload or b"{}")
        except ValueError as error:
            raise InvalidRequestContentError(str(error)) from error
        response_headers["X-Amz-Executed-Version"] = function.version
        kind = headers.get("X-Amz-Invocation-Type", "RequestResponse")
        if kind == "DryRun":
            return b""
        try:
            invocation = self.functions.invoke(function.arn, payload, asynchronous=kind == "Event")
        except ThrottledError as error:
            raise TooManyRequestsError from error
        except (PackageRefusedError, EmulatorError) as error:
            raise ServiceError(str(error)) from error
        response_headers["x-amzn-RequestId"] = invocation.request_id
        if invocation.error is not None:
            response_headers["X-Amz-Function-Error"] = invocation.error
        # moto's response class takes this header out again unless the caller asked for the tail.
        response_headers["x-amz-log-result"] = base64.b64encode(invocation.log.encode()).decode()
        return invocation.payload


def install(functions: Functions) -> None:
    """Let `functions` run what moto's Lambda is asked to invoke. Before the first backend is made."""
    replace(models, "LambdaFunction", EmulatedFunction)
    put_in_place(models.lambda_backends, type("RunningLambda", (EmulatedLambda,), {"functions": functions}))
