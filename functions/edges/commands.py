"""SSM Run Command: what machines do for us, with the three documents that the cluster has for that.

One only looks at etcd, one has all that changes anything about it, one restarts what hangs on any machine. They run the
machine's own programs (infra/node), which print one JSON object. An output is read, never logged: of one that is of no
use, only the end of its last line is told.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

from botocore.exceptions import ClientError

from functions.cluster.etcd import Etcd, EtcdMember, Snapshot, SnapshotBegun
from functions.cluster.machine import InstanceId
from functions.edges.aws import code, instances_arn, speaking_to
from functions.errors import PermanentError, RetryableError

WITHIN_S = {
    "members": 10.0,  # without a quorum it takes its time to say so
    "remove": 8.0,
    "move-leader": 6.0,
    "snapshot": 15.0,  # one of a large database takes longer: its outcome is asked for later
    "upload-certificates": 15.0,
    "forget-certificates": 6.0,
    "restart-kubelet": 12.0,
    "restart-runtime": 12.0,
}
"""For one command, its sending included. Together they fit into a pass."""
_DOCUMENTS = {"members": "etcd-members", "restart-kubelet": "machine", "restart-runtime": "machine"}
_FIRST_POLL_AFTER_S = 0.2
_LONGEST_POLL_S = 1.0
_DELIVERED_WITHIN_S = 30  # the least that SendCommand takes; what has not begun by then never does
_UNDER_WAY = frozenset({"Pending", "InProgress", "Delayed", "Cancelling"})  # CommandInvocationStatus, AWS API reference

_ARGUMENT = re.compile(r"[A-Za-z0-9:/._-]{1,256}")  # as the document allows them
_HEX = re.compile(r"[0-9a-f]{1,16}")
_MOST_OF_A_KIND = 32  # members, URLs of one, alarms; etcd advises seven members at most (etcd FAQ)
_LONGEST_TEXT = 256
_LARGEST_NUMBER = 2**63 - 1
_MOST_TOLD = 300

Read = TypeVar("Read")


class CommandsEdge:
    """`client` is a boto3 SSM client; `beside_arn` is any ARN of the machines' own partition, region and account.

    A command that is no longer waited for may still be done: the machine's program is made to be run again.
    """

    def __init__(
        self,
        client: Any,
        *,
        cluster: str,
        beside_arn: str,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._instances_arn = instances_arn(beside_arn)
        self._cluster = cluster
        self._clock = clock
        self._sleep = sleep

    def restart(self, on: InstanceId, service: str) -> None:
        self._run(_restarted, on, f"restart-{service}")

    def etcd(self, on: InstanceId) -> Etcd:
        return self._run(_etcd, on, "members")

    def remove_member(self, on: InstanceId, member: EtcdMember) -> str | None:
        if not member.peer_urls:
            raise PermanentError(f"etcd member {member.id} has no peer URL by which to know it again")
        return self._run(_refusal, on, "remove", member.id, member.peer_urls[0])

    def move_leader(self, on: InstanceId, to: EtcdMember) -> None:
        leader, why_not = self._run(_leader, on, "move-leader", to.id)
        if leader != to.id:
            raise RetryableError(f"{on} did not let etcd member {to} lead: {why_not or f'{leader} does'}")

    def begin_snapshot(self, on: InstanceId, *, bucket: str, key: str) -> str:
        return self._send(on, "snapshot", bucket, key)

    def snapshot(self, begun: SnapshotBegun, *, wait: bool) -> Snapshot | None:
        end = self._clock() + WITHIN_S["snapshot"] if wait else None
        invocation = self._watch(begun.command, begun.on, "snapshot", end)
        if invocation["Status"] in _UNDER_WAY:
            return None
        try:
            snapshot = _understood(_snapshot, invocation, begun.on, "snapshot")
        except RetryableError as error:
            raise PermanentError(str(error)) from error
        if snapshot.key != begun.key:
            raise PermanentError(f"{begun.on} did not store its snapshot under {begun.key}")
        return snapshot

    def upload_certificates(self, on: InstanceId, *, for_instance: InstanceId) -> datetime:
        return self._run(_expiry, on, "upload-certificates", f"{self._instances_arn}{for_instance}")

    def forget_certificates(self, on: InstanceId, *, for_instance: InstanceId) -> None:
        self._run(_forgotten, on, "forget-certificates", f"{self._instances_arn}{for_instance}")

    def _run(self, read: Callable[[Mapping[str, Any]], Read], on: InstanceId, action: str, *arguments: str) -> Read:
        """Have one action done and return what `read` makes of its answer."""
        end = self._clock() + WITHIN_S[action]
        invocation = self._watch(self._send(on, action, *arguments), on, action, end)
        if (status := invocation["Status"]) in _UNDER_WAY:
            raise RetryableError(f"{action} on {on}: {status} after {WITHIN_S[action]:.0f} s, no longer waited for")
        return _understood(read, invocation, on, action)

    def _send(self, on: InstanceId, action: str, *arguments: str) -> str:
        """Send a command and return its id."""
        document = f"regrow-{self._cluster}-{_DOCUMENTS.get(action, 'control-plane')}"
        for argument in arguments:
            if not _ARGUMENT.fullmatch(argument):
                raise PermanentError(f"{action} on {on}: {document} takes no such argument as {argument!r}")
        named = dict(zip(("first", "second"), ([argument] for argument in arguments), strict=False))
        looks = action == "members"
        with speaking_to("SSM", f"SendCommand {action} to {on}"):
            command: str = self._client.send_command(
                DocumentName=document,
                InstanceIds=[on],
                Parameters={} if looks else {"action": [action], **named},
                TimeoutSeconds=_DELIVERED_WITHIN_S,
            )["Command"]["CommandId"]
        return command

    def _watch(self, command: str, on: InstanceId, action: str, end: float | None) -> Mapping[str, Any]:
        """Return how a command has ended, or how far it is when it is `end`; without one, how far it is now."""
        if end is None:
            return self._invocation(command, on, action)
        invocation: Mapping[str, Any] = {"Status": "Pending"}
        pause = _FIRST_POLL_AFTER_S
        while self._clock() + pause <= end and invocation["Status"] in _UNDER_WAY:
            self._sleep(pause)
            pause = min(pause * 1.5, _LONGEST_POLL_S)
            invocation = self._invocation(command, on, action)
        return invocation

    def _invocation(self, command: str, on: InstanceId, action: str) -> Mapping[str, Any]:
        """Read how far it is; SSM may not know a command yet that it has just taken."""
        with speaking_to("SSM", f"GetCommandInvocation {action} on {on}"):
            try:
                found: Mapping[str, Any] = self._client.get_command_invocation(CommandId=command, InstanceId=on)
            except ClientError as error:
                if code(error) == "InvocationDoesNotExist":
                    return {"Status": "Pending"}
                raise
        return found


def _understood(
    read: Callable[[Mapping[str, Any]], Read], invocation: Mapping[str, Any], on: InstanceId, action: str
) -> Read:
    """Return what `read` makes of what a command that has ended says."""
    output = invocation.get("StandardOutputContent", "")
    if invocation["Status"] != "Success":
        how = invocation.get("StatusDetails") or invocation["Status"]
        told = _error(output) or _last_line(invocation.get("StandardErrorContent", "")) or _last_line(output)
        raise RetryableError(f"{action} on {on}: {how}{f': {told}' if told else ''}")
    try:
        answer = json.loads(output)
        if not isinstance(answer, dict):
            raise ValueError("it is no JSON object")
        return read(answer)
    except (ValueError, RecursionError) as problem:
        raise RetryableError(
            f"{action} on {on} answered {len(output)} characters that are not understood: {problem}"
        ) from problem


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][-_MOST_TOLD:] if lines else ""


def _error(output: str) -> str | None:
    """Return what the machine's program says that went wrong, when it says it as it should."""
    try:
        answer = json.loads(output)
        return _text(answer, "error")[:_MOST_TOLD]
    except (ValueError, TypeError, RecursionError):
        return None


