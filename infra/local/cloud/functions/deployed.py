"""What moto's Lambda knows about a function: the part of it that an invocation depends on."""

from __future__ import annotations

from dataclasses import dataclass, field

from moto.awslambda.models import LambdaBackend, LambdaFunction, lambda_backends

from infra.local.cloud.extension import ACCOUNT, REGION


@dataclass(frozen=True)
class Deployed:
    """A function as it is deployed now. Two that are equal may share warm environments; any difference retires them."""

    name: str
    arn: str
    handler: str
    runtime: str
    role: str
    memory_mb: int
    timeout_s: int
    version: str
    variables: tuple[tuple[str, str], ...]
    code_sha256: str
    code: bytes = field(compare=False, repr=False)
    reserved_concurrency: int | None = field(compare=False)


@dataclass(frozen=True)
class AsynchronousSettings:
    """What becomes of an asynchronous invocation that fails or succeeds; targets are ARNs."""

    retries: int = 2
    max_age_s: float = 21600.0
    on_success: str | None = None
    on_failure: str | None = None
    dead_letter: str | None = None


def deployed(name_or_arn: str, qualifier: str | None = None) -> Deployed:
    """The function of that name or ARN; moto's UnknownFunctionException if there is none."""
    function = _function(name_or_arn, qualifier)
    reserved = function.reserved_concurrency
    return Deployed(
        name=function.function_name,
        arn=function.function_arn,
        handler=function.handler or "",
        runtime=function.run_time or "",
        role=function.role,
        memory_mb=int(function.memory_size),
        timeout_s=int(function.timeout),
        version=str(function.version),
        variables=tuple(sorted((str(k), str(v)) for k, v in function.environment_vars.items())),
        code_sha256=function.code_sha_256,
        code=function.code_bytes,
        reserved_concurrency=None if reserved is None else int(reserved),
    )


def asynchronous_settings(name_or_arn: str) -> AsynchronousSettings:
    """How the function wants its asynchronous invocations handled: Lambda's defaults where it says nothing."""
    function = _function(name_or_arn, None)
    dead_letter = getattr(function, "dead_letter_config", None) or {}
    config = function.event_invoke_config[-1].config if function.event_invoke_config else {}
    destinations = config.get("DestinationConfig") or {}
    return AsynchronousSettings(
        retries=int(config.get("MaximumRetryAttempts", AsynchronousSettings.retries)),
        max_age_s=float(config.get("MaximumEventAgeInSeconds", AsynchronousSettings.max_age_s)),
        on_success=(destinations.get("OnSuccess") or {}).get("Destination"),
        on_failure=(destinations.get("OnFailure") or {}).get("Destination"),
        dead_letter=dead_letter.get("TargetArn"),
    )


def lambda_backend() -> LambdaBackend:
    return lambda_backends[ACCOUNT][REGION]


def _function(name_or_arn: str, qualifier: str | None) -> LambdaFunction:
    return lambda_backend().get_function(name_or_arn, qualifier)
