"""CloudFormation's buckets with what keeps them private and small, and their policies.

A bucket's policy is kept, not read: who may do what is decided in front of every service by roles' policies alone. moto
would read it without its conditions, and take "nothing but TLS" for "nothing".
"""

# ruff: noqa: ARG003 - moto fixes the arguments
from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from moto.cloudformation.exceptions import ValidationError
from moto.core.common_models import CloudFormationModel
from moto.iam.access_control import PermissionResult
from moto.s3 import models as s3_models
from moto.s3.exceptions import S3ClientError
from moto.s3.models import FakeBucket, S3Backend, s3_backends

_KNOWN = frozenset(
    (
        "BucketEncryption",
        "BucketName",
        "LifecycleConfiguration",
        "OwnershipControls",
        "PublicAccessBlockConfiguration",
        "Tags",
        "VersioningConfiguration",
    )
)
_RULES = {
    "AbortIncompleteMultipartUpload": "AbortIncompleteMultipartUpload",
    "Id": "ID",
    "NoncurrentVersionExpiration": "NoncurrentVersionExpiration",
    "Status": "Status",
}
"""A lifecycle rule's properties, and the names that S3's own API has for them."""
_RULES_OTHERWISE = frozenset({"ExpirationInDays", "Prefix"})


class Bucket(FakeBucket):
    """A bucket whose policy decides nothing."""

    def get_permission(self, action: str, resource: str) -> Any:  # noqa: ARG002 - moto's arguments
        return PermissionResult.NEUTRAL


class BucketResource(CloudFormationModel):
    """`AWS::S3::Bucket`."""

    @staticmethod
    def cloudformation_name_type() -> str:
        return "BucketName"

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::S3::Bucket"

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        return bool(FakeBucket.has_cfn_attr(attr))

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str, **kwargs: Any
    ) -> FakeBucket:
        properties = cloudformation_json.get("Properties", {})
        _require_known("AWS::S3::Bucket", properties, _KNOWN)
        bucket = FakeBucket.create_from_cloudformation_json(
            resource_name, cloudformation_json, account_id, region_name, **kwargs
        )
        _configure(_backend(account_id), bucket, properties)
        return bucket

    @classmethod
    def update_from_cloudformation_json(
        cls, original_resource: Any, new_resource_name: str, cloudformation_json: Any, account_id: str, region_name: str
    ) -> FakeBucket:
        properties = {"BucketName": original_resource.name, **cloudformation_json["Properties"]}
        _require_known("AWS::S3::Bucket", properties, _KNOWN)
        bucket = FakeBucket.update_from_cloudformation_json(
            original_resource,
            new_resource_name,
            {**cloudformation_json, "Properties": properties},
            account_id,
            region_name,
        )
        _configure(_backend(account_id), bucket, properties)
        return bucket

    @classmethod
    def delete_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str
    ) -> None:
        """A bucket with something in it is not deleted, as in AWS; moto passes over that in silence."""
        if _backend(account_id).get_bucket(resource_name).keys:
            raise S3ClientError("BucketNotEmpty", "The bucket you tried to delete is not empty")
        FakeBucket.delete_from_cloudformation_json(resource_name, cloudformation_json, account_id, region_name)


class BucketPolicyResource(CloudFormationModel):
    """`AWS::S3::BucketPolicy`."""

    def __init__(self, bucket: str) -> None:
        self.bucket = bucket

    @property
    def physical_resource_id(self) -> str:
        return self.bucket

    @staticmethod
    def cloudformation_name_type() -> str:
        return ""

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::S3::BucketPolicy"

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str, **kwargs: Any
    ) -> BucketPolicyResource:
        properties = cloudformation_json["Properties"]
        policy = json.dumps(properties["PolicyDocument"]).encode()
        _backend(account_id).put_bucket_policy(properties["Bucket"], policy)
        return cls(properties["Bucket"])

    @classmethod
    def update_from_cloudformation_json(
        cls, original_resource: Any, new_resource_name: str, cloudformation_json: Any, account_id: str, region_name: str
    ) -> BucketPolicyResource:
        if original_resource.bucket != cloudformation_json["Properties"]["Bucket"]:
            original_resource.delete(account_id, region_name)
        return cls.create_from_cloudformation_json(new_resource_name, cloudformation_json, account_id, region_name)

    def delete(self, account_id: str, region_name: str) -> None:  # noqa: ARG002 - moto's arguments
        backend = _backend(account_id)
        if self.bucket in backend.buckets:
            backend.delete_bucket_policy(self.bucket)


def _configure(backend: S3Backend, bucket: FakeBucket, properties: Mapping[str, Any]) -> None:
    """What moto's own CloudFormation leaves out; what the template does not say any more goes."""
    if "BucketEncryption" not in properties:
        backend.delete_bucket_encryption(bucket.name)
    blocked = properties.get("PublicAccessBlockConfiguration")
    if blocked:
        backend.put_public_access_block(bucket.name, {name: str(value).lower() for name, value in blocked.items()})
    else:
        backend.delete_public_access_block(bucket.name)
    rules = properties.get("LifecycleConfiguration", {}).get("Rules", [])
    backend.put_bucket_lifecycle_configuration(bucket.name, [_rule(rule) for rule in rules])
    owner = properties.get("OwnershipControls", {}).get("Rules")
    bucket.ownership_rule = owner[0]["ObjectOwnership"] if owner else None
    if versioning := properties.get("VersioningConfiguration"):
        backend.put_bucket_versioning(bucket.name, versioning["Status"])


def _rule(given: Mapping[str, Any]) -> dict[str, Any]:
    _require_known("a lifecycle rule", given, _RULES.keys() | _RULES_OTHERWISE)
    rule: dict[str, Any] = {_RULES[name]: value for name, value in given.items() if name in _RULES}
    rule["Filter"] = {"Prefix": given.get("Prefix", "")}
    if "ExpirationInDays" in given:
        rule["Expiration"] = {"Days": given["ExpirationInDays"]}
    return rule


def _require_known(what: str, given: Mapping[str, Any], known: frozenset[str] | set[str]) -> None:
    if unknown := given.keys() - known:
        raise ValidationError(message=f"The local AWS does not know {sorted(unknown)} of {what}.")


def _backend(account_id: str) -> S3Backend:
    return s3_backends[account_id]["aws"]


def install() -> None:
    """Every bucket made from now on is one of these; the names of those before are free."""
    s3_models.FakeBucket = Bucket
    s3_backends.bucket_accounts.clear()


RESOURCES = (BucketResource, BucketPolicyResource)
