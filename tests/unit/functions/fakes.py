"""Every service that functions call, answering from one fake world, with the real ones' preconditions and conflicts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from functions.cluster.facts import Absent, Case, Memory, Pause, Phase, Record
from functions.cluster.machine import CORDONED_ANNOTATION, Group, Instance, InstanceId, InstanceState, Node, Pod
from functions.errors import ConflictError, RefusedError
from functions.messages import Look, due
from functions.remediate.outside import Outside
from tests.unit.functions.builders import CLUSTER, OUT_OF_SERVICE
from tests.unit.functions.fake_world import Call, World


def outside_of(world: World) -> Outside:
    return Outside(
        FakeEc2(world, "ec2"),
        FakeAutoScaling(world, "autoscaling"),
        FakeLoadBalancing(world, "load_balancing"),
        FakeKubernetes(world, "kubernetes"),
        FakeTable(world, "table"),
        FakeQueues(world, "queues"),
        FakeAlerts(world, "alerts"),
        FakeJournal(world),
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
        self.world.before(call)
        with self.world.lock:
            yield self.world
        self.world.after(call)


class FakeEc2(_Edge):
    def instance(self, instance: InstanceId) -> Instance | Absent:
        with self.call("instance") as world:
            return world.instances.get(instance, Absent())

    def fleet(self, cluster: str) -> tuple[Instance, ...]:
        with self.call("fleet") as world:
            return tuple(one for one in world.instances.values() if one.cluster == cluster)

    def terminate_without_shutdown(self, instance: InstanceId) -> None:
        with self.call("terminate") as world:
            world.did("terminate", instance, machine=None)
            world.instances[instance] = replace(world.instances[instance], state=InstanceState.TERMINATED, address=None)


class FakeAutoScaling(_Edge):
    def groups(self, cluster: str) -> tuple[Group, ...]:
        with self.call("groups") as world:
            return tuple(group for group in world.groups.values() if group.cluster == cluster)

    def complete_terminate_hooks(self, instance: InstanceId, group: str) -> None:
        with self.call("complete_terminate_hooks") as world:
            found = world.groups[group]
            member = found.member(instance)
            if member and member.lifecycle_state == "Terminating:Wait":
                world.did("complete hook", instance, machine=world.instances.get(instance))
                left = tuple(one for one in found.members if one.id != instance)
                world.groups[group] = replace(found, members=left)


class FakeLoadBalancing(_Edge):
    def deregister(self, instance: InstanceId, target_group: str) -> None:
        with self.call("deregister") as world:
            if (instance, target_group) in world.targets:
                world.did("deregister", instance, machine=None)
                world.targets.discard((instance, target_group))


class FakeKubernetes(_Edge):
    def node(self, name: str) -> Node | Absent:
        with self.call("node") as world:
            return world.nodes.get(name, Absent())

    def nodes(self) -> tuple[Node, ...]:
        with self.call("nodes") as world:
            return tuple(world.nodes.values())

    def pods_on(self, node_name: str) -> tuple[Pod, ...]:
        with self.call("pods_on") as world:
            return tuple(pod for pod, where in world.pods.items() if where == node_name)

    def attachments_of(self, node_name: str) -> tuple[str, ...]:
        with self.call("attachments_of") as world:
            return tuple(name for name, where in world.attachments.items() if where == node_name)

    def cordon(self, node: Node, *, at: datetime) -> None:
        with self.call("cordon") as world:
            if self._write(node, unschedulable=True, annotations=_cordoned(node, at)):
                world.did("cordon", node.uid, machine=None)

    def fence(self, node: Node, *, at: datetime) -> None:
        with self.call("fence") as world:
            taints = (*node.taints, OUT_OF_SERVICE)
            if self._write(node, unschedulable=True, taints=taints, annotations=_cordoned(node, at)):
                world.did("fence", node.uid, machine=world.machine_of(node.name))

    def restore(self, node: Node) -> None:
        with self.call("restore") as world:
            ours = CORDONED_ANNOTATION in node.annotations
            if self._write(
                node,
                taints=tuple(taint for taint in node.taints if taint != OUT_OF_SERVICE),
                unschedulable=node.unschedulable and not ours,
                annotations={key: text for key, text in node.annotations.items() if key != CORDONED_ANNOTATION},
            ):
                world.did("restore", node.uid, machine=None)

    def delete_pods(self, pods: Iterable[Pod]) -> None:
        for pod in pods:  # one request each, as the API has it: a crash can come between two of them
            with self.call("delete_pod") as world:
                if pod in world.pods:  # another pod of this name has another uid, and so is not this one
                    world.did("delete pod", pod.uid, machine=world.machine_of(world.pods.pop(pod)))

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
            del world.nodes[name]

    def _write(self, seen: Node, **changes: Any) -> bool:
        there = self.world.nodes.get(seen.name)
        if there is None:
            return False
        if (there.uid, there.resource_version) != (seen.uid, seen.resource_version):
            raise ConflictError(f"Node {seen.name} has changed")
        version = str(int(there.resource_version) + 1)
        self.world.nodes[seen.name] = replace(there, resource_version=version, **changes)
        return True


def _cordoned(node: Node, at: datetime) -> dict[str, str]:
    return node.annotations if node.unschedulable else node.annotations | {CORDONED_ANNOTATION: at.isoformat()}


class FakeTable(_Edge):
    def memory(self, instance: InstanceId, *, now: datetime) -> Memory:
        with self.call("memory") as world:
            in_flight = frozenset(case.instance for case in world.cases.values() if case.phase is Phase.CLEANING)
            pauses = tuple(pause for pause in world.pauses.values() if pause.until > now)
            return Memory(world.cases.get(instance), world.records.get(instance), pauses, in_flight)

    def cases(self) -> tuple[Case, ...]:
        with self.call("cases") as world:
            return tuple(world.cases.values())

    def pauses(self) -> tuple[Pause, ...]:
        with self.call("pauses") as world:
            return tuple(world.pauses.values())

    def recorded(self) -> frozenset[InstanceId]:
        with self.call("recorded") as world:
            return frozenset(world.records)

    def open_case(self, case: Case, *, max_in_flight: int) -> None:
        with self.call("open_case") as world:
            if case.instance in world.cases:
                return
            free = [place for place in range(max_in_flight) if place not in world.places]
            if not free:
                raise RefusedError(f"all {max_in_flight} places are taken")
            world.places[free[0]] = case.instance
            world.cases[case.instance] = case
            cleaning = sum(one.phase is Phase.CLEANING for one in world.cases.values())
            world.most_in_flight = max(world.most_in_flight, cleaning)

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
            world.said[key] = now + within
            return True

    def unsay(self, key: str) -> None:
        with self.call("unsay") as world:
            world.said.pop(key, None)

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


class FakeQueues(_Edge):
    def look_now(self, look: Look, deduplication_id: str) -> None:
        with self.call("look_now") as world:
            heard = world.deduplication.get(deduplication_id)
            if heard is None or world.now - heard >= timedelta(minutes=5):
                world.deduplication[deduplication_id] = world.now
                world.passes.append(look)

    def look_later(self, look: Look, *, now: datetime, after: timedelta) -> None:
        with self.call("look_later") as world:
            world.later.append(replace(look, due_s=int(due(now, after).timestamp())))


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
