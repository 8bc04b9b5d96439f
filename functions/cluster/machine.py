"""A machine: an EC2 instance together with its Node, and what hangs on them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import NewType

from functions.cluster.notice import Notice

InstanceId = NewType("InstanceId", str)
_INSTANCE_ID = re.compile(r"i-[0-9a-f]{8}(?:[0-9a-f]{9})?")
_PROVIDER_ID = re.compile(r"aws:///(?P<zone>[a-z0-9-]+)/(?P<instance>i-[0-9a-f]{8}(?:[0-9a-f]{9})?)")

CLUSTER_TAG = "regrow:cluster"
ROLE_TAG = "regrow:role"
GROUP_TAG = "aws:autoscaling:groupName"  # set by Auto Scaling itself, stays on a terminated instance

OUT_OF_SERVICE_TAINT = "node.kubernetes.io/out-of-service"
UNINITIALIZED_TAINT = "node.cloudprovider.kubernetes.io/uninitialized"
CONTROL_PLANE_LABEL = "node-role.kubernetes.io/control-plane"
EXCLUDED_LABEL = "node.kubernetes.io/exclude-from-external-load-balancers"
CORDONED_ANNOTATION = "regrow.dev/cordoned-at"
DRAINING_ANNOTATION = "regrow.dev/draining-since"
EXCLUDED_ANNOTATION = "regrow.dev/excluded-at"
FENCED_ANNOTATION = "regrow.dev/fenced-at"
NOTICE_ANNOTATION = "regrow.dev/notice"
REGISTER_PROCESS = "AddToLoadBalancer"
LAUNCH_PROCESS = "Launch"  # of Auto Scaling (user guide, suspend and resume processes)
HOOK_PREFIX = "regrow-"  # of the lifecycle hooks that are ours to complete; a group may have others for others
SUSPENDED_UNTIL_TAG = "regrow:launch-suspended-until"
SUSPENDED_BECAUSE_TAG = "regrow:launch-suspended-because"
API_TARGET_GROUP_TAG = "regrow:api-target-group"  # of a group of control planes: the ARN
PAUSE_TAG = "regrow:pause-until"  # of a group or an instance, by a person
PAUSE_ANNOTATION = "regrow.dev/pause-until"  # of a Node, by whoever may write on it
VERSION_TAG = "regrow:kubernetes-version"  # of an image: the version of its kubeadm and kubelet, such as v1.36.3


MARKS = frozenset({
    CORDONED_ANNOTATION, DRAINING_ANNOTATION, EXCLUDED_ANNOTATION, FENCED_ANNOTATION, NOTICE_ANNOTATION,
})  # fmt: skip


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


class Transition(Enum):
    """What a lifecycle hook holds up."""

    LAUNCHING = "autoscaling:EC2_INSTANCE_LAUNCHING"
    TERMINATING = "autoscaling:EC2_INSTANCE_TERMINATING"


@dataclass(frozen=True)
class Instance:
    """An EC2 instance as one DescribeInstances answer showed it."""

    id: InstanceId
    state: InstanceState
    address: str | None  # a terminated instance has lost its private address
    launched_at: datetime
    tags: dict[str, str]
    spot: bool = False
    zone: str = ""
    image: str = ""
    private_addresses: tuple[str, ...] = ()  # IPv4 of all its network interfaces, primary and secondary
    ipv6_addresses: tuple[str, ...] = ()  # the first one of each interface
    public_address: str | None = None
    private_dns_name: str | None = None  # EC2 may name it only some time after the launch
    public_dns_name: str | None = None
    profile: str = ""  # ARN of its instance profile
    vpc: str = ""
    subnet: str = ""
    metadata_tokens: str = "required"  # EC2's word: required when version 1 of its metadata service is off
    metadata_hops: int = 1  # how far an answer of its metadata service travels: a pod is one hop further away

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


WAITING = {
    Transition.LAUNCHING: frozenset({"Pending:Wait", "Warmed:Pending:Wait"}),
    Transition.TERMINATING: frozenset({"Terminating:Wait", "Warmed:Terminating:Wait"}),
}


@dataclass(frozen=True)
class Member:
    """An instance as its Auto Scaling group lists it."""

    id: InstanceId
    lifecycle_state: str  # e.g. InService, Terminating:Wait (Auto Scaling user guide, instance lifecycle)
    health: str  # Healthy or Unhealthy, in Auto Scaling's opinion
    protected: bool = False  # from scale-in

    @property
    def in_service(self) -> bool:
        return self.lifecycle_state == "InService"

    def waits(self, transition: Transition) -> bool:
        """Whether a hook of this transition holds it."""
        return self.lifecycle_state in WAITING[transition]

    @property
    def held(self) -> bool:
        """Whether a hook of any transition holds it."""
        return any(self.waits(transition) for transition in Transition)

    @property
    def pending(self) -> bool:
        """On its way into service; an instance that goes to a warm pool (`Warmed:…`) is not."""
        return self.lifecycle_state == "Pending" or self.lifecycle_state.startswith("Pending:")

    @property
    def terminating(self) -> bool:
        return self.lifecycle_state.startswith("Terminating")

    @property
    def warmed(self) -> bool:
        """In the group's warm pool, or on its way into it or out of the account from there."""
        return self.lifecycle_state.startswith("Warmed:")

    @property
    def parked(self) -> bool:
        """Out of service because somebody wants it so, not because anything is wrong with it."""
        return self.warmed or self.lifecycle_state in ("EnteringStandby", "Standby", "Detaching", "Detached")


