"""A machine whose agent is played by the test: it signs with what the metadata service gave to that machine."""

from __future__ import annotations

import hashlib
import http.client
import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from infra.node.signing import Credentials, sign
from tests.integration.cloud.machines.rig import Aws

TTL, TOKEN = "X-aws-ec2-metadata-token-ttl-seconds", "X-aws-ec2-metadata-token"
ANY = {"Effect": "Allow", "Action": ["ssm:UpdateInstanceInformation", "ec2messages:*"], "Resource": "*"}
"""What AmazonSSMManagedInstanceCore says about Run Command."""
STEP = "run"
ACTIONS = ["members", "remove"]
DOCUMENT: dict[str, Any] = {
    "schemaVersion": "2.2",
    "parameters": {
        "action": {"type": "String", "allowedValues": ACTIONS},
        "first": {"type": "String", "default": "", "allowedPattern": "^[a-z0-9:/]{0,8}$"},
    },
    "mainSteps": [
        {
            "action": "aws:runShellScript",
            "name": STEP,
            "inputs": {"runCommand": ["program '{{ action }}' '{{first}}'"], "timeoutSeconds": "60"},
        }
    ],
}


class RefusedError(Exception):
    """The text is AWS's code."""


@dataclass
class PlayedAgent:
    endpoint: str
    instance_id: str
    credentials: Credentials

    def call(self, operation: str, service: str = "ec2messages", **arguments: Any) -> dict[str, Any]:
        body = json.dumps(arguments).encode()
        headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": f"Any.{operation}"}
        signed = sign(
            self.credentials,
            service=service,
            region="us-east-1",
            host=urlsplit(self.endpoint).netloc,
            headers=headers,
            body_sha256=hashlib.sha256(body).hexdigest(),
            now=time.gmtime(),
        )
        request = urllib.request.Request(self.endpoint + "/", data=body, headers=signed, method="POST")  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                found: dict[str, Any] = json.loads(answer.read())
                return found
        except urllib.error.HTTPError as error:
            raise RefusedError(json.loads(error.read())["__type"].rpartition("#")[2]) from error

    def register(self, instance_id: str | None = None) -> None:
        name = {"InstanceId": instance_id or self.instance_id}
        self.call("UpdateInstanceInformation", "ssm", **name, PlatformType="Linux", AgentVersion="3.3")

    def message(self, visibility_s: int = 10) -> dict[str, Any]:
        """The next one, waited for."""
        found = self.call("GetMessages", Destination=self.instance_id, VisibilityTimeoutInSeconds=visibility_s)
        message: dict[str, Any] = found["Messages"][0]
        return message

    def acknowledge(self, message: dict[str, Any]) -> None:
        self.call("AcknowledgeMessage", MessageId=message["MessageId"])

    def reply(self, message_id: str, status: str = "Success", code: int = 0, output: str = "", error: str = "") -> None:
        step = {"status": status, "code": code, "standardOutput": output, "standardError": error}
        self.call("SendReply", MessageId=message_id, Payload=json.dumps({"runtimeStatus": {STEP: step}}))


def machine(aws: Aws, *statements: dict[str, Any], tags: dict[str, str] | None = None) -> PlayedAgent:
    """A running instance whose role has these statements, and its agent before it has said anything."""
    name = f"role-{len(aws.client('iam').list_roles()['Roles'])}"
    iam = aws.client("iam")
    iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")
    if statements:
        policy = {"Version": "2012-10-17", "Statement": list(statements)}
        iam.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=json.dumps(policy))
    iam.create_instance_profile(InstanceProfileName=name)
    iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
    listed = [{"Key": key, "Value": value} for key, value in (tags or {}).items()]
    specification = [{"ResourceType": "instance", "Tags": listed}] if listed else []
    instance_id = aws.run(IamInstanceProfile={"Name": name}, TagSpecifications=specification)
    given = json.loads(_metadata(aws, instance_id, f"iam/security-credentials/{name}"))
    keys = Credentials(given["AccessKeyId"], given["SecretAccessKey"], given["Token"])
    return PlayedAgent(aws.cloud.endpoint, instance_id, keys)


def registered(aws: Aws, **options: Any) -> PlayedAgent:
    agent = machine(aws, ANY, **options)
    agent.register()
    return agent


def as_role(aws: Aws, service: str, agent: PlayedAgent) -> Any:
    """A client with the machine's credentials."""
    keys = agent.credentials
    return aws.client(
        service,
        aws_access_key_id=keys.access_key,
        aws_secret_access_key=keys.secret_key,
        aws_session_token=keys.session_token,
    )


def document(aws: Aws, name: str = "etcd", content: dict[str, Any] | None = None) -> None:
    aws.client("ssm").create_document(
        Name=name, Content=json.dumps(content or DOCUMENT), DocumentType="Command", DocumentFormat="JSON"
    )


def _metadata(aws: Aws, instance_id: str, path: str) -> str:
    url = urlsplit(aws.cloud.metadata_endpoint)
    source = (aws.instance(instance_id)["PrivateIpAddress"], 0)
    connection = http.client.HTTPConnection(str(url.hostname), url.port, timeout=5, source_address=source)
    try:
        connection.request("PUT", "/latest/api/token", headers={TTL: "60"})
        token = connection.getresponse().read().decode()
        connection.request("GET", f"/latest/meta-data/{path}", headers={TOKEN: token})
        return connection.getresponse().read().decode()
    finally:
        connection.close()
