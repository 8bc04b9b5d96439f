"""CloudFormation's command documents, which moto makes only of text, and deletes by what its update calls a name."""

# ruff: noqa: ARG003 - moto fixes the arguments
from __future__ import annotations

import json
from typing import Any

from moto.core.common_models import CloudFormationModel
from moto.ssm.models import Document, SimpleSystemManagerBackend, ssm_backends


class DocumentResource(CloudFormationModel):
    """`AWS::SSM::Document`: its content as a mapping, and both ways to update it."""

    @staticmethod
    def cloudformation_name_type() -> str:
        return "Name"

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::SSM::Document"

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str, **kwargs: Any
    ) -> Document:
        properties = cloudformation_json["Properties"]
        documents = _backend(account_id, region_name).create_document(
            content=_text(properties["Content"]),
            requires=properties.get("Requires"),
            attachments=properties.get("Attachments"),
            name=properties.get("Name", resource_name),
            version_name=properties.get("VersionName"),
            document_type=properties.get("DocumentType", "Command"),
            document_format=properties.get("DocumentFormat", "JSON"),
            target_type=properties.get("TargetType"),
            tags=properties.get("Tags"),
        )
        return documents.get_default_version()

    @classmethod
    def update_from_cloudformation_json(
        cls, original_resource: Any, new_resource_name: str, cloudformation_json: Any, account_id: str, region_name: str
    ) -> Document:
        """A new version becomes the default one; else the document is made anew (`UpdateMethod`)."""
        properties = cloudformation_json["Properties"]
        backend, name = _backend(account_id, region_name), original_resource.name
        wanted = properties.get("Name", name)
        if properties.get("UpdateMethod") != "NewVersion" or wanted != name:
            backend.delete_document(name, "", "", force=True)
            return cls.create_from_cloudformation_json(wanted, cloudformation_json, account_id, region_name)
        documents = backend._get_documents(name)
        if _text(properties["Content"]) != documents.get_default_version().content:
            made = backend.update_document(
                content=_text(properties["Content"]),
                attachments=properties.get("Attachments"),
                name=name,
                version_name=properties.get("VersionName"),
                document_version="$LATEST",
                document_format=properties.get("DocumentFormat", "JSON"),
                target_type=properties.get("TargetType"),
            )
            backend.update_document_default_version(name, made["DocumentVersion"])
        return documents.get_default_version()

    @classmethod
    def delete_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str
    ) -> None:
        _backend(account_id, region_name).delete_document(resource_name, "", "", force=True)


def _backend(account_id: str, region_name: str) -> SimpleSystemManagerBackend:
    return ssm_backends[account_id][region_name]


def _text(content: Any) -> str:
    return content if isinstance(content, str) else json.dumps(content)


RESOURCES = (DocumentResource,)
