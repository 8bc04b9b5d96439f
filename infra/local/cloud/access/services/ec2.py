"""EC2. Describe calls know no resource."""

from __future__ import annotations

from collections.abc import Iterable

from moto.ec2.models import ec2_backends

from infra.local.cloud.access.access import Access, UnknownAccessError, context_of, request_tags, tags_under
from infra.local.cloud.access.calls import Call

_TAG_PREFIXES = ("aws:ResourceTag", "ec2:ResourceTag")
_KINDS = {"i": "instance", "vol": "volume", "eni": "network-interface", "sg": "security-group", "subnet": "subnet"}
"""What an id is of, by its first letters."""


def _on_instances(call: Call) -> Iterable[Access]:
    for instance in call.params.get("InstanceIds") or [call.params["InstanceId"]]:
        yield _access(call, instance)


def _on_volume(call: Call) -> Iterable[Access]:
    """A volume is detached from an instance, and both must be allowed."""
    volume = call.params["VolumeId"]
    yield _access(call, volume)
    if call.operation in ("AttachVolume", "DetachVolume"):
        held = ec2_backends[call.account][call.region].volumes.get(volume)
        instance = call.params.get("InstanceId") or (held.attachment.instance.id if held and held.attachment else None)
        if instance:
            yield _access(call, instance)


def _on_interface(call: Call) -> Iterable[Access]:
    yield _access(call, call.params["NetworkInterfaceId"])


def _tags(call: Call) -> Iterable[Access]:
    given = {tag["Key"]: tag.get("Value", "") for tag in call.params.get("Tags", [])}
    for resource in call.params["Resources"]:
        access = _access(call, resource)
        yield Access(access.action, access.resource, context_of(access.context, request_tags(given)))


def _access(call: Call, resource: str) -> Access:
    kind = _KINDS.get(resource.partition("-")[0])
    if kind is None:
        raise UnknownAccessError(f"ec2:{call.operation} on {resource!r}: no such kind of resource is known")
    held = ec2_backends[call.account][call.region].tags.get(resource, {})
    return Access(f"ec2:{call.operation}", call.arn(f"{kind}/{resource}"), context_of(tags_under(_TAG_PREFIXES, held)))


OPERATIONS = {
    **dict.fromkeys(
        (
            "GetConsoleOutput",
            "ModifyInstanceAttribute",
            "ModifyInstanceMetadataOptions",
            "RebootInstances",
            "StartInstances",
            "StopInstances",
            "TerminateInstances",
        ),
        _on_instances,
    ),
    **dict.fromkeys(("AttachVolume", "DeleteVolume", "DetachVolume"), _on_volume),
    **dict.fromkeys(
        (
            "AssignPrivateIpAddresses",
            "DeleteNetworkInterface",
            "ModifyNetworkInterfaceAttribute",
            "UnassignPrivateIpAddresses",
        ),
        _on_interface,
    ),
    **dict.fromkeys(("CreateTags", "DeleteTags"), _tags),
}
