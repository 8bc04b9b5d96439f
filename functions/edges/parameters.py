"""SSM Parameter Store: the credentials that the control plane published for one function."""

from __future__ import annotations

from typing import Any

from functions.edges.aws import speaking_to
from functions.edges.kubernetes import Credentials


def read_credentials(client: Any, parameter: str) -> Credentials:
    """Read a function's kubeconfig; `client` is a boto3 SSM client."""
    with speaking_to("SSM", f"GetParameter {parameter}"):
        value = client.get_parameter(Name=parameter, WithDecryption=True)["Parameter"]["Value"]
    return Credentials.from_json(value, source=f"the parameter {parameter}")