def _etcd(answer: Mapping[str, Any]) -> Etcd:
    raws = [_object(raw) for raw in _list(answer, "members")]
    statuses = {_hex(raw, "id"): _status(raw) for raw in raws}
    if not statuses or len(statuses) != len(raws):
        raise ValueError("it lists no member, or one twice")
    leaders = _leaders(statuses)
    alarms: dict[str, list[str]] = {}
    for alarm in map(_object, _list(answer, "alarms")):
        alarms.setdefault(_hex(alarm, "member"), []).append(_text(alarm, "type"))
    strays = {id_: kinds for id_, kinds in alarms.items() if id_ not in statuses}
    return Etcd(
        asked=_text(answer, "asked", least=1),
        members=tuple(_member(raw, statuses, leaders, alarms) for raw in raws),
        cluster_id=_hex(answer, "cluster_id"),
        linearizable=_flag(answer, "linearizable"),
        stray_alarms=tuple(f"{kind} of {id_}, no member now" for id_, kinds in strays.items() for kind in kinds),
    )


def _member(
    raw: Mapping[str, Any],
    statuses: Mapping[str, Mapping[str, Any] | None],
    leaders: frozenset[str],
    alarms: Mapping[str, list[str]],
) -> EtcdMember:
    id_ = _hex(raw, "id")
    status = statuses[id_]
    return EtcdMember(
        id=id_,
        name=_text(raw, "name"),
        peer_urls=_texts(raw, "peer_urls"),
        client_urls=_texts(raw, "client_urls"),
        learner=_flag(raw, "learner"),
        leads=id_ in leaders,
        answers=status is not None,
        alarms=tuple(alarms.get(id_, ())),
        raft_index=_number(status, "raft_index") if status else 0,
        size_bytes=_number(status, "db_size") if status else 0,
        version=_text(status, "version") if status else "",
    )


