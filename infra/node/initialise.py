"""The first control plane: make the cluster, then publish how others reach it.

The order is what makes a second run safe. A cluster exists for others only once its join secret is published, which
is therefore last; until then a half-made one may be taken down and made again.
"""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path

from .aws import Api
from .configuration import (
    API_PORT,
    JoinSecret,
    function_kubeconfig,
    init_configuration,
    join_secret,
)
from .failures import NodeError
from .machine import (
    ADMIN_KUBECONFIG,
    CLUSTER_CA,
    STATE_FOLDER,
    Machine,
    log,
    run,
    run_loudly,
    write_secret,
)

STARTED = STATE_FOLDER / "init-started"
INITIALISED = STATE_FOLDER / "initialised"
MANIFESTS = Path(__file__).resolve().parents[1] / "kubernetes"
FUNCTION_IDENTITY = "remediate"
FUNCTION_USER = "regrow:remediate"
FUNCTION_GROUP = "regrow:remediators"
CERTIFICATE_VALIDITY = "8760h"
JOINING_ENDS_AFTER = "8760h"
INIT_S = 900.0
SIGNED_WITHIN_S = 120.0
KUBECTL = ["kubectl", "--kubeconfig", str(ADMIN_KUBECONFIG)]


def control_plane(machine: Machine, api: Api, target_group_arn: str) -> None:
    refuse_a_second_cluster(machine, api)
    api.register_target(target_group_arn, machine.node_name, API_PORT)
    log("registered with the API load balancer")
    configuration = write_secret("init.json", init_configuration(machine))
    try:
        initialise(machine, configuration)
        apply_manifests()
        publish_function_identity(machine, api, configuration)
        publish_join_secret(machine, api)
    finally:
        configuration.unlink()


def refuse_a_second_cluster(machine: Machine, api: Api) -> None:
    """Two clusters under one name would tear their machines apart: the first one stands."""
    if INITIALISED.exists():
        return
    if api.parameter(machine.join_parameter) is not None:
        raise NodeError(
            f"cluster {machine.cluster} is published already and this machine did not make it; to start over, delete "
            f"the parameters under /regrow/{machine.cluster}/ once the old cluster is gone"
        )
    if ADMIN_KUBECONFIG.exists() and not STARTED.exists():
        raise NodeError(f"{ADMIN_KUBECONFIG} is there but Regrow did not make it; this machine is somebody else's")


def initialise(machine: Machine, configuration: Path) -> None:
    if INITIALISED.exists():
        log("this machine is initialised")
        return
    STATE_FOLDER.mkdir(mode=0o700, parents=True, exist_ok=True)
    if STARTED.exists():
        log("an earlier kubeadm init did not end: taking its remains down")
        run_loudly(["kubeadm", "reset", "--force", "--cri-socket", machine.image.cri_socket], timeout_s=300)
    STARTED.write_text("")
    log("kubeadm init")
    run_loudly(["kubeadm", "init", "--config", str(configuration), "--skip-token-print"], timeout_s=INIT_S)
    INITIALISED.write_text("")
    log("kubeadm init is done")


def apply_manifests() -> None:
    """The functions' rights in the cluster. The API server may still be settling behind its load balancer."""
    deadline = time.monotonic() + 120
    while True:
        try:
            run([*KUBECTL, "apply", "-f", str(MANIFESTS)], timeout_s=60)
            break
        except NodeError as problem:
            if time.monotonic() >= deadline:
                raise
            log(f"not applied yet: {str(problem).splitlines()[-1]}")
            time.sleep(2)
    log("the functions' rights are in the cluster")


def publish_function_identity(machine: Machine, api: Api, configuration: Path) -> None:
    """A client certificate: it needs no running cluster to renew or check it, so it works when the cluster does not."""
    name = machine.kubeconfig_parameter(FUNCTION_IDENTITY)
    published = api.parameter(name)
    if published is not None and json.loads(published)["ca_data"] == ca_data():
        log(f"{name} is published")
        return
    user = [
        "--client-name",
        FUNCTION_USER,
        "--org",
        FUNCTION_GROUP,
        "--validity-period",
        CERTIFICATE_VALIDITY,
    ]
    kubeconfig = run(["kubeadm", "kubeconfig", "user", "--config", str(configuration), *user], timeout_s=60)
    written = write_secret("function.conf", kubeconfig)
    try:
        as_json = ["kubectl", "config", "view", "--raw", "-o", "json", "--kubeconfig", str(written)]
        document = json.loads(run(as_json, timeout_s=30))
    finally:
        written.unlink()
    # One that is there with another authority is of an earlier init here that was taken down.
    api.publish(name, function_kubeconfig(document, FUNCTION_USER), overwrite=True)
    log(f"published {name}")


def ca_data() -> str:
    return base64.b64encode(CLUSTER_CA.read_bytes()).decode()


def publish_join_secret(machine: Machine, api: Api) -> None:
    """TEMPORARY: one long-lived token of kubeadm's default group, for every replacement.

    It goes as soon as each machine gets a short-lived token of its own: whoever holds this one can have nearly any
    node certificate approved.
    """
    if api.parameter(machine.join_parameter) is not None:
        log(f"{machine.join_parameter} is published")
        return
    create = ["kubeadm", "token", "create", "--kubeconfig", str(ADMIN_KUBECONFIG), "--print-join-command"]
    described = ["--ttl", JOINING_ENDS_AFTER, "--description", "TEMPORARY: every replacement joins with it"]
    command = run([*create, *described], timeout_s=120)
    secret = join_secret(command)
    wait_until_signed(secret)
    if not api.publish(machine.join_parameter, secret.to_json()):
        raise NodeError(f"{machine.join_parameter} was published by another machine meanwhile; this cluster is not it")
    log(f"published {machine.join_parameter} (temporary token)")


def wait_until_signed(secret: JoinSecret) -> None:
    """Until the cluster vouches for itself with this token. A kubeadm join that comes before asks again after 5 s."""
    key = f"jws-kubeconfig-{secret.token.partition('.')[0]}"
    look = [*KUBECTL, "get", "configmap", "cluster-info", "--namespace", "kube-public", "-o", "json"]
    deadline = time.monotonic() + SIGNED_WITHIN_S
    while key not in json.loads(run(look, timeout_s=60))["data"]:
        if time.monotonic() >= deadline:
            raise NodeError("cluster-info is not signed with the new token; does the controller manager run?")
        time.sleep(0.5)
