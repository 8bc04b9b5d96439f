"""What a function gets from a queue mapping, and what its answer says about each message. Pure."""

from __future__ import annotations

import base64
import json
from typing import Any

from moto.events.models import EventPattern
from moto.sqs.models import Message


def batch_event(messages: list[Message], queue_arn: str, region: str) -> bytes:
    """The event of one batch, in the form that Lambda documents for SQS."""
    return json.dumps({"Records": [_record(message, queue_arn, region) for message in messages]}).encode()


def failed_ids(payload: bytes, batch: set[str]) -> set[str]:
    """The messages that a ReportBatchItemFailures answer names; all of the batch when the answer makes no sense."""
    try:
        answer = json.loads(payload or b"null")
    except ValueError:
        return batch
    if answer is None or answer == {}:
        return set()
    if not isinstance(answer, dict):
        return batch
    named: set[str] = set()
    for item in answer.get("batchItemFailures") or []:
        message_id = item.get("itemIdentifier") if isinstance(item, dict) else None
        if message_id not in batch:
            return batch
        named.add(message_id)
    return named


def accepted(message: Message, filter_criteria: dict[str, Any] | None) -> bool:
    """Whether a mapping's filters let the message through to the function; those that do not are deleted unseen."""
    filters = (filter_criteria or {}).get("Filters") or []
    if not filters:
        return True
    try:
        body = json.loads(message.body)
    except ValueError:
        body = message.body
    event: Any = {"body": body, "messageId": message.id}
    return any(EventPattern.load(entry.get("Pattern")).matches_event(event) for entry in filters)


def _record(message: Message, queue_arn: str, region: str) -> dict[str, Any]:
    attributes = {
        "ApproximateReceiveCount": str(message.approximate_receive_count),
        "SentTimestamp": str(message.sent_timestamp),
        "SenderId": message.sender_id,
        "ApproximateFirstReceiveTimestamp": str(message.approximate_first_receive_timestamp),
        "SequenceNumber": message.sequence_number,
        "MessageGroupId": message.group_id,
        "MessageDeduplicationId": message.deduplication_id,
        "AWSTraceHeader": (message.system_attributes.get("AWSTraceHeader") or {}).get("StringValue"),
    }
    record = {
        "messageId": message.id,
        "receiptHandle": message.receipt_handle,
        "body": message.body,
        "attributes": {name: value for name, value in attributes.items() if value is not None},
        "messageAttributes": {name: _attribute(value) for name, value in message.message_attributes.items()},
        "md5OfBody": message.body_md5,
        "eventSource": "aws:sqs",
        "eventSourceARN": queue_arn,
        "awsRegion": region,
    }
    if message.message_attributes:
        record["md5OfMessageAttributes"] = message.attribute_md5
    return record


def _attribute(value: dict[str, Any]) -> dict[str, Any]:
    record: dict[str, Any] = {"stringListValues": [], "binaryListValues": [], "dataType": value["DataType"]}
    if "StringValue" in value:
        record["stringValue"] = value["StringValue"]
    if "BinaryValue" in value:
        raw = value["BinaryValue"]
        record["binaryValue"] = raw if isinstance(raw, str) else base64.b64encode(raw).decode()
    return record
