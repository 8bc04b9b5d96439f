"""An account with the project's stacks in it, and clients that sign as its functions and its machines."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from infra.local.cloud.functions.deployed import Deployed
from infra.local.cloud.functions.variables import variables
from infra.local.cloud.server import Cloud
from tests.integration.cloud.machines.rig import eventually

ACCOUNT = "123456789012"
REGION = "us-east-1"
CLUSTER = "tried"
IMAGE = "ami-0abcdef1234567890"
TTL_HEADER, TOKEN_HEADER = "X-aws-ec2-metadata-token-ttl-seconds", "X-aws-ec2-metadata-token"
ADMINISTRATOR = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
REFUSALS = {"AccessDenied", "AccessDeniedException", "AuthorizationError", "UnauthorizedOperation"}


@dataclass(frozen=True)
class Account:
    """`outputs` are those of both stacks together."""

    cloud: Cloud
    outputs: dict[str, str]
    subnet: str
    _clients: dict[tuple[str, str, str | None], Any] = field(default_factory=dict)

    def client(self, service: str, keys: dict[str, str] | None = None) -> Any:
        """The administrator's client, or that of whom these keys were given to."""
        given = keys or ADMINISTRATOR
        made = self._clients.get((service, given["aws_access_key_id"], given.get("aws_session_token")))
        if made is None:
            options = {"region_name": REGION, "endpoint_url": self.cloud.endpoint, **given}
            made = boto3.client(service, config=Config(retries={"max_attempts": 0}), **options)
            self._clients[service, given["aws_access_key_id"], given.get("aws_session_token")] = made
        return made

    def function(self, name: str) -> dict[str, str]:
        """The keys that an environment of this function has."""
        function = Deployed(
            name=f"regrow-{CLUSTER}-{name}",
            arn=f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:regrow-{CLUSTER}-{name}",
            handler="app.handler",
            runtime="python3.11",
            role=self.outputs[f"{name.capitalize()}RoleArn"],
            memory_mb=128,
            timeout_s=30,
            version="$LATEST",
            variables=(),
            code_sha256="",
            code=b"",
            reserved_concurrency=None,
        )
        given = variables(function, self.cloud.endpoint, Path(), Path(), "stream")
        return {
            name: given[name.upper()] for name in ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
        }

    def machine(self, instance_id: str) -> dict[str, str]:
        """The keys that the metadata service gives to this machine."""
        described = self.client("ec2").describe_instances(InstanceIds=[instance_id])
        address = described["Reservations"][0]["Instances"][0]["PrivateIpAddress"]
        role = self._metadata(address, "")
        given = json.loads(self._metadata(address, role))
        return {
            "aws_access_key_id": given["AccessKeyId"],
            "aws_secret_access_key": given["SecretAccessKey"],
            "aws_session_token": given["Token"],
        }

    def run(self, profile: str) -> str:
        """A running machine with this instance profile."""
        ec2 = self.client("ec2")
        made = ec2.run_instances(
            ImageId=IMAGE,
            MinCount=1,
            MaxCount=1,
            SubnetId=self.subnet,
            IamInstanceProfile={"Name": profile},
        )
        instance_id = str(made["Instances"][0]["InstanceId"])
        eventually(lambda: self._state(instance_id) == "running")
        return instance_id

    def _state(self, instance_id: str) -> str:
        described = self.client("ec2").describe_instances(InstanceIds=[instance_id])
        return str(described["Reservations"][0]["Instances"][0]["State"]["Name"])

    def members(self, group: str) -> list[str]:
        """The running machines of a group, as soon as there are some."""

        def found() -> list[str]:
            filters = [
                {"Name": "tag:aws:autoscaling:groupName", "Values": [group]},
                {"Name": "instance-state-name", "Values": ["running"]},
            ]
            reservations = self.client("ec2").describe_instances(Filters=filters)["Reservations"]
            return [instance["InstanceId"] for each in reservations for instance in each["Instances"]]

        return eventually(found)

    def _metadata(self, address: str, name: str) -> str:
        url = urlsplit(self.cloud.metadata_endpoint)
        source = (address, 0)
        connection = http.client.HTTPConnection(str(url.hostname), url.port, timeout=5, source_address=source)
        try:
            connection.request("PUT", "/latest/api/token", headers={TTL_HEADER: "60"})
            token = connection.getresponse().read().decode()
            path = f"/latest/meta-data/iam/security-credentials/{name}"
            connection.request("GET", path, headers={TOKEN_HEADER: token})
            return connection.getresponse().read().decode()
        finally:
            connection.close()


def outcome(client: Any, operation: str, **arguments: Any) -> str:
    """`ok`, or the error's code."""
    try:
        getattr(client, operation)(**arguments)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return "ok"


def instance_arn(instance_id: str) -> str:
    return f"arn:aws:ec2:{REGION}:{ACCOUNT}:instance/{instance_id}"
