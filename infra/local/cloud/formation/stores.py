"""CloudFormation's queues and tables, with what moto leaves out, and updates that keep what is in them."""

# ruff: noqa: ARG003 - moto fixes the arguments
from __future__ import annotations

import json
from typing import Any

from moto.core.common_models import CloudFormationModel
from moto.dynamodb.models import dynamodb_backends
from moto.dynamodb.models.table import Table
from moto.sqs.models import Queue, sqs_backends

QUEUE_ATTRIBUTES = (
    "ContentBasedDeduplication",
    "DelaySeconds",
    "KmsMasterKeyId",
    "MaximumMessageSize",
    "MessageRetentionPeriod",
    "ReceiveMessageWaitTimeSeconds",
    "RedrivePolicy",
    "SqsManagedSseEnabled",
    "VisibilityTimeout",
)


class QueueResource(CloudFormationModel):
    """`AWS::SQS::Queue`: as moto makes it, and updated in every attribute that SQS can change."""

    @staticmethod
    def cloudformation_name_type() -> str:
        return "QueueName"

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::SQS::Queue"

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        return bool(Queue.has_cfn_attr(attr))

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str, **kwargs: Any
    ) -> Queue:
        return Queue.create_from_cloudformation_json(resource_name, cloudformation_json, account_id, region_name)

    @classmethod
    def update_from_cloudformation_json(
        cls, original_resource: Any, new_resource_name: str, cloudformation_json: Any, account_id: str, region_name: str
    ) -> Queue:
        properties = cloudformation_json["Properties"]
        backend = sqs_backends[account_id][region_name]
        if properties.get("QueueName", original_resource.name) != original_resource.name:
            backend.delete_queue(original_resource.name)
            return cls.create_from_cloudformation_json(new_resource_name, cloudformation_json, account_id, region_name)
        changed = {name: properties[name] for name in QUEUE_ATTRIBUTES if name in properties}
        if isinstance(changed.get("RedrivePolicy"), dict):
            changed["RedrivePolicy"] = json.dumps(changed["RedrivePolicy"])
        return backend.set_queue_attributes(original_resource.name, changed)

    @classmethod
    def delete_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str
    ) -> None:
        Queue.delete_from_cloudformation_json(resource_name, cloudformation_json, account_id, region_name)


class QueuePolicyResource(CloudFormationModel):
    """`AWS::SQS::QueuePolicy`: one policy for all the queues that it names."""

    def __init__(self, name: str, queues: list[str]) -> None:
        self.name = name
        self.queues = queues

    @property
    def physical_resource_id(self) -> str:
        return self.name

    @staticmethod
    def cloudformation_name_type() -> str:
        return ""

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::SQS::QueuePolicy"

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str, **kwargs: Any
    ) -> QueuePolicyResource:
        properties = cloudformation_json["Properties"]
        queues = [url.rpartition("/")[2] for url in properties["Queues"]]
        for queue in queues:
            sqs_backends[account_id][region_name].set_queue_attributes(
                queue, {"Policy": json.dumps(properties["PolicyDocument"])}
            )
        return cls(resource_name, queues)

    @classmethod
    def update_from_cloudformation_json(
        cls, original_resource: Any, new_resource_name: str, cloudformation_json: Any, account_id: str, region_name: str
    ) -> QueuePolicyResource:
        original_resource.delete(account_id, region_name)
        return cls.create_from_cloudformation_json(original_resource.name, cloudformation_json, account_id, region_name)

    def delete(self, account_id: str, region_name: str) -> None:
        backend = sqs_backends[account_id][region_name]
        for queue in self.queues:
            if queue in backend.queues:
                backend.set_queue_attributes(queue, {"Policy": ""})


class TableResource(CloudFormationModel):
    """`AWS::DynamoDB::Table`: with its time to live and point-in-time recovery, both of which an update may change."""

    @staticmethod
    def cloudformation_name_type() -> str:
        return "TableName"

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::DynamoDB::Table"

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        return bool(Table.has_cfn_attr(attr))

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str, **kwargs: Any
    ) -> Table:
        table = Table.create_from_cloudformation_json(resource_name, cloudformation_json, account_id, region_name)
        _keep(table, cloudformation_json["Properties"], account_id, region_name)
        return table

    @classmethod
    def update_from_cloudformation_json(
        cls, original_resource: Any, new_resource_name: str, cloudformation_json: Any, account_id: str, region_name: str
    ) -> Table:
        table: Table = original_resource
        _keep(table, cloudformation_json["Properties"], account_id, region_name)
        return table

    @classmethod
    def delete_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str
    ) -> None:
        Table.delete_from_cloudformation_json(resource_name, cloudformation_json, account_id, region_name)


def _keep(table: Table, properties: dict[str, Any], account_id: str, region_name: str) -> None:
    """How long the table keeps what is in it. A template's words may be booleans or text."""
    backend = dynamodb_backends[account_id][region_name]
    time_to_live = properties.get("TimeToLiveSpecification")
    if time_to_live:
        enabled = str(time_to_live.get("Enabled", False)).lower() == "true"
        backend.update_time_to_live(table.name, {**time_to_live, "Enabled": enabled})
    recovery = properties.get("PointInTimeRecoverySpecification")
    if recovery:
        enabled = str(recovery.get("PointInTimeRecoveryEnabled", False)).lower() == "true"
        backend.update_continuous_backups(table.name, {"PointInTimeRecoveryEnabled": enabled})


RESOURCES = (QueueResource, QueuePolicyResource, TableResource)
