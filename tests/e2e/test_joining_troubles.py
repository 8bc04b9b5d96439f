"""A machine joins in the end, though what lets it in is killed, kept waiting, or refuses until a person has mended."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.local.cloud.functions.faults import kill_function
from infra.local.cluster import wait_for
from infra.local.drills.joining import see_bundles, see_joins, see_tokens
from infra.local.linux.cgroups import Cgroup
from tests.e2e.joiner import Joiner, launched, pending, secret_of, without_sweeps, word_on
from tests.e2e.scene import Scene
from tests.e2e.test_kubernetes_away import frozen

NOBODY = "i-00000000000000000"
FIRST_AFTER_S, LATER_BY_S, MOMENTS = 0.04, 0.05, 30
VERSION_TAG = "regrow:kubernetes-version"


def test_a_machine_joins_though_mint_and_approve_are_killed_at_every_moment_of_their_work(scene: Scene) -> None:
    with without_sweeps(scene), launched(scene) as joiner:
        killer = Killer(joiner)
        # A machine that has fetched what is then taken back waits for kubeadm's five minutes.
        with frozen(scene, joiner.id):
            killer.kill("mint", until=lambda: joiner.state() == "issued")
        assert joiner.bundle()["token"].startswith(joiner.token_id())
        for certificate in ("client", "serving"):
            wait_for(f"the request for its {certificate} certificate", lambda: bool(pending(scene)), within_s=60)
            (request,) = pending(scene)
            killer.kill("approve", until=decided(scene, request))
            assert word_on(scene, request)[0] == "Approved"
        wait_for("its Node, Ready", lambda: is_ready(scene, joiner.id), within_s=60)
        killer.kill("mint", until=lambda: joiner.state() == "ended")
        assert killer.killed["mint"] >= 4
        assert killer.killed["approve"] >= 4
        assert left_over(scene) == []

        scene.ask({"do": "resume", "of": scene.cluster.worker_group})
        scene.look_at(joiner.id)
        wait_for("it in service", lambda: scene.place_in_group(joiner.id) == "InService", within_s=30)


def decided(scene: Scene, request: str) -> Callable[[], bool]:
    return lambda: word_on(scene, request)[0] != "Pending"


class Killer:
    """Kills a function at work on a machine, each time a moment later, until it has come to its end once."""

    def __init__(self, joiner: Joiner) -> None:
        self._joiner = joiner
        self._scene = joiner.scene
        self.killed = {"mint": 0, "approve": 0}

    def kill(self, function: str, *, until: Callable[[], bool]) -> None:
        scene, world = self._scene, self._scene.cluster.world.place.directory
        for moment in range(MOMENTS):
            scene.invoke(function, {"machine": NOBODY})  # an environment that is warm has only its work to do
            with ThreadPoolExecutor() as beside:
                call = beside.submit(scene.invoke, function, {"machine": self._joiner.id})
                time.sleep(FIRST_AFTER_S + moment * LATER_BY_S)
                kill_function(world, scene.function(function))
            self.killed[function] += "FunctionError" in call.result()
            self.assert_one_token()
            if until():
                return
            self._joiner.rest_is_over()
        raise AssertionError(f"{function} has not come to its end in {MOMENTS} runs")

    def assert_one_token(self) -> None:
        record = self._joiner.record()
        allowed = {f"secret/{secret_of(record['token_id']['S'])}"} if record else set()
        assert set(see_tokens(self._scene.cluster)) <= allowed


def is_ready(scene: Scene, machine: str) -> bool:
    node = scene.nodes().get(machine)
    return node is not None and any(one.type == "Ready" and one.status == "True" for one in node.status.conditions)


def left_over(scene: Scene) -> list[str]:
    """All that could still let a machine in."""
    joins = [join.machine for join in see_joins(scene.cluster) if join.state != "ended"]
    return [*see_tokens(scene.cluster), *see_bundles(scene.cluster), *pending(scene), *joins]


def await_nothing_left_over(scene: Scene) -> None:
    """A kubelet may ask for its serving certificate when its machine is in service already."""
    wait_for("the end of all that lets machines in", lambda: left_over(scene) == [], within_s=30)


def test_a_join_waits_while_the_api_server_hangs(scene: Scene) -> None:
    passes = scene.journal("remediate")
    with launched(scene, let_alone=False) as joiner:
        wait_for("its token", lambda: joiner.state() == "issued", within_s=30, every_s=0.05)
        with hanging_api_server(scene):
            scene.look_at(joiner.id)
            with ThreadPoolExecutor() as together:
                answers = list(together.map(joiner.ask, ("mint", "approve")))
            held = {"message": "pass", "machine": joiner.id, "verdict": "held"}
            wait_for("a pass that holds it", lambda: bool(passes.lines(**held)), within_s=30)
        assert [answer["did"] for answer in answers] == ["held", "held"]
        assert all("ReadTimeoutError" in answer["reason"] for answer in answers)
        assert all(line["reason"].startswith("unknown: Kubernetes get Node") for line in passes.lines(**held))
        scene.await_whole()
        assert scene.place_in_group(joiner.id) == "InService"
        assert "GiveUpLaunch" not in scene.steps(joiner.id)
        assert scene.alerts.heard(joiner.id) == []
        await_nothing_left_over(scene)


@contextmanager
def hanging_api_server(scene: Scene) -> Iterator[None]:
    """The process is stopped: connections are taken, and nothing answers."""
    of_machine = Cgroup.of(scene.cluster.world.place.group, scene.control_plane()).pids()
    (pid,) = [pid for pid in of_machine if Path(f"/proc/{pid}/comm").read_text().strip() == "kube-apiserver"]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_what_would_let_strangers_in_is_refused_by_name_until_a_person_has_mended_it(scene: Scene) -> None:
    mints, passes = scene.journal("mint"), scene.journal("remediate")
    with (
        open_to_strangers(scene) as opened,
        another_version(scene) as (wrong, right),
        launched(scene, let_alone=False) as joiner,
    ):
        refused = {"machine": joiner.id, "did": "refused"}
        wait_for("a refusal", lambda: bool(mints.lines(**refused)), within_s=60)
        scene.look_at(joiner.id)
        wait_for("the second refusal", lambda: len(mints.lines(**refused)) >= 2, within_s=60)
        reasons = {line["reason"] for line in mints.lines(**refused)}
        assert joiner.record() is None
        assert not joiner.has_bundle()
        assert see_tokens(scene.cluster) == (f"secret/{secret_of(opened.token_id)}",)
        (reason,) = reasons
        for named in (
            "system:bootstrappers:kubeadm:default-node-token unseen",
            "kubectl delete clusterrolebinding kubeadm:node-autoapprove-bootstrap",
            f"kubeadm token delete {opened.token_id}",
            f"has Kubernetes {wrong}, the API server {right};",
        ):
            assert named in reason
        (alert,) = scene.alerts.heard(joiner.id)
        assert alert.subject == f"{joiner.id} may not join"
        assert reason in alert.text

        tag_image(scene, right)
        opened.mend()
        scene.look_at(joiner.id)
        scene.await_whole()
        assert scene.place_in_group(joiner.id) == "InService"
        assert {line["did"] for line in mints.lines(machine=joiner.id)} >= {"refused", "minted", "revoked"}
        assert passes.lines(message="step", machine=joiner.id, step="GiveUpLaunch") == []
        assert len(scene.alerts.heard(joiner.id)) == 1
        await_nothing_left_over(scene)


@dataclass(frozen=True)
class Opened:
    """What kubeadm's own phase leaves of it: a token that signs, in a group that is approved unseen."""

    scene: Scene
    token_id: str

    def mend(self) -> None:
        """What the refusal tells a person to do."""
        self.scene.cluster.kubectl("delete", "clusterrolebinding", "kubeadm:node-autoapprove-bootstrap")
        in_control_plane(self.scene, "kubeadm", "token", "delete", self.token_id)


