"""What Regrow may ask of a control plane: a fixed set of actions, each argument of which has an exact form.

One JSON object is printed, and nothing else: what the action found, or {"error": ...} with exit code 1.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .aws import Api, endpoint_override
from .certificates import Certificates
from .failures import NodeError
from .machine import Machine, cluster_of_this_machine, read_image
from .members import Etcd
from .metadata import Metadata
from .snapshots import Snapshots

LONGEST_ANSWER = 20_000
"""Characters: Systems Manager keeps 24,000 of what a command prints (GetCommandInvocation)."""
METADATA_WAIT_S = 5.0

MEMBER_ID = r"[0-9a-f]{1,16}"
PEER_URL = r"https?://(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|\[[0-9a-f:]{2,39}\]):[0-9]{1,5}"
BUCKET = r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]"
KEY = r"(?!.{257})[A-Za-z0-9][A-Za-z0-9._-]*(?:/[A-Za-z0-9][A-Za-z0-9._-]*)*"
INSTANCE_ARN = r"arn:aws[a-z-]{0,12}:ec2:[a-z0-9-]{1,32}:[0-9]{12}:instance/i-[0-9a-f]{8,17}"


@dataclass(frozen=True)
class Action:
    """`arguments` has the name and the form of each one."""

    does: str
    run: Callable[..., dict[str, Any]]
    arguments: tuple[tuple[str, str], ...] = ()


def on_this_machine() -> tuple[Machine, Api]:
    image, metadata = read_image(), Metadata(wait_s=METADATA_WAIT_S)
    identity = metadata.identity()
    api = Api(identity.region, metadata.credentials, endpoint_override(image.aws_endpoint_url))
    cluster, endpoint = cluster_of_this_machine()
    return Machine(identity=identity, image=image, cluster=cluster, endpoint=endpoint), api


def snapshot(bucket: str, key: str) -> dict[str, Any]:
    _, api = on_this_machine()
    return Snapshots(Etcd(), api).take(bucket, key)


def upload_certificates(instance_arn: str) -> dict[str, Any]:
    machine, api = on_this_machine()
    return Certificates().upload(machine, api, instance_arn)


def forget_certificates(instance_arn: str) -> dict[str, Any]:
    machine, api = on_this_machine()
    return Certificates().forget(machine, api, instance_arn)


ACTIONS = {
    "members": Action("etcd's members, each with its own status, and the alarms", lambda: Etcd().members().document()),
    "remove": Action(
        "remove a member, unless that would risk the quorum",
        lambda member_id, peer_url: Etcd().remove(member_id, peer_url),
        (("MEMBER_ID", MEMBER_ID), ("PEER_URL", PEER_URL)),
    ),
    "move-leader": Action(
        "let this member lead", lambda member_id: Etcd().move_leader(member_id), (("MEMBER_ID", MEMBER_ID),)
    ),
    "snapshot": Action("store a verified snapshot", snapshot, (("BUCKET", BUCKET), ("KEY", KEY))),
    "upload-certificates": Action(
        "let this instance, and no other, read the cluster's authorities",
        upload_certificates,
        (("INSTANCE_ARN", INSTANCE_ARN),),
    ),
    "forget-certificates": Action("take them back", forget_certificates, (("INSTANCE_ARN", INSTANCE_ARN),)),
}


def usage() -> str:
    lines = ["usage: etcd.py ACTION [ARGUMENT ...], as root on a control plane; prints one JSON object", ""]
    for name, action in ACTIONS.items():
        call = " ".join([name, *(argument for argument, _ in action.arguments)])
        lines.append(f"  {call:<34} {action.does}")
    return "\n".join(lines)


def parse(given: Sequence[str]) -> tuple[Action, list[str]]:
    """The action and its arguments. Empty ones at the end are none: a document's parameters are always there."""
    words = list(given)
    while words and not words[-1]:
        words.pop()
    action = ACTIONS.get(words[0]) if words else None
    if action is None:
        raise NodeError(f"no such action; there are {', '.join(ACTIONS)}")
    name, *arguments = words
    wanted = " ".join(argument for argument, _ in action.arguments) or "no argument"
    if len(arguments) != len(action.arguments):
        raise NodeError(f"{name} takes {wanted}, not {len(arguments)} arguments")
    for place, (argument, form) in enumerate(action.arguments):
        if not re.fullmatch(form, arguments[place], re.ASCII):
            raise NodeError(f"{name}: that is no {argument}, which has the form {form}")
    return action, arguments


def main(given: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if given is None else given)
    if words in (["--help"], ["-h"]):
        print(usage())
        return 0
    try:
        action, arguments = parse(words)
        answer = json.dumps(action.run(*arguments))
        if len(answer) > LONGEST_ANSWER:
            raise NodeError(f"the answer has {len(answer)} characters, more than Run Command keeps")
    except NodeError as problem:
        print(json.dumps({"error": str(problem)[-2000:]}))
        return 1
    print(answer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
