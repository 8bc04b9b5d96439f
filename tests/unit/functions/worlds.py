"""Whole clusters in a fake world, and what goes on in them without Regrow: volumes, pods, and Auto Scaling."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import datetime

from functions.cluster.machine import (
    CLUSTER_TAG,
    GROUP_TAG,
    ROLE_TAG,
    Group,
    InstanceId,
    InstanceState,
    Pod,
    Role,
    Transition,
)
from functions.cluster.notice import REBALANCE_HOLDS, SPOT_WARNS, Cause, Notice, ScheduledEvent
from functions.messages import Look
from tests.unit.functions.builders import (
    CLUSTER,
    TARGET_GROUP,
    WORKERS,
    control_plane_node,
    group,
    instance,
    machine,
    member,
    node,
)
from tests.unit.functions.etcds import address, etcd_member, unstarted
from tests.unit.functions.fake_world import World
from tests.unit.functions.fakes import HOOK_TIMEOUT

CONTROL_PLANE = machine(0xC1)
CONTROL_PLANES = "drill-control-plane"
API_TARGET_GROUP = "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/api/0123456789abcdef"
ZONE = "us-east-1a"
_FIRST_REPLACEMENT = 0x100
_FIRST_NEW_CONTROL_PLANE = 0xD0


def a_cluster(workers: int = 2, *, pods_each: int = 2, volumes: bool = True, control_planes: int = 1) -> World:
    """Return a whole cluster: control planes with etcd, a snapshot of which is there, and `workers` workers with pods
    and perhaps a volume each."""
    world = World()
    world.groups[CONTROL_PLANES] = group(
        name=CONTROL_PLANES,
        role=Role.CONTROL_PLANE,
        desired=control_planes,
        target_groups=(),
        api_target_group=API_TARGET_GROUP,
    )
    for number in range(1, control_planes + 1):
        _control_plane_in_service(world, 0xC0 + number)
    world.snapshots.append((world.now, "etcd/the-first.db"))
    world.groups[WORKERS] = group(desired=workers)
    for number in range(1, workers + 1):
        add_worker(world, machine(number))
        for count in range(pods_each):
            name = f"web-{number}-{count}"
            world.pods[Pod("default", name, f"uid-of-{name}", finished=False)] = machine(number)
        if volumes:
            world.attachments[f"csi-{number}"] = machine(number)
    return world


def kill(world: World, *machines: InstanceId, state: InstanceState = InstanceState.TERMINATED) -> None:
    """End machines with no shutdown, as the plug would; their Nodes go NotReady, Auto Scaling has noticed."""
    for one in machines:
        world.instances[one] = replace(world.instances[one], state=state, address=None)
        world.nodes[one] = replace(world.nodes[one], ready=False, resource_version="9")
        listed_as(world, one, "Terminating:Wait")


def settle(world: World) -> None:
    """Let everything that is not Regrow do its part once.

    A fenced Node without pods loses its volumes; a deleted or evicted pod comes back under its name, with a new uid,
    on a Node that takes pods; a group that is short launches a machine, of which an event tells, and which has a Ready
    Node as soon as its request was approved.
    """
    for name, where in list(world.attachments.items()):
        there = world.nodes.get(where)
        if (there is None or there.out_of_service) and where not in world.pods.values():
            del world.attachments[name]
    _reschedule(world)
    _take_interrupted(world)
    for workers in [of for of in world.groups.values() if of.role is Role.WORKER and "Launch" not in of.suspended]:
        for _ in range(workers.desired - len(workers.members)):
            launch(world, _unused(world, _FIRST_REPLACEMENT), group_name=workers.name)
    _let_hooks_run_out(world)
    _settle_control_planes(world)
    for one, approval in world.approvals.items():
        runs = world.instances[one].state is InstanceState.RUNNING
        if approval.client_at and runs and one not in world.nodes and not world.is_control_plane(one):
            world.nodes[one] = node(one)
            world.targets.add((one, TARGET_GROUP))


def _settle_control_planes(world: World) -> None:
    """A group that is short launches at once, beside a machine that its terminate hook still holds.

    One that has token and certificates does what kubeadm does, one step at a time: it waits until all of etcd answers,
    becomes a learner that has not started, one that has, a voter; then its kubelet asks for its certificate, has a
    Ready Node, and its API server is healthy for the load balancer that it is in.
    """
    ours = world.groups[CONTROL_PLANES]
    active = [there for there in ours.members if not there.terminating]
    if "Launch" not in ours.suspended:
        for _ in range(ours.desired - len(active)):
            launch(world, _unused(world, _FIRST_NEW_CONTROL_PLANE), group_name=CONTROL_PLANES)
    for one, record in world.joins.items():
        if record.role is Role.CONTROL_PLANE and world.instances[one].state is InstanceState.RUNNING:
            _join_etcd(world, one, may_join=record.open and world.certificates_for == one)
    world.serving |= {one for one, of in world.targets if of == API_TARGET_GROUP and _serves(world, one)}
    world.serving -= {one for one in world.serving if not _serves(world, one)}


def _serves(world: World, one: InstanceId) -> bool:
    runs = one in world.instances and world.instances[one].state is InstanceState.RUNNING
    return runs and one in world.nodes and any(member.name == one and member.voter for member in world.etcd.values())


def _join_etcd(world: World, one: InstanceId, *, may_join: bool) -> None:
    started, (added, host) = etcd_member(_number(one)), (unstarted(_number(one)), address(_number(one)))
    there = next((member for member in world.etcd.values() if f"https://{host}:2380" in member.peer_urls), None)
    approval = world.approvals.get(one)
    if there is None and may_join and one not in world.stuck:
        running = {one.id for one in world.instances.values() if one.state is InstanceState.RUNNING}
        if all(member.answers and InstanceId(member.name) in running for member in world.etcd.values()):
            world.etcd[added.id] = added
    elif there and not there.name:
        world.etcd[there.id] = replace(started, id=there.id, learner=True)
    elif there and there.learner and one not in world.stuck:
        world.etcd[there.id] = replace(there, learner=False)
    elif there and there.voter and approval and approval.client_at and one not in world.nodes:
        world.nodes[one] = control_plane_node(one)


def _number(one: InstanceId) -> int:
    return int(one[2:], 16)


def _unused(world: World, first: int) -> InstanceId:
    number = first + len(world.instances)
    while machine(number) in world.instances:
        number += 1
    return machine(number)


def _let_hooks_run_out(world: World) -> None:
    """What Auto Scaling does when nobody has completed a hook in its time: either way a machine that runs ends."""
    for one in [there for group_ in world.groups.values() for there in group_.members]:
        for transition in Transition:
            ends = world.hooks_end.setdefault((one.id, transition), world.now + HOOK_TIMEOUT)
            runs = one.id in world.instances and world.instances[one.id].state is InstanceState.RUNNING
            if runs and one.waits(transition) and world.now >= ends:
                world.effects.append(("hook ran out", one.id))
                world.instances[one.id] = replace(world.instances[one.id], state=InstanceState.TERMINATED, address=None)
                leave_group(world, one.id)


def _take_interrupted(world: World) -> None:
    """What EC2 does when the time of a Spot interruption has come; Auto Scaling notices, and no event tells of it."""
    for one in [one for one, notice in world.interrupted.items() if world.now >= notice.until]:
        action = world.interrupted.pop(one).what
        if world.instances[one].state is InstanceState.TERMINATED:
            continue  # somebody was quicker
        world.lost += [pod.name for pod, where in world.pods.items() if where == one and pod.awaited]
        end = InstanceState.TERMINATED if action == "terminate" else InstanceState.STOPPED
        world.instances[one] = replace(world.instances[one], state=end, address=None)
        if one in world.nodes:
            there = world.nodes[one]
            world.nodes[one] = replace(there, ready=False, resource_version=str(int(there.resource_version) + 1))
        if end is InstanceState.TERMINATED:
            leave_group(world, one)


def leave_group(world: World, one: InstanceId) -> None:
    """The group no longer lists the machine, and wants as many as before."""
    if world.member(one):
        there = world.group_of(one)
        world.groups[there.name] = replace(there, members=tuple(other for other in there.members if other.id != one))


def interrupt(world: World, one: InstanceId, action: str = "terminate") -> Notice:
    """EC2 will take a Spot machine in two minutes, and lists it as marked; return what the event says."""
    world.instances[one] = replace(world.instances[one], spot=True)
    world.interrupted[one] = Notice(Cause.SPOT, action, world.now, world.now + SPOT_WARNS)
    return world.interrupted[one]


def recommend(world: World, one: InstanceId) -> Notice:
    """AWS recommends to leave a Spot machine; only an event says so."""
    world.instances[one] = replace(world.instances[one], spot=True)
    world.advised[one] = world.now + REBALANCE_HOLDS
    return Notice(Cause.REBALANCE, "rebalance", world.now, world.now + REBALANCE_HOLDS)


def schedule(world: World, one: InstanceId, not_before: datetime, said: str = "") -> Notice:
    """EC2 lists maintenance of a machine, in place of what it listed before; return what AWS Health says."""
    world.scheduled[one] = (ScheduledEvent("system-reboot", not_before, f"{said}scheduled reboot"),)
    return Notice(Cause.MAINTENANCE, "AWS_EC2_SYSTEM_REBOOT_MAINTENANCE_SCHEDULED", world.now, world.now)


def listed_as(world: World, one: InstanceId, lifecycle_state: str) -> None:
    """Auto Scaling says another lifecycle state of a machine."""
    if world.member(one):
        ours = world.group_of(one)
        members = tuple(member(there.id, lifecycle_state) if there.id == one else there for there in ours.members)
        world.groups[ours.name] = replace(ours, members=members)


def launch(world: World, new: InstanceId, *, group_name: str = WORKERS) -> None:
    """Auto Scaling launches a machine where the group has fewest, holds it in its hook, and an event says so."""
    ours = world.groups[group_name]
    there = Counter({one.zone: 0 for one in world.instances.values() if one.group == ours.name})
    there.update(world.instances[member.id].zone for member in ours.members if member.id in world.instances)
    zone = min(there, key=lambda zone: (there[zone], zone), default=ZONE)
    world.instances[new] = instance(new, launched_at=world.now, tags=_tags(ours), zone=zone)
    world.groups[group_name] = replace(ours, members=(*ours.members, member(new, "Pending:Wait")))
    world.passes.append(Look(new, f"{group_name} launches it"))


def let_go(world: World, one: InstanceId) -> None:
    """Auto Scaling takes a machine out: one fewer is wanted, and the terminate hook holds it."""
    listed_as(world, one, "Terminating:Wait")
    ours = world.group_of(one)
    world.groups[ours.name] = replace(ours, desired=ours.desired - 1)


def _reschedule(world: World) -> None:
    closed = {node.name for node in world.nodes.values() if node.unschedulable or not node.ready} | set(world.silent)
    open_nodes = sorted(name for name in world.nodes if name not in closed)
    present = {pod.name for pod in world.pods}
    for what, uid in list(world.effects):
        name = uid.removeprefix("uid-of-").removesuffix("-again")
        if what in ("delete pod", "evict pod") and name not in present and open_nodes:
            world.pods[Pod("default", name, f"uid-of-{name}-again", finished=False)] = open_nodes[0]
            present.add(name)


def add_group(world: World, name: str, desired: int) -> None:
    """One more group of workers, which has none yet."""
    world.groups[name] = group(name=name, desired=desired)


def add_worker(world: World, new: InstanceId, *, group_name: str = WORKERS, zone: str = ZONE) -> None:
    """A worker that is in service and well."""
    workers = world.groups[group_name]
    world.instances[new] = instance(new, tags=_tags(workers), zone=zone)
    world.groups[group_name] = replace(workers, members=(*workers.members, member(new)))
    world.nodes[new] = node(new)
    world.targets.add((new, TARGET_GROUP))


def _control_plane_in_service(world: World, number: int) -> None:
    new, ours = machine(number), world.groups[CONTROL_PLANES]
    world.instances[new] = instance(new, tags=_tags(ours))
    world.groups[CONTROL_PLANES] = replace(ours, members=(*ours.members, member(new)))
    world.nodes[new] = control_plane_node(new)
    world.targets.add((new, API_TARGET_GROUP))
    world.serving.add(new)
    joined = etcd_member(number, leads=not world.etcd)
    world.etcd[joined.id] = joined


def _tags(of: Group) -> dict[str, str]:
    role = of.role or Role.WORKER
    return {CLUSTER_TAG: CLUSTER, ROLE_TAG: role.value, GROUP_TAG: of.name}
