"""Real members of etcd on this host, with certificates as kubeadm lays them out. Any of them can be killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from infra.node.failures import NodeError
from infra.node.members import Etcd

HOST = "127.0.0.1"
UP_WITHIN_S = 60.0


def write_pki(folder: Path) -> Path:
    """An authority, and one certificate that is good for a server, a peer and kubeadm's health check alike."""
    folder.mkdir()
    authority = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "etcd-ca")])
    constraints = x509.BasicConstraints(ca=True, path_length=None)
    root = _builder(name, name, authority).add_extension(constraints, critical=True).sign(authority, SHA256())
    key = ec.generate_private_key(ec.SECP256R1())
    uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kube-etcd-healthcheck-client")])
    leaf = (
        _builder(subject, name, key)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(HOST))]), critical=False)
        .sign(authority, SHA256())
    )
    (folder / "ca.crt").write_bytes(root.public_bytes(Encoding.PEM))
    (folder / "healthcheck-client.crt").write_bytes(leaf.public_bytes(Encoding.PEM))
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "healthcheck-client.key").write_bytes(private)
    return folder


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=2))
    )


@dataclass
class Process:
    name: str
    client_url: str
    peer_url: str
    running: subprocess.Popen[bytes] | None = None


@dataclass
class Members:
    """A cluster of etcd. `names` are in the order in which they were started."""

    folder: Path
    pki: Path
    programs: Path
    processes: dict[str, Process] = field(default_factory=dict)

    def found(self, *names: str, **settings: str) -> None:
        """Start a new cluster of these."""
        for name in names:
            self.processes[name] = Process(name, _free_url(), _free_url())
        everybody = ",".join(f"{name}={self.processes[name].peer_url}" for name in names)
        for name in names:
            self._start(name, "new", everybody, settings)
        self.wait_until_they_answer(*names)

    def at(self, name: str) -> Etcd:
        """As the program finds etcd on the machine of this member."""
        return Etcd(self.processes[name].client_url, self.pki)

    def announce_learner(self, name: str, *, by: str) -> str:
        """What kubeadm join does before it starts etcd, which wants to have seen all voters for five seconds first."""
        self.processes[name] = Process(name, _free_url(), _free_url())
        peer = self.processes[name].peer_url
        deadline = time.monotonic() + UP_WITHIN_S
        while True:
            added = self.ctl(by, "member", "add", name, "--learner", f"--peer-urls={peer}", "-w", "json")
            if added.returncode == 0:
                return f"{json.loads(added.stdout)['member']['ID']:x}"
            assert "unhealthy cluster" in added.stderr, added.stderr
            assert time.monotonic() < deadline, added.stderr
            time.sleep(0.5)

    def kill(self, name: str) -> None:
        process = self.processes[name].running
        assert process is not None
        process.send_signal(signal.SIGKILL)
        process.wait()

    def id(self, name: str, *, by: str) -> str:
        members = self.at(by).members().members
        (found,) = [member.id for member in members if member.name == name]
        return found

    def ctl(self, name: str, *command: str, given: str = "") -> subprocess.CompletedProcess[str]:
        flags = [f"--endpoints={self.processes[name].client_url}", f"--cacert={self.pki}/ca.crt"]
        flags += [f"--cert={self.pki}/healthcheck-client.crt", f"--key={self.pki}/healthcheck-client.key"]
        whole = [str(self.programs / "etcdctl"), *command, *flags]
        return subprocess.run(whole, input=given, capture_output=True, text=True, check=False)

    def put(self, name: str, size_bytes: int) -> bool:
        """Whether a value of that size is taken."""
        return self.ctl(name, "put", "key", given="v" * size_bytes).returncode == 0

    def wait_until_they_answer(self, *names: str) -> None:
        """Until every one of them says the same of who leads, and every voter among all is known by name."""
        deadline = time.monotonic() + UP_WITHIN_S
        while True:
            try:
                seen = self.at(names[0]).members()
                named = {member.name for member in seen.members if member.answers}
                if seen.linearizable and seen.leader and set(names) <= named:
                    return
                reason: Any = seen.document()
            except NodeError as problem:
                reason = problem
            assert time.monotonic() < deadline, f"{reason}\n{self._log(names[0])[-3000:]}"
            time.sleep(0.2)

    def stop(self) -> None:
        for process in self.processes.values():
            if process.running:
                process.running.kill()
                process.running.wait()

    def _start(self, name: str, state: str, everybody: str, settings: dict[str, str]) -> None:
        process = self.processes[name]
        certificate, key = f"{self.pki}/healthcheck-client.crt", f"{self.pki}/healthcheck-client.key"
        command = [
            str(self.programs / "etcd"),
            f"--name={name}",
            f"--data-dir={self.folder / name}",
            f"--listen-client-urls={process.client_url}",
            f"--advertise-client-urls={process.client_url}",
            f"--listen-peer-urls={process.peer_url}",
            f"--initial-advertise-peer-urls={process.peer_url}",
            f"--initial-cluster={everybody}",
            f"--initial-cluster-state={state}",
            "--client-cert-auth=true",
            "--peer-client-cert-auth=true",
            f"--trusted-ca-file={self.pki}/ca.crt",
            f"--peer-trusted-ca-file={self.pki}/ca.crt",
            f"--cert-file={certificate}",
            f"--key-file={key}",
            f"--peer-cert-file={certificate}",
            f"--peer-key-file={key}",
            "--unsafe-no-fsync",
            *(f"--{setting.replace('_', '-')}={value}" for setting, value in settings.items()),
        ]
        with (self.folder / f"{name}.log").open("ab") as log:
            process.running = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ})

    def _log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()


@contextmanager
def etcd_members(folder: Path, pki: Path, programs: Path) -> Iterator[Members]:
    members = Members(folder, pki, programs)
    try:
        yield members
    finally:
        members.stop()


def _free_url() -> str:
    with socket.create_server((HOST, 0)) as listening:
        return f"https://{HOST}:{listening.getsockname()[1]}"