@dataclass(frozen=True)
class Group:
    """An Auto Scaling group of the cluster, found by its tags."""

    name: str
    cluster: str
    role: Role | None
    desired: int
    members: tuple[Member, ...]
    target_groups: tuple[str, ...]
    classic_load_balancers: tuple[str, ...] = ()  # by name
    suspended: frozenset[str] = frozenset()  # names of Auto Scaling processes, such as Launch
    launch_suspended_until: datetime | None = None  # by us; from our tag on the group
    pause_until: str | None = None  # a person's tag, as it stands: see `optout`
    api_target_group: str | None = None  # ARN; of control planes, which Regrow registers and Auto Scaling does not
    tags: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def load_balancers(self) -> tuple[str, ...]:
        """Every one that its machines are targets of, as in `Target.of`."""
        ours = (self.api_target_group,) if self.api_target_group and not self.attached else ()
        return (*ours, *self.target_groups, *self.classic_load_balancers)

    @property
    def attached(self) -> bool:
        """Whether Auto Scaling registers its machines with the API's load balancer by itself."""
        return self.api_target_group in self.target_groups

    def member(self, instance: InstanceId) -> Member | None:
        return next((member for member in self.members if member.id == instance), None)


@dataclass(frozen=True)
class Target:
    """A machine's place with a load balancer: the ARN of a target group, or the name of a classic load balancer."""

    of: str
    draining: bool = False  # gets no new requests; those it has are let end


@dataclass(frozen=True)
class Taint:
    """A taint of a Node, whole: the API server knows no way to change one taint and leave the others."""

    key: str
    effect: str
    value: str | None = None
    time_added: str | None = None


@dataclass(frozen=True)
class Condition:
    """One condition of a Node: its state in words, since when, and when it was last said."""

    type: str
    status: str  # True, False or Unknown
    reason: str = ""
    message: str = ""
    since: datetime | None = None
    said_at: datetime | None = None


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
    created_at: datetime | None = None
    conditions: tuple[Condition, ...] = ()

    @property
    def reported_at(self) -> datetime | None:
        """When its kubelet last wrote how it is."""
        return next((one.said_at for one in self.conditions if one.type == "Ready"), None)

    @property
    def control_plane(self) -> bool:
        return CONTROL_PLANE_LABEL in self.labels

    @property
    def initialised(self) -> bool:
        """Whether no cloud provider has yet to complete it (Kubernetes, well-known taints)."""
        return all(taint.key != UNINITIALIZED_TAINT for taint in self.taints)

    @property
    def out_of_service(self) -> bool:
        return any(taint.key == OUT_OF_SERVICE_TAINT for taint in self.taints)

    @property
    def instance(self) -> InstanceId | None:
        """Which instance's Node it is: by its name, or, when that is none's, by what the kubelet said at joining.

        The name comes first since it is in the certificate that was approved for it; a machine may say any providerID.
        """
        return instance_id(self.name) or instance_of_provider_id(self.provider_id)

    def draining_since(self, at: datetime) -> datetime | None:
        """Return when its drain began; a mark that cannot be read, or is of a time to come, is none."""
        return self._moment(DRAINING_ANNOTATION, at)

    def closed_since(self, at: datetime) -> datetime | None:
        """Return since when a drain has kept new pods away: its begin, or our last cordon, if somebody took one off."""
        moments = (self._moment(mark, at) for mark in (DRAINING_ANNOTATION, CORDONED_ANNOTATION))
        return max((moment for moment in moments if moment), default=None)

    def _moment(self, mark: str, at: datetime) -> datetime | None:
        try:
            moment = datetime.fromisoformat(self.annotations[mark])
            return moment if moment <= at + timedelta(minutes=1) else None
        except (KeyError, ValueError, TypeError):
            return None

    @property
    def notice(self) -> Notice | None:
        """What AWS had announced when a pass marked it."""
        return Notice.from_json(self.annotations.get(NOTICE_ANNOTATION, ""))

    def heeds(self, notice: Notice | None, *, drains: bool, at: datetime) -> bool:
        """Whether it is marked as such a notice, or a drain, calls for; and cordoned, when it is to be drained.

        Advice is followed once: who has uncordoned the Node since then knows better.
        """
        if notice and self.notice != notice:
            return False
        return not drains or (self.unschedulable and self.draining_since(at) is not None)

    @property
    def marked(self) -> bool:
        """Whether something is on it that a pass has put there while its machine was dead or leaving."""
        return not MARKS.isdisjoint(self.annotations)


@dataclass(frozen=True)
class Pod:
    """A pod bound to the machine's Node; `finished` when its phase is Succeeded or Failed."""

    namespace: str
    name: str
    uid: str
    finished: bool
    ending: bool = False  # its deletion has begun
    mirror: bool = False  # a static pod's image in the API: the kubelet keeps it, whatever the API does
    daemon: bool = False  # a DaemonSet's, which would only start it again on this very Node
    owner: str | None = None  # uid of its controller
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    priority: int = 0
    local_data: bool = False  # has an emptyDir, which goes with the machine
    opts_out: str | None = None  # the annotation by which it asks not to be evicted
    gone_by: datetime | None = None  # when the grace of its deletion is over
    created_at: datetime | None = None

    @property
    def awaited(self) -> bool:
        """Whether a drain has to wait for it to be gone."""
        return not (self.finished or self.mirror or self.daemon)

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"
