"""The machine itself: what its image needs, its programs, its files, and what it says meanwhile."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import threading
import time
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from .failures import NodeError
from .metadata import Identity

IMAGE_FILE = Path("/etc/regrow/image.json")
HOSTS_FILE = Path("/etc/hosts")
ADMIN_KUBECONFIG = Path("/etc/kubernetes/admin.conf")
KUBELET_KUBECONFIG = Path("/etc/kubernetes/kubelet.conf")
ETCD_MANIFEST = Path("/etc/kubernetes/manifests/etcd.yaml")
CLUSTER_CA = Path("/etc/kubernetes/pki/ca.crt")
SECRETS_FOLDER = Path("/run/regrow")  # tmpfs: gone with the power
STATE_FOLDER = Path("/var/lib/regrow")
CLUSTER_FILE = STATE_FOLDER / "cluster.json"
CONSOLE = Path("/dev/console")
TOKEN = re.compile(r"\b[a-z0-9]{6}\.[a-z0-9]{16}\b")  # a bootstrap token, wherever a program may name one


@dataclass(frozen=True)
class Image:
    """What this machine image needs beyond kubeadm's defaults; a stock image needs nothing."""

    kubernetes_version: str | None = None
    kubelet_config: dict[str, Any] = field(default_factory=dict)
    image_pull_policy: str | None = None
    skip_phases: list[str] = field(default_factory=list)
    ignore_preflight_errors: list[str] = field(default_factory=list)
    cri_socket: str = "unix:///run/containerd/containerd.sock"
    aws_endpoint_url: str | None = None


@dataclass(frozen=True)
class Machine:
    """One machine and the cluster that it belongs to. `endpoint` is HOST:PORT of the Kubernetes API."""

    identity: Identity
    image: Image
    cluster: str
    endpoint: str

    @property
    def node_name(self) -> str:
        return self.identity.instance_id

    @property
    def provider_id(self) -> str:
        return f"aws:///{self.identity.zone}/{self.identity.instance_id}"

    @property
    def bundle_parameter(self) -> str:
        """What this machine, and no other, joins with."""
        return f"/regrow/{self.cluster}/join/{self.identity.instance_id}"

    @property
    def initialised_parameter(self) -> str:
        """The instance that made the cluster. Once it is there, the cluster exists for others."""
        return f"/regrow/{self.cluster}/initialised-by"

    @property
    def founder_parameter(self) -> str:
        """The one instance that may make the cluster."""
        return f"/regrow/{self.cluster}/founder"

    def certificate_key_parameter(self, instance_id: str) -> str:
        """The key to the cluster's authorities that this joining control plane, and no other machine, may read."""
        return f"/regrow/{self.cluster}/certificate-key/{instance_id}"

    def kubeconfig_parameter(self, identity: str) -> str:
        return f"/regrow/{self.cluster}/kubeconfig/{identity}"


def read_image(path: Path = IMAGE_FILE) -> Image:
    if not path.exists():
        return Image()
    try:
        wanted = json.loads(path.read_text())
    except ValueError as problem:
        raise NodeError(f"{path} is no JSON: {problem}") from problem
    unknown = sorted(set(wanted) - {known.name for known in fields(Image)})
    if unknown:
        raise NodeError(f"{path} says {', '.join(unknown)}, which nothing here understands")
    return Image(**wanted)


def remember_cluster(name: str, endpoint: str, path: Path = CLUSTER_FILE) -> None:
    """For programs that are run later, without the arguments of the boot."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_text(json.dumps({"cluster": name, "endpoint": endpoint}))


def cluster_of_this_machine(path: Path = CLUSTER_FILE) -> tuple[str, str]:
    """Its name, and where its Kubernetes API answers."""
    try:
        remembered = json.loads(path.read_text())
        return remembered["cluster"], remembered["endpoint"]
    except (OSError, ValueError, KeyError) as problem:
        raise NodeError(f"{path} does not say whose machine this is ({problem}); boot.py writes it") from problem


def log(text: str) -> None:
    """One plain line, with the seconds since the machine started."""
    say(f"[{seconds_since_boot():8.2f}] regrow: {text}")


def say(line: str, console: Path = CONSOLE) -> None:
    """To whoever runs us, and to the machine's console, which EC2 keeps for when nothing else can be asked."""
    line = TOKEN.sub("(token)", line)
    print(line, flush=True)
    try:
        descriptor = os.open(console, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            os.write(descriptor, f"{line}\r\n".encode())
        finally:
            os.close(descriptor)
    except OSError:
        return  # no console of that name, or a full one: what was printed has the line


def seconds_since_boot() -> float:
    """Since this machine's first process started, which on a container-like machine is later than the kernel."""
    since_kernel_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    first_process = Path("/proc/1/stat").read_text().rpartition(")")[2].split()
    started_s = int(first_process[19]) / os.sysconf("SC_CLK_TCK")
    return since_kernel_s - started_s


def name_in_hosts(name: str, address: str, path: Path = HOSTS_FILE) -> None:
    """Let the node name resolve here: kubeadm looks it up, and without an answer waits for DNS to time out."""
    text = path.read_text() if path.exists() else ""
    if any(name in line.split("#")[0].split()[1:] for line in text.splitlines()):
        return
    separator = "" if not text or text.endswith("\n") else "\n"
    with path.open("a") as hosts:
        hosts.write(f"{separator}{address} {name}\n")


def wait_for_runtime(cri_socket: str, wait_s: float = 120.0) -> None:
    """Until the container runtime takes connections. kubeadm would only fail where we can wait."""
    path = cri_socket.removeprefix("unix://")
    deadline = time.monotonic() + wait_s
    told = False
    while True:
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(path)
                return
        except OSError as problem:
            if time.monotonic() >= deadline:
                raise NodeError(
                    f"no container runtime at {path} after {wait_s:.0f} s ({problem}); see containerd's log"
                ) from problem
        if not told:
            log(f"waiting for the container runtime at {path}")
            told = True
        time.sleep(0.1)


def run(command: list[str], *, timeout_s: float, given: str | None = None) -> str:
    """A program's standard output; `given` is its input. Failure is a NodeError with the last of its other words."""
    try:
        done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=timeout_s, check=False)
    except FileNotFoundError as problem:
        raise NodeError(f"{command[0]} is not in this image") from problem
    except subprocess.TimeoutExpired as problem:
        raise NodeError(f"{' '.join(command[:3])} did not end within {timeout_s:.0f} s") from problem
    if done.returncode:
        words = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise NodeError(f"{' '.join(command[:3])} ended with {done.returncode}: {words}")
    return done.stdout


def run_loudly(command: list[str], *, timeout_s: float) -> None:
    """A long program whose own progress belongs in the log."""
    try:
        running = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
    except FileNotFoundError as problem:
        raise NodeError(f"{command[0]} is not in this image") from problem
    overdue = threading.Timer(timeout_s, running.kill)
    overdue.start()
    with running:
        for line in running.stdout or ():
            say(line.rstrip())
    timed_out = overdue.finished.is_set()
    overdue.cancel()
    if running.returncode and timed_out:
        raise NodeError(f"{' '.join(command[:2])} did not end within {timeout_s:.0f} s")
    if running.returncode:
        raise NodeError(f"{' '.join(command[:2])} ended with {running.returncode}; its own words are above")


def write_secret(name: str, text: str, folder: Path = SECRETS_FOLDER) -> Path:
    """A file that only root reads, on memory alone. It never exists with wider rights, not even for a moment."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / name
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as secret:
        secret.write(text)
    return path
