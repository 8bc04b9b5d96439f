"""What kubeadm is told, and what the machine makes of kubeadm's answers."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from infra.node.configuration import (
    JoinSecret,
    function_kubeconfig,
    init_configuration,
    join_configuration,
    join_secret,
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
SECRET = JoinSecret("abcdef.0123456789abcdef", "sha256:" + "0" * 64, "10.77.0.10:6443")


def documents(text: str) -> dict[str, Any]:
    parsed = [json.loads(part) for part in text.split("\n---\n")]
    return {document["kind"]: document for document in parsed}


def arguments(configuration: dict[str, Any]) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in configuration["nodeRegistration"]["kubeletExtraArgs"]}


def test_a_node_is_known_by_its_instance_from_its_first_moment() -> None:
    init = documents(init_configuration(MACHINE))["InitConfiguration"]
    join = documents(join_configuration(MACHINE, SECRET))["JoinConfiguration"]
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
    assert "skipPhases" not in init["InitConfiguration"]
    assert "kubernetesVersion" not in init["ClusterConfiguration"]
    assert {"imagePullPolicy", "ignorePreflightErrors"}.isdisjoint(init["InitConfiguration"]["nodeRegistration"])


def test_what_an_image_needs_is_in_the_configuration() -> None:
    machine = replace(MACHINE, image=LOCAL)
    init = documents(init_configuration(machine))
    assert init["ClusterConfiguration"]["kubernetesVersion"] == "v1.36.3"
    assert init["InitConfiguration"]["skipPhases"] == ["addon/coredns"]
    assert init["KubeletConfiguration"]["cgroupDriver"] == "cgroupfs"
    join = documents(join_configuration(machine, SECRET))["JoinConfiguration"]
    assert join["nodeRegistration"]["imagePullPolicy"] == "Never"
    assert join["nodeRegistration"]["ignorePreflightErrors"] == ["SystemVerification"]
    assert "skipPhases" not in join  # they name phases of init, which join would refuse


def test_a_worker_trusts_only_the_pinned_authority() -> None:
    discovery = documents(join_configuration(MACHINE, SECRET))["JoinConfiguration"]["discovery"]["bootstrapToken"]
    assert discovery["caCertHashes"] == [SECRET.ca_hash]
    assert "unsafeSkipCAVerification" not in discovery


def test_the_join_secret_is_what_kubeadm_prints() -> None:
    line = f"kubeadm join 10.77.0.10:6443 --token {SECRET.token} --discovery-token-ca-cert-hash {SECRET.ca_hash} \n"
    assert join_secret(line) == SECRET


def test_a_join_secret_survives_publication() -> None:
    assert JoinSecret.from_json(SECRET.to_json()) == SECRET


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", '{"token": "a.b"}'])
def test_a_malformed_publication_is_refused_with_a_remedy(text: str) -> None:
    with pytest.raises(NodeError, match="publish it again"):
        JoinSecret.from_json(text)


def test_an_unknown_join_command_is_refused_without_repeating_it() -> None:
    with pytest.raises(NodeError) as refusal:
        join_secret("kubeadm join --token abcdef.0123456789abcdef")
    assert "abcdef" not in str(refusal.value)


def test_a_secret_never_shows_in_its_own_description() -> None:
    assert SECRET.token not in repr(SECRET)


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
