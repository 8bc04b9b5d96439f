"""What a call needs, service by service: actions, resources and keys as in AWS's Service Authorization Reference."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from infra.local.cloud.access.access import Access, UnknownAccessError
from infra.local.cloud.access.calls import Call
from infra.local.cloud.access.services import (
    autoscaling,
    commands,
    dynamodb,
    ec2,
    elasticloadbalancing,
    experiments,
    functions,
    keys,
    messages,
    observability,
    parameters,
    queues,
    rules,
    storage,
)

Derivation = Callable[[Call], Iterable[Access]]

_SERVICES: Mapping[str, Mapping[str, Derivation]] = {
    "autoscaling": autoscaling.OPERATIONS,
    "cloudwatch": observability.METRICS,
    "dynamodb": dynamodb.OPERATIONS,
    "ec2": ec2.OPERATIONS,
    "ec2messages": commands.MESSAGES,
    "elasticloadbalancing": elasticloadbalancing.OPERATIONS,
    "events": rules.OPERATIONS,
    "fis": experiments.OPERATIONS,
    "kms": keys.OPERATIONS,
    "lambda": functions.OPERATIONS,
    "logs": observability.LOGS,
    "s3": storage.OPERATIONS,
    "sns": messages.OPERATIONS,
    "sqs": queues.OPERATIONS,
    "ssm": {**parameters.OPERATIONS, **commands.OPERATIONS},
    # Every principal may ask who it is, whatever its policies say (STS API reference, GetCallerIdentity).
    "sts": {"GetCallerIdentity": lambda _: ()},
}
_DESCRIBE_KNOWS_NO_RESOURCE = ("autoscaling", "ec2", "elasticloadbalancing")


def accesses(call: Call) -> Sequence[Access]:
    """All that must be allowed; UnknownAccessError for an operation about which nothing is written here."""
    derivation = _SERVICES.get(call.service, {}).get(call.operation)
    if derivation is not None:
        try:
            return tuple(derivation(call))
        except KeyError as error:
            raise UnknownAccessError(f"{call.service}:{call.operation} lacks {error}") from error
    if call.service in _DESCRIBE_KNOWS_NO_RESOURCE and call.operation.startswith("Describe"):
        return (Access(f"{call.service}:{call.operation}"),)
    raise UnknownAccessError(f"nothing says which action and resource {call.service}:{call.operation} needs")
