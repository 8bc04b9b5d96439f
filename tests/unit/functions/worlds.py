"""Whole clusters in a fake world, and what goes on in them without Regrow: volumes, pods, and Auto Scaling."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from functions.cluster.machine import (
    CLUSTER_TAG,
    GROUP_TAG,
    ROLE_TAG,
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
from tests.unit.functions.fake_world import World
from tests.unit.functions.fakes import HOOK_TIMEOUT

CONTROL_PLANE = machine(0xC1)
_CONTROL_PLANES = "drill-control-plane"
_FIRST_REPLACEMENT = 0x100


def a_cluster(workers: int = 2, *, pods_each: int = 2, volumes: bool = True) -> World:
    """Return a whole cluster: one control plane, and `workers` workers with pods and perhaps a volume each."""
    world = World()
    tags = {CLUSTER_TAG: CLUSTER, ROLE_TAG: "control-plane", GROUP_TAG: _CONTROL_PLANES}
    world.instances[CONTROL_PLANE] = instance(CONTROL_PLANE, tags=tags)
    world.nodes[CONTROL_PLANE] = control_plane_node(CONTROL_PLANE)
    world.groups[_CONTROL_PLANES] = group(
        member(CONTROL_PLANE), name=_CONTROL_PLANES, role=Role.CONTROL_PLANE, desired=1, target_groups=()
    )
    world.groups[WORKERS] = group(desired=workers)
    for number in range(1, workers + 1):
        _in_service(world, machine(number))
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
        workers = world.groups[WORKERS]
        listed = tuple(member(m.id, "Terminating:Wait") if m.id == one else m for m in workers.members)
        world.groups[WORKERS] = replace(workers, members=listed)


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
    workers = world.groups[WORKERS]
    if "Launch" not in workers.suspended:
        for _ in range(workers.desired - len(workers.members)):
            launch(world, machine(_FIRST_REPLACEMENT + len(world.instances)))
    _let_hooks_run_out(world)
    for one, approval in world.approvals.items():
        runs = world.instances[one].state is InstanceState.RUNNING
        if approval.client_at and runs and one not in world.nodes:
            world.nodes[one] = node(one)
            world.targets.add((one, TARGET_GROUP))


def _let_hooks_run_out(world: World) -> None:
    """What Auto Scaling does when nobody has completed a hook in its time: either way a machine that runs ends."""
    workers = world.groups[WORKERS]
    for one in workers.members:
        for transition in Transition:
            ends = world.hooks_end.setdefault((one.id, transition), world.now + HOOK_TIMEOUT)
            runs = one.id in world.instances and world.instances[one.id].state is InstanceState.RUNNING
            if runs and one.waits(transition) and world.now >= ends:
                world.effects.append(("hook ran out", one.id))
                world.instances[one.id] = replace(world.instances[one.id], state=InstanceState.TERMINATED, address=None)
                left = tuple(other for other in world.groups[WORKERS].members if other.id != one.id)
                world.groups[WORKERS] = replace(world.groups[WORKERS], members=left)


def _take_interrupted(world: World) -> None:
    """What EC2 does when the time of a Spot interruption has come; Auto Scaling notices, and no event tells of it."""
    for one in [one for one, notice in world.interrupted.items() if world.now >= notice.until]:
        action = world.interrupted.pop(one).what
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
    workers = world.groups[WORKERS]
    world.groups[WORKERS] = replace(workers, members=tuple(there for there in workers.members if there.id != one))


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
    workers = world.groups[WORKERS]
    members = tuple(member(there.id, lifecycle_state) if there.id == one else there for there in workers.members)
    world.groups[WORKERS] = replace(workers, members=members)


def launch(world: World, new: InstanceId) -> None:
    """Auto Scaling launches a machine, holds it in its hook, and an event says so."""
    workers = world.groups[WORKERS]
    world.instances[new] = instance(new, launched_at=world.now)
    world.groups[WORKERS] = replace(workers, members=(*workers.members, member(new, "Pending:Wait")))
    world.passes.append(Look(new, f"{WORKERS} launches it"))


def let_go(world: World, one: InstanceId) -> None:
    """Auto Scaling takes a machine out: one fewer is wanted, and the terminate hook holds it."""
    workers = world.groups[WORKERS]
    listed = tuple(member(m.id, "Terminating:Wait") if m.id == one else m for m in workers.members)
    world.groups[WORKERS] = replace(workers, members=listed, desired=workers.desired - 1)


def _reschedule(world: World) -> None:
    open_nodes = sorted(node.name for node in world.nodes.values() if node.ready and not node.unschedulable)
    present = {pod.name for pod in world.pods}
    for what, uid in list(world.effects):
        name = uid.removeprefix("uid-of-").removesuffix("-again")
        if what in ("delete pod", "evict pod") and name not in present and open_nodes:
            world.pods[Pod("default", name, f"uid-of-{name}-again", finished=False)] = open_nodes[0]
            present.add(name)


def _in_service(world: World, new: InstanceId) -> None:
    workers = world.groups[WORKERS]
    world.instances[new] = instance(new)
    world.groups[WORKERS] = replace(workers, members=(*workers.members, member(new)))
    world.nodes[new] = node(new)
    world.targets.add((new, TARGET_GROUP))
