"""The part of Systems Manager's API that is about commands and the machines that take them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, cast

from moto.core.responses import ActionResult, EmptyResult
from moto.ssm import urls as ssm_urls
from moto.ssm.models import ssm_backends
from moto.ssm.responses import SimpleSystemManagerResponse

from infra.local.cloud.commands.documents import ACTION
from infra.local.cloud.commands.invocations import Command, Invocation, Status
from infra.local.cloud.commands.refusals import InvocationDoesNotExistError, NotKnownHereError
from infra.local.cloud.commands.run_command import RunCommandBackend
from infra.local.cloud.surroundings import Surroundings

DELIVERY_TIMEOUT_S = 3600
"""Where SendCommand says nothing."""
_MOST_OF_A_PLUGIN = 2500
"""Characters of output that ListCommandInvocations gives."""
_NOT_SENT = ("Targets", "OutputS3BucketName", "CloudWatchOutputConfig", "NotificationConfig", "AlarmConfiguration")


class CommandsResponse(SimpleSystemManagerResponse):
    """Reads a request, calls the backend, and puts the answer into its published form."""

    @property
    def _commands(self) -> RunCommandBackend:
        return cast(RunCommandBackend, self.ssm_backend)

    def send_command(self) -> ActionResult:
        self._refuse(_NOT_SENT)
        command = self._commands.send(
            document_name=self._get_param("DocumentName"),
            document_version=self._get_param("DocumentVersion"),
            instance_ids=self._get_param("InstanceIds", []),
            given=self._get_param("Parameters", {}),
            comment=self._get_param("Comment", ""),
            timeout_s=self._get_int_param("TimeoutSeconds") or DELIVERY_TIMEOUT_S,
        )
        return ActionResult({"Command": _described(command)})

    def list_commands(self) -> ActionResult:
        self._refuse(("Filters",))
        found = self._commands.commands(self._get_param("CommandId"), self._get_param("InstanceId"))
        return ActionResult({"Commands": [_described(command) for command in found]})

    def get_command_invocation(self) -> ActionResult:
        command, invocation = self._commands.invocation(self._get_param("CommandId"), self._get_param("InstanceId"))
        if self._get_param("PluginName") not in (None, command.document.step):
            raise InvocationDoesNotExistError
        return ActionResult(
            {
                **_either(command, invocation),
                "PluginName": ACTION,
                "ResponseCode": invocation.response_code,
                "ExecutionStartDateTime": _text(invocation.started_at),
                "ExecutionElapsedTime": _elapsed(invocation),
                "ExecutionEndDateTime": _text(invocation.ended_at if invocation.started_at else None),
                "StandardOutputContent": invocation.output,
                "StandardOutputUrl": "",
                "StandardErrorContent": invocation.error,
                "StandardErrorUrl": "",
            }
        )

    def list_command_invocations(self) -> ActionResult:
        self._refuse(("Filters",))
        instance_id, details = self._get_param("InstanceId"), bool(self._get_param("Details"))
        return ActionResult(
            {
                "CommandInvocations": [
                    {
                        **_either(command, invocation),
                        "RequestedDateTime": command.requested_at,
                        "CommandPlugins": [_plugin(command, invocation)] if details else [],
                    }
                    for command in self._commands.commands(self._get_param("CommandId"), instance_id)
                    for invocation in command.invocations.values()
                    if instance_id in (None, invocation.instance_id)
                ]
            }
        )

    def cancel_command(self) -> ActionResult:
        self._commands.cancel(self._get_param("CommandId"), self._get_param("InstanceIds", []))
        return EmptyResult()

    def describe_instance_information(self) -> ActionResult:
        self._refuse(("InstanceInformationFilterList",))
        wanted = {each["Key"]: each["Values"] for each in self._get_param("Filters", [])}
        if unknown := wanted.keys() - {"InstanceIds", "PingStatus"}:
            raise NotKnownHereError(f"the filter {sorted(unknown)[0]}")
        ids, statuses = wanted.get("InstanceIds"), wanted.get("PingStatus")
        found = [
            node
            for node in self._commands.nodes()
            if (ids is None or node["InstanceId"] in ids) and (statuses is None or node["PingStatus"] in statuses)
        ]
        return ActionResult({"InstanceInformationList": found})

    def _refuse(self, names: tuple[str, ...]) -> None:
        for name in names:
            if self._get_param(name):
                raise NotKnownHereError(f"{name} of {self._get_action()}")


def _described(command: Command) -> dict[str, Any]:
    status = command.status(time.monotonic())
    ended = [invocation.status for invocation in command.invocations.values() if invocation.status.final]
    return {
        "CommandId": command.command_id,
        "DocumentName": command.document_name,
        "DocumentVersion": command.document_version,
        "Comment": command.comment,
        "Parameters": command.given,
        "InstanceIds": list(command.invocations),
        "RequestedDateTime": command.requested_at,
        "ExpiresAfter": command.expires_at,
        "Status": status.word,
        "StatusDetails": status.details,
        "TimeoutSeconds": command.timeout_s,
        "TargetCount": len(command.invocations),
        "CompletedCount": len(ended),
        "ErrorCount": sum(each.word == "Failed" for each in ended),
        "DeliveryTimedOutCount": sum(each is Status.DELIVERY_TIMED_OUT for each in ended),
    }


def _either(command: Command, invocation: Invocation) -> dict[str, Any]:
    status = invocation.look(time.monotonic())
    return {
        "CommandId": command.command_id,
        "InstanceId": invocation.instance_id,
        "Comment": command.comment,
        "DocumentName": command.document_name,
        "DocumentVersion": command.document_version,
        "Status": status.word,
        "StatusDetails": status.details,
    }


def _plugin(command: Command, invocation: Invocation) -> Mapping[str, Any]:
    return {
        "Name": command.document.step,
        "Status": invocation.status.word,
        "StatusDetails": invocation.status.details,
        "ResponseCode": invocation.response_code,
        "ResponseStartDateTime": invocation.started_at,
        "ResponseFinishDateTime": invocation.ended_at,
        "Output": invocation.output[:_MOST_OF_A_PLUGIN],
    }


def _elapsed(invocation: Invocation) -> str:
    """ISO 8601, and empty before it has begun."""
    if invocation.started_at is None:
        return ""
    until = invocation.ended_at or datetime.now(UTC).replace(tzinfo=None)
    return f"PT{(until - invocation.started_at).total_seconds():.3f}S"


def _text(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def install(surroundings: Surroundings) -> None:
    """Put this Systems Manager in moto's place. To be called before the first backend is made."""
    ssm_backends.backend = partial(RunCommandBackend, surroundings)
    ssm_urls.url_paths["{0}/$"] = CommandsResponse.dispatch
