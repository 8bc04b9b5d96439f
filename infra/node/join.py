"""A worker: wait until its cluster is published, then join it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator

from .aws import Api
from .configuration import JoinSecret, join_configuration
from .failures import AwsError, NodeError, UnreachableError
from .machine import KUBELET_KUBECONFIG, Machine, log, run_loudly, write_secret

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 2.5
WAIT_FOR_CLUSTER_S = 3600.0
JOIN_TRIES = 8
JOIN_S = 600.0


def worker(machine: Machine, api: Api) -> None:
    if KUBELET_KUBECONFIG.exists():
        log("this machine has joined")
        return
    log(f"waiting for the join secret in {machine.join_parameter}")
    secret = wait_for_secret(machine, api)
    for attempt, pause_s in enumerate(pauses(), start=1):
        log(f"kubeadm join, try {attempt} of {JOIN_TRIES}")
        try:
            kubeadm_join(machine, secret)
        except NodeError as problem:
            if attempt == JOIN_TRIES:
                raise
            log(f"{problem}; again in {pause_s:.1f} s")
            run_loudly(["kubeadm", "reset", "--force", "--cri-socket", machine.image.cri_socket], timeout_s=300)
            time.sleep(pause_s)
        else:
            log(f"joined as {machine.node_name}")
            return


def wait_for_secret(
    machine: Machine,
    api: Api,
    *,
    wait_s: float = WAIT_FOR_CLUSTER_S,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> JoinSecret:
    """The published secret. Its absence and an AWS that does not answer are waited out, each new reason is said."""
    deadline = clock() + wait_s
    said = ""
    for pause_s in pauses():
        try:
            value = api.parameter(machine.join_parameter)
            reason = f"{machine.join_parameter} is not published yet"
        except (AwsError, UnreachableError) as problem:
            value, reason = None, str(problem)
        if value is not None:
            return JoinSecret.from_json(value)
        if clock() >= deadline:
            break
        if reason != said:
            log(f"waiting: {reason}")
            said = reason
        sleep(pause_s)
    raise NodeError(f"gave up after {wait_s:.0f} s: {said}; see the control plane's boot log")


def kubeadm_join(machine: Machine, secret: JoinSecret) -> None:
    configuration = write_secret("join.json", join_configuration(machine, secret))
    try:
        run_loudly(["kubeadm", "join", "--config", str(configuration)], timeout_s=JOIN_S)
    finally:
        configuration.unlink()


def pauses(jitter: Callable[[], float] = random.random) -> Iterator[float]:
    """Growing pauses, each between half and all of its step, so that machines started together spread out."""
    step_s = FIRST_PAUSE_S
    while True:
        yield step_s * (0.5 + jitter() / 2)
        step_s = min(step_s * 1.6, LONGEST_PAUSE_S)
