"""The image's init does for containerd and the kubelet what systemd does on EC2.

The two programs here are scripts with their names and their outward behaviour; init cannot tell the difference.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local.worlds.world import World
from tests.integration.local.worlds.light import STANDIN, LightWorld, Machine, eventually

CONTAINERD = """#!/usr/local/bin/python3
import os, signal, socket
os.makedirs("/run/containerd")
server = socket.socket(socket.AF_UNIX)
server.bind("/run/containerd/containerd.sock")
server.listen()
signal.pause()
"""
KUBELET = """#!/bin/sh
trap 'echo told to end >> /var/log/kubelet-calls; exit 0' TERM
echo "$@" >> /var/log/kubelet-calls
while :; do sleep 0.05; done
"""
CONFIGURE = """
mkdir -p /var/lib/kubelet
echo 'KUBELET_KUBEADM_ARGS="--node-ip=10.77.1.1 --node-labels=a=b"' > /var/lib/kubelet/kubeadm-flags.env
touch /var/lib/kubelet/config.yaml
"""


@pytest.fixture(scope="module")
def light(state: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LightWorld]:
    programs = tmp_path_factory.mktemp("programs")
    for name, text in {"containerd": CONTAINERD, "kubelet": KUBELET}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    cloud = [sys.executable, str(STANDIN), "services"]
    world = LightWorld(World.up("services", programs=programs, cloud=cloud, within_s=30))
    assert world.world.place.state == state
    yield world
    world.end()


def calls(machine: Machine) -> list[str]:
    return machine.log("kubelet-calls").splitlines()


def test_user_data_finds_containerd_up(light: LightWorld) -> None:
    machine = light.machine("test -S /run/containerd/containerd.sock && systemctl is-active containerd").start()
    assert machine.logs("ended with exit code 0")
    assert "active" in machine.log("cloud-init-output.log")


def test_the_kubelet_starts_with_kubeadms_flags_once_it_is_configured(light: LightWorld) -> None:
    machine = light.machine(CONFIGURE).start()
    call = eventually(lambda: calls(machine))[0]
    assert "--config=/var/lib/kubelet/config.yaml --node-ip=10.77.1.1 --node-labels=a=b" in call
    assert "--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf" in call


def test_a_kubelet_that_dies_is_started_again(light: LightWorld) -> None:
    machine = light.machine(CONFIGURE).start()
    eventually(lambda: calls(machine))
    machine.run("pkill", "-KILL", "-f", "bin/kubelet")
    eventually(lambda: len(calls(machine)) == 2)


def test_a_kubelet_that_was_stopped_stays_so_until_it_is_started(light: LightWorld) -> None:
    machine = light.machine(f"systemctl stop kubelet; {CONFIGURE}").start()
    assert machine.logs("ended with exit code 0")
    assert machine.run("sh", "-c", "systemctl is-active kubelet || true").strip() == "inactive"
    assert calls(machine) == []
    machine.run("systemctl", "restart", "kubelet.service")
    assert machine.run("systemctl", "is-active", "kubelet").strip() == "active"
    eventually(lambda: calls(machine))


def test_a_shutdown_tells_the_kubelet_and_does_not_start_it_again(light: LightWorld) -> None:
    machine = light.machine(CONFIGURE).start()
    eventually(lambda: calls(machine))
    machine.call("shutdown", grace_s=10)
    assert len(calls(machine)) == 2
    assert calls(machine)[-1] == "told to end"


def test_a_kubelet_that_was_configured_in_an_earlier_life_starts_at_boot(light: LightWorld) -> None:
    machine = light.machine(CONFIGURE).start()
    eventually(lambda: calls(machine))
    machine.call("kill")
    machine.start()
    eventually(lambda: len(calls(machine)) == 2)


def test_kubeadm_is_told_that_an_unknown_unit_does_not_exist(light: LightWorld) -> None:
    machine = light.machine().start()
    assert machine.logs("no script")
    assert "could not be found" in machine.run("sh", "-c", "systemctl status docker || true")
