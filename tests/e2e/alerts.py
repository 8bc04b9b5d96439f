"""What Regrow tells people: a subscriber of its topic."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Alert:
    subject: str
    text: str


class Subscriber:
    """A queue that is subscribed to a topic, in one region of the world's AWS. Hears what comes after it was made."""

    def __init__(self, session: Any, topic_arn: str, *, region: str) -> None:
        self._sqs = session.client("sqs", region_name=region)
        self._url = self._sqs.create_queue(QueueName="e2e-alerts")["QueueUrl"]
        arn = self._sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        session.client("sns", region_name=region).subscribe(TopicArn=topic_arn, Protocol="sqs", Endpoint=arn)
        self._heard: list[Alert] = []

    def heard(self, about: str = "") -> list[Alert]:
        """All alerts so far whose subject or text contains this."""
        while messages := self._sqs.receive_message(QueueUrl=self._url, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                note = json.loads(message["Body"])
                self._heard.append(Alert(note.get("Subject", ""), note["Message"]))
                self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])
        return [alert for alert in self._heard if about in alert.subject or about in alert.text]
