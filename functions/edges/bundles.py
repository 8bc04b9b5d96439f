"""SSM Parameter Store: what a machine is handed to join with, bound to it by a tag.

Names cannot hold an ARN, so the tag InstanceArn says whose it is, and IAM compares it with the ARN that AWS itself
puts into an instance's credentials (`ec2:SourceInstanceARN`). The tag comes with the parameter in one call, which
Systems Manager allows only for a parameter that is new: it is never readable by another machine.
"""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError

from functions.cluster.machine import CLUSTER_TAG, InstanceId
from functions.edges.aws import code, instances_arn, speaking_to
from functions.errors import ConflictError
from functions.join.delivery import Bundle

ID_TAG = "regrow:token"  # the public half of the token that is in it


class BundlesEdge:
    """`client` is a boto3 SSM client; `beside_arn` is any ARN of the machines' own partition, region and account."""

    def __init__(self, client: Any, *, cluster: str, beside_arn: str) -> None:
        self._client = client
        self._cluster = cluster
        self._instances_arn = instances_arn(beside_arn)

    def put(self, bundle: Bundle) -> None:
        machine = bundle.token.machine
        arn = f"{self._instances_arn}{machine}"
        tags = {"InstanceArn": arn, CLUSTER_TAG: self._cluster, ID_TAG: bundle.token.id}
        with speaking_to("SSM", f"PutParameter {self._name(machine)}"):
            try:
                self._client.put_parameter(
                    Name=self._name(machine),
                    Type="SecureString",
                    Tier="Standard",  # whatever the account's default is: no other has the function a key for
                    Value=bundle.to_json(),
                    Overwrite=False,
                    Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
                )
            except ClientError as error:
                if code(error) == "ParameterAlreadyExists":
                    raise ConflictError(f"there is a parameter {self._name(machine)} already") from error
                raise

    def holds(self, machine: InstanceId, token_id: str) -> bool:
        """Its tags tell, which are all of it that we may see."""
        name = self._name(machine)
        with speaking_to("SSM", f"ListTagsForResource {name}"):
            try:
                tags = self._client.list_tags_for_resource(ResourceType="Parameter", ResourceId=name)["TagList"]
            except ClientError as error:
                if code(error) == "InvalidResourceId":
                    return False
                raise
        return {"Key": ID_TAG, "Value": token_id} in tags

    def delete(self, machine: InstanceId) -> bool:
        with speaking_to("SSM", f"DeleteParameter {self._name(machine)}"):
            try:
                self._client.delete_parameter(Name=self._name(machine))
            except ClientError as error:
                if code(error) == "ParameterNotFound":
                    return False
                raise
        return True

    def _name(self, machine: InstanceId) -> str:
        return f"/regrow/{self._cluster}/join/{machine}"
