"""A stack makes a command document, changes what it says, and takes it away."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.integration.cloud.commands.played import DOCUMENT, registered
from tests.integration.cloud.machines.rig import Aws


def template(text: str, method: str | None = "NewVersion") -> str:
    step = {**DOCUMENT["mainSteps"][0], "inputs": {"runCommand": [text]}}
    properties: dict[str, Any] = {
        "Name": "etcd",
        "DocumentType": "Command",
        "TargetType": "/AWS::EC2::Instance",
        "Content": {**DOCUMENT, "mainSteps": [step]},
        "Tags": [{"Key": "regrow:cluster", "Value": "c"}],
    }
    if method:
        properties["UpdateMethod"] = method
    document = {"Type": "AWS::SSM::Document", "Properties": properties}
    return json.dumps({"Resources": {"Document": document}, "Outputs": {"Name": {"Value": {"Ref": "Document"}}}})


def runs(aws: Aws) -> str:
    """What a machine is sent to run by this document now."""
    agent = registered(aws)
    aws.client("ssm").send_command(
        DocumentName="etcd", InstanceIds=[agent.instance_id], Parameters={"action": ["members"]}
    )
    content = json.loads(agent.message()["Payload"])["DocumentContent"]
    return str(content["mainSteps"][0]["inputs"]["runCommand"][0])


@pytest.mark.parametrize("method", ["NewVersion", "Replace", None])
def test_what_the_stack_says_is_what_machines_run(aws: Aws, method: str | None) -> None:
    formation = aws.client("cloudformation")
    formation.create_stack(StackName="s", TemplateBody=template("first", method))
    assert formation.describe_stacks(StackName="s")["Stacks"][0]["Outputs"][0]["OutputValue"] == "etcd"
    assert runs(aws) == "first"
    formation.update_stack(StackName="s", TemplateBody=template("second", method))
    assert runs(aws) == "second"
    described = aws.client("ssm").describe_document(Name="etcd")["Document"]
    assert described["DefaultVersion"] == ("2" if method == "NewVersion" else "1")
    assert [each["Name"] for each in described["Parameters"]] == ["action", "first"]
    formation.delete_stack(StackName="s")
    with pytest.raises(ClientError, match="InvalidDocument"):
        aws.client("ssm").describe_document(Name="etcd")
