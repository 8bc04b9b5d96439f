"""Whether a pending request of a machine for a certificate is approved. Everything read is an argument, and the time.

Approved is what is proven: by the minter's record of the machine's launch, by EC2 and Auto Scaling as they answer now,
and by every byte of the request. Denied is what is proven wrong, since Kubernetes lets nobody take it back and a
kubelet then waits for minutes. All else is held: the request stays pending, and the next call looks again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from ipaddress import ip_address

from functions.cluster.facts import Absent, Unknown
from functions.cluster.joining import (
    AUTHENTICATED_GROUP,
    BOOTSTRAPPERS_GROUP,
    NODES_GROUP,
    TOKEN_GROUPS,
    Approval,
    JoinRecord,
    JoinState,
)
from functions.cluster.machine import Group, Instance, InstanceId, InstanceState, Member, Node, instance_of_provider_id
from functions.join.certificate_request import CertificateRequest
from functions.join.issued import LONGEST_LIFE
from functions.join.names import is_nodes_own, main_names_of, names_of, private_names_to_come, readable
from functions.join.pkcs10 import Asked

CLOCK_SKEW = timedelta(seconds=30)  # between the minter and the API server, which dates the request
MOST_KEYS = 3  # a kubelet makes a new key for each attempt; the minter's token lasts for no more attempts than that
_ALIVE = frozenset({InstanceState.PENDING, InstanceState.RUNNING})
CREDENTIAL_ID = "authentication.kubernetes.io/credential-id"  # of which certificate a user came with
_OF_A_CERTIFICATE = "X509SHA256="
_SAYS_CREDENTIAL = (1, 32)  # the first minor version of the API server that does so
_RENEWS_AFTER = (
    2 / 3
)  # of a certificate's life; a kubelet renews after 70 to 90 per cent (client-go, certificate manager)
_VERSION = re.compile(r"v(?P<major>[0-9]+)\.(?P<minor>[0-9]+)\.")
_CLIENT_USAGES = frozenset({"digital signature", "client auth"})
_SERVING_USAGES = frozenset({"digital signature", "server auth"})
_USAGE_OF_RSA = "key encipherment"


@dataclass(frozen=True)
class Approve:
    """`approval` is to be written down first."""

    reason: str
    approval: Approval


@dataclass(frozen=True)
class Deny:
    """`conviction`, when the machine itself is to be given up for this, is to be written down first."""

    reason: str
    conviction: Approval | None = None


@dataclass(frozen=True)
class Hold:
    """It cannot be known or done now."""

    reason: str


@dataclass(frozen=True)
class Ignore:
    """It is not for us to decide."""

    reason: str


@dataclass(frozen=True)
class Incident:
    """A certificate is out that nobody approved; `conviction` is to be written down."""

    reason: str
    conviction: Approval


Verdict = Approve | Deny | Hold | Ignore | Incident


@dataclass(frozen=True)
class Standing:
    """Why a machine may ask to serve: we let it in with these client certificates, the latest good for that time.

    None of them where others let it in: it founded the cluster, or was there before us.
    """

    certificates: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True)
class Seen:
    """A machine as EC2 and Auto Scaling show it now. `place` is Absent when no managed group lists it."""

    instance: Instance | Absent | Unknown
    place: tuple[Group, Member] | Absent | Unknown


def objection_to_client(
    request: CertificateRequest, record: JoinRecord, approval: Approval, now: datetime
) -> Deny | Hold | None:
    """Say what speaks against a first client certificate before anybody is asked about the machine."""
    token_group = TOKEN_GROUPS.get(record.role)
    if approval.denied:
        return Deny(f"this launch of the machine may not join any more: {approval.denied}")
    if record.state is JoinState.MINTING:
        return Hold("its token is being minted")
    if record.state is not JoinState.ISSUED:
        return Deny(f"its token is revoked: {record.ended_because or 'its joining has ended'}")
    if now >= record.expires_at:
        return Deny(f"its token has expired at {record.expires_at:%H:%M:%SZ}")
    if not record.issued_at - CLOCK_SKEW <= request.created_at <= record.expires_at:
        return Deny(f"it was made at {request.created_at:%Y-%m-%d %H:%M:%SZ}, when its token was not valid")
    if token_group is None or not _is_of(request, BOOTSTRAPPERS_GROUP, token_group, AUTHENTICATED_GROUP):
        return Deny(f"its user is in groups {', '.join(request.groups)}, which are not those of our tokens")
    if request.extra:
        return Deny(f"its user has extra fields, which our tokens have not: {', '.join(request.extra)}")
    return _objection_to_use(request, _CLIENT_USAGES)


def objection_to_serving(request: CertificateRequest, approval: Approval) -> Deny | None:
    """As `objection_to_client`, for a serving certificate."""
    if approval.denied:
        return Deny(f"this launch of the machine may not join any more: {approval.denied}")
    if not _is_of(request, NODES_GROUP, AUTHENTICATED_GROUP):
        return Deny(f"its user is in groups {', '.join(request.groups)}, which are not those of a node")
    if strange := set(request.extra) - {CREDENTIAL_ID}:
        return Deny(f"its user has extra fields, which no node has: {', '.join(sorted(strange))}")
    return _objection_to_use(request, _SERVING_USAGES)


def decide_client(
    request: CertificateRequest,
    asked: Asked,
    record: JoinRecord,
    approval: Approval,
    launch_of_key: str | None,
    seen: Seen,
    node: Node | Absent | Unknown,
    now: datetime,
) -> Verdict:
    """Decide a request that nothing by itself speaks against, for a machine's first client certificate.

    `launch_of_key` is the launch that its key was let through for before.
    """
    objection = (
        _objection_to_instance(seen.instance, record, approval)
        or _objection_to_place(seen.place, record, approval)
        or _objection_to_node(node, record)
        or _objection_to_key(asked.key_sha256, approval, launch_of_key, has_node=isinstance(node, Node))
    )
    if objection:
        return objection
    reason = f"{record.instance} in group {record.group}, launched at {_time(record.launched_at)}"
    if (approval.client_uid, approval.client_key_sha256) == (request.uid, asked.key_sha256):
        return Approve(reason, approval)
    allowed = replace(
        approval,
        client_uid=request.uid,
        client_key_sha256=asked.key_sha256,
        client_at=now,
        earlier_client_keys=tuple(key for key in approval.client_keys if key != asked.key_sha256),
    )
    return Approve(reason, allowed)


def decide_serving(
    request: CertificateRequest,
    asked: Asked,
    machine: InstanceId,
    node_name: str,
    approval: Approval,
    seen: Seen,
    *,
    standing: Standing | Unknown | None,
    version: str | Unknown | None,
    now: datetime,
) -> Verdict:
    """As `decide_client`, for a serving certificate. `approval` is that of the machine's present launch; `standing` is
    None for a machine that nobody let in. `version` is the API server's, read when the request says not by which
    certificate it came.
    """
    match seen:
        case Seen(instance=Unknown(reason)) | Seen(place=Unknown(reason)):
            return Hold(reason)
        case Seen(instance=Instance(state=state)) if state not in _ALIVE:
            return Deny(f"its machine is {state.value}")
        case Seen(instance=Instance() as instance, place=(group, _)):
            """Running, and one of ours."""
        case Seen(instance=Instance()):
            return Hold("no group of the cluster lists the machine")
        case _:
            return Hold("EC2 does not know the machine")
    if isinstance(standing, Unknown):
        return Hold(standing.reason)
    if standing is None:
        return Hold("the machine was not let in by us, and nobody has written it down as one that was there before")
    if objection := (
        _objection_to_credential(request, standing, version, now) or _objection_to_names(asked, instance, node_name)
    ):
        return objection
    reason = f"{machine} in group {group.name}, launched at {_time(instance.launched_at)}"
    if (approval.serving_uid, approval.serving_key_sha256) == (request.uid, asked.key_sha256):
        return Approve(reason, approval)
    allowed = replace(approval, serving_uid=request.uid, serving_key_sha256=asked.key_sha256, serving_at=now)
    return Approve(reason, allowed)


def credential_of(request: CertificateRequest) -> str | None:
    """Return the SHA-256 of the certificate that its user came with, None where the API server does not say."""
    said = request.extra.get(CREDENTIAL_ID, ())
    return said[0].removeprefix(_OF_A_CERTIFICATE) if len(said) == 1 and said[0].startswith(_OF_A_CERTIFICATE) else None


def agrees(node: Node | Absent, instance: Instance) -> bool:
    """Whether a Node is this instance's: it says so, and all addresses that it names are those that EC2 says."""
    if isinstance(node, Absent) or instance_of_provider_id(node.provider_id) != instance.id:
        return False
    own = {instance.address, instance.public_address, *instance.private_addresses, *instance.ipv6_addresses}
    named = {address for address in node.addresses if _is_address(address)}
    return bool(named) and {ip_address(one) for one in named} <= {ip_address(one) for one in own if one}


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _objection_to_credential(
    request: CertificateRequest, standing: Standing, version: str | Unknown | None, now: datetime
) -> Deny | Hold | None:
    """The request must have come with a client certificate that we know: it binds the second one to the first."""
    if not standing.certificates:
        return None  # others let it in, so there is none to compare with
    credential = credential_of(request)
    if credential in standing.certificates:
        return None
    if credential is None and CREDENTIAL_ID in request.extra:
        return Hold(f"it came with {', '.join(request.extra[CREDENTIAL_ID])[:80]!r}, which is no one certificate")
    if credential is None:
        return _objection_to_silence(version)
    since, until = standing.since, standing.until
    if since and until and now < since + _RENEWS_AFTER * (until - since):
        return Deny(f"it came with the certificate {credential[:12]}, which was not issued to the machine")
    return Hold(f"it came with the certificate {credential[:12]}, and the renewal of its own was not seen")


