"""A command reaches the machine that it names, once, and its end is told; one that nobody takes runs out."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.integration.cloud.commands.played import (
    ACTIONS,
    ANY,
    DOCUMENT,
    PlayedAgent,
    RefusedError,
    document,
    machine,
    registered,
)
from tests.integration.cloud.machines.rig import Aws, eventually


def send(aws: Aws, *agents: PlayedAgent, action: str = "members", **options: Any) -> str:
    given = {"DocumentName": "etcd", "TimeoutSeconds": 3600, "Parameters": {"action": [action]}, **options}
    command = aws.client("ssm").send_command(InstanceIds=[agent.instance_id for agent in agents], **given)
    return str(command["Command"]["CommandId"])


def invocation(aws: Aws, command: str, agent: PlayedAgent) -> dict[str, Any]:
    found: dict[str, Any] = aws.client("ssm").get_command_invocation(CommandId=command, InstanceId=agent.instance_id)
    return found


def status(aws: Aws, command: str, agent: PlayedAgent) -> tuple[str, str, int]:
    found = invocation(aws, command, agent)
    return found["Status"], found["StatusDetails"], found["ResponseCode"]


def refusal(aws: Aws, *agents: PlayedAgent, **options: Any) -> str:
    with pytest.raises(ClientError) as refused:
        send(aws, *agents, **options)
    return str(refused.value.response["Error"]["Code"])


def test_a_command_is_taken_run_and_told(aws: Aws) -> None:
    document(aws)
    agent, other = registered(aws), registered(aws)
    command = send(aws, agent, Parameters={"action": ["remove"], "first": ["a:1"]}, Comment="why")
    assert status(aws, command, agent) == ("Pending", "Pending", -1)
    message = agent.message()
    payload = json.loads(message["Payload"])
    assert payload["Parameters"] == {"action": "remove", "first": "a:1"}
    assert payload["DocumentContent"] == DOCUMENT
    agent.acknowledge(message)
    assert status(aws, command, agent) == ("InProgress", "InProgress", -1)
    agent.reply(message["MessageId"], "Failed", 3, "said\n", "wrong\n")
    found = invocation(aws, command, agent)
    assert (found["Status"], found["StatusDetails"], found["ResponseCode"]) == ("Failed", "Failed", 3)
    assert (found["StandardOutputContent"], found["StandardErrorContent"]) == ("said\n", "wrong\n")
    assert (found["Comment"], found["DocumentName"], found["PluginName"]) == ("why", "etcd", "aws:runShellScript")
    with pytest.raises(ClientError, match="InvocationDoesNotExist"):
        invocation(aws, command, other)


def test_whoever_waits_gets_the_command_at_once(aws: Aws) -> None:
    document(aws)
    agent = registered(aws)
    taken: list[dict[str, Any]] = []
    waiting = threading.Thread(target=lambda: taken.append(agent.message()))
    waiting.start()
    command = send(aws, agent)
    waiting.join(timeout=5)
    assert command in taken[0]["MessageId"]


def test_what_it_prints_is_cut(aws: Aws) -> None:
    document(aws)
    agent = registered(aws)
    command = send(aws, agent)
    message = agent.message()
    agent.acknowledge(message)
    agent.reply(message["MessageId"], output="ä" * 30_000, error="e" * 30_000)
    found = invocation(aws, command, agent)
    assert found["Status"] == "Success"
    assert (len(found["StandardOutputContent"]), len(found["StandardErrorContent"])) == (24_000, 8_000)


def test_a_message_that_is_not_acknowledged_comes_again_and_runs_once(aws: Aws) -> None:
    document(aws)
    agent = registered(aws)
    send(aws, agent)
    first = agent.message(visibility_s=0)
    again = agent.message()
    assert again == first
    agent.acknowledge(first)
    with pytest.raises(RefusedError, match="InvalidMessageException"):
        agent.acknowledge(again)


def test_an_agent_that_begins_anew_gets_what_an_earlier_one_was_given(aws: Aws) -> None:
    document(aws)
    agent = registered(aws)
    send(aws, agent)
    given = agent.message(visibility_s=3600)
    agent.register()
    assert agent.message() == given


def test_a_command_that_nobody_takes_is_not_run_later(aws: Aws) -> None:
    document(aws)
    agent = registered(aws)
    command = send(aws, agent, TimeoutSeconds=30)
    message = agent.message()
    eventually(lambda: status(aws, command, agent) == ("TimedOut", "DeliveryTimedOut", -1))
    with pytest.raises(RefusedError, match="InvalidMessageException"):
        agent.acknowledge(message)


def test_a_machine_that_falls_silent_in_the_middle_runs_out(aws: Aws) -> None:
    document(aws)
    agent = registered(aws)
    command = send(aws, agent, TimeoutSeconds=30)
    message = agent.message()
    agent.acknowledge(message)
    eventually(lambda: status(aws, command, agent) == ("TimedOut", "DeliveryTimedOut", -1))
    with pytest.raises(RefusedError, match="InvalidMessageException"):
        agent.reply(message["MessageId"])


def test_a_script_that_took_too_long_is_told_apart(aws: Aws) -> None:
    document(aws)
    agent = registered(aws)
    command = send(aws, agent)
    message = agent.message()
    agent.acknowledge(message)
    agent.reply(message["MessageId"], "TimedOut", 137)
    assert status(aws, command, agent) == ("TimedOut", "ExecutionTimedOut", 137)


def test_a_command_is_called_off_before_it_begins(aws: Aws) -> None:
    document(aws)
    agent = registered(aws)
    command = send(aws, agent)
    message = agent.message()
    aws.client("ssm").cancel_command(CommandId=command)
    assert status(aws, command, agent) == ("Cancelled", "Cancelled", -1)
    with pytest.raises(RefusedError, match="InvalidMessageException"):
        agent.acknowledge(message)


def test_a_command_is_called_off_in_the_middle(aws: Aws) -> None:
    document(aws)
    agent = registered(aws)
    command = send(aws, agent)
    message = agent.message()
    agent.acknowledge(message)
    aws.client("ssm").cancel_command(CommandId=command, InstanceIds=[agent.instance_id])
    assert status(aws, command, agent)[0] == "Cancelling"
    asked = agent.message()
    assert json.loads(asked["Payload"]) == {"CancelMessageId": message["MessageId"]}
    agent.acknowledge(asked)
    agent.reply(message["MessageId"], "Cancelled", 137)
    assert status(aws, command, agent) == ("Cancelled", "Cancelled", 137)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"action": ["destroy"]},
        {"action": ACTIONS},
        {"action": ["members"], "first": ["$(reboot)"]},
        {"action": ["members"], "first": ["a\n"]},
        {"action": ["members"], "second": ["a"]},
    ],
)
def test_parameters_that_the_document_does_not_allow_are_refused(aws: Aws, given: dict[str, list[str]]) -> None:
    document(aws)
    assert refusal(aws, registered(aws), Parameters=given) == "InvalidParameters"


def test_a_document_that_is_not_there_is_refused(aws: Aws) -> None:
    assert refusal(aws, registered(aws)) == "InvalidDocument"


@pytest.mark.parametrize("change", [{"schemaVersion": "1.2"}, {"mainSteps": [{"action": "aws:runDocument"}]}])
def test_a_document_that_cannot_be_run_here_is_refused(aws: Aws, change: dict[str, Any]) -> None:
    document(aws, content={**DOCUMENT, **change})
    assert refusal(aws, registered(aws)) == "InvalidDocument"


def test_a_machine_without_an_agent_is_unknown(aws: Aws) -> None:
    document(aws)
    assert refusal(aws, machine(aws, ANY)) == "InvalidInstanceId"


def test_a_terminated_machine_is_unknown(aws: Aws) -> None:
    document(aws)
    agent = registered(aws)
    aws.client("ec2").terminate_instances(InstanceIds=[agent.instance_id])
    assert refusal(aws, agent) == "InvalidInstanceId"
    assert aws.client("ssm").describe_instance_information()["InstanceInformationList"] == []


def test_a_command_to_an_agent_that_is_lost_cannot_be_delivered(aws: Aws) -> None:
    document(aws)
    agent = registered(aws)
    known = aws.client("ssm").describe_instance_information
    assert known()["InstanceInformationList"][0]["PingStatus"] == "Online"
    eventually(lambda: known()["InstanceInformationList"][0]["PingStatus"] == "ConnectionLost", within_s=10)
    command = send(aws, agent)
    assert status(aws, command, agent) == ("Failed", "Undeliverable", -1)
    agent.register()
    assert status(aws, send(aws, agent), agent)[0] == "Pending"


def test_a_role_that_lacks_the_right_lets_no_agent_register(aws: Aws) -> None:
    document(aws)
    agent = machine(aws)
    with pytest.raises(RefusedError, match="AccessDenied"):
        agent.register()
    assert refusal(aws, agent) == "InvalidInstanceId"


def test_an_agent_speaks_for_its_own_machine_alone(aws: Aws) -> None:
    document(aws)
    agent, other = registered(aws), registered(aws)
    command = send(aws, other)
    message = other.message()
    with pytest.raises(RefusedError, match="AccessDenied"):
        agent.register(other.instance_id)
    with pytest.raises(RefusedError, match="AccessDenied"):
        agent.call("GetMessages", Destination=other.instance_id)
    with pytest.raises(RefusedError, match="InvalidMessageException"):
        agent.acknowledge(message)
    with pytest.raises(RefusedError, match="InvalidMessageException"):
        agent.reply(message["MessageId"])
    assert status(aws, command, other)[0] == "Pending"


def test_commands_are_listed_with_what_became_of_them(aws: Aws) -> None:
    document(aws)
    agents = [registered(aws), registered(aws)]
    ssm, command = aws.client("ssm"), send(aws, *agents)
    assert ssm.list_commands(CommandId=command)["Commands"][0]["Status"] == "Pending"
    message = agents[0].message()
    agents[0].acknowledge(message)
    agents[0].reply(message["MessageId"], output="done")
    listed = ssm.list_commands(CommandId=command)["Commands"][0]
    assert (listed["Status"], listed["CompletedCount"], listed["TargetCount"]) == ("InProgress", 1, 2)
    own = ssm.list_command_invocations(CommandId=command, InstanceId=agents[0].instance_id, Details=True)
    assert [each["Status"] for each in own["CommandInvocations"]] == ["Success"]
    assert own["CommandInvocations"][0]["CommandPlugins"][0]["Output"] == "done"
