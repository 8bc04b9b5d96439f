"""SNS: tell a person."""

from __future__ import annotations

from typing import Any

from functions.edges.aws import speaking_to

_LONGEST_SUBJECT = 100  # SNS refuses longer ones, and what is not printable ASCII


class AlertsEdge:
    """`client` is a boto3 SNS client."""

    def __init__(self, client: Any, *, topic_arn: str) -> None:
        self._client = client
        self._topic_arn = topic_arn

    def alert(self, subject: str, text: str) -> None:
        short = "".join(letter if " " <= letter <= "~" else "?" for letter in subject[:_LONGEST_SUBJECT])
        with speaking_to("SNS", "Publish"):
            self._client.publish(TopicArn=self._topic_arn, Subject=short, Message=text)