def _objection_to_silence(version: str | Unknown | None) -> Hold | None:
    if version is None or isinstance(version, Unknown):
        return Hold(version.reason if version else "the API server was not asked for its version")
    found = _VERSION.match(version)
    if found and (int(found["major"]), int(found["minor"])) < _SAYS_CREDENTIAL:
        return None
    return Hold(f"the API server ({version}) does not say which certificate it came with")


def _convict(reason: str, approval: Approval) -> Deny:
    return Deny(reason, replace(approval, denied=reason))


def convict_if(convicts: bool, reason: str, approval: Approval) -> Deny:
    """Deny, and give the machine up when it asked for what is another one's."""
    return _convict(reason, approval) if convicts else Deny(reason)


def _is_of(request: CertificateRequest, *groups: str) -> bool:
    return sorted(request.groups) == sorted(groups) and not request.user_uid


def _objection_to_use(request: CertificateRequest, usages: frozenset[str]) -> Deny | None:
    if set(request.usages) - {_USAGE_OF_RSA} != usages or len(set(request.usages)) != len(request.usages):
        return Deny(f"it is for {', '.join(request.usages)}")
    if request.expiration_s is not None and request.expiration_s > LONGEST_LIFE.total_seconds():
        return Deny(f"it is to last for {request.expiration_s} s")
    return None


