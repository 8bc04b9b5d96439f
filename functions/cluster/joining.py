"""What binds a machine to the one token and the one Node name that it may join with, and what was approved on it.

Two items, so that each has one writer: the minter writes the record, the approver its approval, and neither can touch
the other's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from functions.cluster.machine import InstanceId, Role

TOKEN_ID = re.compile(r"[a-z0-9]{6}")
BOOTSTRAP_USER_PREFIX = "system:bootstrap:"
NODE_USER_PREFIX = "system:node:"
NODES_GROUP = "system:nodes"
BOOTSTRAPPERS_GROUP = "system:bootstrappers"
AUTHENTICATED_GROUP = "system:authenticated"
TOKEN_GROUPS = {  # never kubeadm's own: it is approved unseen
    Role.WORKER: "system:bootstrappers:regrow:worker",
    Role.CONTROL_PLANE: "system:bootstrappers:regrow:control-plane",
}
CLIENT_SIGNER = "kubernetes.io/kube-apiserver-client-kubelet"
SERVING_SIGNER = "kubernetes.io/kubelet-serving"


class JoinState(Enum):
    """How far the minter has come."""

    MINTING = "minting"  # written down; whether the token and the bundle are there, nobody knows
    ISSUED = "issued"  # the machine can fetch its bundle
    ENDED = "ended"  # token and bundle are gone: it has joined, or never will


@dataclass(frozen=True)
class JoinRecord:
    """One launch of one instance, and what it may join as. Times are UTC.

    `launched_at` is EC2's LaunchTime: an instance that was stopped and started is another launch. `busy_until` is
    how long a minter that has not come to ISSUED may still be at work.
    """

    instance: InstanceId
    launched_at: datetime
    group: str
    role: Role
    node_name: str
    zone: str
    image: str
    token_id: str
    state: JoinState
    issued_at: datetime
    expires_at: datetime
    busy_until: datetime
    secret_uid: str | None = None
    ended_because: str | None = None
    keep_until: datetime | None = None  # set when its machine is gone for good; the table then forgets it by itself
    profile: str = ""  # of its instance; these three are empty where EC2 did not say them
    vpc: str = ""
    subnet: str = ""

    @property
    def launch(self) -> str:
        return launch_key(self.instance, self.launched_at)

    @property
    def open(self) -> bool:
        return self.state is not JoinState.ENDED


@dataclass(frozen=True)
class Admission:
    """The remediator's word that etcd is ready for one more member, and whose machine that is. Times are UTC.

    Only it can see etcd. It names another machine no sooner than `until`, or than the record of this one has ended.
    """

    instance: InstanceId
    until: datetime
    written_at: datetime


@dataclass(frozen=True)
class Approval:
    """What the approver wrote down about one launch: which requests it let through, or the proof that it must not.

    A request is known by its uid and by the SHA-256 of its public key (SubjectPublicKeyInfo, DER), in hex. A machine
    whose request was lost comes with another key; those let through before are the earlier ones. `denied` is the proof
    that the machine asked for what it must not have, or has what nobody approved.

    `certificates` are the client certificates that were issued to it and read back, each as the SHA-256 of its DER in
    hex, the latest last; the latest one is good from `certified_at` to `certified_until`.
    """

    instance: InstanceId
    launched_at: datetime
    client_uid: str | None = None
    client_key_sha256: str | None = None
    client_at: datetime | None = None
    serving_uid: str | None = None
    serving_key_sha256: str | None = None
    serving_at: datetime | None = None
    denied: str | None = None
    earlier_client_keys: tuple[str, ...] = ()
    certificates: tuple[str, ...] = ()
    certified_at: datetime | None = None
    certified_until: datetime | None = None

    @property
    def client_keys(self) -> tuple[str, ...]:
        """All keys that client requests were let through with, the latest last."""
        return (*self.earlier_client_keys, *((self.client_key_sha256,) if self.client_key_sha256 else ()))

    @property
    def launch(self) -> str:
        return launch_key(self.instance, self.launched_at)


def launch_key(instance: InstanceId, launched_at: datetime) -> str:
    """Return the table's key for one launch of an instance; a later launch of the same one sorts after it."""
    return f"{instance}#{launched_at:%Y-%m-%dT%H:%M:%SZ}"
