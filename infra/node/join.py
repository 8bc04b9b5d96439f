"""Joining: wait until a bundle is left for this very machine, then join the cluster with it.

A control plane also waits for the key to the cluster's authorities. And it may only try again while etcd does not run
on it: a member that has started is one of the cluster's, perhaps a voter already. Taken down by its own machine it
could cost the quorum, and started again without its data it would be refused. It stays as it is, and Regrow, which
sees all members, removes it and replaces the machine. A member that was announced and never started is in nobody's
way: kubeadm finds it by the machine's address and goes on with it.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from .aws import Api
from .configuration import Bundle, control_plane_join_configuration, discovery_kubeconfig, join_configuration
from .failures import AwsError, NodeError
from .machine import (
    ETCD_MANIFEST,
    KUBELET_KUBECONFIG,
    SECRETS_FOLDER,
    STATE_FOLDER,
    Machine,
    log,
    run_loudly,
    write_secret,
)

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 2.5
QUICK_PAUSES = 20
"""A bundle comes within seconds of the launch, so waiting is no reason to look more seldom at first."""
GIVE_UP_AFTER_S = 7200.0
"""The longest join deadline there is: nobody lets this machine in any more."""
JOIN_S = 900.0
RESET_S = 300.0
CERTIFICATE_KEY = re.compile(r"[0-9a-f]{64}")
Found = TypeVar("Found")


@dataclass(frozen=True)
class Kubeadm:
    """The program that joins, and the files by which it is told what to do and says that it has done it."""

    secrets: Path = SECRETS_FOLDER
    kubeconfig: Path = KUBELET_KUBECONFIG

    def has_joined(self) -> bool:
        return self.kubeconfig.exists()

    def join(self, machine: Machine, bundle: Bundle) -> None:
        self._join(bundle, lambda discovery: join_configuration(machine, bundle, discovery))

    def reset(self, machine: Machine) -> None:
        run_loudly(["kubeadm", "reset", "--force", "--cri-socket", machine.image.cri_socket], timeout_s=RESET_S)

    def _join(self, bundle: Bundle, wanted: Callable[[str], str]) -> None:
        discovery = write_secret("discovery.json", discovery_kubeconfig(bundle), self.secrets)
        try:
            configuration = write_secret("join.json", wanted(str(discovery)), self.secrets)
            try:
                run_loudly(["kubeadm", "join", "--config", str(configuration)], timeout_s=JOIN_S)
            finally:
                configuration.unlink()
        finally:
            discovery.unlink()


@dataclass(frozen=True)
class ControlPlaneKubeadm(Kubeadm):
    """The same for a control plane. Its kubelet has a kubeconfig long before it has joined."""

    joined: Path = STATE_FOLDER / "joined"
    etcd: Path = ETCD_MANIFEST

    def has_joined(self) -> bool:
        return self.joined.exists()

    def runs_etcd(self) -> bool:
        """Whether kubeadm has told the kubelet to run etcd. Before that its member cannot have started."""
        return self.etcd.exists()

    def join_with(self, machine: Machine, bundle: Bundle, key: str) -> None:
        self._join(bundle, lambda discovery: control_plane_join_configuration(machine, bundle, discovery, key))
        self.joined.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.joined.write_text("")

    def reset(self, machine: Machine) -> None:
        """Who is a member of etcd is not this machine's to change."""
        command = ["kubeadm", "reset", "--force", "--skip-phases", "remove-etcd-member"]
        run_loudly([*command, "--cri-socket", machine.image.cri_socket], timeout_s=RESET_S)


