"""The condition keys that requests to the local AWS carry where AWS's would. A policy that asks for another is refused.

Sources: IAM user guide, "AWS global condition context keys"; Service Authorization Reference.
"""

from __future__ import annotations

_EXACT = frozenset(
    key.lower()
    for key in (
        "aws:PrincipalAccount",
        "aws:PrincipalArn",
        "aws:PrincipalType",
        "aws:userid",
        "aws:RequestedRegion",
        "aws:SecureTransport",
        "aws:TagKeys",
        "aws:EC2InstanceSourceVPC",
        "aws:EC2InstanceSourcePrivateIPv4",
        "ec2:SourceInstanceARN",
        "ec2:RoleDelivery",
        "lambda:SourceFunctionArn",
        "cloudwatch:namespace",
        "dynamodb:Attributes",
        "dynamodb:EnclosingOperation",
        "dynamodb:LeadingKeys",
        "dynamodb:ReturnValues",
        "dynamodb:Select",
        "kms:CallerAccount",
        "kms:EncryptionContextKeys",
        "kms:ViaService",
        "s3:delimiter",
        "s3:max-keys",
        "s3:prefix",
        "s3:x-amz-acl",
        "s3:x-amz-server-side-encryption",
        "s3:x-amz-server-side-encryption-aws-kms-key-id",
        "ssm:Overwrite",
        "ssm:Recursive",
    )
)
_FAMILIES = tuple(
    family.lower()
    for family in (
        "aws:PrincipalTag/",
        "aws:RequestTag/",
        "aws:ResourceTag/",
        "autoscaling:ResourceTag/",
        "ec2:ResourceTag/",
        "elasticloadbalancing:ResourceTag/",
        "kms:EncryptionContext:",
        "ssm:resourceTag/",
    )
)


def known(key: str) -> bool:
    """Whether requests carry this key where they should, so that its absence means something."""
    return key.lower() in _EXACT or any(key.lower().startswith(family) for family in _FAMILIES)
