from __future__ import annotations

import json
import tomllib
from ipaddress import IPv4Address

from infra.local.machines.files import SANDBOX_IMAGE, Identity, containerd_settings, files

MACHINE = Identity("i-0123456789abcdef0", "ip-10-77-1-11.ec2.internal", IPv4Address("10.77.1.11"))
FILES = files(MACHINE, may_raise_limits=True)


def test_the_node_name_is_found_without_asking_a_name_server() -> None:
    assert "10.77.1.11 ip-10-77-1-11.ec2.internal i-0123456789abcdef0" in FILES["etc/hosts"]
    assert "nameserver" not in FILES["etc/resolv.conf"]


def test_the_disk_that_all_machines_share_makes_no_kubelet_evict_or_delete() -> None:
    kubelet = json.loads(FILES["etc/regrow/image.json"])["kubelet_config"]
    assert set(kubelet["evictionHard"].values()) == {"0%"}
    assert kubelet["imageGCHighThresholdPercent"] == 100


def test_pods_get_addresses_that_are_routed_to_this_machine() -> None:
    (bridge,) = json.loads(FILES["etc/cni/net.d/10-pods.conflist"])["plugins"]
    assert bridge["ipam"]["ranges"] == [[{"subnet": "10.201.11.0/24"}]]
    assert bridge["ipMasq"] is False


def test_every_machine_has_an_id_of_its_own() -> None:
    other = Identity("i-0123456789abcdef1", MACHINE.hostname, MACHINE.address)
    assert files(other, may_raise_limits=True)["etc/machine-id"] != FILES["etc/machine-id"]
    assert len(FILES["etc/machine-id"].strip()) == 32


def test_containerd_lowers_no_score_that_the_kernel_would_not_let_it_lower() -> None:
    for may_raise_limits in (True, False):
        settings = tomllib.loads(containerd_settings(may_raise_limits=may_raise_limits))
        runtime = settings["plugins"]["io.containerd.cri.v1.runtime"]
        assert runtime["restrict_oom_score_adj"] is not may_raise_limits


def test_the_sandbox_image_is_the_one_that_cannot_be_collected() -> None:
    settings = tomllib.loads(containerd_settings(may_raise_limits=True))
    assert settings["plugins"]["io.containerd.cri.v1.images"]["pinned_images"] == {"sandbox": SANDBOX_IMAGE}
