"""The first control plane: make the cluster, then publish how others reach it.

The order is what makes a second run safe. A cluster exists for others only once it says who made it, which is
therefore published last; until then a half-made one may be taken down and made again.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .aws import Api
from .configuration import API_PORT, function_kubeconfig, init_configuration
from .failures import NodeError, UnreachableError
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
FUNCTION_GROUPS = {"remediate": "regrow:remediators", "mint": "regrow:minters", "approve": "regrow:approvers"}
"""Each identity in the cluster that functions have, and the group that infra/kubernetes gives its rights to."""
JOINING_GROUPS = (
    "system:bootstrappers:regrow:worker",
    "system:bootstrappers:kubeadm:default-node-token",
    "system:bootstrappers:regrow:control-plane",
)
MINTING_POLICY = "ValidatingAdmissionPolicy 'regrow-mint'"
CERTIFICATE_VALIDITY = "8760h"
LAUNCH_HOOK = "regrow-launch"
INIT_S = 900.0
INITIALISED_WITHIN_S = 7200.0
FOUNDER_PAUSE_S = 2.0
SETTLED_WITHIN_S = 120.0
KUBECTL = ["kubectl", "--kubeconfig", str(ADMIN_KUBECONFIG)]


def found(machine: Machine, api: Api, target_group_arn: str) -> None:
    """Make the cluster and say that it is there."""
    refuse_what_is_not_ours()
    api.register_target(target_group_arn, machine.node_name, API_PORT)
    log("registered with the API load balancer")
    configuration = write_secret("init.json", init_configuration(machine))
    try:
        initialise(machine, configuration)
        apply_manifests()
        refuse_unseen_approval()
        wait_until_minting_is_confined()
        for identity, group in FUNCTION_GROUPS.items():
            publish_function_identity(machine, api, configuration, identity, group)
        publish_that_it_exists(machine, api)
    finally:
        configuration.unlink()


def go_into_service(machine: Machine, api: Api, group: str) -> None:
    """Regrow lets in all machines but the first, for which there is no Regrow yet."""
    api.complete_launch(group, LAUNCH_HOOK, machine.node_name)
    log(f"completed {LAUNCH_HOOK} of {group}")


def may_found(
    machine: Machine,
    api: Api,
    *,
    initialised: Path = INITIALISED,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Whether this machine makes the cluster; False once another one has made it.

    Of machines that start together one claims that for itself. The others wait for it: two clusters under one name
    would tear their machines apart.
    """
    if initialised.exists():
        return True
    deadline = clock() + INITIALISED_WITHIN_S
    said = ""
    while True:
        try:
            maker = api.parameter(machine.initialised_parameter)
            if maker is None and api.publish(machine.founder_parameter, machine.node_name, secret=False):
                return True
            reason = f"another machine is named by {machine.founder_parameter} and makes the cluster"
        except UnreachableError as problem:
            maker, reason = None, str(problem)
        if maker == machine.node_name:
            raise NodeError(f"this machine made cluster {machine.cluster}, but {initialised} is gone: it was reset")
        if maker is not None:
            log(f"cluster {machine.cluster} was made by {maker}; {over_again(machine)}")
            return False
        if reason != said:
            log(f"waiting: {reason}")
            said = reason
        if clock() >= deadline:
            raise NodeError(f"no cluster within {INITIALISED_WITHIN_S:.0f} s: {reason}; {over_again(machine)}")
        sleep(FOUNDER_PAUSE_S)


def over_again(machine: Machine) -> str:
    return f"to start over, delete the parameters under /regrow/{machine.cluster}/ once the old cluster is gone"


def refuse_what_is_not_ours() -> None:
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
    """The rights of functions and of joining machines, in the cluster."""
    insist(lambda: run([*KUBECTL, "apply", "-f", str(MANIFESTS)], timeout_s=60))
    log("the rights of functions and of joining machines are in the cluster")


