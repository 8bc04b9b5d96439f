"""Every service that functions call, answering from one fake world, with the real ones' preconditions and conflicts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from functions.cluster.doubt import Doubt, Impairment, Rung
from functions.cluster.etcd import Etcd, EtcdMember, EtcdPod, Snapshot, SnapshotBegun
from functions.cluster.facts import Abandoned, Absent, Case, Memory, Pause, Phase, Record, in_flight
from functions.cluster.joining import Admission, Approval, JoinRecord, JoinState
from functions.cluster.machine import (
    CORDONED_ANNOTATION,
    DRAINING_ANNOTATION,
    EXCLUDED_ANNOTATION,
    EXCLUDED_LABEL,
    FENCED_ANNOTATION,
    MARKS,
    NOTICE_ANNOTATION,
    Condition,
    Group,
    Instance,
    InstanceId,
    InstanceState,
    Member,
    Node,
    Pod,
    Role,
    Target,
    Transition,
)
from functions.cluster.notice import Notice, ScheduledEvent
from functions.cluster.radius import Brake
from functions.cluster.trouble import LEASE_STALE
from functions.dead_letters import DeadLetter
from functions.drill import Desk
from functions.errors import ConflictError, PermanentError, RefusedError, RetryableError
from functions.messages import Look, Order, due
from functions.remediate.outside import Answer, Blocked, Outside
from tests.unit.functions.builders import CLUSTER, OUT_OF_SERVICE, SETTINGS, join
from tests.unit.functions.fake_world import Call, World

CONTROL_PLANES_PLACE = -1
_RUNS = (InstanceState.PENDING, InstanceState.RUNNING)
HOOK_TIMEOUT = timedelta(minutes=10)
STARTS_IN, BOOTS_IN = timedelta(seconds=5), timedelta(seconds=30)
COMMAND_ENDS = timedelta(minutes=2)
WAITS_FOR_SNAPSHOT = timedelta(seconds=15)


def outside_of(world: World) -> Outside:
    return Outside(
        FakeEc2(world, "ec2"),
        FakeAutoScaling(world, "autoscaling"),
        FakeLoadBalancing(world, "load_balancing"),
        FakeKubernetes(world, "kubernetes"),
        FakeJoining(world, "joining"),
        FakeTable(world, "table"),
        FakeCommands(world, "commands"),
        FakeQueues(world, "queues"),
        FakeAlerts(world, "alerts"),
        FakeJournal(world),
    )


def desk_of(world: World) -> Desk:
    return Desk(
        outside_of(world), FakeEc2(world, "ec2"), FakeTable(world, "table"), FakeDeadLetters(world, "dead_letters")
    )


@dataclass
class _Edge:
    world: World
    service: str

    @contextmanager
    def call(self, method: str) -> Iterator[World]:
        with self.world.lock:
            call = Call(len(self.world.calls) + 1, self.service, method)
            self.world.calls.append(call)
            self.world.mend()
        self.world.before(call)
        with self.world.lock:
            yield self.world
        self.world.after(call)

    def judge_rung(self, what: str, one: InstanceId) -> None:
        """Note it when a machine is taken down that nothing is wrong with, or while too many others are down."""
        world, repair, limits = self.world, SETTINGS.policy.repair, SETTINGS.policy.limits
        silent_for = world.now - world.silent.get(one, world.now)
        impaired_for = world.now - world.impaired.get(one, world.now)
        impaired = silent_for >= LEASE_STALE and impaired_for >= repair.impaired_after
        if silent_for < repair.silent_after and not impaired:
            world.violations.append(f"{one} was {what}, and nothing was wrong with it")
        ours = world.group_of(one).members
        down = [there.id for there in ours if there.id != one and self._is_down(there)]
        if len(down) + 1 > max(limits.group_floor, limits.group_percent * len(ours) // 100):
            world.violations.append(f"{one} was {what} while {down} were down")

    def _is_down(self, there: Member) -> bool:
        machine, heard_at = self.world.instances.get(there.id), self.world.silent.get(there.id, self.world.now)
        runs = machine is not None and machine.state is InstanceState.RUNNING
        return not runs or not there.in_service or self.world.now - heard_at >= LEASE_STALE


class FakeEc2(_Edge):
    def instance(self, instance: InstanceId) -> Instance | Absent:
        with self.call("instance") as world:
            return world.instances.get(instance, Absent())

    def fleet(self, cluster: str) -> tuple[Instance, ...]:
        with self.call("fleet") as world:
            return tuple(one for one in world.instances.values() if one.cluster == cluster)

    def scheduled_events(self, instance: InstanceId) -> tuple[ScheduledEvent, ...]:
        with self.call("scheduled_events") as world:
            return world.scheduled.get(instance, ())

    def all_scheduled_events(self) -> dict[InstanceId, tuple[ScheduledEvent, ...]]:
        with self.call("all_scheduled_events") as world:
            return dict(world.scheduled)

    def spot_interruptions(self, *, now: datetime) -> dict[InstanceId, Notice]:
        with self.call("spot_interruptions") as world:
            return dict(world.interrupted)

    def impairments(self, instances: Iterable[InstanceId]) -> dict[InstanceId, tuple[Impairment, ...]]:
        with self.call("impairments") as world:
            failing = {one: world.impaired[one] for one in instances if world.impaired.get(one, world.now) < world.now}
            return {one: (Impairment("system", since), Impairment("instance", since)) for one, since in failing.items()}

    def reboot(self, instance: InstanceId) -> None:
        with self.call("reboot") as world:
            self.judge_rung("rebooted", instance)
            world.did("reboot", instance, machine=None)
            if world.mended_by.get(instance) in (Rung.RESTART, Rung.REBOOT):
                world.mends_at.setdefault(instance, world.now + BOOTS_IN)

    def console_output(self, instance: InstanceId) -> str:
        with self.call("console_output") as world:
            return world.consoles.get(instance, "")

    def terminate_without_shutdown(self, instance: InstanceId) -> None:
        with self.call("terminate") as world:
            world.did("terminate", instance, machine=None)
            world.instances[instance] = replace(world.instances[instance], state=InstanceState.TERMINATED, address=None)


class FakeAutoScaling(_Edge):
    def groups(self, cluster: str) -> tuple[Group, ...]:
        with self.call("groups") as world:
            return tuple(group for group in world.groups.values() if group.cluster == cluster)

    def complete_hooks(
        self, instance: InstanceId, group: str, transition: Transition, *, abandon: bool = False
    ) -> bool:
        with self.call("complete_hooks") as world:
            found = world.groups[group]
            there = found.member(instance)
            if not (there and there.waits(transition)) or instance in world.held_by_others:
                return False
            ended = transition is Transition.TERMINATING or abandon
            world.did("abandon launch" if abandon else "complete hook", instance, machine=None)
            self._judge(instance, transition, abandon=abandon)
            others = tuple(one for one in found.members if one.id != instance)
            if instance in world.reused or there.warmed:
                parked = replace(there, lifecycle_state="Warmed:Pending" if there.warmed else "Warmed:Pending:Wait")
                world.groups[group] = replace(found, members=(*others, parked))
                world.reused.discard(instance)
                return True
            in_service = () if ended else (replace(there, lifecycle_state="InService"),)
            world.groups[group] = replace(found, members=(*others, *in_service))
            if ended and (machine := world.instances.get(instance)):
                world.instances[instance] = replace(machine, state=InstanceState.TERMINATED, address=None)
            return True

    def _judge(self, instance: InstanceId, transition: Transition, *, abandon: bool) -> None:
        """Note what must never be: a machine let go with pods that could be elsewhere, or put into service too soon."""
        world, node = self.world, self.world.nodes.get(instance)
        running = world.instances[instance].state is InstanceState.RUNNING
        left = [pod.name for pod, where in world.pods.items() if where == instance and pod.awaited]
        told = any(subject.startswith(f"{instance} goes") for subject, _ in world.alerts)
        if transition is Transition.TERMINATING and running and left and not told:
            world.violations.append(f"{instance} was let go with {left} on it")
        if transition is Transition.LAUNCHING and not abandon and not (node and node.ready):
            world.violations.append(f"{instance} was put into service without a Ready Node")
        members = [one for one in world.etcd.values() if one.name == instance]
        if (transition is Transition.TERMINATING or abandon) and members:
            world.violations.append(f"{instance} was let go, and etcd still has its member")
        into_service = transition is Transition.LAUNCHING and not abandon
        if into_service and world.is_control_plane(instance) and not any(one.voter and one.healthy for one in members):
            world.violations.append(f"{instance} was put into service as no healthy voter")

    def heartbeat(self, instance: InstanceId, group: str, transition: Transition) -> None:
        with self.call("heartbeat") as world:
            world.heartbeats.append((instance, transition))
            world.hooks_end[instance, transition] = world.now + HOOK_TIMEOUT

    def replace(self, instance: InstanceId, group: str) -> bool:
        with self.call("replace") as world:
            found = world.groups[group]
            there = found.member(instance)
            if there is None or not there.in_service:
                return False
            self.judge_rung("replaced", instance)
            if "Launch" in found.suspended:
                world.violations.append(f"{instance} was replaced by nothing: {group} launches nothing")
            world.did("replace", instance, machine=None)
            held = replace(there, lifecycle_state="Terminating:Wait")
            world.hooks_end[instance, Transition.TERMINATING] = world.now + HOOK_TIMEOUT
            world.groups[group] = replace(
                found, members=tuple(held if one.id == instance else one for one in found.members)
            )
            return True

    def refreshing(self, group: str) -> bool:
        with self.call("refreshing") as world:
            return group in world.refreshing

    def suspend_launch(self, group: str, reason: str, *, until: datetime) -> None:
        with self.call("suspend_launch") as world:
            found = world.groups[group]
            world.groups[group] = replace(found, suspended=frozenset({"Launch"}), launch_suspended_until=until)
            world.effects.append(("suspend launch", group))

    def resume_launch(self, group: str) -> None:
        with self.call("resume_launch") as world:
            found = world.groups[group]
            world.groups[group] = replace(found, suspended=frozenset(), launch_suspended_until=None)
            world.effects.append(("resume launch", group))


class FakeJoining(_Edge):
    """Mints for machines that Auto Scaling launches and that have no Node, and ends what they had else."""

    def mint(self, instance: InstanceId) -> Answer:
        with self.call("mint") as world:
            record = world.joins.get(instance)
            if reason := world.refused.get(instance):
                return Answer("refused", reason)
            if self._may_join(instance):
                if record and record.open:
                    return Answer("is_minted", "it has its token")
                if wait := self._not_its_turn(instance):
                    return Answer("held", wait)
                launched_at = world.instances[instance].launched_at
                group, role = world.group_of(instance).name, world.role_of(instance)
                world.joins[instance] = join(
                    instance, issued_at=world.now, launched_at=launched_at, group=group, role=role
                )
                world.did("mint", instance, machine=None)
                return Answer("minted", "it may join")
            if record and record.open:
                world.joins[instance] = replace(record, state=JoinState.ENDED, ended_because="it is over")
                world.did("revoke", instance, machine=None)
                return Answer("revoked", "it may not join, or has")
            return Answer("nothing", "it has nothing to join with")

    def approve(self, instance: InstanceId | None) -> Answer:
        with self.call("approve") as world:
            pending = [one for one, seen in world.approvals.items() if seen.client_at and not seen.serving_at]
            asking = [one for one in pending if one in world.nodes] if instance is None else []
            for one in asking:
                world.approvals[one] = replace(world.approvals[one], serving_at=world.now)
                world.did("approve", one, machine=None)
            record = world.joins.get(instance) if instance else None
            if record is None or instance is None:
                return Answer("approved" if asking else "nothing", "what is pending")
            there = world.approvals.get(instance) or Approval(instance, record.launched_at)
            if world.is_control_plane(instance) and not any(one.name == instance for one in world.etcd.values()):
                return Answer("nothing", "kubeadm has it join etcd first")
            if instance in world.stuck and not world.is_control_plane(instance):
                return Answer("nothing", "it never asks")
            if record.open and there.client_at is None:
                world.approvals[instance] = replace(there, client_at=world.now)
            elif instance in world.nodes and there.client_at and there.serving_at is None:
                world.approvals[instance] = replace(there, serving_at=world.now)
            else:
                return Answer("nothing", "no request is pending")
            world.did("approve", instance, machine=None)
            return Answer("approved", "it asked as it must")

    def _may_join(self, instance: InstanceId) -> bool:
        machine = self.world.instances.get(instance)
        listed = any(there and (there.pending or there.in_service) for there in self._members(instance))
        runs = machine is not None and machine.state in (InstanceState.PENDING, InstanceState.RUNNING)
        began_at = machine.launched_at if machine else self.world.now
        if self.world.is_control_plane(instance):
            record = self.world.joins.get(instance)
            began_at = record.issued_at if record else self.world.now
        in_time = self.world.now < began_at + SETTINGS.join_deadline
        found = self.world.approvals.get(instance)
        convicted = found is not None and found.denied is not None
        return listed and runs and in_time and not convicted and instance not in self.world.nodes

    def _not_its_turn(self, instance: InstanceId) -> str | None:
        world = self.world
        if not world.is_control_plane(instance):
            return None
        if world.admission is None or world.admission.instance != instance or world.admission.until <= world.now:
            return "it is not admitted"
        others = [one for one in world.joins.values() if one.open and one.role is Role.CONTROL_PLANE]
        return f"{others[0].instance} is joining" if others else None

    def _members(self, instance: InstanceId) -> list[Member | None]:
        return [group.member(instance) for group in self.world.groups.values()]


class FakeLoadBalancing(_Edge):
    def targets(self, instance: InstanceId, load_balancers: Iterable[str]) -> tuple[Target, ...]:
        with self.call("targets") as world:
            draining = {of: ends > world.now for (id_, of), ends in world.requests_end.items() if id_ == instance}
            return tuple(
                Target(of, draining=(instance, of) not in world.targets)
                for of in load_balancers
                if (instance, of) in world.targets or draining.get(of)
            )

    def register(self, instance: InstanceId, load_balancer: str) -> None:
        with self.call("register") as world:
            if (instance, load_balancer) not in world.targets:
                world.did("register", instance, machine=None)
                world.targets.add((instance, load_balancer))

    def deregister(self, instance: InstanceId, load_balancer: str) -> None:
        with self.call("deregister") as world:
            if (instance, load_balancer) in world.targets:
                world.did("deregister", instance, machine=None)
                world.targets.discard((instance, load_balancer))
                world.requests_end[instance, load_balancer] = world.now + world.requests_take

    def health(self, target_group: str) -> dict[InstanceId, str]:
        with self.call("health") as world:
            there = [one for one, target in world.targets if target == target_group]
            runs = {one.id for one in world.instances.values() if one.state is InstanceState.RUNNING}
            return {one: "healthy" if one in world.serving & runs else "unhealthy" for one in there}


class FakeKubernetes(_Edge):
    def node(self, name: str) -> Node | Absent:
        with self.call("node") as world:
            return _as_seen(world.nodes[name], world) if name in world.nodes else Absent()

    def nodes(self) -> tuple[Node, ...]:
        with self.call("nodes") as world:
            return tuple(_as_seen(node, world) for node in world.nodes.values())

    def pods_on(self, node_name: str) -> tuple[Pod, ...]:
        with self.call("pods_on") as world:
            return tuple(pod for pod, where in world.pods.items() if where == node_name)

    def attachments_of(self, node_name: str) -> tuple[str, ...]:
        with self.call("attachments_of") as world:
            return tuple(name for name, where in world.attachments.items() if where == node_name)

    def renewed_at(self, node_name: str) -> datetime | Absent:
        with self.call("renewed_at") as world:
            return self._renewals(world).get(node_name, Absent())

    def renewals(self) -> dict[str, datetime]:
        with self.call("renewals") as world:
            return self._renewals(world)

    def _renewals(self, world: World) -> dict[str, datetime]:
        heard = {InstanceId(name): world.silent.get(InstanceId(name), world.now) for name in world.nodes}
        return {one: at + world.clocks_off.get(one, timedelta(0)) for one, at in heard.items()}

    def etcd_pods(self) -> tuple[EtcdPod, ...]:
        with self.call("etcd_pods") as world:
            return tuple(
                EtcdPod(
                    node.name,
                    f"https://{node.addresses[0]}:2379",
                    f"etcd-of-{node.uid}",
                    ready=world.etcd_pods_look_ready
                    or any(one.name == node.name and one.answers and node.ready for one in world.etcd.values()),
                )
                for node in world.nodes.values()
                if node.control_plane
            )

    def cordon(self, node: Node, notice: Notice | None, *, drains: bool, at: datetime) -> None:
        with self.call("cordon") as world:
            annotations, labels = _cordoned(node, at), dict(node.labels)
            if notice:
                annotations[NOTICE_ANNOTATION] = notice.to_json()
            if drains:
                annotations = {DRAINING_ANNOTATION: at.isoformat()} | annotations
            if drains and EXCLUDED_LABEL not in labels:
                labels[EXCLUDED_LABEL] = "true"
                annotations[EXCLUDED_ANNOTATION] = at.isoformat()
            if self._write(node, unschedulable=True, annotations=annotations, labels=labels):
                world.did("cordon", node.uid, machine=None)
                self._judge("cordoned", node.name, only_advised_may=not drains)

    def fence(self, node: Node, *, at: datetime) -> None:
        with self.call("fence") as world:
            annotations, taints = _cordoned(node, at), node.taints
            if not node.out_of_service:
                annotations[FENCED_ANNOTATION], taints = at.isoformat(), (*taints, OUT_OF_SERVICE)
            if self._write(node, unschedulable=True, taints=taints, annotations=annotations):
                world.did("fence", node.uid, machine=world.machine_of(node.name))

    def restore(self, node: Node) -> None:
        with self.call("restore") as world:
            ours = CORDONED_ANNOTATION in node.annotations
            if ours and node.uid in world.cordoned_by_people:
                world.violations.append(f"Node {node.name} was opened, but a person had closed it")
            if self._write(
                node,
                taints=tuple(
                    taint
                    for taint in node.taints
                    if taint != OUT_OF_SERVICE or FENCED_ANNOTATION not in node.annotations
                ),
                unschedulable=node.unschedulable and not ours,
                annotations={key: text for key, text in node.annotations.items() if key not in MARKS},
                labels={
                    key: text
                    for key, text in node.labels.items()
                    if key != EXCLUDED_LABEL or EXCLUDED_ANNOTATION not in node.annotations
                },
            ):
                world.did("restore", node.uid, machine=None)

    def delete_pods(self, pods: Iterable[Pod], *, grace_s: int | None) -> None:
        for pod in pods:  # one request each, as the API has it: a crash can come between two of them
            with self.call("delete_pod") as world:
                if pod in world.pods:  # another pod of this name has another uid, and so is not this one
                    machine = world.machine_of(world.pods.pop(pod)) if grace_s == 0 else None
                    world.pods.pop(pod, None)
                    world.did("delete pod", pod.uid, machine=machine)

    def evict(self, pods: Iterable[Pod], *, grace_s: int | None = None) -> tuple[Blocked, ...]:
        blocked = []
        for pod in pods:
            with self.call("evict_pod") as world:
                if pod.name in world.budgeted and pod in world.pods:
                    blocked.append(Blocked(pod, "the budget allows none"))
                elif pod in world.pods:
                    where = world.pods.pop(pod)
                    if InstanceId(where) in world.silent:  # only its kubelet, or the end of its machine, ends it
                        world.pods[replace(pod, ending=True)] = where
                    if not pod.ending:
                        world.did("evict pod", pod.uid, machine=None)
                        self._judge("emptied", where)
        return tuple(blocked)

    def delete_node(self, name: str, uid: str) -> None:
        with self.call("delete_node") as world:
            there = world.nodes.get(name)
            if there is None:
                return
            if there.uid != uid:
                raise ConflictError(f"the uid of {name} is {there.uid}, not {uid}")
            machine = world.machine_of(name)
            world.did("delete node", uid, machine=machine)
            if machine and machine.state is InstanceState.STOPPED:
                world.violations.append(f"Node {name} was deleted, but its machine may start again")
            if name in world.attachments.values():
                world.violations.append(f"Node {name} was deleted while a volume was attached to it")
            if any(one.name == name for one in world.etcd.values()):
                world.violations.append(f"Node {name} was deleted while etcd has its member")
            del world.nodes[name]

    def _judge(self, what: str, node_name: str, *, only_advised_may: bool = False) -> None:
        """Note it when a machine is closed or emptied that nobody takes out."""
        if (node := self.world.nodes.get(node_name)) and node.instance:
            because = self.world.why_it_leaves(node.instance)
            if because is None or (because == "advice" and not (only_advised_may or self.world.drains_on_advice)):
                self.world.violations.append(f"{node_name} was {what}, because: {because}")

    def _write(self, seen: Node, **changes: Any) -> bool:
        there = self.world.nodes.get(seen.name)
        if there is None:
            return False
        if (there.uid, there.resource_version) != (seen.uid, seen.resource_version):
            raise ConflictError(f"Node {seen.name} has changed")
        version = str(int(there.resource_version) + 1)
        self.world.nodes[seen.name] = replace(there, resource_version=version, **changes)
        return True


def _as_seen(node: Node, world: World) -> Node:
    """As the controller manager has it: 40 s after a kubelet was heard of last it calls its Node's state unknown."""
    unreachable_since = world.silent.get(InstanceId(node.name), world.now) + LEASE_STALE
    if unreachable_since > world.now:
        return node
    ready = Condition(
        "Ready", "Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status.", unreachable_since
    )
    return replace(node, ready=False, conditions=(ready,))


