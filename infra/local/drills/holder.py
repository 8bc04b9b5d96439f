"""What can be done by whoever holds what a joining machine holds: its role's credentials, its bundle, its token."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import boto3
from botocore.config import Config
from kubernetes import client, config

from infra.local.cluster import Cluster
from infra.local.places import WorldError

CLIENT_SIGNER, SERVING_SIGNER = "kubernetes.io/kube-apiserver-client-kubelet", "kubernetes.io/kubelet-serving"
CLIENT_USAGES, SERVING_USAGES = ("digital signature", "client auth"), ("digital signature", "server auth")
_CREDENTIALS_OF_ITS_ROLE = """
import urllib.request
def ask(path, method="GET", **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request("http://169.254.169.254/latest/" + path, method=method, headers=named)
    return urllib.request.urlopen(request, timeout=5).read().decode()
token = {"X_aws_ec2_metadata_token": ask("api/token", "PUT", X_aws_ec2_metadata_token_ttl_seconds="60")}
roles = "meta-data/iam/security-credentials/"
print(ask(roles + ask(roles, **token), **token))
"""


def run_in(cluster: Cluster, machine: str, *argv: str) -> str:
    """Run something as root in the machine; what it says."""
    command = cluster.world.machine_command(machine, argv)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise WorldError(f"{argv[0]} in {machine} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def aws_as(cluster: Cluster, machine: str, service: str) -> Any:
    """A client with the credentials that the metadata service gives this machine."""
    given = json.loads(run_in(cluster, machine, "python3", "-c", _CREDENTIALS_OF_ITS_ROLE))
    return client_with(service, given["AccessKeyId"], given["SecretAccessKey"], given["Token"])


def client_with(service: str, key: str, secret: str, token: str) -> Any:
    once = Config(retries={"max_attempts": 0})
    return boto3.client(
        service, aws_access_key_id=key, aws_secret_access_key=secret, aws_session_token=token, config=once
    )


def bundle_name(cluster: Cluster, machine: str) -> str:
    return f"/regrow/{cluster.name}/join/{machine}"


def bundle_of(cluster: Cluster, machine: str) -> dict[str, str]:
    """What the machine was handed, read with its own credentials."""
    ssm = aws_as(cluster, machine, "ssm")
    found = ssm.get_parameter(Name=bundle_name(cluster, machine), WithDecryption=True)
    content: dict[str, str] = json.loads(found["Parameter"]["Value"])
    return content


def connection(server: str, ca_data: str, user: dict[str, str]) -> client.ApiClient:
    """The API server for whoever these credentials are of, as a kubeconfig has them."""
    kubeconfig = {
        "current-context": "it",
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "clusters": [{"name": "it", "cluster": {"server": server, "certificate-authority-data": ca_data}}],
        "users": [{"name": "it", "user": user}],
    }
    return config.new_client_from_config_dict(kubeconfig)


def with_token(bundle: dict[str, str]) -> client.ApiClient:
    """The API server for who holds that bundle."""
    return connection(bundle["server"], bundle["ca_data"], {"token": bundle["token"]})


def send(
    api: client.ApiClient,
    csr: str,
    signer: str = CLIENT_SIGNER,
    usages: tuple[str, ...] = CLIENT_USAGES,
    name: str = "",
) -> str:
    """Ask for a certificate; the name of the request. ApiException when the API server does not take it."""
    spec = {"request": csr, "signerName": signer, "usages": list(usages)}
    metadata = {"name": name} if name else {"generateName": "hostile-"}
    made = client.CertificatesV1Api(api).create_certificate_signing_request({"metadata": metadata, "spec": spec})
    return str(made.metadata.name)


def forget_abandoned(cluster: Cluster) -> None:
    """What was given up on purpose does not count towards the launches in a row that suspend a group."""
    for item in cluster.query("abandoned"):
        key = {name: item[name] for name in ("pk", "sk")}
        cluster.client("dynamodb").delete_item(TableName=f"regrow-{cluster.name}", Key=key)
