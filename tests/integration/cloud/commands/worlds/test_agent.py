"""The agent of a real machine of a world runs what Systems Manager sends, as root, under the machine's own role."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra.local.linux.cgroups import Cgroup
from tests.integration.cloud.commands.played import ANY
from tests.integration.cloud.worlds.conftest import Site
from tests.integration.local.worlds.light import eventually

IDLE = "echo armed; while :; do sleep 0.1; done"
SLOW_S = 30.0
"""The machines of a world share two cores with whatever else runs."""


def aws(site: Site, service: str, operation: str, **arguments: Any) -> Any:
    return site.inside(lambda: getattr(site.cluster.client(service), operation)(**arguments))


def machine(site: Site, *statements: dict[str, Any]) -> str:
    """A running machine whose role has these statements."""
    name = f"role-{len(aws(site, 'iam', 'list_roles')['Roles'])}"
    aws(site, "iam", "create_role", RoleName=name, AssumeRolePolicyDocument="{}")
    if statements:
        policy = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
        aws(site, "iam", "put_role_policy", RoleName=name, PolicyName="own", PolicyDocument=policy)
    aws(site, "iam", "create_instance_profile", InstanceProfileName=name)
    aws(site, "iam", "add_role_to_instance_profile", InstanceProfileName=name, RoleName=name)
    return site.run(IDLE, IamInstanceProfile={"Name": name})


def make_document(
    site: Site, name: str, script: Sequence[str], *, parameters: dict[str, Any] | None = None, within_s: int = 60
) -> None:
    inputs = {"runCommand": list(script), "timeoutSeconds": within_s}
    content = {
        "schemaVersion": "2.2",
        "parameters": parameters or {},
        "mainSteps": [{"action": "aws:runShellScript", "name": "run", "inputs": inputs}],
    }
    aws(site, "ssm", "create_document", Name=name, Content=json.dumps(content), DocumentType="Command")


def known(site: Site) -> set[str]:
    found = aws(site, "ssm", "describe_instance_information")["InstanceInformationList"]
    return {each["InstanceId"] for each in found}


@pytest.fixture(scope="module")
def managed(site: Site) -> str:
    """A machine whose agent has registered."""
    instance_id = machine(site, ANY)
    eventually(lambda: instance_id in known(site), within_s=SLOW_S)
    return instance_id


@pytest.fixture(scope="module")
def send(site: Site, managed: str) -> Callable[..., str]:
    """Sends a script to the machine; gives the command's id."""
    count = 0

    def sent(*script: str, parameters: dict[str, Any] | None = None, within_s: int = 60, **values: list[str]) -> str:
        nonlocal count
        count += 1
        name = f"script-{count}"
        make_document(site, name, script, parameters=parameters or {}, within_s=within_s)
        command = aws(
            site, "ssm", "send_command", DocumentName=name, InstanceIds=[managed], Parameters=values, TimeoutSeconds=30
        )
        return str(command["Command"]["CommandId"])

    return sent


def invocation(site: Site, command: str, instance_id: str) -> dict[str, Any]:
    found: dict[str, Any] = aws(site, "ssm", "get_command_invocation", CommandId=command, InstanceId=instance_id)
    return found


def ended(site: Site, command: str, instance_id: str, within_s: float = SLOW_S) -> dict[str, Any]:
    """The invocation, once it has come to an end."""

    def final() -> dict[str, Any] | None:
        found = invocation(site, command, instance_id)
        return None if found["Status"] in ("Pending", "InProgress", "Cancelling") else found

    found: dict[str, Any] = eventually(final, within_s=within_s)
    return found


def test_a_script_runs_as_root_and_its_output_comes_back(site: Site, managed: str, send: Callable[..., str]) -> None:
    command = send("id -u", "hostname", "echo wrong >&2", "exit 3")
    found = ended(site, command, managed)
    assert (found["Status"], found["ResponseCode"], found["StandardErrorContent"]) == ("Failed", 3, "wrong\n")
    assert found["StandardOutputContent"].splitlines() == ["0", site.execute(managed, "hostname").strip()]


def test_parameters_stand_where_the_document_names_them(site: Site, managed: str, send: Callable[..., str]) -> None:
    declared = {"word": {"type": "String", "default": "none"}, "other": {"type": "String"}}
    command = send("echo '{{ word }}' '{{other}}' {{ }}", parameters=declared, other=["{{ word }}"])
    found = ended(site, command, managed)
    assert (found["Status"], found["StandardOutputContent"]) == ("Success", "none {{ word }} {{ }}\n")


def test_much_output_is_cut(site: Site, managed: str, send: Callable[..., str]) -> None:
    found = ended(site, send("head -c 1000000 /dev/zero | tr '\\0' x"), managed)
    assert (found["Status"], len(found["StandardOutputContent"])) == ("Success", 24_000)


def test_a_script_that_takes_too_long_is_ended_with_all_that_it_started(
    site: Site, managed: str, send: Callable[..., str]
) -> None:
    found = ended(site, send("sleep 4242 & sleep 4242", within_s=1), managed)
    assert (found["Status"], found["StatusDetails"], found["ResponseCode"]) == ("TimedOut", "ExecutionTimedOut", 137)
    assert "4242" not in site.execute(managed, "sh", "-c", "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '; true")


def test_a_script_that_is_called_off_ends(site: Site, managed: str, send: Callable[..., str]) -> None:
    command = send("sleep 60")
    eventually(lambda: invocation(site, command, managed)["Status"] == "InProgress", within_s=SLOW_S)
    aws(site, "ssm", "cancel_command", CommandId=command)
    assert ended(site, command, managed)["StatusDetails"] == "Cancelled"


def test_a_frozen_machine_does_not_run_what_came_too_late(site: Site, managed: str, send: Callable[..., str]) -> None:
    marker = site.place(managed).written / "etc/late"
    control = Cgroup.of(site.cluster.world.place.group, managed)
    control.freeze()
    try:
        late = send("touch /etc/late")
        assert ended(site, late, managed, within_s=60)["StatusDetails"] == "DeliveryTimedOut"
    finally:
        control.thaw()
    # The agent takes messages in their order: when it has run this one, it has dropped the other.
    assert ended(site, send("true"), managed)["Status"] == "Success"
    assert not marker.exists()


def test_a_machine_that_booted_anew_is_reached_again(site: Site, managed: str, send: Callable[..., str]) -> None:
    read = "cat /proc/sys/kernel/random/boot_id"
    before = ended(site, send(read), managed)["StandardOutputContent"]
    site.ec2("reboot_instances", InstanceIds=[managed])
    eventually(lambda: site.log(managed).count("ready for cloud-init") == 2, within_s=SLOW_S)
    found = ended(site, send(read), managed)
    assert found["Status"] == "Success"
    assert found["StandardOutputContent"] != before


def test_a_role_without_the_right_has_no_agent_that_is_known(site: Site, managed: str) -> None:
    without = machine(site)
    log = site.place(without).log / "amazon-ssm-agent.log"
    eventually(lambda: "AccessDenied" in (log.read_text() if log.exists() else ""), within_s=SLOW_S)
    assert known(site) == {managed}
    make_document(site, "unsent", [])
    with pytest.raises(ClientError, match="InvalidInstanceId"):
        aws(site, "ssm", "send_command", DocumentName="unsent", InstanceIds=[without])
