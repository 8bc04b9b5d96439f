"""Who may send a command is decided about the document and about each machine."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.integration.cloud.commands.played import as_role, document, machine, registered
from tests.integration.cloud.machines.rig import Aws

PLACE = "us-east-1:123456789012"
DOCUMENT_ARN = f"arn:aws:ssm:{PLACE}:document/etcd"
INSTANCES = f"arn:aws:ec2:{PLACE}:instance/*"


def allow(
    resource: str | list[str], action: str = "ssm:SendCommand", when: dict[str, Any] | None = None
) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, "Condition": when or {}}


def outcome(aws: Aws, statements: list[dict[str, Any]], name: str = "etcd", **tags: str) -> str:
    document(aws)
    document(aws, name="other")
    target, sender = registered(aws, tags=tags), machine(aws, *statements)
    ssm = as_role(aws, "ssm", sender)
    try:
        ssm.send_command(DocumentName=name, InstanceIds=[target.instance_id], Parameters={"action": ["members"]})
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return "ok"


ROLE = {"StringEquals": {"ssm:resourceTag/regrow:role": "control-plane"}}
SAME = {"StringEquals": {"aws:ResourceTag/regrow:role": "control-plane"}}
BOTH = [allow(DOCUMENT_ARN), allow(INSTANCES, when=ROLE)]


@pytest.mark.parametrize(
    ("statements", "options", "expected"),
    [
        (BOTH, {"regrow:role": "control-plane"}, "ok"),
        ([allow(DOCUMENT_ARN), allow(INSTANCES, when=SAME)], {"regrow:role": "control-plane"}, "ok"),
        (BOTH, {"regrow:role": "worker"}, "AccessDeniedException"),
        (BOTH, {}, "AccessDeniedException"),
        (BOTH, {"regrow:role": "control-plane", "name": "other"}, "AccessDeniedException"),
        ([allow(DOCUMENT_ARN)], {"regrow:role": "control-plane"}, "AccessDeniedException"),
        ([allow(INSTANCES)], {"regrow:role": "control-plane"}, "AccessDeniedException"),
        ([allow([DOCUMENT_ARN, INSTANCES])], {}, "ok"),
    ],
)
def test_document_and_machine_must_both_be_allowed(
    aws: Aws, statements: list[dict[str, Any]], options: dict[str, str], expected: str
) -> None:
    assert outcome(aws, statements, **options) == expected


def test_looking_at_a_command_is_a_right_of_its_own(aws: Aws) -> None:
    document(aws)
    target = registered(aws)
    command = aws.client("ssm").send_command(
        DocumentName="etcd", InstanceIds=[target.instance_id], Parameters={"action": ["members"]}
    )["Command"]["CommandId"]
    asked = {"CommandId": command, "InstanceId": target.instance_id}
    looker = as_role(aws, "ssm", machine(aws, allow("*", "ssm:GetCommandInvocation")))
    assert looker.get_command_invocation(**asked)["Status"] == "Pending"
    with pytest.raises(ClientError, match="AccessDenied"):
        looker.cancel_command(CommandId=command)
    stranger = as_role(aws, "ssm", machine(aws, allow([DOCUMENT_ARN, INSTANCES])))
    with pytest.raises(ClientError, match="AccessDenied"):
        stranger.get_command_invocation(**asked)
