"""A worker: wait until a bundle is left for this very machine, then join the cluster with it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .aws import Api
from .configuration import Bundle, discovery_kubeconfig, join_configuration
from .failures import AwsError, NodeError
from .machine import KUBELET_KUBECONFIG, SECRETS_FOLDER, Machine, log, run_loudly, write_secret

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 2.5
QUICK_PAUSES = 20
"""A bundle comes within seconds of the launch, so waiting is no reason to look more seldom at first."""
GIVE_UP_AFTER_S = 7200.0
"""The longest join deadline there is: nobody lets this machine in any more."""
JOIN_S = 900.0
RESET_S = 300.0


@dataclass(frozen=True)
class Kubeadm:
    """The program that joins, and the files by which it is told what to do and says that it has done it."""

    secrets: Path = SECRETS_FOLDER
    kubeconfig: Path = KUBELET_KUBECONFIG

    def has_joined(self) -> bool:
        return self.kubeconfig.exists()

    def join(self, machine: Machine, bundle: Bundle) -> None:
        discovery = write_secret("discovery.json", discovery_kubeconfig(bundle), self.secrets)
        try:
            wanted = join_configuration(machine, bundle, str(discovery))
            configuration = write_secret("join.json", wanted, self.secrets)
            try:
                run_loudly(["kubeadm", "join", "--config", str(configuration)], timeout_s=JOIN_S)
            finally:
                configuration.unlink()
        finally:
            discovery.unlink()

    def reset(self, machine: Machine) -> None:
        run_loudly(["kubeadm", "reset", "--force", "--cri-socket", machine.image.cri_socket], timeout_s=RESET_S)


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
            forget_bundle(machine, api)
            return


def wait_for_bundle(
    machine: Machine,
    api: Api,
    *,
    deadline: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Bundle:
    """This machine's bundle. Whatever stands in the way is waited out, and said once.

    A parameter that does not exist has no tag, so to a machine that may read only what is tagged as its own it looks
    like one that it may not read.
    """
    log(f"waiting for a bundle in {machine.bundle_parameter}")
    said: set[str] = set()
    for pause_s in pauses(quick=QUICK_PAUSES):
        try:
            value = api.parameter(machine.bundle_parameter)
            if value is not None:
                return Bundle.for_machine(machine, value)
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


def forget_bundle(machine: Machine, api: Api) -> None:
    """Sooner than Regrow does it, so that nothing on this machine can read it again."""
    try:
        api.forget(machine.bundle_parameter)
    except NodeError as problem:
        log(f"the bundle is left for Regrow to delete: {problem}")


def pauses(jitter: Callable[[], float] = random.random, *, quick: int = 0) -> Iterator[float]:
    """Pauses that grow after the first `quick` ones, each between half and all of its step: machines spread out."""
    step_s = FIRST_PAUSE_S
    while True:
        yield step_s * (0.5 + jitter() / 2)
        if quick > 0:
            quick -= 1
        else:
            step_s = min(step_s * 1.6, LONGEST_PAUSE_S)
