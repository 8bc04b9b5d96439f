"""The authorities on their way to a joining control plane: real kubeadm and API server, and a parameter store."""

from __future__ import annotations

import base64
import io
import json
import shutil
import stat
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from kubernetes import client

from infra.local.building import build
from infra.local.progress import Progress
from infra.node.aws import Api
from infra.node.certificates import Certificates
from infra.node.configuration import (
    Bundle,
    control_plane_join_configuration,
    discovery_kubeconfig,
    upload_configuration,
)
from infra.node.failures import NodeError
from infra.node.machine import Image, Machine
from infra.node.metadata import Identity
from infra.node.signing import Credentials
from tests.integration.deploy.plain_aws import plain_aws
from tests.integration.local.control_plane import ControlPlane, control_plane

PROGRAMS = build.build(Progress(io.StringIO()))
MACHINE = Machine(Identity("i-0a", "us-east-1a", "us-east-1", "10.77.1.5"), Image(), "drill", "10.77.0.10:6443")
JOINING = "i-0123456789abcdef0"
ARN = f"arn:aws:ec2:us-east-1:123456789012:instance/{JOINING}"
PARAMETER = f"/regrow/drill/certificate-key/{JOINING}"
NONCE_BYTES = 12
AUTHORITY = base64.b64encode(b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n").decode()


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A cluster as kubeadm init leaves it, as far as uploading its authorities looks at it."""
    folder = tmp_path_factory.mktemp("control-plane")
    with control_plane(PROGRAMS, folder) as plane:
        for phase in ("front-proxy-ca", "etcd-ca", "sa"):
            options = [f"--cert-dir={folder}"] + ([] if phase == "sa" else ["--kubernetes-version=v1.36.3"])
            command = [f"{PROGRAMS}/kubeadm", "init", "phase", "certs", phase, *options]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
        lines = ["apiVersion: kubeadm.k8s.io/v1beta4", "kind: ClusterConfiguration", "kubernetesVersion: v1.36.3"]
        text = "\n".join([*lines, f"certificatesDir: {folder}", ""])
        made = {"metadata": {"name": "kubeadm-config"}, "data": {"ClusterConfiguration": text}}
        client.CoreV1Api(plane.admin).create_namespaced_config_map("kube-system", made)
        yield plane
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    with plain_aws() as url:
        yield url


@pytest.fixture
def api(aws: str) -> Api:
    return Api("us-east-1", lambda: Credentials("AKIDEXAMPLE", "secret", "session"), aws, sleep=lambda _: None)


@pytest.fixture
def ssm(aws: str) -> Any:
    keys = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "secret"}
    return boto3.client("ssm", endpoint_url=aws, region_name="us-east-1", **keys)


@pytest.fixture
def certificates(plane: ControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Certificates:
    monkeypatch.setenv("PATH", f"{PROGRAMS}:/usr/bin:/bin")
    return Certificates(plane.authority.folder / "admin.conf", tmp_path / "secrets")


def uploaded(plane: ControlPlane) -> Any:
    return client.CoreV1Api(plane.admin).read_namespaced_secret("kubeadm-certs", "kube-system")


def opened(secret: Any, name: str, key: str) -> bytes:
    """As kubeadm join opens it: AES-GCM, the nonce first."""
    sealed = base64.b64decode(secret.data[name])
    return AESGCM(bytes.fromhex(key)).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], None)


def test_the_key_is_in_one_parameter_of_one_instance_and_nowhere_else(
    certificates: Certificates, plane: ControlPlane, api: Api, ssm: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    began = datetime.now(UTC)
    told = certificates.upload(MACHINE, api, ARN)
    stored = ssm.get_parameter(Name=PARAMETER, WithDecryption=True)["Parameter"]
    assert stored["Type"] == "SecureString"
    tags = ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId=PARAMETER)["TagList"]
    assert tags == [{"Key": "InstanceArn", "Value": ARN}]
    key = stored["Value"]
    secret = uploaded(plane)
    assert opened(secret, "ca.key", key) == (plane.authority.folder / "ca.key").read_bytes()
    assert opened(secret, "etcd-ca.key", key) == (plane.authority.folder / "etcd" / "ca.key").read_bytes()
    assert set(told) == {"expires_at"}
    left = datetime.fromisoformat(told["expires_at"]) - began
    assert timedelta(minutes=115) < left < timedelta(minutes=125)
    said = capfd.readouterr()
    assert key not in said.out + said.err + json.dumps(told)
    assert not list(certificates.secrets.iterdir())
    assert stat.S_IMODE(certificates.secrets.stat().st_mode) == 0o700

    # Once more, for the same machine: another key, and the first one opens nothing any more.
    (owner,) = secret.metadata.owner_references
    certificates.upload(MACHINE, api, ARN)
    names = {one.metadata.name for one in client.CoreV1Api(plane.admin).list_namespaced_secret("kube-system").items}
    assert owner.name not in names
    again = ssm.get_parameter(Name=PARAMETER, WithDecryption=True)["Parameter"]["Value"]
    assert again != key
    assert opened(uploaded(plane), "ca.key", again) == (plane.authority.folder / "ca.key").read_bytes()
    assert ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId=PARAMETER)["TagList"] == tags


def test_what_was_uploaded_is_taken_back_with_its_token_and_its_key(
    certificates: Certificates, plane: ControlPlane, api: Api, ssm: Any
) -> None:
    certificates.upload(MACHINE, api, ARN)
    (owner,) = uploaded(plane).metadata.owner_references
    assert owner.name.startswith("bootstrap-token-")
    assert certificates.forget(MACHINE, api, ARN) == {"forgotten": True}
    assert ssm.describe_parameters()["Parameters"] == []
    left = client.CoreV1Api(plane.admin).list_namespaced_secret("kube-system").items
    assert not {"kubeadm-certs", owner.name} & {secret.metadata.name for secret in left}
    assert certificates.forget(MACHINE, api, ARN) == {"forgotten": False}


def test_a_token_of_the_upload_opens_nothing(certificates: Certificates, plane: ControlPlane, api: Api) -> None:
    certificates.upload(MACHINE, api, ARN)
    (owner,) = uploaded(plane).metadata.owner_references
    token = client.CoreV1Api(plane.admin).read_namespaced_secret(owner.name, "kube-system").data
    assert not [name for name in token if name.startswith(("usage-", "auth-extra-groups"))]


def test_a_failure_names_no_key_and_leaves_no_file_and_no_parameter(
    certificates: Certificates, api: Api, ssm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificates.upload(MACHINE, api, ARN)
    seen = tmp_path / "seen"
    program = tmp_path / "bin" / "kubeadm"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\nfor last; do case "$last" in *upload.json) cat "$last" | tee {seen} >&2;; esac; done\nexit 1\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{PROGRAMS}:/usr/bin:/bin")
    with pytest.raises(NodeError, match="kubeadm init phase") as failure:
        certificates.upload(MACHINE, api, ARN)
    key = json.loads(seen.read_text().partition("\n---\n")[0])["certificateKey"]
    assert len(key) == 64
    assert key not in str(failure.value)
    assert not list(certificates.secrets.iterdir())
    with pytest.raises(ssm.exceptions.ParameterNotFound):
        ssm.get_parameter(Name=PARAMETER)


@pytest.mark.parametrize("kind", ["join", "upload"])
def test_kubeadm_finds_nothing_wrong_with_what_it_is_told(kind: str, tmp_path: Path) -> None:
    key, server = "0" * 64, "https://10.77.0.10:6443"
    if kind == "join":
        bundle = Bundle(server, AUTHORITY, "abcdef.0123456789abcdef")
        discovery = tmp_path / "discovery.json"
        discovery.write_text(discovery_kubeconfig(bundle))
        text = control_plane_join_configuration(MACHINE, bundle, str(discovery), key)
    else:
        text = upload_configuration(MACHINE, key, "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\n")
    file = tmp_path / "config.yaml"
    file.write_text(text)
    command = [f"{PROGRAMS}/kubeadm", "config", "validate", "--config", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "ok"), done.stderr
