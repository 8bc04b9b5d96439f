"""What Regrow tells people: a subscriber of its topic."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from uuid import uuid4


@dataclass(frozen=True)
class Alert:
    subject: str
    text: str

    def says(self, words: str) -> bool:
        return words in self.subject or words in self.text


class Subscriber:
    """A queue that is subscribed to a topic, in one region. Hears what comes between its making and its end."""

    def __init__(self, session: Any, topic_arn: str, *, region: str) -> None:
        self._sqs, self._sns = session.client("sqs", region_name=region), session.client("sns", region_name=region)
        self._url = self._sqs.create_queue(QueueName=f"regrow-listener-{uuid4().hex[:12]}")["QueueUrl"]
        arn = self._sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        allowed = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage"}
        condition = {"ArnEquals": {"aws:SourceArn": topic_arn}}
        policy = {"Version": "2012-10-17", "Statement": [{**allowed, "Resource": arn, "Condition": condition}]}
        self._sqs.set_queue_attributes(QueueUrl=self._url, Attributes={"Policy": json.dumps(policy)})
        self._subscription = self._sns.subscribe(
            TopicArn=topic_arn, Protocol="sqs", Endpoint=arn, ReturnSubscriptionArn=True
        )["SubscriptionArn"]
        self._heard: list[Alert] = []

    def heard(self, about: str = "") -> list[Alert]:
        """All alerts so far whose subject or text contains this."""
        while messages := self._sqs.receive_message(QueueUrl=self._url, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                note = json.loads(message["Body"])
                self._heard.append(Alert(note.get("Subject", ""), note["Message"]))
                self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])
        return [alert for alert in self._heard if alert.says(about)]

    def end(self) -> None:
        self._sns.unsubscribe(SubscriptionArn=self._subscription)
        self._sqs.delete_queue(QueueUrl=self._url)
