"""Where AWS itself puts messages: queues and topics named by their ARN."""

from __future__ import annotations

from typing import Any

from moto.sns.models import sns_backends
from moto.sqs.models import sqs_backends

from infra.local.cloud.extension import ACCOUNT, REGION


class NoRoadError(Exception):
    """The target is of a kind that this AWS cannot deliver to."""


def service_of(arn: str) -> str:
    """The service that an ARN belongs to: `sqs` of arn:aws:sqs:…"""
    parts = arn.split(":", 5)
    return parts[2] if len(parts) == 6 else ""


def send(
    arn: str,
    body: str,
    group_id: str | None = None,
    attributes: dict[str, str] | None = None,
    subject: str | None = None,
) -> None:
    """Put `body` on a queue or publish it to a topic; moto's own exceptions when it does not exist or refuses."""
    name = arn.rsplit(":", 1)[-1]
    match service_of(arn):
        case "sqs":
            sqs_backends[ACCOUNT][REGION].send_message(
                name, body, message_attributes=_sqs_attributes(attributes or {}), group_id=group_id
            )
        case "sns":
            topic = sns_backends[ACCOUNT][REGION].get_topic(arn)
            topic.publish(
                body, subject=subject, message_attributes=_sns_attributes(attributes or {}), group_id=group_id
            )
        case _:
            raise NoRoadError(f"Nothing can be delivered to {arn}: only functions, queues and topics are known here.")


def _sqs_attributes(attributes: dict[str, str]) -> dict[str, Any]:
    return {name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()}


def _sns_attributes(attributes: dict[str, str]) -> dict[str, Any]:
    return {name: {"Type": "String", "Value": value} for name, value in attributes.items()}
