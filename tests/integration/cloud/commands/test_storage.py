"""A machine puts a file into a bucket that a stack made, signed by itself, as far as its role allows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra.node.aws import Api
from infra.node.failures import AwsError
from tests.integration.cloud.commands.played import PlayedAgent, as_role, machine
from tests.integration.cloud.machines.rig import Aws

BUCKET = "regrow-tried-snapshots"
OBJECTS = f"arn:aws:s3:::{BUCKET}/*"
CONTENT = bytes(range(256)) * 4096
SECURE = {"Bool": {"aws:SecureTransport": "true"}}
ENCRYPTED = {"StringEquals": {"s3:x-amz-server-side-encryption": "AES256"}}


def template(days: int = 30, *, policy: bool = True, **more: Any) -> str:
    resources: dict[str, Any] = {
        "Bucket": {
            "Type": "AWS::S3::Bucket",
            "Properties": {
                "BucketName": BUCKET,
                "BucketEncryption": {
                    "ServerSideEncryptionConfiguration": [
                        {"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}, "BucketKeyEnabled": True}
                    ]
                },
                "PublicAccessBlockConfiguration": {
                    "BlockPublicAcls": True,
                    "BlockPublicPolicy": True,
                    "IgnorePublicAcls": True,
                    "RestrictPublicBuckets": True,
                },
                "OwnershipControls": {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]},
                "LifecycleConfiguration": {
                    "Rules": [
                        {
                            "Id": "expire",
                            "Status": "Enabled",
                            "ExpirationInDays": days,
                            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
                        }
                    ]
                },
                "Tags": [{"Key": "regrow:cluster", "Value": "tried"}],
                **more,
            },
        }
    }
    if policy:
        resources["Policy"] = {
            "Type": "AWS::S3::BucketPolicy",
            "Properties": {
                "Bucket": {"Ref": "Bucket"},
                "PolicyDocument": {
                    "Version": "2012-10-17",
                    "Statement": [
                        {
                            "Effect": "Deny",
                            "Principal": "*",
                            "Action": "s3:*",
                            "Resource": [{"Fn::GetAtt": ["Bucket", "Arn"]}, {"Fn::Sub": "${Bucket.Arn}/*"}],
                            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
                        }
                    ],
                },
            },
        }
    return json.dumps({"Resources": resources, "Outputs": {"Bucket": {"Value": {"Ref": "Bucket"}}}})


@pytest.fixture
def bucket(aws: Aws) -> str:
    aws.client("cloudformation").create_stack(StackName="s", TemplateBody=template())
    return BUCKET


def allow(action: str, resource: str = OBJECTS, when: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, "Condition": when or {}}


def store(aws: Aws, agent: PlayedAgent, tmp_path: Path, key: str = "c/one.db") -> None:
    file = tmp_path / "snapshot"
    file.write_bytes(CONTENT)
    Api("us-east-1", lambda: agent.credentials, aws.cloud.endpoint, sleep=lambda _: None).store(BUCKET, key, file)


def test_a_machine_stores_a_file_that_can_be_read_back(aws: Aws, bucket: str, tmp_path: Path) -> None:
    store(aws, machine(aws, allow("s3:PutObject", when={**SECURE, **ENCRYPTED})), tmp_path)
    found = aws.client("s3").get_object(Bucket=bucket, Key="c/one.db")
    assert found["Body"].read() == CONTENT
    assert found["ServerSideEncryption"] == "AES256"


@pytest.mark.parametrize(
    "statement",
    [
        None,
        allow("s3:GetObject"),
        allow("s3:PutObject", f"arn:aws:s3:::{BUCKET}"),
        allow("s3:PutObject", f"arn:aws:s3:::{BUCKET}/other/*"),
        allow("s3:PutObject", when={"StringEquals": {"s3:x-amz-server-side-encryption": "aws:kms"}}),
        allow("s3:PutObject", when={"Bool": {"aws:SecureTransport": "false"}}),
    ],
)
@pytest.mark.usefixtures("bucket")
def test_a_role_that_does_not_allow_it_stores_nothing(
    aws: Aws, statement: dict[str, Any] | None, tmp_path: Path
) -> None:
    with pytest.raises(AwsError) as refused:
        store(aws, machine(aws, *([statement] if statement else [])), tmp_path)
    assert refused.value.code == "AccessDenied"
    assert "Contents" not in aws.client("s3").list_objects_v2(Bucket=BUCKET)


def test_reading_and_listing_are_rights_of_their_own(aws: Aws, bucket: str) -> None:
    aws.client("s3").put_object(Bucket=bucket, Key="c/one.db", Body=b"one")
    below = {"StringLike": {"s3:prefix": "c/*"}}
    statements = [allow("s3:GetObject"), allow("s3:ListBucket", f"arn:aws:s3:::{BUCKET}", below)]
    s3 = as_role(aws, "s3", machine(aws, *statements))
    assert s3.get_object(Bucket=bucket, Key="c/one.db")["Body"].read() == b"one"
    assert s3.list_objects_v2(Bucket=bucket, Prefix="c/")["KeyCount"] == 1
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.list_objects_v2(Bucket=bucket)
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.put_object(Bucket=bucket, Key="c/two.db", Body=b"two")
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.delete_object(Bucket=bucket, Key="c/one.db")


def test_an_upload_in_parts_is_begun_and_given_up(aws: Aws, bucket: str) -> None:
    s3 = as_role(aws, "s3", machine(aws, allow("s3:PutObject"), allow("s3:AbortMultipartUpload")))
    upload = s3.create_multipart_upload(Bucket=bucket, Key="c/parts.db")["UploadId"]
    s3.upload_part(Bucket=bucket, Key="c/parts.db", UploadId=upload, PartNumber=1, Body=b"part")
    s3.abort_multipart_upload(Bucket=bucket, Key="c/parts.db", UploadId=upload)
    assert "Uploads" not in aws.client("s3").list_multipart_uploads(Bucket=bucket)


def test_a_stack_makes_a_bucket_that_is_private_encrypted_and_cleans_up(aws: Aws, bucket: str) -> None:
    s3 = aws.client("s3")
    rules = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rules[0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    assert set(s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"].values()) == {True}
    rule = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"][0]
    assert (rule["Expiration"]["Days"], rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"]) == (30, 1)
    owner = s3.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"]["Rules"][0]
    assert owner["ObjectOwnership"] == "BucketOwnerEnforced"
    policy = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])
    assert policy["Statement"][0]["Resource"] == [f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*"]
    assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == [{"Key": "regrow:cluster", "Value": "tried"}]


def test_a_stack_changes_its_bucket_in_place_and_takes_it_away(aws: Aws, bucket: str) -> None:
    s3, formation = aws.client("s3"), aws.client("cloudformation")
    s3.put_object(Bucket=bucket, Key="c/one.db", Body=b"one")
    formation.update_stack(StackName="s", TemplateBody=template(days=7, policy=False))
    assert s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"][0]["Expiration"]["Days"] == 7
    with pytest.raises(ClientError, match="NoSuchBucketPolicy"):
        s3.get_bucket_policy(Bucket=bucket)
    assert s3.get_object(Bucket=bucket, Key="c/one.db")["Body"].read() == b"one"
    s3.delete_object(Bucket=bucket, Key="c/one.db")
    formation.delete_stack(StackName="s")
    assert s3.list_buckets()["Buckets"] == []


def test_a_bucket_that_holds_something_is_not_taken_away(aws: Aws, bucket: str) -> None:
    s3 = aws.client("s3")
    s3.put_object(Bucket=bucket, Key="c/one.db", Body=b"one")
    with pytest.raises(ClientError, match="BucketNotEmpty"):
        aws.client("cloudformation").delete_stack(StackName="s")
    assert s3.get_object(Bucket=bucket, Key="c/one.db")["Body"].read() == b"one"


def test_what_is_not_known_of_a_bucket_is_refused(aws: Aws) -> None:
    formation = aws.client("cloudformation")
    with pytest.raises(ClientError, match="WebsiteConfiguration"):
        formation.create_stack(StackName="s", TemplateBody=template(WebsiteConfiguration={"IndexDocument": "x"}))
