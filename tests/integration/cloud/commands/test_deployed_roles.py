"""With the stacks of the checkout: every machine takes the commands that are for it, and none that are another's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from infra.node.aws import Api
from infra.node.failures import AwsError
from infra.node.signing import Credentials
from tests.integration.cloud.access.account import CLUSTER, Account
from tests.integration.cloud.access.conftest import account
from tests.integration.cloud.commands.played import PlayedAgent, RefusedError

__all__ = ["account"]
DOCUMENT = f"regrow-{CLUSTER}-control-plane"
OF_MACHINES = f"regrow-{CLUSTER}-machine"


def agent(account: Account, role: str) -> PlayedAgent:
    instance_id = account.run(f"regrow-{CLUSTER}-{role}")
    keys = account.machine(instance_id)
    given = Credentials(keys["aws_access_key_id"], keys["aws_secret_access_key"], keys["aws_session_token"])
    return PlayedAgent(account.cloud.endpoint, instance_id, given)


def test_a_control_plane_takes_what_its_document_says(account: Account) -> None:
    machine, ssm = agent(account, "control-plane"), account.client("ssm")
    machine.register()
    given = {"action": ["remove"], "first": ["8e9e05c52164694d"], "second": ["https://10.77.1.12:2380"]}
    ssm.send_command(DocumentName=DOCUMENT, InstanceIds=[machine.instance_id], Parameters=given)
    message = machine.message()
    machine.acknowledge(message)
    assert json.loads(message["Payload"])["Parameters"] == {name: value[0] for name, value in given.items()}


@pytest.mark.parametrize(
    "given", [{"action": ["reboot"]}, {"action": ["members"]}, {"action": ["remove"], "first": ["'; reboot; '"]}]
)
def test_nothing_else_can_be_asked_of_it(account: Account, given: dict[str, list[str]]) -> None:
    machine = agent(account, "control-plane")
    machine.register()
    with pytest.raises(ClientError, match="InvalidParameters"):
        account.client("ssm").send_command(DocumentName=DOCUMENT, InstanceIds=[machine.instance_id], Parameters=given)


def test_who_explains_may_look_at_etcd_of_a_control_plane_and_do_nothing_to_it(account: Account) -> None:
    machine, ssm = agent(account, "control-plane"), account.client("ssm", account.function("drill"))
    machine.register()
    tags = {"regrow:cluster": CLUSTER, "regrow:role": "control-plane"}
    account.client("ec2").create_tags(
        Resources=[machine.instance_id], Tags=[{"Key": key, "Value": value} for key, value in tags.items()]
    )
    ssm.send_command(DocumentName=f"regrow-{CLUSTER}-etcd-members", InstanceIds=[machine.instance_id])
    message = machine.message()
    machine.acknowledge(message)
    (step,) = json.loads(message["Payload"])["DocumentContent"]["mainSteps"]
    assert step["inputs"]["runCommand"] == ["exec python3 /opt/regrow/node/etcd.py members"]
    with pytest.raises(ClientError, match="AccessDenied"):
        ssm.send_command(
            DocumentName=DOCUMENT, InstanceIds=[machine.instance_id], Parameters={"action": ["move-leader"]}
        )


@pytest.mark.parametrize("role", ["worker", "control-plane"])
@pytest.mark.parametrize("action", ["restart-kubelet", "restart-runtime"])
def test_any_machine_starts_a_service_again_when_it_is_told_to(account: Account, role: str, action: str) -> None:
    machine = agent(account, role)
    machine.register()
    account.client("ssm").send_command(
        DocumentName=OF_MACHINES, InstanceIds=[machine.instance_id], Parameters={"action": [action]}
    )
    message = machine.message()
    machine.acknowledge(message)
    payload = json.loads(message["Payload"])
    assert payload["Parameters"] == {"action": action}
    (command,) = payload["DocumentContent"]["mainSteps"][0]["inputs"]["runCommand"]
    assert command == "exec python3 /opt/regrow/node/services.py '{{ action }}'"


@pytest.mark.parametrize("given", [{"action": ["reboot"]}, {"action": ["restart-kubelet"], "first": ["etcd"]}, {}])
def test_nothing_else_can_be_asked_of_any_machine(account: Account, given: dict[str, list[str]]) -> None:
    machine = agent(account, "worker")
    machine.register()
    with pytest.raises(ClientError, match="InvalidParameters"):
        account.client("ssm").send_command(
            DocumentName=OF_MACHINES, InstanceIds=[machine.instance_id], Parameters=given
        )


def test_a_worker_takes_nobody_elses_commands(account: Account) -> None:
    one, other = agent(account, "worker"), agent(account, "control-plane")
    other.register()
    account.client("ssm").send_command(
        DocumentName=DOCUMENT, InstanceIds=[other.instance_id], Parameters={"action": ["move-leader"], "first": ["a1"]}
    )
    with pytest.raises(RefusedError, match="AccessDenied"):
        one.call("GetMessages", Destination=other.instance_id)
    assert other.message()


def test_only_a_control_plane_stores_snapshots(account: Account, tmp_path: Path) -> None:
    bucket, file = account.outputs["SnapshotBucket"], tmp_path / "snapshot"
    file.write_bytes(b"all of etcd")

    def store(machine: PlayedAgent, key: str) -> None:
        Api("us-east-1", lambda: machine.credentials, machine.endpoint, sleep=lambda _: None).store(bucket, key, file)

    control_plane, worker = agent(account, "control-plane"), agent(account, "worker")
    store(control_plane, "etcd/one.db")
    assert account.client("s3").get_object(Bucket=bucket, Key="etcd/one.db")["Body"].read() == b"all of etcd"
    with pytest.raises(AwsError, match="AccessDenied"):
        store(control_plane, "other/one.db")
    with pytest.raises(AwsError, match="AccessDenied"):
        store(worker, "etcd/two.db")
