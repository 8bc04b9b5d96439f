"""A machine's own AWS calls against moto's server: the answers that the boot rests on."""

from __future__ import annotations

import base64
import json
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from infra.node.aws import Api
from infra.node.configuration import Bundle
from infra.node.failures import AwsError, NodeError, UnreachableError
from infra.node.initialise import may_found
from infra.node.join import Kubeadm, wait_for_bundle, worker
from infra.node.machine import Image, Machine
from infra.node.metadata import Identity
from infra.node.signing import Credentials
from tests.integration.deploy.plain_aws import plain_aws

CREDENTIALS = Credentials("AKIDEXAMPLE", "secret", "session")
TOKEN = "abcdef.0123456789abcdef"
AUTHORITY = base64.b64encode(b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n").decode()


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with plain_aws() as url:
        yield url


@pytest.fixture
def api(endpoint: str) -> Api:
    return Api("us-east-1", lambda: CREDENTIALS, endpoint)


def client(service: str, endpoint: str) -> Any:
    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="secret",
    )


def test_a_parameter_that_is_not_there_is_no_error(api: Api) -> None:
    assert api.parameter("/regrow/none/kubeconfig/mint") is None


def test_what_is_published_is_encrypted_and_read_back(api: Api, endpoint: str) -> None:
    assert api.publish("/regrow/a/kubeconfig/mint", "hidden")
    assert api.parameter("/regrow/a/kubeconfig/mint") == "hidden"
    stored = client("ssm", endpoint).get_parameter(Name="/regrow/a/kubeconfig/mint")["Parameter"]
    assert stored["Type"] == "SecureString"


def test_a_published_cluster_is_never_overwritten(api: Api) -> None:
    assert api.publish("/regrow/b/kubeconfig/mint", "first")
    assert not api.publish("/regrow/b/kubeconfig/mint", "second")
    assert api.parameter("/regrow/b/kubeconfig/mint") == "first"


def test_publishing_the_same_again_is_success(api: Api) -> None:
    assert api.publish("/regrow/c/kubeconfig/mint", "same")
    assert api.publish("/regrow/c/kubeconfig/mint", "same")


def test_a_machine_puts_itself_behind_its_load_balancer_once(api: Api, endpoint: str) -> None:
    ec2, elb = client("ec2", endpoint), client("elbv2", endpoint)
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    image = ec2.describe_images()["Images"][0]["ImageId"]
    instance = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    group = elb.create_target_group(Name="api", Protocol="TCP", Port=6443, VpcId=vpc)["TargetGroups"][0]
    api.register_target(group["TargetGroupArn"], instance, 6443)
    api.register_target(group["TargetGroupArn"], instance, 6443)
    health = elb.describe_target_health(TargetGroupArn=group["TargetGroupArn"])["TargetHealthDescriptions"]
    assert [entry["Target"] for entry in health] == [{"Id": instance, "Port": 6443}]


def test_a_refused_registration_says_awss_reason(api: Api) -> None:
    arn = "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/none/0123456789abcdef"
    with pytest.raises(AwsError, match="RegisterTargets was refused: TargetGroupNotFound"):
        api.register_target(arn, "i-0abc", 6443)


def test_an_endpoint_that_does_not_answer_is_tried_again_before_it_is_an_error() -> None:
    waited: list[float] = []
    with pytest.raises(UnreachableError, match="does not answer"):
        Api("us-east-1", lambda: CREDENTIALS, "http://127.0.0.1:1", sleep=waited.append).parameter("/a")
    assert len(waited) > 2


def test_what_is_nothing_to_hide_is_published_plainly(api: Api, endpoint: str) -> None:
    assert api.publish("/regrow/d/initialised-by", "i-0abc", secret=False)
    stored = client("ssm", endpoint).get_parameter(Name="/regrow/d/initialised-by")["Parameter"]
    assert (stored["Type"], stored["Value"]) == ("String", "i-0abc")


def test_a_parameter_is_forgotten_once_and_for_all(api: Api) -> None:
    api.publish("/regrow/e/join/i-0abc", "hidden")
    api.forget("/regrow/e/join/i-0abc")
    assert api.parameter("/regrow/e/join/i-0abc") is None
    api.forget("/regrow/e/join/i-0abc")  # gone is success


def machine_of(cluster: str) -> Machine:
    return Machine(Identity("i-0abc", "us-east-1a", "us-east-1", "10.77.1.5"), Image(), cluster, "10.77.0.10:6443")


def bundle_for(machine: Machine, *, token: str = TOKEN, **changed: str) -> str:
    content = {"cluster": machine.cluster, "node_name": machine.node_name, "server": "https://10.77.0.10:6443"}
    return json.dumps({**content, "ca_data": AUTHORITY, "token": token, **changed})


