"""Temporary credentials: whose they are, and what AWS says about their holder in each request.

A role's session is in moto's STS. What AWS adds for the credentials that it hands to an instance or a function itself,
and that nobody else can add by assuming the role, is kept beside it.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from moto.core.utils import utcnow
from moto.ec2.models.instances import Instance
from moto.iam.models import Role, iam_backends
from moto.sts.models import AssumedRole, sts_backends

from infra.local.cloud.access.access import Context, UnknownAccessError, context_of, tags_under
from infra.local.cloud.access.policies import Policy
from infra.local.cloud.extension import ACCOUNT

PARTITION = "aws"
TEMPORARY = "ASIA"
"""How the ids of temporary access keys begin (IAM user guide, "Unique identifiers")."""


@dataclass(frozen=True)
class Principal:
    """A role's session. `arn` is how AWS names it in its answers."""

    arn: str
    role_arn: str
    context: Context
    token: str
    expires: datetime

    def expired(self, now: datetime) -> bool:
        return self.expires <= now

    def holds(self, token: str) -> bool:
        """Whether the session token of a request is the one that was given out with the key."""
        return hmac.compare_digest(self.token.encode(), token.encode())


def of_instance(instance: Instance, role_arn: str, lifetime_s: int) -> AssumedRole:
    """A session as the metadata service hands it out; IMDSv2 is told by the role delivery 2.0.

    The keys: EC2 user guide, "IAM roles for Amazon EC2"; IAM user guide, "AWS global condition context keys".
    """
    place = f"arn:{PARTITION}:ec2:{instance.region_name}:{instance.owner_id}"
    own = {
        "ec2:SourceInstanceARN": f"{place}:instance/{instance.id}",
        "ec2:RoleDelivery": "2.0",
        "aws:EC2InstanceSourceVPC": instance.vpc_id,
        "aws:EC2InstanceSourcePrivateIPv4": instance.private_ip_address,
    }
    return _begin(instance.owner_id, instance.region_name, role_arn, instance.id, lifetime_s, context_of(own))


def of_function(name: str, function_arn: str, role_arn: str, region: str, lifetime_s: int) -> AssumedRole:
    """A session as Lambda gives it to an environment (Lambda developer guide, "Working with source function ARN")."""
    own = context_of({"lambda:SourceFunctionArn": function_arn})
    return _begin(ACCOUNT, region, role_arn, name, lifetime_s, own)


def _begin(account: str, region: str, role_arn: str, name: str, lifetime_s: int, own: Context) -> AssumedRole:
    session = sts_backends[account][PARTITION].assume_role(
        region_name=region,
        role_session_name=name,
        role_arn=role_arn,
        policy="",
        duration=lifetime_s,
        external_id="",
    )
    session.context_of_service = own
    return session


def principal(access_key: str) -> Principal | None:
    """The session with this access key, or None if no such key was given out."""
    session = sts_backends[ACCOUNT][PARTITION].get_assumed_role_from_access_key(access_key)
    if session is None:
        return None
    if session.policy:
        raise UnknownAccessError(f"{session.arn} has a session policy, which the local AWS does not evaluate")
    role = _role(session.role_arn)
    identity = {
        "aws:PrincipalAccount": session.account_id,
        "aws:PrincipalArn": session.role_arn,
        "aws:PrincipalType": "AssumedRole",
        "aws:userid": f"{role.id}:{session.session_name}" if role else None,
    }
    tags = {tag["Key"]: tag["Value"] for tag in (role.tags or [])} if role else {}
    own: Context = getattr(session, "context_of_service", {})
    return Principal(
        arn=session.arn,
        role_arn=session.role_arn,
        context=context_of(identity, tags_under(["aws:PrincipalTag"], tags), own),
        token=session.session_token,
        expires=session.expiration,
    )


def utc_now() -> datetime:
    """Now, as moto writes the time at which a session ends: without a zone."""
    now: datetime = utcnow()
    return now


class RolePolicies:
    """What roles may do, parsed anew only when a role's documents are others than before."""

    def __init__(self) -> None:
        self._parsed: dict[str, tuple[Any, tuple[Policy, ...]]] = {}

    def of(self, role_arn: str) -> tuple[Policy, ...]:
        """Inline and attached policies; none for a role that does not exist. UnknownAccessError as `Policy.parse`."""
        role = _role(role_arn)
        if role is None:
            return ()
        if role.permissions_boundary_arn:
            raise UnknownAccessError(f"{role_arn} has a permissions boundary, which the local AWS does not evaluate")
        attached = [(policy.name, _default_version(policy)) for policy in list(role.managed_policies.values())]
        documents = (*role.policies.items(), *attached)
        before, parsed = self._parsed.get(role_arn, (None, ()))
        if before != documents:
            parsed = tuple(Policy.parse(name, document) for name, document in documents)
            self._parsed[role_arn] = (documents, parsed)
        return parsed


def _role(arn: str) -> Role | None:
    backend = iam_backends[ACCOUNT][PARTITION]
    # By its name at first: a role's ARN is put together each time that it is asked for.
    name = arn.rpartition("/")[2]
    return next((role for role in list(backend.roles.values()) if role.name == name and role.arn == arn), None)


def _default_version(policy: Any) -> str:
    return next(str(v.document) for v in policy.versions if v.version_id == policy.default_version_id)