@contextmanager
def open_to_strangers(scene: Scene) -> Iterator[Opened]:
    """Somebody has run the phase of kubeadm init that the control plane leaves out."""
    before = objects(scene)
    in_control_plane(scene, "kubeadm", "init", "phase", "bootstrap-token", "--skip-token-print")
    try:
        wait_for("a signature in cluster-info", lambda: bool(signatures(scene)), within_s=20)
        yield Opened(scene, *(name.removeprefix("jws-kubeconfig-") for name in signatures(scene)))
    finally:
        for kind, namespace, name in objects(scene) - before:
            scene.cluster.kubectl("delete", kind, name, *([f"--namespace={namespace}"] if namespace else []))


KINDS = ("clusterroles", "clusterrolebindings", "roles", "rolebindings", "secrets", "configmaps")


def objects(scene: Scene) -> set[tuple[str, str, str]]:
    """Kind, namespace and name of all that could have to do with joining."""
    columns = "--output=custom-columns=NAMESPACE:.metadata.namespace,NAME:.metadata.name"
    found = set()
    for kind in KINDS:
        lines = scene.cluster.kubectl("get", kind, "--all-namespaces", "--no-headers", columns).splitlines()
        for namespace, name in map(str.split, lines):
            found.add((kind, "" if namespace == "<none>" else namespace, name))
    return found


def signatures(scene: Scene) -> list[str]:
    published = scene.core.list_namespaced_config_map("kube-public").items
    return [key for one in published for key in one.data or {} if key.startswith("jws-kubeconfig-")]


def in_control_plane(scene: Scene, *command: str) -> None:
    Joiner(scene, scene.control_plane()).run(*command, "--kubeconfig=/etc/kubernetes/admin.conf")


@contextmanager
def another_version(scene: Scene) -> Iterator[tuple[str, str]]:
    """The workers' image says that it holds another minor version than the API server; that one, and the right one."""
    (right,) = [tag["Value"] for tag in image(scene)["Tags"] if tag["Key"] == VERSION_TAG]
    minor = int(right.split(".")[1])
    wrong = f"v1.{minor - 1}.0"
    tag_image(scene, wrong)
    try:
        yield wrong, right
    finally:
        tag_image(scene, right)


def image(scene: Scene) -> dict[str, Any]:
    worker = Joiner(scene, scene.workers()[0]).described()
    found: dict[str, Any] = scene.client("ec2").describe_images(ImageIds=[worker["ImageId"]])["Images"][0]
    return found


def tag_image(scene: Scene, version: str) -> None:
    scene.client("ec2").create_tags(Resources=[image(scene)["ImageId"]], Tags=[{"Key": VERSION_TAG, "Value": version}])
