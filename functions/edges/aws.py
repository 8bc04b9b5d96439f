"""How every AWS edge talks: one configuration for time-outs and retries, one translation of errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from functions.errors import ConfigurationError, RetryableError

# A service that does not answer in this time is Unknown. Together with the Kubernetes edge's time-outs a pass in which
# everything hangs still ends within its function's 30 s, and orders the next look.
CONFIG = Config(
    connect_timeout=2, read_timeout=4, retries={"mode": "standard", "total_max_attempts": 2}, max_pool_connections=16
)
# For calling another function, which itself speaks to the outside: asked once, since the next look asks again.
CONFIG_OF_CALLS = Config(connect_timeout=2, read_timeout=12, retries={"mode": "standard", "total_max_attempts": 1})


class LateClient:
    """A boto3 client that is made when it is first used: making one costs more than a call, and few passes use all."""

    _making = Lock()  # of all: boto3's session may not make two at once

    def __init__(self, service: str, config: Config = CONFIG) -> None:
        self._service = service
        self._config = config
        self._client: Any = None

    def __getattr__(self, operation: str) -> Any:
        with self._making:
            if self._client is None:
                import boto3

                self._client = boto3.client(self._service, config=self._config)
        return getattr(self._client, operation)


_PERSON_MUST_MEND = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "AuthorizationError",
        "InvalidDocument",
        "UnauthorizedOperation",
        "ParameterNotFound",
        "ResourceNotFoundException",
        "AWS.SimpleQueueService.NonExistentQueue",
        "QueueDoesNotExist",
    }
)


def code(error: ClientError) -> str:
    """Return the service's own error code."""
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def speaking_to(service: str, what: str) -> Iterator[None]:
    """Turn botocore's errors into ours, saying which call of which service failed and how."""
    try:
        yield
    except ClientError as error:
        message = f"{service} {what}: {code(error)}: {error.response.get('Error', {}).get('Message', '')}"
        if code(error) in _PERSON_MUST_MEND:
            raise ConfigurationError(message) from error
        raise RetryableError(message) from error
    except (BotoCoreError, ResponseParserError) as error:
        raise RetryableError(f"{service} {what}: {error}") from error


def instances_arn(beside_arn: str) -> str:
    """Return what the ARNs of the instances begin with in the partition, region and account of any other ARN."""
    parts = beside_arn.split(":")
    if len(parts) < 6 or parts[0] != "arn" or not all((parts[1], parts[3], parts[4])):
        raise ConfigurationError(f"{beside_arn!r} is no ARN with a region and an account")
    return f"arn:{parts[1]}:ec2:{parts[3]}:{parts[4]}:instance/"
