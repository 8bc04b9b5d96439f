"""Which join credentials a machine must have now. Pure: the same facts give the same decision.

A machine has them from the moment its launch is proved until it has joined or never will, and never while one of the
facts behind that is unknown. Nothing here looks at what the machine says of itself: the group and its role are Auto
Scaling's word, the launch is EC2's. That etcd is ready for a control plane is the remediator's, who alone can see it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from functions.cluster.facts import Absent, Unknown
from functions.cluster.joining import Admission, Approval, JoinRecord, JoinState
from functions.cluster.machine import (
    ROLE_TAG,
    VERSION_TAG,
    Group,
    Instance,
    InstanceId,
    InstanceState,
    Member,
    Node,
    Role,
    instance_of_provider_id,
)
from functions.join.delivery import ApiServer

KUBEADM_GROUP = "system:bootstrappers:kubeadm:default-node-token"
_APPROVED_UNSEEN_ROLE = "system:certificates.k8s.io:certificatesigningrequests:nodeclient"
RENEW_BEFORE_EXPIRY = timedelta(seconds=60)
BUSY = timedelta(seconds=25)  # how long one call of the minter may be at work
_ARRIVING = frozenset({InstanceState.PENDING, InstanceState.RUNNING})
_IMAGE_VERSION = re.compile(r"v(\d{1,3}\.\d{1,3})\.\d{1,3}")
_API_VERSION = re.compile(r"v(\d{1,3}\.\d{1,3})\.\d{1,3}(?:[-+].*)?")  # vendors append to it


@dataclass(frozen=True)
class ClusterFacts:
    """What the API server says about itself and one machine, and what the machine's image is tagged with.

    `approved_unseen` are the groups of tokens whose certificate requests the cluster approves by itself, `signing` the
    ids of the tokens that sign kube-public/cluster-info. The last two are read for a control plane alone.
    """

    node: Node | Absent | Unknown
    version: str | Unknown
    signing: tuple[str, ...] | Unknown
    approved_unseen: tuple[str, ...] | Unknown
    api_server: ApiServer | Unknown
    image_tags: dict[str, str] | Absent | Unknown
    admission: Admission | Absent | Unknown | None = None
    all_joins: tuple[JoinRecord, ...] | Unknown | None = None  # of every machine


@dataclass(frozen=True)
class JoinFacts:
    """What one call of the minter knows. `cluster_facts` are read only where the others do not decide it alone."""

    id: InstanceId
    instance: Instance | Absent | Unknown
    groups: tuple[Group, ...] | Unknown
    joins: tuple[JoinRecord, ...] | Unknown
    approvals: tuple[Approval, ...] | Unknown
    cluster_facts: ClusterFacts | None = None

    @property
    def place(self) -> tuple[Group, Member] | Unknown | None:
        """The group that lists the machine, with its entry there."""
        if isinstance(self.groups, Unknown):
            return self.groups
        for group in self.groups:
            if member := group.member(self.id):
                return group, member
        return None

    def manages(self, group: str | None) -> bool:
        return isinstance(self.groups, tuple) and any(one.name == group for one in self.groups)

    @property
    def gone(self) -> bool:
        """It can never start again: EC2 says terminated, or neither EC2 nor Auto Scaling knows it any more."""
        if isinstance(self.instance, Instance):
            return self.instance.state is InstanceState.TERMINATED
        return isinstance(self.instance, Absent) and self.place is None


@dataclass(frozen=True)
class Arriving:
    """Its launch is proved and not over; the rest is the cluster's word. `record` is the open one of this launch."""

    instance: Instance
    group: Group
    role: Role
    record: JoinRecord | None


@dataclass(frozen=True)
class Mint:
    """Give it a token and a bundle, in the place of those on record if there is such a record."""

    reason: str
    arriving: Arriving
    api_server: ApiServer


@dataclass(frozen=True)
class Keep:
    """It has what it needs."""

    reason: str


@dataclass(frozen=True)
class Revoke:
    """Take away what this record stands for; `gone` when the machine can never come back."""

    reason: str
    record: JoinRecord
    gone: bool


@dataclass(frozen=True)
class Nothing:
    """There is nothing to have and nothing to take away. `forget` are records of a machine that is gone."""

    reason: str
    forget: tuple[JoinRecord, ...] = ()


@dataclass(frozen=True)
class Hold:
    """Something is not known, or somebody else is at it: another look will tell."""

    reason: str


