"""SQS. A batch is decided about as one: its actions are those of the single calls."""

from __future__ import annotations

from collections.abc import Iterable

from moto.sqs.models import sqs_backends

from infra.local.cloud.access.access import Access, context_of, tags_under
from infra.local.cloud.access.calls import Call


def _on_queue(call: Call) -> Iterable[Access]:
    name = call.params["QueueUrl"].rpartition("/")[2] if "QueueUrl" in call.params else call.params["QueueName"]
    yield _access(call.operation.removesuffix("Batch"), call.arn(name))


def of_a_poller(queue_arn: str) -> Iterable[Access]:
    """What Lambda does with a queue in the function's name (Lambda developer guide, "Using Lambda with Amazon SQS")."""
    return [_access(operation, queue_arn) for operation in ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes")]


def _access(operation: str, arn: str) -> Access:
    *_, region, account, name = arn.split(":")
    queue = sqs_backends[account][region].queues.get(name)
    tags = dict(queue.tags) if queue is not None else {}
    return Access(f"sqs:{operation}", arn, context_of(tags_under(["aws:ResourceTag"], tags)))


OPERATIONS = {
    **dict.fromkeys(
        (
            "ChangeMessageVisibility",
            "ChangeMessageVisibilityBatch",
            "DeleteMessage",
            "DeleteMessageBatch",
            "DeleteQueue",
            "GetQueueAttributes",
            "GetQueueUrl",
            "ListDeadLetterSourceQueues",
            "ListQueueTags",
            "PurgeQueue",
            "ReceiveMessage",
            "SendMessage",
            "SendMessageBatch",
            "SetQueueAttributes",
        ),
        _on_queue,
    ),
    "ListQueues": lambda call: [Access("sqs:ListQueues", call.arn("*"))],
}
