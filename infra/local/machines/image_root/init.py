"""The image's init, pid 1 of a machine: runs the services and what cloud-init runs, and ends the machine in order.

Does what systemd does on an EC2 image, for three services: the SSM Agent, containerd, and the kubelet, which it starts
once kubeadm has written its configuration. Each is started again whenever it ends. `systemctl` in this directory
talks to it, so kubeadm and the commands sent to a machine find what they know. Plain standard library: the machine has
nothing else.
"""

from __future__ import annotations

import os
import resource
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
SSM_AGENT = HERE / "ssm_agent.py"
CONTROL = "/run/init.socket"
CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
RESTART_AFTER_S = 1.0
STOP_WITHIN_S = 10.0
LOOK_EVERY_S = 0.25
"""How soon the kubelet starts after its configuration has appeared, at boot."""


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} init: {text}", flush=True)


@dataclass
class Service:
    name: str
    command: Callable[[], list[str]]
    needs: Path
    """A file without which it is not started."""
    wanted: bool = True
    process: subprocess.Popen[bytes] | None = None
    not_before_s: float = 0.0

    def start_if_due(self) -> None:
        if self.process is None and self.wanted and time.monotonic() >= self.not_before_s and self.needs.exists():
            with Path(f"/var/log/{self.name}.log").open("ab") as log:
                self.process = subprocess.Popen(
                    self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )
            say(f"{self.name} started, pid {self.process.pid}")

    def ended(self, status: int) -> None:
        how = "signal" if os.WIFSIGNALED(status) else "exit"
        say(f"{self.name} ended: {how} {abs(os.waitstatus_to_exitcode(status))}")
        self.process = None
        self.not_before_s = time.monotonic() + RESTART_AFTER_S


def containerd() -> list[str]:
    return ["containerd", "--config", "/etc/containerd/config.toml"]


def kubelet() -> list[str]:
    """The command line of kubeadm's own unit file."""
    kubernetes, state = "/etc/kubernetes", Path("/var/lib/kubelet")
    flags = state / "kubeadm-flags.env"
    given: list[str] = []
    for line in flags.read_text().splitlines() if flags.exists() else ():
        if line.startswith("KUBELET_KUBEADM_ARGS="):
            given = shlex.split(shlex.split(line.partition("=")[2])[0])
    return [
        "kubelet",
        f"--bootstrap-kubeconfig={kubernetes}/bootstrap-kubelet.conf",
        f"--kubeconfig={kubernetes}/kubelet.conf",
        f"--config={state}/config.yaml",
        *given,
    ]


def ssm_agent() -> list[str]:
    return [sys.executable, "-I", "-S", str(SSM_AGENT)]


class Init:
    def __init__(self) -> None:
        self.services = {"amazon-ssm-agent": Service("amazon-ssm-agent", ssm_agent, SSM_AGENT)}
        if shutil.which("containerd"):
            self.services["containerd"] = Service("containerd", containerd, Path("/etc/containerd/config.toml"))
        if shutil.which("kubelet"):
            self.services["kubelet"] = Service("kubelet", kubelet, Path("/var/lib/kubelet/config.yaml"))
        self.ending = False
        self.cloud_init: subprocess.Popen[bytes] | None = None
        self.booted_s = time.monotonic()
        self.control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.control.bind(CONTROL)
        self.control.listen()
        self.wake, waker = socket.socketpair()
        self.wake.setblocking(False)
        waker.setblocking(False)
        signal.set_wakeup_fd(waker.fileno())
        self.waker = waker
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._end)

    def _end(self, *_: object) -> None:
        self.ending = True

    def run(self) -> None:
        while not self.ending:
            for service in self.services.values():
                service.start_if_due()
            self._start_cloud_init_once()
            readable, _, _ = select.select([self.control, self.wake], [], [], LOOK_EVERY_S if self.cloud_init else 0.02)
            if self.wake in readable:
                self.wake.recv(4096)
            self._reap()
            if self.control in readable:
                self._answer()
        self._shut_down()

    def _start_cloud_init_once(self) -> None:
        if self.cloud_init is None and ("containerd" not in self.services or _accepts(CONTAINERD_SOCKET)):
            say(f"ready for cloud-init {time.monotonic() - self.booted_s:.2f} s after the start")
            command = [sys.executable, "-I", "-S", str(HERE / "cloud_init.py")]
            self.cloud_init = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)

    def _reap(self) -> None:
        """Every orphan of the machine ends up here."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for service in self.services.values():
                if service.process and service.process.pid == pid:
                    service.process.returncode = status
                    service.ended(status)
            if self.cloud_init and self.cloud_init.pid == pid:
                self.cloud_init.returncode = status

    def _answer(self) -> None:
        connection, _ = self.control.accept()
        with connection:
            connection.settimeout(1.0)
            try:
                verb, _, name = connection.recv(4096).decode().strip().partition(" ")
                connection.sendall(self._do(verb, name).encode())
            except OSError as error:
                say(f"a request was not answered: {error}")

    def _do(self, verb: str, name: str) -> str:
        """What the other side prints, behind the exit code it ends with."""
        if verb == "poweroff":
            self.ending = True
            return "0 "
        service = self.services.get(name)
        if service is None:
            return f"4 Unit {name}.service could not be found.\n"
        if verb in ("stop", "restart"):
            service.wanted = False
            self._stop(service)
        if verb in ("start", "restart"):
            service.wanted, service.not_before_s = True, 0.0
            service.start_if_due()
        if verb in ("start", "stop", "restart"):
            return "0 "
        state = "active" if service.process else "activating" if service.wanted else "inactive"
        code = 0 if state == "active" else 3
        if verb == "is-active":
            return f"{code} {state}\n"
        return f"{code} {name}.service\n     Loaded: loaded (init; enabled)\n     Active: {state}\n"

    def _stop(self, service: Service) -> None:
        deadline = time.monotonic() + STOP_WITHIN_S
        if service.process:
            os.kill(service.process.pid, signal.SIGTERM)
            os.kill(service.process.pid, signal.SIGCONT)  # as systemd does, so that one that is stopped can end
        while service.process:
            if time.monotonic() > deadline:
                os.kill(service.process.pid, signal.SIGKILL)
            time.sleep(0.02)
            self._reap()

    def _shut_down(self) -> None:
        """The kubelet first, which would start again what ends now; whatever then ignores SIGTERM, the kernel ends."""
        say("shutting down")
        if "kubelet" in self.services:
            self._stop(self.services["kubelet"])
        for service in self.services.values():
            service.wanted = False
        deadline = time.monotonic() + STOP_WITHIN_S
        os.kill(-1, signal.SIGTERM)
        while _others_run() and time.monotonic() < deadline:
            time.sleep(0.02)
            self._reap()
        os.sync()
        say("powered off")


def _others_run() -> bool:
    return any(entry.name.isdigit() and entry.name != "1" for entry in Path("/proc").iterdir())


def _accepts(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        return connection.connect_ex(path) == 0


if __name__ == "__main__":
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    init = Init()
    # To whoever switched the machine on: from now on it can be told to end. The rest goes to the log.
    print("started", flush=True)
    os.dup2(2, 1)
    init.run()