@dataclass(frozen=True)
class Refuse:
    """It must not join before a person has mended something; the reason says what and how."""

    reason: str


Decision = Mint | Keep | Revoke | Nothing | Hold | Refuse


def decide(facts: JoinFacts, now: datetime, join_deadline: timedelta) -> Decision:
    """Return what is to be done about a machine's credentials; see the module for the rules."""
    decision = decide_without_cluster(facts, now, join_deadline)
    if not isinstance(decision, Arriving):
        return decision
    if facts.cluster_facts is None:
        return Hold("unknown: the cluster was not asked")
    return _decide_with_cluster(decision, facts.cluster_facts, now)


def decide_without_cluster(facts: JoinFacts, now: datetime, join_deadline: timedelta) -> Decision | Arriving:
    """Return what AWS and the table decide alone, or Arriving when the cluster has to be asked.

    They decide alone about every end of a launch but the good one: a cluster that does not answer keeps no token alive.
    """
    if isinstance(facts.joins, Unknown):
        return Hold(f"unknown: {facts.joins.reason}")
    for record in facts.joins:
        if record.open:
            if record.state is JoinState.MINTING and now < record.busy_until:
                return Hold(f"another call is at work on it, or was, until {record.busy_until:%H:%M:%S}Z")
            if end := _end_of(record, facts, now, join_deadline):
                return Revoke(end, record, facts.gone)
    for fact in (facts.instance, facts.place, facts.approvals):
        if isinstance(fact, Unknown):
            return Hold(f"unknown: {fact.reason}")
    return _judge_launch(facts, now, join_deadline)


def _end_of(record: JoinRecord, facts: JoinFacts, now: datetime, join_deadline: timedelta) -> str | None:
    """Say what proves that the launch on record has come to its end, None when nothing does."""
    # A control plane waits for its turn, which may be long after its launch: its time begins with its token.
    began_at = record.issued_at if record.role is Role.CONTROL_PLANE else record.launched_at
    if now >= began_at + join_deadline:
        return f"its time to join is over: {_seconds(join_deadline)} from {began_at:%H:%M:%S}Z"
    if denied := _denied(facts.approvals, record.launched_at):
        return f"the approver has proof against it: {denied}"
    if isinstance(facts.instance, Instance):
        if facts.instance.launched_at > record.launched_at:
            return f"it has been launched again, at {facts.instance.launched_at:%Y-%m-%d %H:%M:%S}Z"
        if facts.instance.launched_at == record.launched_at and facts.instance.state not in _ARRIVING:
            return f"EC2: {facts.instance.state.value}"
    match facts.place:
        case None if _has_left(record, facts):
            return f"no group of the cluster lists it any more, {record.group} did"
        case (group, member):
            if group.name != record.group:
                return f"it is in {group.name} by now, not in {record.group}"
            if not _arrives(member):
                return f"Auto Scaling: {member.lifecycle_state}"
    return None


def _has_left(record: JoinRecord, facts: JoinFacts) -> bool:
    """Whether EC2 bears out that no group lists the machine any more: one listing that lacks it is no proof.

    Nor is one that lacks its group: the tag with the group's name, which only Auto Scaling can set, must be gone too.
    """
    match facts.instance:
        case Absent():
            return True
        case Instance() as instance:
            let_go = instance.group != record.group and not facts.manages(instance.group)
            return let_go or instance.state not in _ARRIVING
    return False


def _judge_launch(facts: JoinFacts, now: datetime, join_deadline: timedelta) -> Decision | Arriving:
    """Judge the launch that EC2 shows, with no record that would have to be ended first."""
    instance, place = facts.instance, facts.place
    if isinstance(instance, Absent) and place:
        return Hold("Auto Scaling lists it, EC2 does not know it")
    if not isinstance(instance, Instance):
        return _over(facts, "EC2 does not know it")
    if instance.state not in _ARRIVING:
        return _over(facts, f"EC2: {instance.state.value}")
    in_time = now < instance.launched_at + join_deadline
    joins = facts.joins if isinstance(facts.joins, tuple) else ()
    record = joins[-1] if joins else None
    if not isinstance(place, tuple):
        if record and record.open:
            return Hold(f"no group of the cluster lists it now, but by its tag it is of {instance.group}")
        if in_time and facts.manages(instance.group):
            return Hold(f"{instance.group} has launched it by its tag, but does not list it yet")
        return Nothing("no group of the cluster lists it")
    group, member = place
    if not _arrives(member):
        return Nothing(f"Auto Scaling: {member.lifecycle_state}")
    if record and record.launched_at > instance.launched_at:
        return Hold("EC2 shows an earlier launch than the one on record")
    if record and record.launched_at < instance.launched_at:
        record = None
    if record and not record.open:
        return Nothing(f"this launch had its token, and it has ended: {record.ended_because}")
    if any(now < one.busy_until for one in joins if not one.open):
        return Hold("the bundle of its earlier launch was just deleted, the new one has to wait")
    if not in_time and group.role is not Role.CONTROL_PLANE:
        return Nothing(f"it was launched more than {_seconds(join_deadline)} ago")
    if denied := _denied(facts.approvals, instance.launched_at):
        return Refuse(f"the approver has proof against it: {denied}")
    return _judge_membership(instance, group, record)


