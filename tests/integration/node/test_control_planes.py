"""Control planes that start together: one makes the cluster, the others join it, each with what was left for it."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs

import pytest

from infra.node.aws import Api
from infra.node.configuration import Bundle
from infra.node.failures import NodeError, UnreachableError
from infra.node.initialise import go_into_service, may_found
from infra.node.join import ControlPlaneKubeadm, control_plane
from infra.node.machine import Image, Machine, cluster_of_this_machine, remember_cluster
from infra.node.metadata import Identity
from tests.integration.deploy.plain_aws import plain_aws
from tests.integration.node.test_calls import CREDENTIALS, TOKEN, Pauses, bundle_for, nothing

KEY, RENEWED = "0123456789abcdef" * 4, "f" * 64
HOOK_REFUSAL = b"<ErrorResponse><Error><Code>ValidationError</Code><Message>%s</Message></Error></ErrorResponse>"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with plain_aws() as url:
        yield url


@pytest.fixture
def api(endpoint: str) -> Api:
    return Api("us-east-1", lambda: CREDENTIALS, endpoint)


def machine_of(cluster: str, name: str = "i-0abc") -> Machine:
    return Machine(Identity(name, "us-east-1a", "us-east-1", "10.77.1.5"), Image(), cluster, "10.77.0.10:6443")


def founds(name: str, cluster: str, api: Api, folder: Path, pauses: Pauses | None = None) -> bool:
    pauses = pauses or Pauses()
    marker = folder / name
    return may_found(machine_of(cluster, name), api, initialised=marker, clock=pauses.clock, sleep=pauses.sleep)


def test_of_three_that_start_together_one_makes_the_cluster_and_the_others_wait_for_it(
    api: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert founds("i-0a", "three", api, tmp_path)
    made = lambda: api.publish("/regrow/three/initialised-by", "i-0a", secret=False)  # noqa: E731
    for other in ("i-0b", "i-0c"):
        pauses = Pauses(nothing, nothing, made)
        assert not founds(other, "three", api, tmp_path, pauses)
        assert api.parameter("/regrow/three/founder") == "i-0a"
    said = capsys.readouterr().out
    assert said.count("another machine is named by /regrow/three/founder") == 1  # for the third it was made already
    assert said.count("cluster three was made by i-0a") == 2


def test_a_founder_that_is_started_again_goes_on(api: Api, tmp_path: Path) -> None:
    assert founds("i-0a", "again", api, tmp_path)
    assert founds("i-0a", "again", api, tmp_path)
    api.publish("/regrow/again/initialised-by", "i-0a", secret=False)
    (tmp_path / "i-0a").touch()
    assert founds("i-0a", "again", api, tmp_path)


def test_one_that_made_the_cluster_and_was_reset_makes_no_second_one(api: Api, tmp_path: Path) -> None:
    api.publish("/regrow/reset/initialised-by", "i-0a", secret=False)
    with pytest.raises(NodeError, match="it was reset"):
        founds("i-0a", "reset", api, tmp_path)


def test_a_founder_that_never_ends_is_named_and_given_up(api: Api, tmp_path: Path) -> None:
    api.publish("/regrow/stuck/founder", "i-0gone", secret=False)
    jumping = Pauses(lambda: setattr(jumping, "now_s", 7200.0))
    with pytest.raises(NodeError, match=r"no cluster within 7200 s: .*/regrow/stuck/founder.*delete the parameters"):
        founds("i-0a", "stuck", api, tmp_path, jumping)


def test_while_aws_is_silent_nobody_makes_a_cluster(tmp_path: Path) -> None:
    class Silent:
        answers = 0

        def parameter(self, _: str) -> str | None:
            self.answers += 1
            if self.answers < 3:
                raise UnreachableError("GetParameter: ssm does not answer")
            return "i-0other"

    pauses = Pauses()
    silent = Silent()
    machine = machine_of("silent")
    marker = tmp_path / "none"
    assert not may_found(machine, silent, initialised=marker, clock=pauses.clock, sleep=pauses.sleep)  # type: ignore[arg-type]
    assert silent.answers == 3


@dataclass(frozen=True)
class Tried(ControlPlaneKubeadm):
    """kubeadm, as a cluster sees it that takes one key alone; `dies` is what happens on the machine meanwhile."""

    takes: str = KEY
    dies: Callable[[], object] = nothing
    tries: list[tuple[str, str]] = field(default_factory=list)
    resets: list[str] = field(default_factory=list)

    def join_with(self, machine: Machine, bundle: Bundle, key: str) -> None:
        self.tries.append((bundle.token, key))
        if key != self.takes:
            self.dies()
            raise NodeError("kubeadm join ended with 1; its own words are above")
        self.joined.touch()

    def reset(self, machine: Machine) -> None:
        self.resets.append(machine.node_name)


def kubeadm_in(folder: Path, **what: object) -> Tried:
    return Tried(joined=folder / "joined", etcd=folder / "etcd.yaml", **what)  # type: ignore[arg-type]


def test_a_control_plane_waits_for_bundle_and_key_and_leaves_neither(
    api: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine, kubeadm = machine_of("both"), kubeadm_in(tmp_path)
    key_parameter = machine.certificate_key_parameter(machine.node_name)
    left = lambda: api.publish(machine.bundle_parameter, bundle_for(machine))  # noqa: E731
    keyed = lambda: api.leave(key_parameter, KEY, "arn:aws:ec2:us-east-1:123456789012:instance/i-0abc")  # noqa: E731
    pauses = Pauses(nothing, left, nothing, keyed)
    control_plane(machine, api, kubeadm, clock=pauses.clock, sleep=pauses.sleep)
    assert kubeadm.tries == [(TOKEN, KEY)]
    assert api.parameter(machine.bundle_parameter) is None
    assert api.parameter(key_parameter) is None
    said = capsys.readouterr().out
    assert KEY not in said
    assert TOKEN not in said
    control_plane(machine, api, kubeadm)  # a second boot
    assert len(kubeadm.tries) == 1


def test_a_key_that_opens_nothing_any_more_is_fetched_again(
    api: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = machine_of("renewed")
    key_parameter = machine.certificate_key_parameter(machine.node_name)
    api.publish(machine.bundle_parameter, bundle_for(machine))
    api.publish(key_parameter, KEY)
    renew = lambda: api.publish(key_parameter, RENEWED, overwrite=True)  # noqa: E731
    kubeadm, pauses = kubeadm_in(tmp_path, takes=RENEWED, dies=renew), Pauses()
    control_plane(machine, api, kubeadm, clock=pauses.clock, sleep=pauses.sleep)
    assert [key for _, key in kubeadm.tries] == [KEY, RENEWED]
    assert kubeadm.resets == ["i-0abc"]
    said = capsys.readouterr().out
    assert KEY not in said
    assert RENEWED not in said


def test_once_etcd_was_started_nothing_is_taken_down_and_nothing_tried_again(api: Api, tmp_path: Path) -> None:
    machine = machine_of("learner")
    api.publish(machine.bundle_parameter, bundle_for(machine))
    api.publish(machine.certificate_key_parameter(machine.node_name), KEY)
    kubeadm = kubeadm_in(tmp_path, takes=RENEWED, dies=lambda: (tmp_path / "etcd.yaml").touch())
    for _ in range(2):  # nor by a second boot
        with pytest.raises(NodeError, match="its member is Regrow's to remove"):
            control_plane(machine, api, kubeadm, sleep=Pauses().sleep)
        assert len(kubeadm.tries) == 1
        assert kubeadm.resets == []


@pytest.mark.parametrize("text", ["", "short", KEY.upper(), f"{KEY}0", f"{KEY}\n"])
def test_what_is_no_key_never_reaches_kubeadm_nor_the_log(
    text: str, api: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = machine_of(f"odd{len(text)}{text[:1]}")
    api.publish(machine.bundle_parameter, bundle_for(machine))
    api.publish(machine.certificate_key_parameter(machine.node_name), text or " ")
    kubeadm, pauses = kubeadm_in(tmp_path), Pauses()
    jumping = Pauses(nothing, lambda: setattr(pauses, "now_s", 7200.0))
    with pytest.raises(NodeError, match="is no key"):
        control_plane(machine, api, kubeadm, clock=pauses.clock, sleep=jumping.sleep)
    assert kubeadm.tries == []
    assert len(text) < 6 or text.strip() not in capsys.readouterr().out


def test_kubeadm_is_told_all_in_files_that_go_and_touches_no_membership(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    program, seen, secrets = tmp_path / "bin" / "kubeadm", tmp_path / "seen", tmp_path / "secrets"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n[ $1 = reset ] || cp -rp {secrets} {seen}\necho $*\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    machine = machine_of("files")
    kubeadm = ControlPlaneKubeadm(secrets=secrets, joined=tmp_path / "state" / "joined")
    kubeadm.join_with(machine, Bundle.for_machine(machine, bundle_for(machine)), KEY)
    assert kubeadm.has_joined()
    assert {stat.S_IMODE(file.stat().st_mode) for file in seen.iterdir()} == {0o600}
    assert KEY in (seen / "join.json").read_text()
    assert not list(secrets.iterdir())
    kubeadm.reset(machine)
    joined, reset = capfd.readouterr().out.splitlines()
    assert joined == f"join --config {secrets}/join.json"
    assert "--skip-phases remove-etcd-member" in reset


def test_later_programs_know_whose_machine_this_is(tmp_path: Path) -> None:
    file = tmp_path / "state" / "cluster.json"
    with pytest.raises(NodeError, match=r"boot\.py writes it"):
        cluster_of_this_machine(file)
    remember_cluster("drill", "10.77.0.10:6443", file)
    assert cluster_of_this_machine(file) == ("drill", "10.77.0.10:6443")


@pytest.mark.parametrize(
    ("message", "success"),
    [
        (b"No active Lifecycle Action found with instance ID i-0abc", True),
        (b"Lifecycle Hook with name regrow-launch not found", False),
    ],
)
def test_a_launch_that_waits_no_more_is_completed(message: bytes, success: bool) -> None:
    asked: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(400)
            self.end_headers()
            self.wfile.write(HOOK_REFUSAL % message)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            """Tests say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        api = Api("us-east-1", lambda: CREDENTIALS, f"http://127.0.0.1:{server.server_address[1]}")
        try:
            go_into_service(machine_of("drill"), api, "regrow-drill-control-plane")
            assert success
        except NodeError as refusal:
            assert not success
            assert "not found" in str(refusal)
        server.shutdown()
    assert len(asked) == 1
    form = parse_qs(asked[0])
    assert form["AutoScalingGroupName"] == ["regrow-drill-control-plane"]
    assert form["LifecycleHookName"] == ["regrow-launch"]
    assert (form["InstanceId"], form["LifecycleActionResult"]) == (["i-0abc"], ["CONTINUE"])
