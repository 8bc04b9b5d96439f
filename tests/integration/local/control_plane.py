"""A control plane with no machines, for what only it decides: etcd, API server, kube-controller-manager on this host.

They are the very programs that the local world's control plane runs. Of kube-controller-manager only that is on which
has to do with certificates and tokens.
"""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from kubernetes import client
from urllib3.exceptions import HTTPError

from infra.local.drills.holder import connection

HOST = "127.0.0.1"
UP_WITHIN_S = 120.0
CONTROLLERS = "certificatesigningrequest-approving-controller,certificatesigningrequest-signing-controller"
CONTROLLERS += ",bootstrap-signer-controller,token-cleaner-controller"


@dataclass(frozen=True)
class Authority:
    """Signs whatever it is asked to sign; of its files kube-controller-manager signs with the same key."""

    folder: Path
    key: rsa.RSAPrivateKey
    certificate: x509.Certificate

    @classmethod
    def made_in(cls, folder: Path) -> Authority:
        key = rsa.generate_private_key(65537, 2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kubernetes")])
        certificate = (
            _lasting(x509.CertificateBuilder())
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, SHA256())
        )
        (folder / "ca.crt").write_bytes(certificate.public_bytes(Encoding.PEM))
        (folder / "ca.key").write_bytes(_pem(key))
        return cls(folder, key, certificate)

    @property
    def data(self) -> str:
        return base64.b64encode(self.certificate.public_bytes(Encoding.PEM)).decode()

    def user(self, name: str, *groups: str) -> dict[str, str]:
        """What a kubeconfig has of a user."""
        key = ec.generate_private_key(ec.SECP256R1())
        attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        subject = x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._signed(subject, key, ExtendedKeyUsageOID.CLIENT_AUTH)
        return {
            "client-certificate-data": base64.b64encode(certificate).decode(),
            "client-key-data": base64.b64encode(_pem(key)).decode(),
        }

    def server(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kube-apiserver")])
        (self.folder / "server.crt").write_bytes(self._signed(subject, key, ExtendedKeyUsageOID.SERVER_AUTH))
        (self.folder / "server.key").write_bytes(_pem(key))

    def _signed(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, use: x509.ObjectIdentifier) -> bytes:
        certificate = (
            _lasting(x509.CertificateBuilder())
            .subject_name(subject)
            .issuer_name(self.certificate.subject)
            .public_key(key.public_key())
            .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(HOST))]), critical=False)
            .sign(self.key, SHA256())
        )
        return certificate.public_bytes(Encoding.PEM)


@dataclass(frozen=True)
class ControlPlane:
    server: str
    authority: Authority
    programs: Path

    def as_user(self, name: str, *groups: str) -> client.ApiClient:
        return connection(self.server, self.authority.data, self.authority.user(name, *groups))

    def with_token(self, token: str) -> client.ApiClient:
        return connection(self.server, self.authority.data, {"token": token})

    @property
    def admin(self) -> client.ApiClient:
        return self.as_user("admin", "system:masters")

    def apply(self, manifests: Path) -> None:
        kubeconfig = self.authority.folder / "admin.conf"
        command = [f"{self.programs}/kubectl", f"--kubeconfig={kubeconfig}", "apply", f"--filename={manifests}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@contextmanager
def control_plane(programs: Path, folder: Path) -> Iterator[ControlPlane]:
    """`programs` is the directory with the local world's binaries; logs are in `folder`."""
    authority = Authority.made_in(folder)
    authority.server()
    accounts = rsa.generate_private_key(65537, 2048)
    (folder / "sa.key").write_bytes(_pem(accounts))
    (folder / "sa.pub").write_bytes(accounts.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    store, peer, secure, manager = (_free_port() for _ in range(4))
    plane = ControlPlane(f"https://{HOST}:{secure}", authority, programs)
    _write_kubeconfig(folder / "admin.conf", plane, "admin", "system:masters")
    _write_kubeconfig(folder / "manager.conf", plane, "system:kube-controller-manager", "system:masters")
    commands = {
        "etcd": [
            f"--data-dir={folder}/etcd",
            f"--listen-client-urls=http://{HOST}:{store}",
            f"--advertise-client-urls=http://{HOST}:{store}",
            f"--listen-peer-urls=http://{HOST}:{peer}",
            "--unsafe-no-fsync",
        ],
        "kube-apiserver": [
            f"--etcd-servers=http://{HOST}:{store}",
            f"--bind-address={HOST}",
            f"--secure-port={secure}",
            "--endpoint-reconciler-type=none",
            "--service-cluster-ip-range=10.96.0.0/16",
            f"--client-ca-file={folder}/ca.crt",
            f"--tls-cert-file={folder}/server.crt",
            f"--tls-private-key-file={folder}/server.key",
            f"--service-account-key-file={folder}/sa.pub",
            f"--service-account-signing-key-file={folder}/sa.key",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--enable-bootstrap-token-auth",
        ],
        "kube-controller-manager": [
            f"--kubeconfig={folder}/manager.conf",
            f"--bind-address={HOST}",
            f"--secure-port={manager}",
            "--leader-elect=false",
            f"--controllers={CONTROLLERS}",
            f"--cluster-signing-cert-file={folder}/ca.crt",
            f"--cluster-signing-key-file={folder}/ca.key",
        ],
    }
    running: list[subprocess.Popen[bytes]] = []
    try:
        for name, arguments in commands.items():
            with (folder / f"{name}.log").open("wb") as log:
                running.append(subprocess.Popen([programs / name, *arguments], stdout=log, stderr=log))
            if name == "kube-apiserver":
                _wait_until_ready(plane, running[-1], folder / f"{name}.log")
        yield plane
    finally:
        for process in reversed(running):
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()


def _wait_until_ready(plane: ControlPlane, process: subprocess.Popen[bytes], log: Path) -> None:
    api = plane.admin
    deadline = time.monotonic() + UP_WITHIN_S
    while True:
        assert process.poll() is None, log.read_text()[-3000:]
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        with suppress(client.ApiException, HTTPError, OSError):
            api.call_api("/readyz", "GET", _request_timeout=5)
            return
        time.sleep(0.2)


def _write_kubeconfig(path: Path, plane: ControlPlane, name: str, *groups: str) -> None:
    cluster = {"server": plane.server, "certificate-authority-data": plane.authority.data}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "it",
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "clusters": [{"name": "it", "cluster": cluster}],
        "users": [{"name": "it", "user": plane.authority.user(name, *groups)}],
    }
    path.write_text(json.dumps(document))


def _lasting(builder: x509.CertificateBuilder) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        builder.serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=2 * 365))
    )


def _pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as listening:
        return int(listening.getsockname()[1])