def _cordoned(node: Node, at: datetime) -> dict[str, str]:
    return node.annotations | ({} if node.unschedulable else {CORDONED_ANNOTATION: at.isoformat()})


class FakeTable(_Edge):
    def memory(self, instance: InstanceId, *, now: datetime) -> Memory:
        with self.call("memory") as world:
            flying = in_flight(world.cases.values())
            pauses = tuple(pause for pause in world.pauses.values() if pause.until > now)
            joins = (world.joins[instance],) if instance in world.joins else ()
            approvals = (world.approvals[instance],) if instance in world.approvals else ()
            case, record = world.cases.get(instance), world.records.get(instance)
            doubt = world.doubts.get(instance)
            return Memory(case, record, pauses, flying, joins, approvals, tuple(world.abandoned), doubt)

    def cases(self) -> tuple[Case, ...]:
        with self.call("cases") as world:
            return tuple(world.cases.values())

    def pauses(self) -> tuple[Pause, ...]:
        with self.call("pauses") as world:
            return tuple(world.pauses.values())

    def joins(self) -> tuple[JoinRecord, ...]:
        with self.call("joins") as world:
            return tuple(world.joins.values())

    def note_abandoned(self, abandoned: Abandoned, *, at: datetime) -> None:
        with self.call("note_abandoned") as world:
            world.abandoned.add(abandoned)

    def forget_abandoned(self, group: str) -> None:
        with self.call("forget_abandoned") as world:
            world.abandoned = {one for one in world.abandoned if one.group != group}

    def forget(self, instance: InstanceId) -> None:
        with self.call("forget") as world:
            world.records.pop(instance, None)

    def records(self) -> tuple[Record, ...]:
        with self.call("records") as world:
            return tuple(world.records.values())

    def open_case(self, case: Case, *, max_in_flight: int) -> None:
        with self.call("open_case") as world:
            if case.instance in world.cases:
                return
            ours = [CONTROL_PLANES_PLACE] if case.role is Role.CONTROL_PLANE else list(range(max_in_flight))
            free = [place for place in ours if place not in world.places]
            if not free:
                raise RefusedError(f"all {len(ours)} places are taken")
            world.places[free[0]] = case.instance
            world.cases[case.instance] = case
            cleaning = [one for one in world.cases.values() if one.phase is Phase.CLEANING]
            world.most_control_planes_in_flight = max(
                world.most_control_planes_in_flight, sum(one.role is Role.CONTROL_PLANE for one in cleaning)
            )
            world.most_in_flight = max(world.most_in_flight, len(in_flight(world.cases.values())))

    def await_replacement(self, instance: InstanceId) -> None:
        with self.call("await_replacement") as world:
            if case := world.cases.get(instance):
                world.cases[instance] = replace(case, phase=Phase.REPLACING)
                self._free(instance)

    def close_case(self, instance: InstanceId) -> None:
        with self.call("close_case") as world:
            world.cases.pop(instance, None)
            self._free(instance)

    def _free(self, instance: InstanceId) -> None:
        self.world.places = {place: holder for place, holder in self.world.places.items() if holder != instance}

    def remember(self, record: Record) -> None:
        with self.call("remember") as world:
            world.records.setdefault(record.instance, record)

    def first_time(self, key: str, *, now: datetime, within: timedelta) -> bool:
        with self.call("first_time") as world:
            if key in world.said and world.said[key] > now:
                return False
            world.said[key], world.said_at[key] = now + within, now
            return True

    def said_since(self, key: str, *, now: datetime) -> datetime | None:
        with self.call("said_since") as world:
            return world.said_at[key] if key in world.said and world.said[key] > now else None

    def unsay(self, key: str) -> None:
        with self.call("unsay") as world:
            world.said.pop(key, None)

    def doubts(self, *, now: datetime) -> tuple[Doubt, ...]:
        with self.call("doubts") as world:
            return tuple(world.doubts.values())

    def note_doubt(self, doubt: Doubt, *, at: datetime) -> None:
        with self.call("note_doubt") as world:
            world.doubts[doubt.instance] = doubt

    def forget_doubt(self, instance: InstanceId) -> None:
        with self.call("forget_doubt") as world:
            world.doubts.pop(instance, None)

    def brakes(self, *, now: datetime) -> tuple[Brake, ...]:
        with self.call("brakes") as world:
            return tuple(brake for brake in world.brakes.values() if brake.until > now)

    def note_brake(self, brake: Brake) -> None:
        with self.call("note_brake") as world:
            world.brakes[brake.scope] = brake

    def write_history(self, instance: InstanceId, at: datetime, entry: dict[str, object]) -> None:
        with self.call("write_history") as world:
            world.history.append((instance, entry))

    def pause(self, pause: Pause) -> None:
        with self.call("pause") as world:
            world.pauses[pause.of] = pause

    def resume(self, subject: str) -> None:
        with self.call("resume") as world:
            world.pauses.pop(subject, None)

    def history(self, instance: InstanceId) -> tuple[dict[str, Any], ...]:
        with self.call("history") as world:
            return tuple(entry for machine, entry in world.history if machine == instance)

    def admission(self) -> Admission | Absent:
        with self.call("admission") as world:
            return world.admission or Absent()

    def admit(self, admission: Admission, *, now: datetime) -> bool:
        with self.call("admit") as world:
            there = world.admission
            if there and there.instance != admission.instance and there.until > now:
                return False
            world.admission = admission
            return True

    def end_admission(self, instance: InstanceId) -> None:
        with self.call("end_admission") as world:
            if world.admission and world.admission.instance == instance:
                world.admission = None

    def take_lease(self, holder: str, *, now: datetime, until: datetime) -> bool:
        with self.call("take_lease") as world:
            if world.lease and world.lease[0] != holder and world.lease[1] > now:
                return False
            world.lease = (holder, until)
            return True

    def end_lease(self, holder: str) -> None:
        with self.call("end_lease") as world:
            if world.lease and world.lease[0] == holder:
                world.lease = None

    def snapshot_at(self) -> datetime | None:
        with self.call("snapshot_at") as world:
            return max((at for at, _ in world.snapshots), default=None)

    def note_snapshot(self, snapshot: Snapshot, *, at: datetime) -> None:
        with self.call("note_snapshot") as world:
            world.snapshots.append((at, snapshot.key))

    def snapshot_begun(self) -> SnapshotBegun | Absent:
        with self.call("snapshot_begun") as world:
            return world.snapshot_begun or Absent()

    def begin_snapshot(self, begun: SnapshotBegun, *, now: datetime, until: datetime) -> bool:
        with self.call("write_snapshot_begun") as world:
            there = world.snapshot_begun
            over = there and there.key == begun.key if begun.command else world.snapshot_begun_until <= now
            if there and not over:
                return False
            world.snapshot_begun, world.snapshot_begun_until = begun, until
            return True

    def end_snapshot(self, begun: SnapshotBegun) -> None:
        with self.call("end_snapshot") as world:
            if world.snapshot_begun and world.snapshot_begun.key == begun.key:
                world.snapshot_begun = None