def _judge_membership(instance: Instance, group: Group, record: JoinRecord | None) -> Decision | Arriving:
    """The role is the group's: an instance's tags can be changed by more people than a group's."""
    if group.role is None:
        roles = " or ".join(f"{ROLE_TAG}={role.value}" for role in Role)
        return Refuse(
            f"its group {group.name} has no {ROLE_TAG} that we know; only machines of a group with {roles} are let in"
        )
    if instance.group is None:
        return Hold("Auto Scaling has not tagged it with its group's name yet")
    if instance.group != group.name:
        return Refuse(f"by its tag {instance.group} has launched it, but {group.name} lists it; detach it from there")
    if record and record.role is not group.role:
        return Refuse(
            f"its token is a {record.role.value}'s, and its group {group.name} is tagged {ROLE_TAG}={group.role.value} "
            "by now; tag the group as it was, or terminate the machine"
        )
    return Arriving(instance, group, group.role, record)


def _decide_with_cluster(arriving: Arriving, seen: ClusterFacts, now: datetime) -> Decision:
    record, node = arriving.record, seen.node
    if isinstance(node, Unknown):
        return Hold(f"unknown: {node.reason}")
    if isinstance(node, Node):
        if instance_of_provider_id(node.provider_id) != arriving.instance.id:
            says = f"says it is {node.provider_id}" if node.provider_id else "has no providerID"
            return Refuse(
                f"there is a Node {node.name} that {says}; find out what it is, then: kubectl delete node {node.name}"
            )
        return Revoke("its Node has registered", record, gone=False) if record else Nothing("it has its Node")
    if record and record.state is JoinState.ISSUED and now + RENEW_BEFORE_EXPIRY < record.expires_at:
        return Keep(f"its token is good until {record.expires_at:%H:%M:%S}Z")
    return _gate(arriving, seen, now)


def _gate(arriving: Arriving, seen: ClusterFacts, now: datetime) -> Decision:
    """What must hold of image and cluster. All that a person has to mend is said at once."""
    checks = (
        _open_metadata(arriving.instance),
        _version_skew(arriving.instance, seen),
        _unseen_approval(seen),
        _signing_tokens(seen),
    )
    if wrong := [check for check in checks if isinstance(check, str)]:
        return Refuse("; ".join(wrong))
    for fact in checks:
        if isinstance(fact, Unknown):
            return Hold(f"unknown: {fact.reason}")
    if isinstance(seen.api_server, Unknown):
        return Hold(f"unknown: {seen.api_server.reason}")
    if arriving.role is Role.CONTROL_PLANE and (wait := _not_its_turn(arriving.instance, seen, now)):
        return Hold(wait)
    why = "its earlier token was not delivered, or has run out" if arriving.record else "it has been launched"
    return Mint(f"{arriving.group.name}: {why}", arriving, seen.api_server)


def _not_its_turn(instance: Instance, seen: ClusterFacts, now: datetime) -> str | None:
    """Control planes join one at a time, each when etcd is ready for it: a second one could cost the quorum.

    The admission must outlast this call: whoever is admitted next must not meet a token that is still being made.
    """
    match seen.admission, seen.all_joins:
        case (Unknown(reason), _) | (_, Unknown(reason)):
            return f"unknown: {reason}"
        case (None, _) | (_, None):
            return "unknown: the table was not asked whose turn it is"
        case (Absent(), _):
            return "no control plane is admitted"
        case (Admission() as admission, tuple() as joins):
            pass
    if admission.instance != instance.id:
        return f"{admission.instance} is admitted as a control plane, not this machine"
    if admission.written_at < instance.launched_at:
        return "its admission is of an earlier launch"
    if admission.until < now + BUSY:
        return f"its admission is over, or almost: it ends at {admission.until:%H:%M:%S}Z"
    joining = (one for one in joins if one.open and one.role is Role.CONTROL_PLANE and one.instance != instance.id)
    other = next(joining, None)
    return f"{other.instance} is joining as a control plane" if other else None


