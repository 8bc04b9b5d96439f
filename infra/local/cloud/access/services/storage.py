"""S3 (Service Authorization Reference: an operation's action may have another name)."""

from __future__ import annotations

from collections.abc import Iterable

from infra.local.cloud.access.access import Access, context_of
from infra.local.cloud.access.calls import Call

_ON_OBJECTS = {
    "AbortMultipartUpload": "AbortMultipartUpload",
    "CompleteMultipartUpload": "PutObject",
    "CreateMultipartUpload": "PutObject",
    "DeleteObject": "DeleteObject",
    "GetObject": "GetObject",
    "HeadObject": "GetObject",
    "ListParts": "ListMultipartUploadParts",
    "PutObject": "PutObject",
    "UploadPart": "PutObject",
}
_WITH_OBJECTS = {"ACL": "PutObjectAcl", "Tagging": "PutObjectTagging"}
"""What a request that writes an object may set beside it."""
_ON_BUCKETS = {
    "GetBucketLocation": "GetBucketLocation",
    "HeadBucket": "ListBucket",
    "ListMultipartUploads": "ListBucketMultipartUploads",
    "ListObjects": "ListBucket",
    "ListObjectsV2": "ListBucket",
}


def _on_object(call: Call) -> Iterable[Access]:
    bucket, key = call.params["Bucket"], call.params["Key"]
    given = {
        "s3:x-amz-acl": call.params.get("ACL"),
        "s3:x-amz-server-side-encryption": call.params.get("ServerSideEncryption"),
        "s3:x-amz-server-side-encryption-aws-kms-key-id": call.params.get("SSEKMSKeyId"),
    }
    also = [action for param, action in _WITH_OBJECTS.items() if call.params.get(param)]
    for action in (_ON_OBJECTS[call.operation], *also):
        yield Access(f"s3:{action}", f"arn:aws:s3:::{bucket}/{key}", context_of(given))


def _on_bucket(call: Call) -> Iterable[Access]:
    most = call.params.get("MaxKeys")
    given = {
        "s3:delimiter": call.params.get("Delimiter"),
        "s3:max-keys": None if most is None else str(most),
        "s3:prefix": call.params.get("Prefix"),
    }
    yield Access(f"s3:{_ON_BUCKETS[call.operation]}", f"arn:aws:s3:::{call.params['Bucket']}", context_of(given))


OPERATIONS = {
    **dict.fromkeys(_ON_OBJECTS, _on_object),
    **dict.fromkeys(_ON_BUCKETS, _on_bucket),
}
