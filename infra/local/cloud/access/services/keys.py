"""KMS: keys used directly, and by Parameter Store in the name of who reads or writes a SecureString."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from moto.kms.models import kms_backends

from infra.local.cloud.access.access import Access, UnknownAccessError, context_of
from infra.local.cloud.access.calls import Call


def _direct(call: Call) -> Iterable[Access]:
    if "KeyId" not in call.params:
        raise UnknownAccessError(f"kms:{call.operation} without a KeyId")
    encryption: Mapping[str, str] = call.params.get("EncryptionContext", {})
    yield Access(
        f"kms:{call.operation}",
        key_arn(call, call.params["KeyId"]),
        context_of({"kms:CallerAccount": call.account}, _encryption_keys(encryption)),
    )


def via_service(call: Call, operation: str, key_id: str, encryption: Mapping[str, str]) -> Access:
    """What another service does with a key on behalf of its caller.

    Asked of the caller's own policies for every key. The policy of the key alias/aws/ssm would by itself let through
    whoever may use Parameter Store; a key of the customer's, which any parameter may be moved to, does not.
    """
    service = {"kms:ViaService": f"{call.service}.{call.region}.amazonaws.com", "kms:CallerAccount": call.account}
    return Access(f"kms:{operation}", key_arn(call, key_id), context_of(service, _encryption_keys(encryption)))


def key_arn(call: Call, key_id: str) -> str:
    """The ARN of a key by its id, its ARN or its alias; AWS's own keys come to be when they are first used."""
    found = kms_backends[call.account][call.region].any_id_to_key_id(key_id)
    return f"arn:aws:kms:{call.region}:{call.account}:key/{found}"


def _encryption_keys(encryption: Mapping[str, str]) -> dict[str, str | list[str]]:
    named = {f"kms:EncryptionContext:{name}": value for name, value in encryption.items()}
    return {**named, **({"kms:EncryptionContextKeys": list(encryption)} if encryption else {})}


OPERATIONS = dict.fromkeys(("Decrypt", "Encrypt", "GenerateDataKey", "DescribeKey"), _direct)