class Pauses:
    """A clock that only waiting moves on. At each wait it does what is to happen at it."""

    def __init__(self, *events: Callable[[], object]) -> None:
        self.now_s = 0.0
        self.waits = 0
        self._events = events

    def clock(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        if self.waits < len(self._events):
            self._events[self.waits]()
        self.waits += 1


def nothing() -> None:
    """Happens most of the time."""


def test_a_worker_waits_until_its_bundle_is_there(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    machine = machine_of("late")
    pauses = Pauses(nothing, nothing, lambda: api.publish(machine.bundle_parameter, bundle_for(machine)))
    found = wait_for_bundle(machine, api, deadline=60, clock=pauses.clock, sleep=pauses.sleep)
    assert found == Bundle("https://10.77.0.10:6443", AUTHORITY, TOKEN)
    assert pauses.now_s < 2.0  # it looks often at first
    said = capsys.readouterr().out
    assert said.count("it is not there yet") == 1  # once, however long it takes
    assert TOKEN not in said


def test_a_bundle_for_another_machine_is_named_and_waited_out(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    machine = machine_of("mixed")
    api.publish(machine.bundle_parameter, bundle_for(machine, node_name="i-0bbb"))
    mended = lambda: api.publish(machine.bundle_parameter, bundle_for(machine), overwrite=True)  # noqa: E731
    pauses = Pauses(nothing, nothing, mended)
    found = wait_for_bundle(machine, api, deadline=60, clock=pauses.clock, sleep=pauses.sleep)
    assert found.token == TOKEN
    said = capsys.readouterr().out
    assert said.count("is for i-0bbb of mixed, this is i-0abc of mixed") == 1
    assert TOKEN not in said


def test_each_thing_that_stands_in_the_way_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    machine = machine_of("hard")

    class Hindered:
        """AWS on a bad day: refuses, is silent, refuses again, and in the end answers."""

        def __init__(self) -> None:
            refused = AwsError("GetParameter", "AccessDeniedException", "no tag allows it")
            silent = UnreachableError("GetParameter: ssm does not answer")
            self._answers: list[NodeError | str] = [refused, silent, refused, silent, bundle_for(machine)]

        def parameter(self, name: str) -> str:
            assert name == machine.bundle_parameter
            answer = self._answers.pop(0)
            if isinstance(answer, NodeError):
                raise answer
            return answer

    pauses = Pauses()
    hindered: Any = Hindered()
    found = wait_for_bundle(machine, hindered, deadline=60, clock=pauses.clock, sleep=pauses.sleep)
    assert found.token == TOKEN
    said = capsys.readouterr().out
    assert said.count("not there yet, or not for this machine: GetParameter was refused: AccessDeniedException") == 1
    assert said.count("does not answer") == 1


def test_a_machine_that_nobody_lets_in_gives_up_at_its_deadline_and_says_why(api: Api) -> None:
    pauses = Pauses()
    with pytest.raises(NodeError, match=r"nobody let this machine in .* it is not there yet"):
        wait_for_bundle(machine_of("never"), api, deadline=60, clock=pauses.clock, sleep=pauses.sleep)
    assert 60 <= pauses.now_s < 65


def test_after_a_failed_join_the_bundle_is_fetched_again(
    api: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = machine_of("renewed")
    renewed = "ghijkl.0123456789abcdef"
    api.publish(machine.bundle_parameter, bundle_for(machine))

    class OldTokenIsRefused(Kubeadm):
        """A cluster that has another token for the machine since it fetched its bundle."""

        tried: list[str] = []
        resets = 0

        def join(self, _: Machine, bundle: Bundle) -> None:
            self.tried.append(bundle.token)
            if bundle.token != renewed:
                api.publish(machine.bundle_parameter, bundle_for(machine, token=renewed), overwrite=True)
                raise NodeError("kubeadm join ended with 1; its own words are above")

        def reset(self, _: Machine) -> None:
            type(self).resets += 1
            raise NodeError("kubeadm reset ended with 1")

    kubeadm, pauses = OldTokenIsRefused(kubeconfig=tmp_path / "kubelet.conf"), Pauses()
    worker(machine, api, kubeadm, clock=pauses.clock, sleep=pauses.sleep)
    assert kubeadm.tried == [TOKEN, renewed]
    assert kubeadm.resets == 1
    assert api.parameter(machine.bundle_parameter) is None  # nothing on the machine can read it again
    said = capsys.readouterr().out
    assert "not joined: kubeadm join ended with 1" in said
    assert TOKEN not in said
    assert renewed not in said


def test_a_machine_that_has_joined_leaves_its_bundle_alone(api: Api, tmp_path: Path) -> None:
    machine = machine_of("joined")
    api.publish(machine.bundle_parameter, bundle_for(machine))
    (tmp_path / "kubelet.conf").touch()
    worker(machine, api, Kubeadm(kubeconfig=tmp_path / "kubelet.conf"))
    assert api.parameter(machine.bundle_parameter) is not None


@pytest.mark.parametrize("code", [0, 1])
def test_no_secret_file_outlives_the_program_that_reads_it(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    program, seen = tmp_path / "bin" / "kubeadm", tmp_path / "seen"
    secrets = tmp_path / "secrets"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ncp -rp {secrets} {seen}\necho $*\nexit {code}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    machine = machine_of("files")
    try:
        Kubeadm(secrets=secrets).join(machine, Bundle.for_machine(machine, bundle_for(machine)))
        assert code == 0
    except NodeError:
        assert code == 1
    assert {file.name for file in seen.iterdir()} == {"join.json", "discovery.json"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in seen.iterdir()} == {0o600}
    assert not list(secrets.iterdir())
    assert capfd.readouterr().out == f"join --config {secrets}/join.json\n"


def test_a_machine_does_not_make_a_cluster_whose_name_is_taken(api: Api) -> None:
    machine = machine_of("taken")
    api.publish(machine.initialised_parameter, "i-0bbb", secret=False)
    assert not may_found(machine, api)
    assert api.parameter(machine.founder_parameter) is None
