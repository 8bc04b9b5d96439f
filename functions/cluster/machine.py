"""A machine: an EC2 instance together with its Node, and what hangs on them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import NewType

InstanceId = NewType("InstanceId", str)
_INSTANCE_ID = re.compile(r"i-[0-9a-f]{8}(?:[0-9a-f]{9})?")
_PROVIDER_ID = re.compile(r"aws:///(?P<zone>[a-z0-9-]+)/(?P<instance>i-[0-9a-f]{8}(?:[0-9a-f]{9})?)")

CLUSTER_TAG = "regrow:cluster"
ROLE_TAG = "regrow:role"
GROUP_TAG = "aws:autoscaling:groupName"  # set by Auto Scaling itself, stays on a terminated instance

OUT_OF_SERVICE_TAINT = "node.kubernetes.io/out-of-service"
CONTROL_PLANE_LABEL = "node-role.kubernetes.io/control-plane"
CORDONED_ANNOTATION = "regrow.dev/cordoned-at"


def instance_id(text: object) -> InstanceId | None:
    """Return the text as an instance id, or None when it is not one, whole and exact."""
    if isinstance(text, str) and _INSTANCE_ID.fullmatch(text):
        return InstanceId(text)
    return None


def instance_of_provider_id(provider_id: str) -> InstanceId | None:
    """Return the instance that a Node's providerID names (`aws:///ZONE/ID`), None when it names none."""
    match = _PROVIDER_ID.fullmatch(provider_id)
    return InstanceId(match["instance"]) if match else None


class Role(Enum):
    """What a managed machine is for."""

    WORKER = "worker"
    CONTROL_PLANE = "control-plane"


class InstanceState(Enum):
    """EC2's instance states (EC2 API reference, InstanceState)."""

    PENDING = "pending"
    RUNNING = "running"
    SHUTTING_DOWN = "shutting-down"
    TERMINATED = "terminated"
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Instance:
    """An EC2 instance as one DescribeInstances answer showed it."""

    id: InstanceId
    state: InstanceState
    address: str | None  # a terminated instance has lost its private address
    launched_at: datetime
    tags: dict[str, str]

    @property
    def cluster(self) -> str | None:
        return self.tags.get(CLUSTER_TAG)

    @property
    def group(self) -> str | None:
        return self.tags.get(GROUP_TAG)

    @property
    def role(self) -> Role | None:
        return role_of(self.tags)


def role_of(tags: dict[str, str]) -> Role | None:
    """Return the role that tags name; None when they name none, or one we do not know."""
    try:
        return Role(tags.get(ROLE_TAG))
    except ValueError:
        return None


@dataclass(frozen=True)
class Member:
    """An instance as its Auto Scaling group lists it."""

    id: InstanceId
    lifecycle_state: str  # e.g. InService, Terminating:Wait (Auto Scaling user guide, instance lifecycle)
    health: str  # Healthy or Unhealthy, in Auto Scaling's opinion

    @property
    def in_service(self) -> bool:
        return self.lifecycle_state == "InService"

    @property
    def terminating(self) -> bool:
        return self.lifecycle_state.startswith("Terminating")


@dataclass(frozen=True)
class Group:
    """An Auto Scaling group of the cluster, found by its tags."""

    name: str
    cluster: str
    role: Role | None
    desired: int
    members: tuple[Member, ...]
    target_groups: tuple[str, ...]

    def member(self, instance: InstanceId) -> Member | None:
        return next((member for member in self.members if member.id == instance), None)


@dataclass(frozen=True)
class Taint:
    """A taint of a Node, whole: the API server knows no way to change one taint and leave the others."""

    key: str
    effect: str
    value: str | None = None
    time_added: str | None = None


@dataclass(frozen=True)
class Node:
    """A Node as the API server showed it."""

    name: str
    uid: str
    resource_version: str
    provider_id: str
    addresses: tuple[str, ...]
    ready: bool
    unschedulable: bool
    taints: tuple[Taint, ...]
    labels: dict[str, str]
    annotations: dict[str, str]

    @property
    def control_plane(self) -> bool:
        return CONTROL_PLANE_LABEL in self.labels

    @property
    def out_of_service(self) -> bool:
        return any(taint.key == OUT_OF_SERVICE_TAINT for taint in self.taints)


@dataclass(frozen=True)
class Pod:
    """A pod bound to the machine's Node; `finished` when its phase is Succeeded or Failed."""

    namespace: str
    name: str
    uid: str
    finished: bool

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"
