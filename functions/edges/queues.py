"""SQS: order a look at a machine, now or later."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from functions.edges.aws import speaking_to
from functions.errors import RetryableError
from functions.messages import Look, Order, due

_BATCH = 10  # SQS takes no more in one request


class QueuesEdge:
    """`client` is a boto3 SQS client. Looks for later go by the inbox: a FIFO queue has no delay for one message."""

    def __init__(self, client: Any, *, pass_queue_url: str, inbox_queue_url: str) -> None:
        self._client = client
        self._pass_queue_url = pass_queue_url
        self._inbox_queue_url = inbox_queue_url

    def look_now(self, *orders: Order) -> None:
        """Ten in one request. Raises RetryableError when one was not taken, after all have been tried."""
        once = list({order.deduplication_id: order for order in reversed(orders)}.values())[::-1]
        refused: list[str] = []
        for start in range(0, len(once), _BATCH):
            refused += self._send(once[start : start + _BATCH])
        if refused:
            raise RetryableError(f"SQS has not taken {len(refused)} of {len(once)} looks: {refused[0]}")

    def _send(self, orders: list[Order]) -> list[str]:
        entries = [
            {
                "Id": str(number),
                "MessageBody": order.look.to_json(),
                "MessageGroupId": order.look.message_group,
                "MessageDeduplicationId": order.deduplication_id,
            }
            for number, order in enumerate(orders)
        ]
        try:
            with speaking_to("SQS", "SendMessageBatch"):
                answer = self._client.send_message_batch(QueueUrl=self._pass_queue_url, Entries=entries)
        except RetryableError as error:
            return [str(error)] * len(orders)
        return [f"{one.get('Code')}: {one.get('Message')}" for one in answer.get("Failed", [])]

    def look_later(self, look: Look, *, now: datetime, after: timedelta) -> None:
        """Wait in the inbox until the next tick."""
        tick = due(now, after)
        body = replace(look, due_s=int(tick.timestamp())).to_json()
        delay_s = math.ceil((tick - now).total_seconds())
        with speaking_to("SQS", "SendMessage"):
            self._client.send_message(QueueUrl=self._inbox_queue_url, MessageBody=body, DelaySeconds=delay_s)
