"""SQS: order a look at a machine, now or later."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from functions.edges.aws import speaking_to
from functions.messages import Look, due


class QueuesEdge:
    """`client` is a boto3 SQS client; a function that only sends passes has no later queue."""

    def __init__(self, client: Any, *, pass_queue_url: str, later_queue_url: str) -> None:
        self._client = client
        self._pass_queue_url = pass_queue_url
        self._later_queue_url = later_queue_url

    def look_now(self, look: Look, deduplication_id: str) -> None:
        """The deduplication id is never the content: SQS would be deaf to the same look for five minutes."""
        with speaking_to("SQS", "SendMessage"):
            self._client.send_message(
                QueueUrl=self._pass_queue_url,
                MessageBody=look.to_json(),
                MessageGroupId=look.message_group,
                MessageDeduplicationId=deduplication_id,
            )

    def look_later(self, look: Look, *, now: datetime, after: timedelta) -> None:
        """Wait in the later queue until the next tick: a FIFO queue has no delay for one message."""
        tick = due(now, after)
        body = replace(look, due_s=int(tick.timestamp())).to_json()
        delay_s = math.ceil((tick - now).total_seconds())
        with speaking_to("SQS", "SendMessage"):
            self._client.send_message(QueueUrl=self._later_queue_url, MessageBody=body, DelaySeconds=delay_s)