class FakeCommands(_Edge):
    """Machines that run answer for etcd, as far as enough of its voters do; one that is silent restarts nothing."""

    def restart(self, on: InstanceId, service: str) -> None:
        with self.call("restart") as world:
            if world.mended_by.get(on) is not Rung.RESTART:
                raise RetryableError(f"restart-{service} on {on}: DeliveryTimedOut")
            world.did(f"restart {service}", on, machine=None)
            world.mends_at.setdefault(on, world.now + STARTS_IN)

    def etcd(self, on: InstanceId) -> Etcd:
        with self._run("etcd", on) as world:
            members = self._members(world)
            answering = sum(member.voter and member.answers for member in members)
            whole = answering > sum(member.voter for member in members) // 2 and world.now >= world.elected_at
            return Etcd(asked=on, members=members, linearizable=whole)

    def remove_member(self, on: InstanceId, member: EtcdMember) -> str | None:
        with self._run("remove_member", on) as world:
            there = world.etcd.get(member.id)
            if there is None:
                return None
            seen = {one.id: one for one in self._members(world)}
            voters = [one for one in seen.values() if one.voter]
            live = [one for one in voters if one.healthy]
            if sum(one.answers for one in voters) <= len(voters) // 2 or world.now < world.elected_at:
                raise RetryableError("etcdserver: request timed out")
            left = [one for one in voters if one.id != member.id]
            if there.name == on:
                return "it is its own member"
            if there.peer_urls != member.peer_urls:
                return f"its peer url is {there.peer_urls}"
            if there.voter and any(one.learner for one in seen.values()):
                return "a learner is present"
            if there.voter and (len(live) <= len(voters) // 2 or sum(one in live for one in left) <= len(left) // 2):
                return f"it would end the quorum of {len(voters)}"
            self._judge(seen[member.id])
            world.did("remove member", there.name or there.id, machine=None)
            del world.etcd[member.id]
            return None

    def _judge(self, member: EtcdMember) -> None:
        """Note it when a member goes without the lease, or while its machine is to stay."""
        world = self.world
        if world.lease is None or world.lease[1] <= world.now or member.id not in world.lease[0]:
            world.violations.append(f"{member.id} was removed without the lease")
        machine = world.instances.get(InstanceId(member.name))
        there = world.member(machine.id) if machine else None
        if machine and machine.state in _RUNS and there and there.in_service and not world.why_it_leaves(machine.id):
            world.violations.append(f"{member.name} was removed from etcd while it is in service")

    def move_leader(self, on: InstanceId, to: EtcdMember) -> None:
        with self._run("move_leader", on) as world:
            world.did("move leader", to.name, machine=None)
            for id_, one in world.etcd.items():
                world.etcd[id_] = replace(one, leads=id_ == to.id)

    def begin_snapshot(self, on: InstanceId, *, bucket: str, key: str) -> str:
        with self._run("begin_snapshot", on) as world:
            lasts = min(world.snapshot_takes, COMMAND_ENDS)
            if any(ends > world.now for ends, _ in world.snapshot_commands.values()):
                world.violations.append("two snapshots are under way at once")
            command = f"command-{len(world.snapshot_commands)}"
            world.snapshot_commands[command] = (world.now + lasts, key)
            return command

    def snapshot(self, begun: SnapshotBegun, *, wait: bool) -> Snapshot | None:
        with self.call("snapshot") as world:
            ends, key = world.snapshot_commands[begun.command]
            if world.now + (WAITS_FOR_SNAPSHOT if wait else timedelta(0)) < ends:
                return None
            if world.snapshot_takes > COMMAND_ENDS:
                raise PermanentError(f"snapshot on {begun.on}: Execution Timed Out")
            return Snapshot(key=key, size_bytes=1, hash="1", revision=1)

    def upload_certificates(self, on: InstanceId, *, for_instance: InstanceId) -> datetime:
        with self._run("upload_certificates", on) as world:
            world.certificates_for = for_instance
            return world.now + timedelta(hours=2)

    def forget_certificates(self, on: InstanceId, *, for_instance: InstanceId) -> None:
        with self._run("forget_certificates", on) as world:
            world.certificates_for = None

    @contextmanager
    def _run(self, method: str, on: InstanceId) -> Iterator[World]:
        with self.call(method) as world:
            machine = world.instances.get(on)
            if machine is None or machine.state is not InstanceState.RUNNING:
                raise RetryableError(f"{method} on {on}: DeliveryTimedOut")
            if not any(one.name == on and one.answers for one in world.etcd.values()):
                raise RetryableError(f"{method} on {on}: Failed: connection refused")
            yield world

    def _members(self, world: World) -> tuple[EtcdMember, ...]:
        """As they are now: one answers when its machine runs, and one that answers leads."""
        runs = {str(one.id) for one in world.instances.values() if one.state is InstanceState.RUNNING}
        runs |= world.runs_elsewhere
        seen = [replace(one, answers=one.answers and one.name in runs) for one in world.etcd.values()]
        if world.now < world.elected_at:
            return tuple(seen)
        leading = next((one.id for one in seen if one.leads and one.answers), None)
        heir = leading or next((one.id for one in seen if one.voter and one.answers), None)
        return tuple(replace(one, leads=one.id == heir) for one in seen)


class FakeQueues(_Edge):
    def look_now(self, *orders: Order) -> None:
        with self.call("look_now") as world:
            for order in orders:
                heard = world.deduplication.get(order.deduplication_id)
                if heard is None or world.now - heard >= timedelta(minutes=5):
                    world.deduplication[order.deduplication_id] = world.now
                    world.passes.append(order.look)

    def look_later(self, look: Look, *, now: datetime, after: timedelta) -> None:
        with self.call("look_later") as world:
            world.later.append(replace(look, due_s=int(due(now, after).timestamp())))


class FakeDeadLetters(_Edge):
    def receive(self) -> tuple[DeadLetter, ...]:
        with self.call("receive_dead") as world:
            return tuple(world.dead_letters)

    def give_back(self, letters: Sequence[DeadLetter]) -> None:
        with self.call("give_back"):
            pass

    def delete(self, letter: DeadLetter) -> None:
        with self.call("delete_dead") as world:
            world.dead_letters.remove(letter)

    def into_the_inbox(self, body: str) -> None:
        with self.call("into_the_inbox") as world:
            world.inbox.append(body)


class FakeAlerts(_Edge):
    def alert(self, subject: str, text: str) -> None:
        with self.call("alert") as world:
            world.alerts.append((subject, text))


@dataclass
class FakeJournal:
    world: World

    def tell(self, what: str, **fields: object) -> None:
        self.world.told.append((what, fields))

    def count(self, what: str) -> None:
        self.world.told.append((f"count {what}", {"cluster": CLUSTER}))
