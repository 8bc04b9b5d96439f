"""kubeadm's configuration, as pure functions of the machine. JSON documents are YAML documents too."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import Any

from .failures import NodeError
from .machine import TOKEN, Machine

KUBEADM = "kubeadm.k8s.io/v1beta4"
KUBELET = "kubelet.config.k8s.io/v1beta1"
API_PORT = 6443
LOAD_BALANCER_WAIT = "5m0s"
DISCOVERY_WAIT = "30s"  # a token that was replaced meanwhile is refused for all of it; then the new one is fetched
# kubeadm's bootstrap-token phase would leave a token in a group whose certificate requests are approved unseen, and
# sign cluster-info with it for anybody to attack offline. What else it does, infra/kubernetes/joining.yaml does.
SKIPPED_PHASES = ["bootstrap-token", "show-join-command"]


@dataclass(frozen=True)
class Bundle:
    """What one machine joins with: where the cluster is, by which authority it is known, and a token of its own."""

    server: str
    ca_data: str
    token: str = field(repr=False)

    @classmethod
    def for_machine(cls, machine: Machine, text: str) -> Bundle:
        """Read what was left for this machine. A NodeError says what is wrong with it, never what is in it."""
        where = machine.bundle_parameter
        try:
            content = json.loads(text)
            cluster, node_name = content["cluster"], content["node_name"]
            bundle = cls(server=content["server"], ca_data=content["ca_data"], token=content["token"])
            whole = (
                bundle.server.startswith("https://")
                and TOKEN.fullmatch(bundle.token)
                and base64.b64decode(bundle.ca_data, validate=True).startswith(b"-----BEGIN CERTIFICATE-----")
            )
        except (ValueError, KeyError, TypeError, AttributeError) as problem:
            raise NodeError(f"{where} is no bundle to join with ({type(problem).__name__})") from problem
        if not whole:
            raise NodeError(f"{where} lacks an https server, a certificate authority or a token")
        if (cluster, node_name) != (machine.cluster, machine.node_name):
            raise NodeError(
                f"{where} is for {node_name} of {cluster}, this is {machine.node_name} of {machine.cluster}"
            )
        return bundle


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


def local_endpoint(machine: Machine) -> dict[str, Any]:
    return {"advertiseAddress": machine.identity.address, "bindPort": API_PORT}


def init_configuration(machine: Machine) -> str:
    """For the first control plane. Where pods get their addresses is the network's business, not kubeadm's."""
    host = machine.endpoint.rpartition(":")[0]
    names = sorted({host, machine.identity.address, machine.node_name})
    init: dict[str, Any] = {
        "apiVersion": KUBEADM,
        "kind": "InitConfiguration",
        "localAPIEndpoint": local_endpoint(machine),
        "nodeRegistration": node_registration(machine),
        "skipPhases": [*SKIPPED_PHASES, *machine.image.skip_phases],
        # Some phases go through the load balancer, which sends nothing here before it has seen us healthy.
        "timeouts": {"kubernetesAPICall": LOAD_BALANCER_WAIT},
    }
    cluster: dict[str, Any] = {
        "apiVersion": KUBEADM,
        "kind": "ClusterConfiguration",
        "clusterName": machine.cluster,
        "controlPlaneEndpoint": machine.endpoint,
        "apiServer": {"certSANs": names},
    }
    if machine.image.kubernetes_version:
        cluster["kubernetesVersion"] = machine.image.kubernetes_version
    # Every kubelet asks for a serving certificate, which Regrow approves; else each would sign its own.
    always = {"apiVersion": KUBELET, "kind": "KubeletConfiguration", "serverTLSBootstrap": True}
    kubelet = {**machine.image.kubelet_config, **always}
    return _documents(init, cluster, kubelet)


def join_configuration(machine: Machine, bundle: Bundle, discovery_file: str) -> str:
    return _documents(
        {
            "apiVersion": KUBEADM,
            "kind": "JoinConfiguration",
            "discovery": {"file": {"kubeConfigPath": discovery_file}, "tlsBootstrapToken": bundle.token},
            "nodeRegistration": node_registration(machine),
            "timeouts": {"discovery": DISCOVERY_WAIT},
        }
    )


def control_plane_join_configuration(
    machine: Machine, bundle: Bundle, discovery_file: str, certificate_key: str
) -> str:
    """For every control plane but the first. kubeadm fetches the cluster's authorities and opens them with the key."""
    document = json.loads(join_configuration(machine, bundle, discovery_file))
    control_plane = {"localAPIEndpoint": local_endpoint(machine), "certificateKey": certificate_key}
    return _documents({**document, "controlPlane": control_plane})


def upload_configuration(machine: Machine, certificate_key: str, cluster_configuration: str) -> str:
    """`cluster_configuration` is YAML, as kubeadm keeps it in the cluster: where the authorities are, and no lookup of
    versions on the internet."""
    init = {
        "apiVersion": KUBEADM,
        "kind": "InitConfiguration",
        "localAPIEndpoint": local_endpoint(machine),
        "nodeRegistration": {"name": machine.node_name, "criSocket": machine.image.cri_socket},
        "certificateKey": certificate_key,
    }
    return f"{_documents(init)}---\n{cluster_configuration}"


def discovery_kubeconfig(bundle: Bundle) -> str:
    """The cluster as the bundle pins it. With the token as user, no right of anonymous requests is needed."""
    name = "bootstrap"
    return _documents(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": name,
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "clusters": [
                {"name": name, "cluster": {"server": bundle.server, "certificate-authority-data": bundle.ca_data}}
            ],
            "users": [{"name": name, "user": {"token": bundle.token}}],
        }
    )


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