def refuse_unseen_approval() -> None:
    """Neither a token of ours nor one of kubeadm's default group may have its certificate approved by the cluster."""
    for group in JOINING_GROUPS:
        attributes = {"verb": "create", "group": "certificates.k8s.io", "resource": "certificatesigningrequests"}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": "system:bootstrap:aaaaaa",
                "groups": ["system:bootstrappers", group, "system:authenticated"],
                "resourceAttributes": {**attributes, "subresource": "nodeclient"},
            },
        }
        if insist(lambda: asked(review))["status"]["allowed"]:  # noqa: B023 - called at once
            raise NodeError(
                f"a machine with a token of {group} would get any certificate unseen; delete the ClusterRoleBinding to "
                "system:certificates.k8s.io:certificatesigningrequests:nodeclient that names it"
            )
    log("no certificate of a joining machine is approved unseen")


def asked(review: dict[str, Any]) -> dict[str, Any]:
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    answer: dict[str, Any] = json.loads(
        run([*KUBECTL, "create", "--raw", path, "-f", "-"], given=json.dumps(review), timeout_s=60)
    )
    return answer


def wait_until_minting_is_confined(within_s: float = SETTLED_WITHIN_S) -> None:
    """Until the API server keeps the minter from making any Secret but a token; it takes new policies up late."""
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "regrow-probe", "namespace": "kube-system"}}
    minter = ["--as", "regrow:mint", "--as-group", FUNCTION_GROUPS["mint"]]
    attempt = [*KUBECTL, "create", "--dry-run=server", *minter, "-f", "-"]

    def refused() -> None:
        try:
            run(attempt, given=json.dumps(secret), timeout_s=60)
        except NodeError as refusal:
            if MINTING_POLICY in str(refusal):
                return
            raise
        raise NodeError("the minter may still make any Secret")

    insist(refused, within_s)
    log("the minter can make join tokens alone")


def insist(step: Callable[[], Any], within_s: float = SETTLED_WITHIN_S) -> Any:
    """Take the step until it succeeds: the API server may still be settling behind its load balancer."""
    deadline = time.monotonic() + within_s
    said = ""
    while True:
        try:
            return step()
        except NodeError as problem:
            if time.monotonic() >= deadline:
                raise
            reason = str(problem).splitlines()[-1]
        if reason != said:
            log(f"not yet: {reason}")
            said = reason
        time.sleep(0.5)


def publish_function_identity(machine: Machine, api: Api, configuration: Path, identity: str, group: str) -> None:
    """A client certificate: it needs no running cluster to renew or check it, so it works when the cluster does not."""
    name = machine.kubeconfig_parameter(identity)
    published = api.parameter(name)
    if published is not None and json.loads(published)["ca_data"] == ca_data():
        log(f"{name} is published")
        return
    name_of_user = f"regrow:{identity}"
    user = ["--client-name", name_of_user, "--org", group, "--validity-period", CERTIFICATE_VALIDITY]
    kubeconfig = run(["kubeadm", "kubeconfig", "user", "--config", str(configuration), *user], timeout_s=60)
    written = write_secret("function.conf", kubeconfig)
    try:
        as_json = ["kubectl", "config", "view", "--raw", "-o", "json", "--kubeconfig", str(written)]
        document = json.loads(run(as_json, timeout_s=30))
    finally:
        written.unlink()
    # One that is there with another authority is of an earlier init here that was taken down.
    api.publish(name, function_kubeconfig(document, name_of_user), overwrite=True)
    log(f"published {name}")


def ca_data() -> str:
    return base64.b64encode(CLUSTER_CA.read_bytes()).decode()


def publish_that_it_exists(machine: Machine, api: Api) -> None:
    """From here on the functions let machines in. Who made the cluster is nothing to hide."""
    if not api.publish(machine.initialised_parameter, machine.node_name, secret=False):
        raise NodeError(f"{machine.initialised_parameter} names another machine meanwhile; this cluster is not it")
    log(f"published {machine.initialised_parameter}: the cluster exists")
