"""SSM Parameter Store: what the control plane published."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError

from functions.cluster.machine import InstanceId, instance_id
from functions.edges.aws import code, speaking_to
from functions.edges.kubernetes_api import Credentials
from functions.errors import ConfigurationError


def read_credentials(client: Any, parameter: str) -> Credentials:
    """Read a function's kubeconfig; `client` is a boto3 SSM client."""
    with speaking_to("SSM", f"GetParameter {parameter}"):
        value = client.get_parameter(Name=parameter, WithDecryption=True)["Parameter"]["Value"]
    return Credentials.from_json(value, source=f"the parameter {parameter}")


def read_initialised_by(client: Any, cluster: str) -> InstanceId | None:
    """Read which machine the cluster began on, None while it has not begun; `client` is a boto3 SSM client."""
    parameter = f"/regrow/{cluster}/initialised-by"
    with speaking_to("SSM", f"GetParameter {parameter}"):
        try:
            value = client.get_parameter(Name=parameter)["Parameter"]["Value"]
        except ClientError as error:
            if code(error) == "ParameterNotFound":
                return None
            raise
    machine = instance_id(value)
    if machine is None:
        raise ConfigurationError(f"the parameter {parameter} holds {value!r}, which is no instance id")
    return machine
