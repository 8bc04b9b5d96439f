"""SNS."""

from __future__ import annotations

from collections.abc import Iterable

from moto.sns.models import sns_backends

from infra.local.cloud.access.access import Access, context_of, tags_under
from infra.local.cloud.access.calls import Call


def _on_topic(call: Call) -> Iterable[Access]:
    """A message to a telephone has no resource."""
    arn = call.params.get("TopicArn") or call.params.get("TargetArn") or "*"
    topic = sns_backends[call.account][call.region].topics.get(arn)
    tags = dict(topic._tags) if topic is not None else {}
    yield Access(f"sns:{call.operation.removesuffix('Batch')}", arn, context_of(tags_under(["aws:ResourceTag"], tags)))


_ON_A_TOPIC = ("GetTopicAttributes", "ListSubscriptionsByTopic", "Publish", "PublishBatch", "Subscribe")
OPERATIONS = {**dict.fromkeys(_ON_A_TOPIC, _on_topic), "ListTopics": lambda _: [Access("sns:ListTopics")]}