def _open_metadata(instance: Instance) -> str | None:
    """Who reaches the metadata service has the machine's credentials, and with them its token.

    Version 1 of it answers any request that a program on the machine is led to make; an answer that travels two hops
    reaches pods (EC2 user guide, "Use the Instance Metadata Service").
    """
    wrong = [
        what
        for what, is_open in (
            ("answers without a session token (HttpTokens is optional)", instance.metadata_tokens != "required"),
            (f"answers over {instance.metadata_hops} hops, which reaches pods", instance.metadata_hops > 1),
        )
        if is_open
    ]
    if not wrong:
        return None
    return (
        f"its metadata service {' and '.join(wrong)}; set MetadataOptions in the group's launch template, and for this "
        f"machine: aws ec2 modify-instance-metadata-options --instance-id {instance.id} --http-tokens required "
        "--http-put-response-hop-limit 1"
    )


def _version_skew(instance: Instance, seen: ClusterFacts) -> str | Unknown | None:
    """kubeadm must be of the version that made the cluster, and no kubelet newer than its API server.

    So the image must be of the API server's minor version (Kubernetes, version skew policy; kubeadm's for joining).
    """
    if isinstance(seen.image_tags, Unknown):
        return seen.image_tags
    if isinstance(seen.image_tags, Absent):
        return (
            f"EC2 no longer has its image {instance.image}, so what it runs cannot be known; renew the launch template"
        )
    tagged = seen.image_tags.get(VERSION_TAG)
    ours = _IMAGE_VERSION.fullmatch(tagged or "")
    if ours is None:
        found = f"tagged {VERSION_TAG}={tagged!r}, which is no version" if tagged else f"not tagged {VERSION_TAG}"
        return (
            f"its image {instance.image} is {found}; say which kubelet it has: "
            f"aws ec2 create-tags --resources {instance.image} --tags Key={VERSION_TAG},Value=vX.Y.Z"
        )
    if isinstance(seen.version, Unknown):
        return seen.version
    theirs = _API_VERSION.fullmatch(seen.version)
    if theirs is None:
        return Unknown(f"the API server says {seen.version!r} for its version")
    if ours[1] != theirs[1]:
        return (
            f"its image {instance.image} has Kubernetes {tagged}, the API server {seen.version}; "
            f"the group needs an image of v{theirs[1]}"
        )
    return None


def _unseen_approval(seen: ClusterFacts) -> str | Unknown | None:
    if isinstance(seen.approved_unseen, Unknown):
        return seen.approved_unseen
    if seen.approved_unseen:
        return (
            f"the cluster approves the requests of {' and '.join(seen.approved_unseen)} unseen, under any name; delete "
            f"every ClusterRoleBinding of theirs to {_APPROVED_UNSEEN_ROLE}; kubeadm's own: "
            "kubectl delete clusterrolebinding kubeadm:node-autoapprove-bootstrap"
        )
    return None


def _signing_tokens(seen: ClusterFacts) -> str | Unknown | None:
    if isinstance(seen.signing, Unknown):
        return seen.signing
    if seen.signing:
        return (
            f"tokens sign kube-public/cluster-info, where anybody can attack them: {', '.join(seen.signing)}; "
            f"kubeadm token delete {' '.join(seen.signing)}"
        )
    return None


def _arrives(member: Member) -> bool:
    """On its way into service or in it. In or on the way to a warm pool (`Warmed:…`) it is not."""
    return member.pending or member.in_service


def _denied(approvals: tuple[Approval, ...] | Unknown, launched_at: datetime) -> str | None:
    if isinstance(approvals, Unknown):
        return None
    return next((one.denied for one in approvals if one.launched_at == launched_at), None)


def _over(facts: JoinFacts, reason: str) -> Nothing:
    return Nothing(reason, facts.joins if facts.gone and isinstance(facts.joins, tuple) else ())


def _seconds(duration: timedelta) -> str:
    return f"{duration.total_seconds():.0f} s"
