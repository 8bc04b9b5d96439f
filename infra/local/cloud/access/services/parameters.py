"""Parameter Store (Systems Manager user guide, "Restricting access to parameters using IAM policies")."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from moto.ssm.models import Parameter, SimpleSystemManagerBackend, ssm_backends

from infra.local.cloud.access.access import Access, UnknownAccessError, context_of, request_tags, tags_under
from infra.local.cloud.access.calls import Call
from infra.local.cloud.access.services.keys import via_service

_OWN_KEY = "alias/aws/ssm"
_SELECTOR = re.compile(r":[^:/]+$")
_TAG_PREFIXES = ("aws:ResourceTag", "ssm:resourceTag")


def _read_one(call: Call) -> Iterable[Access]:
    yield from _read(call, [call.params["Name"]])


def _read_several(call: Call) -> Iterable[Access]:
    yield from _read(call, call.params["Names"])


def _read(call: Call, names: Iterable[str]) -> Iterable[Access]:
    for name in map(_plain, names):
        yield _access(call, call.operation, name)
        yield from _decrypted(call, [_parameter(call, name)])


def _read_path(call: Call) -> Iterable[Access]:
    """Only the path is decided about: who may read it gets all below, whatever is said about single parameters."""
    path = call.params["Path"]
    recursive = bool(call.params.get("Recursive"))
    yield _access(call, call.operation, path, {"ssm:Recursive": str(recursive).lower()})
    below = path.rstrip("/") + "/"
    found = [
        _parameter(call, name)
        for name in list(_backend(call)._parameters)
        if name.startswith(below) and (recursive or "/" not in name.removeprefix(below))
    ]
    yield from _decrypted(call, found)


def _decrypted(call: Call, found: Iterable[Parameter | None]) -> Iterable[Access]:
    """Values are only decrypted when that is asked for, and without that nothing of KMS is needed."""
    for parameter in found if call.params.get("WithDecryption") else ():
        if parameter is not None and parameter.parameter_type == "SecureString":
            encryption = {"PARAMETER_ARN": _arn(call, parameter.name)}
            yield via_service(call, "Decrypt", parameter.keyid or _OWN_KEY, encryption)


def _put(call: Call) -> Iterable[Access]:
    """Standard parameters are encrypted by KMS itself, advanced ones with a data key."""
    params, name = call.params, _plain(call.params["Name"])
    tags = _tags_of(params.get("Tags"))
    overwrite = {"ssm:Overwrite": str(bool(params.get("Overwrite"))).lower()}
    yield _access(call, "PutParameter", name, overwrite, request_tags(tags))
    if tags:
        yield _access(call, "AddTagsToResource", name, request_tags(tags))
    before = _parameter(call, name)
    if (params.get("Type") or (before and before.parameter_type)) == "SecureString":
        standard = params.get("Tier", "Standard") == "Standard"
        key = params.get("KeyId") or (before and before.keyid) or _OWN_KEY
        operation = "Encrypt" if standard else "GenerateDataKey"
        yield via_service(call, operation, key, {"PARAMETER_ARN": _arn(call, name)})


def _change_one(call: Call) -> Iterable[Access]:
    yield _access(call, call.operation, _plain(call.params["Name"]))


def _delete_several(call: Call) -> Iterable[Access]:
    for name in call.params["Names"]:
        yield _access(call, call.operation, _plain(name))


def _tags(call: Call) -> Iterable[Access]:
    if call.params["ResourceType"] != "Parameter":
        raise UnknownAccessError(f"ssm:{call.operation} on a {call.params['ResourceType']}")
    named = call.params.get("TagKeys")
    given = {"aws:TagKeys": named} if named else request_tags(_tags_of(call.params.get("Tags")))
    yield _access(call, call.operation, _plain(call.params["ResourceId"]), given)


def _describe(call: Call) -> Iterable[Access]:
    yield Access("ssm:DescribeParameters", call.arn("*"))


def _access(call: Call, operation: str, name: str, *context: Mapping[str, Any]) -> Access:
    """A parameter's tags are in the context if it exists; to a name that does not, no condition on a tag applies."""
    held = _backend(call)._resource_tags.get("Parameter", {}).get(_backend(call)._parameters.normalize_name(name), {})
    return Access(f"ssm:{operation}", _arn(call, name), context_of(tags_under(_TAG_PREFIXES, held), *context))


def _arn(call: Call, name: str) -> str:
    return call.arn(f"parameter/{name.removeprefix('/')}")


def _plain(name: str) -> str:
    """The name out of an ARN, and without the version or label that may follow."""
    if name.startswith("arn:"):
        name = "/" + name.partition(":parameter/")[2]
    return _SELECTOR.sub("", name)


def _parameter(call: Call, name: str) -> Parameter | None:
    parameters = _backend(call)._parameters
    versions = parameters.get(parameters.normalize_name(name))
    return versions[-1] if versions else None


def _backend(call: Call) -> SimpleSystemManagerBackend:
    return ssm_backends[call.account][call.region]


def _tags_of(given: list[dict[str, str]] | None) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in given or []}


OPERATIONS = {
    "AddTagsToResource": _tags,
    "DeleteParameter": _change_one,
    "DeleteParameters": _delete_several,
    "DescribeParameters": _describe,
    "GetParameter": _read_one,
    "GetParameterHistory": _read_one,
    "GetParameters": _read_several,
    "GetParametersByPath": _read_path,
    "LabelParameterVersion": _change_one,
    "ListTagsForResource": _tags,
    "PutParameter": _put,
    "RemoveTagsFromResource": _tags,
}
