"""What stands in a machine's /etc at boot: its image's own settings and those that follow from its address."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from infra.local.network.plan import AWS_ENDPOINT, pod_subnet

KUBERNETES_VERSION = "v1.36.3"
SANDBOX_IMAGE = "registry.k8s.io/pause:3.10.2"
PROGRAMS = "/opt/regrow/bin"
IMAGE = "/opt/regrow/image"
PATH = f"{IMAGE}:{PROGRAMS}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT: Mapping[str, str] = {
    "PATH": PATH,
    "AWS_ENDPOINT_URL": f"http://{AWS_ENDPOINT}",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
}

# One disk is shared by all machines and the host: how full it is says nothing about a machine, and a kubelet that
# acts on it would evict pods or delete the only copy of an image.
_KUBELET: Mapping[str, Any] = {
    "cgroupDriver": "cgroupfs",
    "failCgroupV1": False,
    "failSwapOn": False,
    "resolvConf": "/etc/resolv.conf",
    "imageGCHighThresholdPercent": 100,
    "evictionHard": {"nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%"},
}


@dataclass(frozen=True)
class Identity:
    instance_id: str
    hostname: str
    address: IPv4Address


def files(machine: Identity, *, may_raise_limits: bool) -> dict[str, str]:
    """Path below / -> text. `may_raise_limits`: this process has CAP_SYS_RESOURCE."""
    return {
        "etc/hostname": f"{machine.hostname}\n",
        "etc/hosts": f"127.0.0.1 localhost\n{machine.address} {machine.hostname} {machine.instance_id}\n",
        # No name server: what asks for an unknown name is refused at once and does not wait.
        "etc/resolv.conf": "options timeout:1 attempts:1\n",
        "etc/machine-id": hashlib.md5(machine.instance_id.encode(), usedforsecurity=False).hexdigest() + "\n",
        "etc/environment": "".join(f"{name}={value}\n" for name, value in ENVIRONMENT.items()),
        "etc/regrow/image.json": json.dumps(image_settings(), indent=1) + "\n",
        "etc/containerd/config.toml": containerd_settings(may_raise_limits=may_raise_limits),
        "etc/cni/net.d/10-pods.conflist": json.dumps(pod_network(machine.address), indent=1) + "\n",
    }


def image_settings() -> dict[str, Any]:
    """What kubeadm and the kubelet must be told on this image; an image on EC2 has its own such file."""
    return {
        "kubernetes_version": KUBERNETES_VERSION,
        "kubelet_config": dict(_KUBELET),
        "image_pull_policy": "Never",
        "skip_phases": ["addon/coredns", "addon/kube-proxy"],
        "ignore_preflight_errors": ["SystemVerification"],
        "cri_socket": "unix:///run/containerd/containerd.sock",
        "aws_endpoint_url": ENVIRONMENT["AWS_ENDPOINT_URL"],
    }


def containerd_settings(
    *, may_raise_limits: bool, root: str = "/var/lib/containerd", run: str = "/run/containerd"
) -> str:
    restrict = "false" if may_raise_limits else "true"
    unused = ["snapshotter.v1.btrfs", "snapshotter.v1.zfs", "snapshotter.v1.devmapper", "snapshotter.v1.blockfile"]
    unused += ["snapshotter.v1.erofs", "nri.v1.nri", "tracing.processor.v1.otlp", "internal.v1.tracing"]
    disabled = [f"io.containerd.{name}" for name in unused]
    return f"""version = 3
root = "{root}"
state = "{run}"
disabled_plugins = {json.dumps(disabled)}
[grpc]
  address = "{run}/containerd.sock"
[plugins.'io.containerd.cri.v1.images']
  snapshotter = "overlayfs"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "{SANDBOX_IMAGE}"
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = {restrict}
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ["{PROGRAMS}"]
  conf_dir = "/etc/cni/net.d"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
  BinaryName = "{PROGRAMS}/runc"
  SystemdCgroup = false
"""


def pod_network(address: IPv4Address) -> dict[str, Any]:
    """A bridge for the machine's pods. Their addresses are routed everywhere, so nothing is masqueraded."""
    ipam = {"type": "host-local", "ranges": [[{"subnet": str(pod_subnet(address))}]], "routes": [{"dst": "0.0.0.0/0"}]}
    bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": False, "ipam": ipam}
    return {"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge]}