def _status(raw: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return what the member answered about itself, None when it did not."""
    status = _object(raw.get("status"))
    if "error" in status:
        return None
    _hex(status, "leader")
    return status


def _leaders(statuses: Mapping[str, Mapping[str, Any] | None]) -> frozenset[str]:
    """Return who leads: those that say so themselves, else a silent one of which the others say it."""
    said = {id_: status["leader"] for id_, status in statuses.items() if status}
    themselves = frozenset(id_ for id_, leader in said.items() if id_ == leader)
    return themselves or frozenset(said.values()) - frozenset(said)


def _refusal(answer: Mapping[str, Any]) -> str | None:
    if "refused" in answer:
        return _text(answer, "refused", least=1)[:_MOST_TOLD]
    if not _flag(answer, "removed"):
        _text(answer, "reason", least=1)  # that it is gone already
    return None


def _restarted(answer: Mapping[str, Any]) -> str:
    return _text(answer, "restarted", least=1)


def _leader(answer: Mapping[str, Any]) -> tuple[str, str]:
    """Return who leads now, and why that has not changed if it says so."""
    return _hex(answer, "leader"), _text(answer, "reason")[:_MOST_TOLD] if "reason" in answer else ""


def _snapshot(answer: Mapping[str, Any]) -> Snapshot:
    return Snapshot(
        key=_text(answer, "key", least=1, most=1024),
        size_bytes=_number(answer, "bytes", least=1),
        hash=_text(answer, "hash", least=1),
        revision=_number(answer, "revision", least=1),
    )


def _expiry(answer: Mapping[str, Any]) -> datetime:
    expires_at = datetime.fromisoformat(_text(answer, "expires_at", least=1))
    if expires_at.tzinfo is None:
        raise ValueError("its expires_at has no time zone")
    return expires_at


def _forgotten(answer: Mapping[str, Any]) -> bool:
    return _flag(answer, "forgotten")


def _object(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("an object is missing")
    return value


def _list(answer: Mapping[str, Any], name: str) -> list[Any]:
    value = answer.get(name)
    if not isinstance(value, list) or len(value) > _MOST_OF_A_KIND:
        raise ValueError(f"its {name} are no list of at most {_MOST_OF_A_KIND}")
    return value


def _text(answer: Mapping[str, Any], name: str, *, least: int = 0, most: int = _LONGEST_TEXT) -> str:
    value = answer.get(name)
    if not isinstance(value, str) or not least <= len(value) <= most:
        raise ValueError(f"its {name} is no text of {least} to {most} characters")
    return value


def _texts(answer: Mapping[str, Any], name: str) -> tuple[str, ...]:
    return tuple(_text({name: one}, name, least=1) for one in _list(answer, name))


def _hex(answer: Mapping[str, Any], name: str) -> str:
    value = _text(answer, name)
    if not _HEX.fullmatch(value):
        raise ValueError(f"its {name} is no hexadecimal number of 64 bits")
    return value


def _number(answer: Mapping[str, Any], name: str, *, least: int = 0) -> int:
    value = answer.get(name)
    if type(value) is not int or not least <= value <= _LARGEST_NUMBER:
        raise ValueError(f"its {name} is no number from {least}")
    return value


def _flag(answer: Mapping[str, Any], name: str) -> bool:
    value = answer.get(name)
    if not isinstance(value, bool):
        raise ValueError(f"its {name} is neither true nor false")
    return value
