"""SQS: the two queues of dead letters."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from functions.dead_letters import DeadLetter, Source
from functions.edges.aws import speaking_to

_BATCH = 10  # SQS hands out no more in one answer
_MOST = 200  # of each queue at once; who has more asks again
_HELD_S = 60  # while somebody looks at it nobody else gets it
_WAIT_S = 1  # an answer without waiting may miss messages that are there (SQS developer guide, short polling)


class DeadLettersEdge:
    """`client` is a boto3 SQS client."""

    def __init__(self, client: Any, *, pass_dead_url: str, inbox_dead_url: str, inbox_url: str) -> None:
        self._client = client
        self._urls = {Source.PASSES: pass_dead_url, Source.INBOX: inbox_dead_url}
        self._inbox_url = inbox_url

    def receive(self) -> tuple[DeadLetter, ...]:
        return tuple(letter for source in Source for letter in self._receive(source))

    def give_back(self, letters: Sequence[DeadLetter]) -> None:
        for letter in letters:
            with speaking_to("SQS", "ChangeMessageVisibility"):
                self._client.change_message_visibility(
                    QueueUrl=self._urls[letter.source], ReceiptHandle=letter.receipt, VisibilityTimeout=0
                )

    def delete(self, letter: DeadLetter) -> None:
        with speaking_to("SQS", "DeleteMessage"):
            self._client.delete_message(QueueUrl=self._urls[letter.source], ReceiptHandle=letter.receipt)

    def into_the_inbox(self, body: str) -> None:
        with speaking_to("SQS", "SendMessage"):
            self._client.send_message(QueueUrl=self._inbox_url, MessageBody=body)

    def _receive(self, source: Source) -> list[DeadLetter]:
        """Of a FIFO queue at most ten of one message group: the others come when those are gone or given back."""
        found: list[DeadLetter] = []
        while len(found) < _MOST:
            with speaking_to("SQS", "ReceiveMessage"):
                answer = self._client.receive_message(
                    QueueUrl=self._urls[source],
                    MaxNumberOfMessages=_BATCH,
                    VisibilityTimeout=_HELD_S,
                    WaitTimeSeconds=_WAIT_S,
                    MessageSystemAttributeNames=["SentTimestamp", "ApproximateReceiveCount"],
                )
            messages = answer.get("Messages", [])
            if not messages:
                break
            found += [_letter(source, message) for message in messages]
        return found


def _letter(source: Source, message: dict[str, Any]) -> DeadLetter:
    attributes = message["Attributes"]
    return DeadLetter(
        source=source,
        id=message["MessageId"],
        body=message["Body"],
        sent_at=datetime.fromtimestamp(int(attributes["SentTimestamp"]) / 1000, UTC),
        received=int(attributes["ApproximateReceiveCount"]),
        receipt=message["ReceiptHandle"],
    )
