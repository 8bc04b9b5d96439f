"""Run Command, and the messages by which machines' agents take part in it."""

from __future__ import annotations

from collections.abc import Iterable

from moto.ec2.models import ec2_backends
from moto.ssm.models import ssm_backends

from infra.local.cloud.access.access import Access, UnknownAccessError, context_of, tags_under
from infra.local.cloud.access.calls import Call

_TAG_PREFIXES = ("aws:ResourceTag", "ssm:resourceTag")


def _send(call: Call) -> Iterable[Access]:
    """The document and each machine must be allowed ("Actions, resources, and condition keys", SendCommand)."""
    if call.params.get("Targets"):
        raise UnknownAccessError("ssm:SendCommand by Targets: name the instances")
    yield from _on_document(call, call.params["DocumentName"])
    for instance in call.params["InstanceIds"]:
        yield _on_instance(call, instance)


def _on_named_document(call: Call) -> Iterable[Access]:
    yield from _on_document(call, call.params["Name"])


def _on_document(call: Call, name: str) -> Iterable[Access]:
    name = name.rpartition("document/")[2]
    held = ssm_backends[call.account][call.region]._resource_tags.get("Document", {}).get(name, {})
    arn = call.arn(f"document/{name}")
    yield Access(f"ssm:{call.operation}", arn, context_of(tags_under(_TAG_PREFIXES, held)))


def _register(call: Call) -> Iterable[Access]:
    yield _on_instance(call, call.params["InstanceId"])


def _on_instance(call: Call, instance: str) -> Access:
    held = ec2_backends[call.account][call.region].tags.get(instance, {})
    arn = f"arn:aws:ec2:{call.region}:{call.account}:instance/{instance}"
    return Access(f"ssm:{call.operation}", arn, context_of(tags_under(_TAG_PREFIXES, held)))


def _no_resource(call: Call) -> Iterable[Access]:
    yield Access(f"{call.service}:{call.operation}")


OPERATIONS = {
    "SendCommand": _send,
    "UpdateInstanceInformation": _register,
    **dict.fromkeys(("DescribeDocument", "GetDocument"), _on_named_document),
    **dict.fromkeys(
        (
            "CancelCommand",
            "DescribeInstanceInformation",
            "GetCommandInvocation",
            "ListCommandInvocations",
            "ListCommands",
        ),
        _no_resource,
    ),
}
MESSAGES = dict.fromkeys(("AcknowledgeMessage", "GetMessages", "SendReply"), _no_resource)
