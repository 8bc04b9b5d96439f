"""A machine starts one of two services again, ends what does not end, and tells how it went in one JSON object."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from infra.node import restarting
from infra.node.failures import NodeError
from infra.node.restarting import main

PROGRAM = Path(restarting.__file__).with_name("services.py")


class Systemctl:
    """The machine's, on which each of these commands fails as often as it says."""

    def __init__(self, **failures: int) -> None:
        self.failures = failures
        self.asked: list[list[str]] = []

    def __call__(self, command: list[str], *, timeout_s: float) -> str:
        self.asked.append(command[1:])
        if self.failures.get(command[1], 0) > 0:
            self.failures[command[1]] -= 1
            raise NodeError(f"systemctl {command[1]} did not end within {timeout_s:.0f} s")
        return ""


def said(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    answer: dict[str, str] = json.loads(capsys.readouterr().out)
    return answer


@pytest.mark.parametrize(("action", "unit"), [("restart-kubelet", "kubelet"), ("restart-runtime", "containerd")])
def test_the_service_is_started_again(action: str, unit: str, capsys: pytest.CaptureFixture[str]) -> None:
    systemctl = Systemctl()
    assert main([action], systemctl) == 0
    assert systemctl.asked == [["restart", unit]]
    assert said(capsys) == {"restarted": unit}


@pytest.mark.parametrize("failures", [{"restart": 1}, {"restart": 1, "kill": 1}])
def test_one_that_does_not_end_is_ended(failures: dict[str, int], capsys: pytest.CaptureFixture[str]) -> None:
    systemctl = Systemctl(**failures)
    assert main(["restart-kubelet"], systemctl) == 0
    assert systemctl.asked[1:] == [["kill", "--signal=SIGKILL", "kubelet"], ["restart", "kubelet"]]
    assert said(capsys) == {"restarted": "kubelet"}


def test_one_that_does_not_start_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["restart-kubelet"], Systemctl(restart=2)) == 1
    assert "did not end" in said(capsys)["error"]


@pytest.mark.parametrize("words", [[], ["reboot"], ["restart-kubelet", "etcd"], ["restart-kubelet;reboot"], [""]])
def test_nothing_else_is_done(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    systemctl = Systemctl()
    assert main(words, systemctl) == 1
    assert systemctl.asked == []
    assert "no such action" in said(capsys)["error"]


def test_the_program_says_one_json_object_where_there_is_no_systemctl() -> None:
    command = [sys.executable, "-I", str(PROGRAM), "restart-kubelet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": "/nowhere"})
    assert done.returncode == 1
    assert "systemctl is not in this image" in json.loads(done.stdout)["error"]
