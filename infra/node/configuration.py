"""kubeadm's configuration, as pure functions of the machine. JSON documents are YAML documents too."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from .failures import NodeError
from .machine import Machine

KUBEADM = "kubeadm.k8s.io/v1beta4"
KUBELET = "kubelet.config.k8s.io/v1beta1"
API_PORT = 6443
UNUSED_AFTER = "15m0s"
LOAD_BALANCER_WAIT = "5m0s"


@dataclass(frozen=True)
class JoinSecret:
    """TEMPORARY: what every replacement joins with, until each machine gets a short-lived token of its own."""

    token: str = field(repr=False)
    ca_hash: str
    endpoint: str

    def to_json(self) -> str:
        return json.dumps({"token": self.token, "ca_hash": self.ca_hash, "endpoint": self.endpoint})

    @classmethod
    def from_json(cls, text: str) -> JoinSecret:
        try:
            document = json.loads(text)
            return cls(token=document["token"], ca_hash=document["ca_hash"], endpoint=document["endpoint"])
        except (ValueError, KeyError, TypeError) as problem:
            raise NodeError(
                "the published join secret is not {token, ca_hash, endpoint}; publish it again"
            ) from problem


def node_registration(machine: Machine) -> dict[str, Any]:
    registration: dict[str, Any] = {
        "name": machine.node_name,
        "criSocket": machine.image.cri_socket,
        "kubeletExtraArgs": [
            {"name": "provider-id", "value": machine.provider_id},
            {"name": "node-ip", "value": machine.identity.address},
        ],
    }
    if machine.image.image_pull_policy:
        registration["imagePullPolicy"] = machine.image.image_pull_policy
    if machine.image.ignore_preflight_errors:
        registration["ignorePreflightErrors"] = machine.image.ignore_preflight_errors
    return registration


def init_configuration(machine: Machine) -> str:
    """For the first control plane. Where pods get their addresses is the network's business, not kubeadm's."""
    host = machine.endpoint.rpartition(":")[0]
    names = sorted({host, machine.identity.address, machine.node_name})
    init: dict[str, Any] = {
        "apiVersion": KUBEADM,
        "kind": "InitConfiguration",
        "localAPIEndpoint": {"advertiseAddress": machine.identity.address, "bindPort": API_PORT},
        "nodeRegistration": node_registration(machine),
        # kubeadm makes one whether wanted or not; nobody uses it, so it may go soon.
        "bootstrapTokens": [{"ttl": UNUSED_AFTER, "description": "made by kubeadm init, unused"}],
        # Some phases go through the load balancer, which sends nothing here before it has seen us healthy.
        "timeouts": {"kubernetesAPICall": LOAD_BALANCER_WAIT},
    }
    if machine.image.skip_phases:
        init["skipPhases"] = machine.image.skip_phases
    cluster: dict[str, Any] = {
        "apiVersion": KUBEADM,
        "kind": "ClusterConfiguration",
        "clusterName": machine.cluster,
        "controlPlaneEndpoint": machine.endpoint,
        "apiServer": {"certSANs": names},
    }
    if machine.image.kubernetes_version:
        cluster["kubernetesVersion"] = machine.image.kubernetes_version
    kubelet = {"apiVersion": KUBELET, "kind": "KubeletConfiguration", **machine.image.kubelet_config}
    return _documents(init, cluster, kubelet)


def join_configuration(machine: Machine, secret: JoinSecret) -> str:
    return _documents(
        {
            "apiVersion": KUBEADM,
            "kind": "JoinConfiguration",
            "discovery": {
                "bootstrapToken": {
                    "token": secret.token,
                    "apiServerEndpoint": secret.endpoint,
                    "caCertHashes": [secret.ca_hash],
                }
            },
            "nodeRegistration": node_registration(machine),
        }
    )


def join_secret(join_command: str) -> JoinSecret:
    """Out of what `kubeadm token create --print-join-command` says."""
    words: list[str] = join_command.split()
    try:
        return JoinSecret(
            token=words[words.index("--token") + 1],
            ca_hash=words[words.index("--discovery-token-ca-cert-hash") + 1],
            endpoint=words[words.index("join") + 1],
        )
    except (ValueError, IndexError) as problem:
        raise NodeError("kubeadm printed a join command that is not understood") from problem


def function_kubeconfig(kubeconfig: dict[str, Any], identity: str) -> str:
    """What a function needs of a kubeconfig, in a form that it reads without a YAML parser."""
    cluster = kubeconfig["clusters"][0]["cluster"]
    user = kubeconfig["users"][0]["user"]
    return json.dumps(
        {
            "identity": identity,
            "server": cluster["server"],
            "ca_data": cluster["certificate-authority-data"],
            "client_certificate_data": user["client-certificate-data"],
            "client_key_data": user["client-key-data"],
        }
    )


def _documents(*documents: dict[str, Any]) -> str:
    return "\n---\n".join(json.dumps(document, indent=2) for document in documents) + "\n"
