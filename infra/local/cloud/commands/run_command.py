"""Run Command: who may be sent a command, the commands sent, and the messages by which agents get and end them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any
from uuid import uuid4

from moto.core.utils import utcnow
from moto.ec2.models import ec2_backends
from moto.ssm import urls as ssm_urls
from moto.ssm.models import SimpleSystemManagerBackend

from infra.local.cloud.commands.documents import CommandDocument, Values
from infra.local.cloud.commands.invocations import BY_AGENT, Command, Invocation, Status
from infra.local.cloud.commands.nodes import VALID_STATES, Node
from infra.local.cloud.commands.refusals import (
    InvalidCommandIdError,
    InvalidInstanceIdError,
    InvocationDoesNotExistError,
)
from infra.local.cloud.surroundings import Surroundings


class RunCommandBackend(SimpleSystemManagerBackend):
    """moto's Systems Manager with commands that machines really run."""

    def __init__(self, surroundings: Surroundings, region_name: str, account_id: str) -> None:
        super().__init__(region_name, account_id)
        self._second_s = surroundings.delays.command_second_s
        self._changed = threading.Condition()
        self._nodes: dict[str, Node] = {}
        self._sent: dict[str, Command] = {}
        self._polls: dict[str, int] = {}
        """How many times each machine has asked: of two that wait, only the younger is answered."""

    def reset(self) -> None:
        """Nothing: moto throws a backend away right after it has reset it."""

    @property
    def _url_module(self) -> Any:
        return ssm_urls

    # What people and functions ask

    def send(
        self,
        document_name: str,
        document_version: str | None,
        instance_ids: Sequence[str],
        given: Values,
        comment: str,
        timeout_s: int,
    ) -> Command:
        """SendCommand, refused as AWS refuses it."""
        version = None if document_version == "$DEFAULT" else document_version
        found = self._get_documents(document_name.rpartition("document/")[2]).find(version)
        document = CommandDocument.parse(found.content_json)
        values = document.values(given)
        lasting_s = timeout_s + document.execution_timeout_s(values)
        command_id, now_s, requested_at = str(uuid4()), time.monotonic(), utcnow()
        with self._changed:
            self._require_known(instance_ids)
            invocations = {
                each: Invocation(
                    instance_id=each,
                    message_id=f"aws.ssm.{command_id}.{each}",
                    deliver_by_s=now_s + timeout_s * self._second_s,
                    expires_s=now_s + lasting_s * self._second_s,
                )
                for each in instance_ids
            }
            for each, invocation in invocations.items():
                if not self._nodes[each].connected(now_s, self._second_s):
                    invocation.end(Status.UNDELIVERABLE)
            command = Command(
                command_id=command_id,
                document_name=found.name,
                document_version=found.document_version,
                document=document,
                given=given,
                values=values,
                comment=comment,
                timeout_s=timeout_s,
                requested_at=requested_at,
                expires_at=requested_at + timedelta(seconds=lasting_s),
                invocations=invocations,
            )
            self._sent[command_id] = command
            self._changed.notify_all()
        return command

    def command(self, command_id: str) -> Command:
        found = self._sent.get(command_id)
        if found is None:
            raise InvalidCommandIdError
        return found

    def commands(self, command_id: str | None, instance_id: str | None) -> list[Command]:
        """The latest first."""
        found = [self.command(command_id)] if command_id else list(self._sent.values())
        return [each for each in reversed(found) if not instance_id or instance_id in each.invocations]

    def invocation(self, command_id: str, instance_id: str) -> tuple[Command, Invocation]:
        command = self.command(command_id)
        if instance_id not in command.invocations:
            raise InvocationDoesNotExistError
        return command, command.invocations[instance_id]

    def cancel(self, command_id: str, instance_ids: Sequence[str]) -> None:
        """CancelCommand: everywhere if no machine is named."""
        command = self.command(command_id)
        with self._changed:
            for each in instance_ids or list(command.invocations):
                if each not in command.invocations:
                    raise InvalidInstanceIdError([each], self.account_id)
                command.invocations[each].cancel(time.monotonic())
            self._changed.notify_all()

    def nodes(self) -> list[dict[str, Any]]:
        """DescribeInstanceInformation."""
        now_s = time.monotonic()
        with self._changed:
            known = [node for node in self._nodes.values() if self._state(node.instance_id) in VALID_STATES]
            return [node.described(node.connected(now_s, self._second_s)) for node in known]

    # What agents ask

    def register(self, instance_id: str, said: dict[str, Any]) -> None:
        """UpdateInstanceInformation: the agent is there.

        It asks for nothing else meanwhile, so a request that still waits was made in an earlier life of the machine,
        and what such a one was given is free again.
        """
        with self._changed:
            self._nodes[instance_id] = Node(instance_id, time.monotonic(), utcnow(), said)
            self._polls[instance_id] = self._polls.get(instance_id, 0) + 1
            for _, invocation in self._of_machine(instance_id):
                invocation.hidden_until_s = 0.0
            self._changed.notify_all()

    def next_message(self, instance_id: str, visibility_s: float, wait_s: float) -> dict[str, Any] | None:
        """GetMessages: waits for one. Given again after `visibility_s` if it is not acknowledged."""
        until_s = time.monotonic() + wait_s
        with self._changed:
            number = self._polls[instance_id] = self._polls.get(instance_id, 0) + 1
            self._changed.notify_all()
            while self._polls[instance_id] == number:
                now_s = time.monotonic()
                waiting = [
                    (command, invocation)
                    for command, invocation in self._of_machine(instance_id)
                    if invocation.look(now_s) in (Status.PENDING, Status.CANCELLING)
                ]
                for command, invocation in waiting:
                    if invocation.hidden_until_s <= now_s:
                        invocation.hidden_until_s = now_s + visibility_s
                        return _message(command, invocation)
                if now_s >= until_s:
                    break
                seen_again_s = (invocation.hidden_until_s for _, invocation in waiting)
                self._changed.wait(min(until_s, *seen_again_s, until_s) - now_s)
        return None

    def acknowledge(self, instance_id: str, message_id: str) -> bool:
        """AcknowledgeMessage. False: the message is not this machine's any more, and nothing may come of it."""
        now_s = time.monotonic()
        with self._changed:
            for _, invocation in self._of_machine(instance_id):
                if invocation.message_id == message_id:
                    return invocation.acknowledge(now_s)
                if _cancel_message_id(invocation) == message_id:
                    return not invocation.look(now_s).final
        return False

    def reply(self, instance_id: str, message_id: str, payload: dict[str, Any]) -> bool:
        """SendReply: how the script ended. False when nobody waits for it any more."""
        with self._changed:
            for command, invocation in self._of_machine(instance_id):
                if invocation.message_id == message_id:
                    step = payload["runtimeStatus"][command.document.step]
                    return invocation.reply(
                        time.monotonic(),
                        BY_AGENT[step["status"]],
                        int(step["code"]),
                        str(step["standardOutput"]),
                        str(step["standardError"]),
                    )
        return False

    def _of_machine(self, instance_id: str) -> list[tuple[Command, Invocation]]:
        held = ((command, command.invocations.get(instance_id)) for command in self._sent.values())
        return [(command, invocation) for command, invocation in held if invocation is not None]

    def _require_known(self, instance_ids: Iterable[str]) -> None:
        unknown = [each for each in instance_ids if each not in self._nodes or self._state(each) not in VALID_STATES]
        if unknown:
            raise InvalidInstanceIdError(unknown, self.account_id)

    def _state(self, instance_id: str) -> str:
        instances = ec2_backends[self.account_id][self.region_name].all_instances()
        return next((str(each.state) for each in instances if each.id == instance_id), "terminated")


def _message(command: Command, invocation: Invocation) -> dict[str, Any]:
    """As the message delivery service hands it out; the payloads have the agent's own fields."""
    if invocation.status is Status.CANCELLING:
        message_id, topic = _cancel_message_id(invocation), "aws.ssm.cancelCommand"
        payload: dict[str, Any] = {"CancelMessageId": invocation.message_id}
    else:
        message_id, topic = invocation.message_id, "aws.ssm.sendCommand"
        payload = {
            "CommandId": command.command_id,
            "DocumentName": command.document_name,
            "DocumentContent": command.document.content,
            "Parameters": {
                name: values if command.document.parameters[name].several else values[0]
                for name, values in command.values.items()
            },
        }
    return {
        "MessageId": message_id,
        "Destination": invocation.instance_id,
        "Topic": topic,
        "CreatedDate": command.requested_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "Payload": json.dumps(payload),
    }


def _cancel_message_id(invocation: Invocation) -> str:
    return f"aws.ssm.{invocation.cancel_id}.{invocation.instance_id}"
