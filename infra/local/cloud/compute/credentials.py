"""The credentials that an instance gets from its profile's role, known to moto as those of that role."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from moto.core.utils import utcnow
from moto.iam.models import iam_backends
from moto.sts.models import AssumedRole

from infra.local.cloud.access import sessions
from infra.local.cloud.compute.instances import MachineInstance

LIFETIME_S = 6 * 3600
RENEW_BEFORE_S = 15 * 60
"""AWS has new ones ready at least five minutes before the old expire; the SDKs ask fifteen minutes before."""


@dataclass(frozen=True)
class Profile:
    """An instance profile and the name of its role; a profile without a role gives no credentials."""

    arn: str
    profile_id: str
    role_name: str | None
    role_arn: str | None


class Credentials:
    """One set for each instance at a time, renewed before it expires."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._given: dict[tuple[str, str], AssumedRole] = {}

    def profile(self, instance: MachineInstance) -> Profile | None:
        """The profile that the instance was launched with, if any."""
        if not instance.iam_instance_profile:
            return None
        arn = instance.iam_instance_profile["Arn"]
        backend = iam_backends[instance.owner_id]["aws"]
        profile = next((each for each in list(backend.instance_profiles.values()) if each.arn == arn), None)
        if profile is None:
            return None
        role = profile.roles[0] if profile.roles else None
        return Profile(arn, profile.id, role.name if role else None, role.arn if role else None)

    def of(self, instance: MachineInstance, role_name: str) -> dict[str, Any] | None:
        """What the metadata service answers for this role; None when it is not the instance's."""
        profile = self.profile(instance)
        if profile is None or profile.role_arn is None or profile.role_name != role_name:
            return None
        with self._lock:
            key = (instance.id, profile.role_arn)
            role = self._given.get(key)
            if role is None or role.expiration - utcnow() < timedelta(seconds=RENEW_BEFORE_S):
                role = sessions.of_instance(instance, profile.role_arn, LIFETIME_S)
                self._given[key] = role
        issued = role.expiration - timedelta(seconds=LIFETIME_S)
        return {
            "Code": "Success",
            "LastUpdated": issued.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "Type": "AWS-HMAC",
            "AccessKeyId": role.access_key_id,
            "SecretAccessKey": role.secret_access_key,
            "Token": role.session_token,
            "Expiration": role.expiration.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
