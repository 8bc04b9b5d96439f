"""What kubeadm is told, and what the machine makes of kubeadm's answers."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from infra.node.configuration import (
    Bundle,
    discovery_kubeconfig,
    function_kubeconfig,
    init_configuration,
    join_configuration,
)
from infra.node.failures import NodeError
from infra.node.machine import Image, Machine
from infra.node.metadata import Identity

MACHINE = Machine(
    identity=Identity("i-0123456789abcdef0", "us-east-1a", "us-east-1", "10.77.1.5"),
    image=Image(),
    cluster="drill",
    endpoint="10.77.0.10:6443",
)
LOCAL = Image(
    kubernetes_version="v1.36.3",
    kubelet_config={"cgroupDriver": "cgroupfs"},
    image_pull_policy="Never",
    skip_phases=["addon/coredns"],
    ignore_preflight_errors=["SystemVerification"],
)
TOKEN = "abcdef.0123456789abcdef"
AUTHORITY = base64.b64encode(b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n").decode()
CONTENT = {
    "cluster": "drill",
    "node_name": "i-0123456789abcdef0",
    "server": "https://10.77.0.10:6443",
    "ca_data": AUTHORITY,
    "token": TOKEN,
    "expires_at": "2026-01-02T03:19:05Z",
}
BUNDLE = Bundle("https://10.77.0.10:6443", AUTHORITY, TOKEN)
UNWANTED = ["bootstrap-token", "show-join-command"]
FILE = "/run/regrow/discovery.json"


def documents(text: str) -> dict[str, Any]:
    parsed = [json.loads(part) for part in text.split("\n---\n")]
    return {document["kind"]: document for document in parsed}


def arguments(configuration: dict[str, Any]) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in configuration["nodeRegistration"]["kubeletExtraArgs"]}


def test_a_node_is_known_by_its_instance_from_its_first_moment() -> None:
    init = documents(init_configuration(MACHINE))["InitConfiguration"]
    join = documents(join_configuration(MACHINE, BUNDLE, FILE))["JoinConfiguration"]
    for configuration in (init, join):
        assert configuration["nodeRegistration"]["name"] == "i-0123456789abcdef0"
        assert arguments(configuration)["provider-id"] == "aws:///us-east-1a/i-0123456789abcdef0"
        assert arguments(configuration)["node-ip"] == "10.77.1.5"


def test_the_api_answers_under_the_load_balancers_address_and_the_machines_own() -> None:
    cluster = documents(init_configuration(MACHINE))["ClusterConfiguration"]
    assert cluster["controlPlaneEndpoint"] == "10.77.0.10:6443"
    assert {"10.77.0.10", "10.77.1.5"} <= set(cluster["apiServer"]["certSANs"])


def test_pod_addresses_are_left_to_the_network() -> None:
    assert "networking" not in documents(init_configuration(MACHINE))["ClusterConfiguration"]


def test_a_stock_image_gets_kubeadms_own_defaults() -> None:
    init = documents(init_configuration(MACHINE))
    assert init["InitConfiguration"]["skipPhases"] == UNWANTED
    assert "kubernetesVersion" not in init["ClusterConfiguration"]
    assert {"imagePullPolicy", "ignorePreflightErrors"}.isdisjoint(init["InitConfiguration"]["nodeRegistration"])


def test_what_an_image_needs_is_in_the_configuration() -> None:
    machine = replace(MACHINE, image=LOCAL)
    init = documents(init_configuration(machine))
    assert init["ClusterConfiguration"]["kubernetesVersion"] == "v1.36.3"
    assert init["InitConfiguration"]["skipPhases"] == [*UNWANTED, "addon/coredns"]
    assert init["KubeletConfiguration"]["cgroupDriver"] == "cgroupfs"
    join = documents(join_configuration(machine, BUNDLE, FILE))["JoinConfiguration"]
    assert join["nodeRegistration"]["imagePullPolicy"] == "Never"
    assert join["nodeRegistration"]["ignorePreflightErrors"] == ["SystemVerification"]
    assert "skipPhases" not in join  # they name phases of init, which join would refuse


@pytest.mark.parametrize("image", [Image(), LOCAL, Image(kubelet_config={"serverTLSBootstrap": False})])
def test_every_kubelet_asks_for_a_serving_certificate_whatever_the_image_says(image: Image) -> None:
    kubelet = documents(init_configuration(replace(MACHINE, image=image)))["KubeletConfiguration"]
    assert kubelet["serverTLSBootstrap"] is True


def test_kubeadm_leaves_no_token_and_no_right_to_join_unseen() -> None:
    init = documents(init_configuration(MACHINE))["InitConfiguration"]
    assert "bootstrap-token" in init["skipPhases"]
    assert "bootstrapTokens" not in init


def test_a_worker_trusts_only_the_authority_of_its_bundle() -> None:
    discovery = documents(join_configuration(MACHINE, BUNDLE, FILE))["JoinConfiguration"]["discovery"]
    assert discovery == {"file": {"kubeConfigPath": FILE}, "tlsBootstrapToken": TOKEN}
    kubeconfig = json.loads(discovery_kubeconfig(BUNDLE))
    (cluster,) = kubeconfig["clusters"]
    assert cluster["cluster"] == {"server": "https://10.77.0.10:6443", "certificate-authority-data": AUTHORITY}


def test_discovery_asks_with_the_token_so_that_anonymous_requests_may_be_off() -> None:
    kubeconfig = json.loads(discovery_kubeconfig(BUNDLE))
    (context,) = kubeconfig["contexts"]
    (user,) = kubeconfig["users"]
    assert kubeconfig["current-context"] == context["name"]
    assert context["context"]["user"] == user["name"]
    assert user["user"] == {"token": TOKEN}


def test_a_bundle_is_read_as_it_was_left() -> None:
    assert Bundle.for_machine(MACHINE, json.dumps(CONTENT)) == BUNDLE


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"node_name": "i-0000000000000000b"}, "is for i-0000000000000000b of drill, this is i-0123456789abcdef0"),
        ({"cluster": "other"}, "of other, this is i-0123456789abcdef0 of drill"),
        ({"server": "http://10.77.0.10:6443"}, "lacks an https server"),
        ({"token": "short.token"}, "a token"),
        ({"token": f"{TOKEN}\n"}, "a token"),
        ({"ca_data": base64.b64encode(b"no certificate").decode()}, "a certificate authority"),
        ({"ca_data": "%%%"}, "is no bundle to join with"),
        ({"server": None}, "is no bundle to join with"),
        ({"token": 5}, "is no bundle to join with"),
    ],
)
def test_a_bundle_that_is_not_ours_or_not_whole_is_refused_with_the_reason(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(NodeError, match="/regrow/drill/join/i-0123456789abcdef0") as refusal:
        Bundle.for_machine(MACHINE, json.dumps(CONTENT | changed))
    assert said in str(refusal.value)
    assert TOKEN not in str(refusal.value)


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", "5", json.dumps({"token": TOKEN})])
def test_what_is_no_bundle_at_all_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(NodeError, match="is no bundle to join with") as refusal:
        Bundle.for_machine(MACHINE, text)
    assert TOKEN not in str(refusal.value)


def test_a_token_never_shows_in_a_bundles_description() -> None:
    assert TOKEN not in repr(BUNDLE)


def test_a_function_gets_server_authority_and_its_own_certificate() -> None:
    kubeconfig = {
        "clusters": [{"cluster": {"server": "https://10.77.0.10:6443", "certificate-authority-data": "Q0E="}}],
        "users": [{"user": {"client-certificate-data": "Q0VSVA==", "client-key-data": "S0VZ"}}],
    }
    assert json.loads(function_kubeconfig(kubeconfig, "regrow:remediate")) == {
        "identity": "regrow:remediate",
        "server": "https://10.77.0.10:6443",
        "ca_data": "Q0E=",
        "client_certificate_data": "Q0VSVA==",
        "client_key_data": "S0VZ",
    }