def worker(
    machine: Machine,
    api: Api,
    kubeadm: Kubeadm | None = None,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Join, as often as it takes: each try fetches the bundle again, since the token may be another one by then."""
    kubeadm = kubeadm or Kubeadm()
    if kubeadm.has_joined():
        log("this machine has joined")
        return
    deadline = clock() + GIVE_UP_AFTER_S
    for attempt, pause_s in enumerate(pauses(), start=1):
        bundle = wait_for_bundle(machine, api, deadline=deadline, clock=clock, sleep=sleep)
        log(f"kubeadm join, try {attempt}, to {bundle.server}")
        try:
            kubeadm.join(machine, bundle)
        except NodeError as problem:
            log(f"not joined: {problem}; taking its remains down, again in {pause_s:.1f} s with the bundle of then")
            take_down(machine, kubeadm)
            sleep(pause_s)
        else:
            log(f"joined as {machine.node_name}")
            forget(machine.bundle_parameter, api)
            return


def control_plane(
    machine: Machine,
    api: Api,
    kubeadm: ControlPlaneKubeadm | None = None,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Join as one more control plane, as often as it takes until etcd was started here."""
    kubeadm = kubeadm or ControlPlaneKubeadm()
    if kubeadm.has_joined():
        log("this machine has joined")
        return
    deadline = clock() + GIVE_UP_AFTER_S
    for attempt, pause_s in enumerate(pauses(), start=1):
        if kubeadm.runs_etcd():
            raise NodeError("etcd runs here, but the join did not end; its member is Regrow's to remove")
        key = wait_for_certificate_key(machine, api, deadline=deadline, clock=clock, sleep=sleep)
        bundle = wait_for_bundle(machine, api, deadline=deadline, clock=clock, sleep=sleep)
        log(f"kubeadm join as a control plane, try {attempt}, to {bundle.server}")
        try:
            kubeadm.join_with(machine, bundle, key)
        except NodeError as problem:
            log(f"not joined: {problem}")
            if not kubeadm.runs_etcd():
                log(f"taking its remains down, again in {pause_s:.1f} s with the bundle of then")
                take_down(machine, kubeadm)
                sleep(pause_s)
        else:
            log(f"joined as {machine.node_name}")
            forget(machine.bundle_parameter, api)
            forget(machine.certificate_key_parameter(machine.node_name), api)
            return


def wait_for_bundle(
    machine: Machine,
    api: Api,
    *,
    deadline: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Bundle:
    """This machine's bundle. Whatever stands in the way is waited out, and said once."""
    read = lambda text: Bundle.for_machine(machine, text)  # noqa: E731
    return wait_for("a bundle", machine.bundle_parameter, api, read, deadline=deadline, clock=clock, sleep=sleep)


def wait_for_certificate_key(
    machine: Machine,
    api: Api,
    *,
    deadline: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """The key to the cluster's authorities, which a control plane has left for this machine."""
    name = machine.certificate_key_parameter(machine.node_name)

    def read(text: str) -> str:
        if not CERTIFICATE_KEY.fullmatch(text):
            raise NodeError(f"{name} is no key")
        return text

    return wait_for("a certificate key", name, api, read, deadline=deadline, clock=clock, sleep=sleep)


def wait_for(
    what: str,
    name: str,
    api: Api,
    read: Callable[[str], Found],
    *,
    deadline: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Found:
    """What `read` makes of a parameter, once that is there and of use.

    A parameter that does not exist has no tag, so to a machine that may read only what is tagged as its own it looks
    like one that it may not read.
    """
    log(f"waiting for {what} in {name}")
    said: set[str] = set()
    for pause_s in pauses(quick=QUICK_PAUSES):
        try:
            value = api.parameter(name)
            if value is not None:
                return read(value)
            reason = "it is not there yet"
        except AwsError as refusal:
            reason = f"it is not there yet, or not for this machine: {refusal}"
        except NodeError as problem:
            reason = str(problem)
        if reason not in said:
            log(f"waiting: {reason}")
            said.add(reason)
        if clock() >= deadline:
            break
        sleep(pause_s)
    raise NodeError(
        f"nobody let this machine in within {GIVE_UP_AFTER_S:.0f} s; at last {reason}; see what Regrow reports about it"
    )


def take_down(machine: Machine, kubeadm: Kubeadm) -> None:
    try:
        kubeadm.reset(machine)
    except NodeError as problem:
        log(f"the next try finds remains: {problem}")


def forget(name: str, api: Api) -> None:
    """Sooner than Regrow does it, so that nothing on this machine can read it again."""
    try:
        api.forget(name)
    except NodeError as problem:
        log(f"{name} is left for Regrow to delete: {problem}")


def pauses(jitter: Callable[[], float] = random.random, *, quick: int = 0) -> Iterator[float]:
    """Pauses that grow after the first `quick` ones, each between half and all of its step: machines spread out."""
    step_s = FIRST_PAUSE_S
    while True:
        yield step_s * (0.5 + jitter() / 2)
        if quick > 0:
            quick -= 1
        else:
            step_s = min(step_s * 1.6, LONGEST_PAUSE_S)