def _objection_to_instance(
    instance: Instance | Absent | Unknown, record: JoinRecord, approval: Approval
) -> Deny | Hold | None:
    if isinstance(instance, Unknown):
        return Hold(instance.reason)
    if isinstance(instance, Absent):
        return Hold("EC2 does not know the machine")
    if instance.launched_at != record.launched_at:
        return Deny(f"its token was for the launch at {_time(record.launched_at)}, and the machine has started again")
    if instance.state not in _ALIVE:
        return _convict(f"its machine is {instance.state.value}", approval)
    if instance.group is None:
        return Hold("EC2 does not say yet which group the machine is of")
    for what, is_now, was in (
        ("group", instance.group, record.group),
        ("image", instance.image, record.image),
        ("zone", instance.zone, record.zone),
        ("instance profile", instance.profile, record.profile),
        ("VPC", instance.vpc, record.vpc),
        ("subnet", instance.subnet, record.subnet),
    ):
        if was and not is_now:
            return Hold(f"EC2 does not say the {what} of the machine")
        if was and is_now != was:
            return _convict(f"the {what} of its machine is {is_now}, and was {was} when its token was made", approval)
    return None


def _objection_to_place(
    place: tuple[Group, Member] | Absent | Unknown, record: JoinRecord, approval: Approval
) -> Deny | Hold | None:
    match place:
        case Unknown(reason):
            return Hold(reason)
        case Absent():
            return Hold("no group of the cluster lists the machine")
        case group, member:
            if group.name != record.group:
                return _convict(f"its machine is in group {group.name}, not {record.group}", approval)
            if group.role is not record.role:
                return Hold(f"group {group.name} is not tagged for a {record.role.value} any more")
            if not (member.pending or member.in_service):
                return _convict(f"Auto Scaling says its machine is {member.lifecycle_state}", approval)
    return None


def _objection_to_key(key: str, approval: Approval, launch_of_key: str | None, *, has_node: bool) -> Deny | None:
    if launch_of_key not in (None, approval.launch):
        return Deny("another machine was let in with its key")
    if key in approval.client_keys:
        return None  # the same attempt, asked again
    if approval.client_keys and has_node:
        return Deny("it comes with a new key, and its machine is a Node of the cluster already")
    if len(approval.client_keys) >= MOST_KEYS:
        return _convict(f"{MOST_KEYS} keys were let through for this launch already", approval)
    return None


def _objection_to_node(node: Node | Absent | Unknown, record: JoinRecord) -> Deny | Hold | None:
    if isinstance(node, Unknown):
        return Hold(node.reason)
    if isinstance(node, Absent):
        return None
    if node.ready:
        return Deny(f"Node {node.name} is Ready: its machine has a certificate")
    if node.provider_id and instance_of_provider_id(node.provider_id) != record.instance:
        return Deny(f"Node {node.name} says that it is {node.provider_id}")
    return None


def _objection_to_names(asked: Asked, instance: Instance, node_name: str) -> Deny | Hold | None:
    if instance.address is None and not instance.ipv6_addresses:
        return Hold("EC2 does not say the address of the machine")
    if node_name != instance.id and not is_nodes_own(node_name):
        return Deny(f"{node_name} is not a name for a machine")
    strange = set(asked.names) - names_of(instance, node_name)
    if strange and strange <= private_names_to_come(instance):
        return Hold("EC2 does not say the private DNS name of the machine yet")
    if strange:
        return Deny(f"EC2 does not say that {readable(min(strange))} is the machine's")
    if not main_names_of(instance, node_name) & set(asked.names):
        return Deny("it asks for neither the machine's name nor its primary address")
    return None


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"
