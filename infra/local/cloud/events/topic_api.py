"""moto's SNS whose subscribed functions get the notification as SNS sends it, with its topic and subscription."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from moto.sns import models
from moto.sns.models import Subscription

from infra.local.cloud.extension import replace
from infra.local.cloud.functions.environments import Functions


class FunctionSubscription(Subscription):
    """A subscription; one of a function invokes it asynchronously, as SNS does."""

    functions: Functions

    def publish(
        self,
        message: str,
        message_id: str,
        subject: str | None = None,
        message_attributes: dict[str, Any] | None = None,
        group_id: str | None = None,
        deduplication_id: str | None = None,
        message_structure: str | None = None,
    ) -> None:
        if self.protocol != "lambda":
            super().publish(
                message, message_id, subject, message_attributes, group_id, deduplication_id, message_structure
            )
            return
        matcher = self._filter_policy_matcher
        if matcher is not None and not matcher.matches(message_attributes, message):
            return
        if message_structure == "json":
            message = self._parse_message_structure(message, self.protocol)
        notification = {
            "Type": "Notification",
            "MessageId": message_id,
            "TopicArn": self.topic.arn,
            "Subject": subject,
            "Message": message,
            "Timestamp": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z",
            "MessageAttributes": message_attributes or {},
        }
        record = {
            "EventSource": "aws:sns",
            "EventVersion": "1.0",
            "EventSubscriptionArn": self.arn,
            "Sns": notification,
        }
        self.functions.invoke(self.endpoint, json.dumps({"Records": [record]}).encode(), asynchronous=True)


def install(functions: Functions) -> None:
    """Every subscription made from now on is of this kind."""
    replace(models, "Subscription", type("Subscription", (FunctionSubscription,), {"functions": functions}))
