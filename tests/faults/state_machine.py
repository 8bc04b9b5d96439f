"""Clusters of any size in any trouble: what must hold at every moment, and that they come whole when it is over.

Hypothesis chooses the cluster, what happens to it, and what goes wrong with our calls, queues and functions. What it
finds comes with the steps that lead there; see `test_state_machine.py` for how to run it again, and for longer.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from functions.cluster.doubt import Rung
from functions.cluster.facts import Pause
from functions.cluster.machine import Instance, InstanceId, InstanceState, Role
from functions.errors import ConfigurationError, ConflictError, RegrowError, RetryableError
from functions.messages import Look
from tests.faults.driving import Drive
from tests.faults.simulations import ACTS, ENDS, ZONES, readiness
from tests.unit.functions.builders import CLUSTER, SETTINGS, TARGET_GROUP, WORKERS, instance, machine
from tests.unit.functions.fake_world import Call, Crash, World
from tests.unit.functions.worlds import (
    API_TARGET_GROUP,
    CONTROL_PLANES,
    a_cluster,
    add_group,
    add_worker,
    interrupt,
    listed_as,
    recommend,
    schedule,
    settle,
)

OTHERS = "drill-worker-others"
COMES_WHOLE_WITHIN = timedelta(hours=3)  # launches may be suspended for one, advice to leave a machine holds for one
_NOTICED_AFTER = timedelta(minutes=1)  # by Auto Scaling, of a machine that has ended
_WHILE_BLIND = {"kubernetes": ACTS - {"deregister"}, "ec2": ACTS, "autoscaling": ACTS}
_ERRORS: tuple[type[RegrowError], ...] = (RetryableError, ConfigurationError, ConflictError)

pick = st.integers(0, 11)
chance = st.integers(0, 2**16).map(random.Random)
told = st.booleans()


@dataclass
class Faults:
    """What goes wrong with our calls: each may raise, before a call reaches the other side or after it has."""

    before: list[Callable[[Call], None]] = field(default_factory=list)
    after: list[Callable[[Call], None]] = field(default_factory=list)

    def clear(self) -> None:
        self.before.clear()
        self.after.clear()

    @property
    def any(self) -> bool:
        return bool(self.before or self.after)


class Clusters(RuleBasedStateMachine):
    """One cluster in one world, which goes on by itself; `faults` and what `chance` does to the queues are ours."""

    @initialize(
        workers=st.integers(1, 6),
        groups=st.integers(1, 2),
        zones=st.integers(1, 3),
        control_planes=st.sampled_from([1, 3, 5]),
        begins_s=st.integers(0, 59),
    )
    def begin(self, workers: int, groups: int, zones: int, control_planes: int, begins_s: int) -> None:
        self.world = a_cluster(0, control_planes=control_planes)
        self.world.groups[WORKERS] = replace(self.world.groups[WORKERS], desired=0)
        if groups == 2:
            add_group(self.world, OTHERS, 0)
        for number in range(max(workers, groups)):
            name = (WORKERS, OTHERS)[number % groups]
            add_worker(self.world, machine(1 + number), group_name=name, zone=ZONES[number % zones])
            ours = self.world.groups[name]
            self.world.groups[name] = replace(ours, desired=len(ours.members))
        self.pods(max(workers, groups))
        self.faults, self.broken, self.bad_image = Faults(), False, False
        self.ended_at: dict[InstanceId, datetime] = {}
        self.seen_effects = self.seen_told = 0
        self.ends: Counter[str] = Counter()
        self.world.before, self.world.after = self._before, self._after
        self.drive = Drive(
            self.world,
            SETTINGS,
            next_sweep=self.world.now + timedelta(seconds=begins_s),
            weather=self.weather,
            settles=self.settles,
        )
        self.run(timedelta(minutes=2))

    def pods(self, workers: int) -> None:
        """As `a_cluster` has them: two on each worker, one of them with a volume."""
        there = a_cluster(workers)
        self.world.pods, self.world.attachments = there.pods, there.attachments
        self.pod_names = {pod.name for pod in there.pods}

    def _before(self, call: Call) -> None:
        for fault in tuple(self.faults.before):
            fault(call)

    def _after(self, call: Call) -> None:
        for fault in tuple(self.faults.after):
            fault(call)

    def run(self, duration: timedelta) -> None:
        self.guarded(lambda: self.drive.run(duration))

    def guarded(self, act: Callable[[], None]) -> None:
        try:
            act()
        except BaseException:
            self.broken = True
            raise

    # --- what goes on without us

    def settles(self, world: World) -> None:
        settle(world)
        for one in [there.id for group in world.groups.values() for there in group.members if there.pending]:
            if self.bad_image and one not in world.nodes and one not in world.joins:
                world.stuck.add(one)

    def weather(self, world: World) -> None:
        readiness(world)
        takes_pods = sorted(node.name for node in world.nodes.values() if node.ready and not node.unschedulable)
        for pod in [pod for pod, where in world.pods.items() if where not in world.nodes and takes_pods]:
            del world.pods[pod]  # by Kubernetes itself, which then makes another
            world.pods[replace(pod, uid=f"uid-of-{pod.name}-again")] = takes_pods[0]
        for one, ended_at in list(self.ended_at.items()):
            there = world.member(one)
            if world.now - ended_at >= _NOTICED_AFTER:
                del self.ended_at[one]
                if there and there.in_service and not self._runs(one):
                    listed_as(world, one, "Terminating:Wait")

    def _runs(self, one: InstanceId) -> bool:
        there = self.world.instances.get(one)
        return isinstance(there, Instance) and there.state is InstanceState.RUNNING

    def _in_service(self, number: int) -> InstanceId | None:
        """One of the machines that serve."""
        members = sorted(
            there.id for group in self.world.groups.values() for there in group.members if there.in_service
        )
        running = [one for one in members if self._runs(one) and one in self.world.nodes]
        return running[number % len(running)] if running else None

    def _spared(self, one: InstanceId | None) -> InstanceId | None:
        """It, unless its loss would end etcd's quorum: what becomes of that is not ours to mend."""
        world = self.world
        if one is None or not world.is_control_plane(one):
            return one
        voters = [member.name for member in world.etcd.values() if member.voter]
        stays = [name for name in voters if self._stays(InstanceId(name))]
        return one if one not in voters or len(set(stays) - {one}) > len(voters) // 2 else None

    def _stays(self, one: InstanceId) -> bool:
        world, there = self.world, self.world.member(one)
        goes = one in world.interrupted or one in world.scheduled or one in world.silent or one in world.impaired
        return self._runs(one) and there is not None and there.in_service and not goes

    def _look(self, one: InstanceId, why: str, *, told: bool) -> None:
        if told:
            self.world.passes.append(Look(one, why))

    # --- trouble

    @rule(number=pick, told=told, noticed=st.booleans())
    def kill(self, number: int, told: bool, noticed: bool) -> None:
        if one := self._spared(self._in_service(number)):
            self._end(one, InstanceState.TERMINATED)
            if noticed:
                listed_as(self.world, one, "Terminating:Wait")
            self._look(one, "EC2 says terminated", told=told)

    @rule(number=pick, told=told)
    def kill_one_that_joins(self, number: int, told: bool) -> None:
        joining = sorted(there.id for group in self.world.groups.values() for there in group.members if there.pending)
        running = [one for one in joining if self._runs(one) and self._spared(one)]
        if running:
            one = running[number % len(running)]
            self._end(one, InstanceState.TERMINATED)
            self._look(one, "EC2 says terminated", told=told)

    @rule(number=pick, told=told)
    def stop(self, number: int, told: bool) -> None:
        if one := self._spared(self._in_service(number)):
            self._end(one, InstanceState.STOPPED)
            self._look(one, "EC2 says stopped", told=told)

    def _end(self, one: InstanceId, state: InstanceState) -> None:
        there = self.world.instances[one]
        address = there.address if state is InstanceState.STOPPED else None
        self.world.instances[one] = replace(there, state=state, address=address)
        if state is InstanceState.TERMINATED:
            self.ended_at[one] = self.world.now
        readiness(self.world)

    @rule(told=told)
    def start(self, told: bool) -> None:
        for one, there in list(self.world.instances.items()):
            member = self.world.member(one)
            if there.state is InstanceState.STOPPED and member and member.in_service:
                self.world.instances[one] = replace(there, state=InstanceState.RUNNING, launched_at=self.world.now)
                self._look(one, "EC2 says running", told=told)
        readiness(self.world)

    @rule(number=pick, helps=st.sampled_from([None, Rung.RESTART, Rung.REBOOT]))
    def silence(self, number: int, helps: Rung | None) -> None:
        one = self._in_service(number)
        if one and one not in self.world.silent:
            self.world.silent[one] = self.world.now
            if helps:
                self.world.mended_by[one] = helps

    @rule(number=pick)
    def impair(self, number: int) -> None:
        if one := self._in_service(number):
            self.world.impaired.setdefault(one, self.world.now)

    @rule()
    def mend(self) -> None:
        self.world.silent.clear()
        self.world.impaired.clear()
        readiness(self.world)

    @rule(number=pick, told=told)
    def let_go(self, number: int, told: bool) -> None:
        one = self._spared(self._in_service(number))
        if one is None:
            return
        ours = self.world.group_of(one)
        if ours.role is Role.WORKER and ours.desired > 1:
            self.world.groups[ours.name] = replace(ours, desired=ours.desired - 1)
        listed_as(self.world, one, "Terminating:Wait")
        self._look(one, "its group terminates it", told=told)

    @rule(number=pick, told=told, action=st.sampled_from(["terminate", "stop"]))
    def take_spot(self, number: int, told: bool, action: str) -> None:
        if one := self._spared(self._in_service(number)):
            notice = interrupt(self.world, one, action)
            if told:
                self.world.passes.append(Look(one, "Spot", notice=notice))

    @rule(number=pick)
    def advise(self, number: int) -> None:
        one = self._in_service(number)
        if one and not self.world.is_control_plane(one):
            self.world.passes.append(Look(one, "advice", notice=recommend(self.world, one)))

    @rule(number=pick, told=told, minutes=st.sampled_from([5, 50, 90]))
    def plan_maintenance(self, number: int, told: bool, minutes: int) -> None:
        if one := self._spared(self._in_service(number)):
            notice = schedule(self.world, one, self.world.now + timedelta(minutes=minutes))
            if told:
                self.world.passes.append(Look(one, "AWS Health", notice=notice))

    @rule()
    def cancel_maintenance(self) -> None:
        for one in self.world.scheduled:
            schedule(self.world, one, self.world.now + timedelta(minutes=5), "[Canceled] ")

    @rule(bad=st.booleans())
    def launches_never_join(self, bad: bool) -> None:
        self.bad_image = bad

    @rule(number=pick)
    def somebody_deletes_the_node_of_a_dead_machine(self, number: int) -> None:
        dead = sorted(name for name in self.world.nodes if self._has_ended(name))
        if dead:
            del self.world.nodes[dead[number % len(dead)]]

    def _has_ended(self, name: str) -> bool:
        there = self.world.machine_of(name)
        voters = {member.name for member in self.world.etcd.values()}
        return there is not None and there.state is InstanceState.TERMINATED and name not in voters

    @rule(number=st.integers(0x900, 0x903), ours=st.booleans(), told=told)
    def stranger(self, number: int, ours: bool, told: bool) -> None:
        """An event about a machine that EC2 does not know, or that is of no group of the cluster."""
        if ours:
            self.world.instances[machine(number)] = instance(machine(number), tags={})
        self._look(machine(number), "a stranger's event", told=told)

    @rule(minutes=st.sampled_from([1, 10, 60]), of=st.sampled_from([CLUSTER, WORKERS, machine(1)]))
    def pause(self, minutes: int, of: str) -> None:
        self.world.pauses[of] = Pause(of, self.world.now + timedelta(minutes=minutes), "a person works on it")

    @rule()
    def resume(self) -> None:
        self.world.pauses.clear()

    # --- what goes wrong with us

    @rule(after=st.integers(1, 60), of_its_answer=st.booleans())
    def crash(self, after: int, of_its_answer: bool) -> None:
        self._once(after, Crash(), of_its_answer=of_its_answer)

    @rule(after=st.integers(1, 60), error=st.sampled_from(_ERRORS), of_its_answer=st.booleans())
    def one_call_fails(self, after: int, error: type[RegrowError], of_its_answer: bool) -> None:
        self._once(after, error("it did not work"), of_its_answer=of_its_answer)

    def _once(self, after: int, what: BaseException, *, of_its_answer: bool) -> None:
        due = len(self.world.calls) + after

        def fault(call: Call) -> None:
            if call.number >= due and fault in faults:
                faults.remove(fault)
                raise what

        faults = self.faults.after if of_its_answer else self.faults.before
        faults.append(fault)

    @rule(share=st.sampled_from([0.05, 0.3]), luck=chance, error=st.sampled_from(_ERRORS))
    def many_calls_fail(self, share: float, luck: random.Random, error: type[RegrowError]) -> None:
        def fault(call: Call) -> None:
            if luck.random() < share:
                raise error(f"{call.service} is throttled")

        self.faults.before.append(fault)

    @rule()
    def the_table_is_gone(self) -> None:
        self.faults.before.append(_away("table"))

    @rule()
    def all_answers_again(self) -> None:
        self.faults.clear()

    @rule(service=st.sampled_from(sorted(_WHILE_BLIND)), seconds=st.integers(20, 400), error=st.sampled_from(_ERRORS))
    def blind(self, service: str, seconds: int, error: type[RegrowError]) -> None:
        """Nothing is done to any machine while one of the three that say how machines are does not answer."""
        fault = _away(service, error)
        self.faults.before.append(fault)
        already = len(self.world.effects)
        self.run(timedelta(seconds=seconds))
        self.faults.before.remove(fault)
        did = [what for what in self.world.effects[already:] if what[0] in _WHILE_BLIND[service]]
        self.holds(not did, f"while {service} did not answer: {did}")

    @rule(luck=chance)
    def shuffle_looks(self, luck: random.Random) -> None:
        luck.shuffle(self.world.passes)

    @rule()
    def deliver_looks_twice(self) -> None:
        self.world.passes += self.world.passes

    @rule(luck=chance)
    def lose_looks(self, luck: random.Random) -> None:
        self.world.passes = [look for look in self.world.passes if luck.random() < 0.5]
        self.world.later = [look for look in self.world.later if luck.random() < 0.5]

    # --- time

    @rule(seconds=st.sampled_from([1, 5, 20, 60, 180, 600]))
    def time_passes(self, seconds: int) -> None:
        self.run(timedelta(seconds=seconds))

    @rule()
    def sweep(self) -> None:
        self.guarded(self.drive.sweep)

    # --- what must hold

    def holds(self, true: bool, what: str) -> None:
        if not true:
            self.broken = True
            raise AssertionError(what)

    @invariant()
    def nothing_is_harmed(self) -> None:
        if not hasattr(self, "drive"):
            return
        world = self.world
        self.holds(not world.violations, f"{world.violations}")
        self.holds(world.most_control_planes_in_flight <= 1, "two control planes were in flight")
        self.holds(world.most_in_flight <= SETTINGS.max_in_flight, f"{world.most_in_flight} were in flight")
        for what, whom in world.effects[self.seen_effects :]:
            self.holds(not whom.startswith("i-00000000000000090"), f"{what} was done to a stranger")
            if what in ENDS:
                self.ends[f"{what} {whom}"] += 1
        self.seen_effects = len(world.effects)
        self.holds(all(many == 1 for many in self.ends.values()), f"ended more than once: {self.ends}")

    @invariant()
    def etcd_keeps_its_quorum(self) -> None:
        if not hasattr(self, "drive") or any(what == "hook ran out" for what, _ in self.world.effects):
            return
        voters = [InstanceId(member.name) for member in self.world.etcd.values() if member.voter]
        live = [one for one in voters if self._runs(one)]
        self.holds(len(live) > len(voters) // 2, f"only {live} of {voters} run")
        learners = [member.name for member in self.world.etcd.values() if member.learner]
        self.holds(len(learners) <= 1, f"learners: {learners}")
        joining = [one for one, join in self.world.joins.items() if join.open and join.role is Role.CONTROL_PLANE]
        self.holds(len(joining) <= 1, f"control planes join at once: {joining}")

    @invariant()
    def a_refusal_is_counted_kept_and_told(self) -> None:
        if not hasattr(self, "drive"):
            return
        world, new = self.world, self.world.told[self.seen_told :]
        self.seen_told = len(world.told)
        said = {key for key in world.said if key.startswith("refused#")}
        single = [key for key in said if not key.startswith("refused#brake")]
        self.holds(len(single) <= len(world.alerts), f"said {sorted(single)}, sent {world.alerts}")
        if self.faults.any or any(what.endswith("_failed") for what, _ in new):
            return
        refused = [fields for what, fields in new if what == "pass" and str(fields["then"]).startswith("refused: ")]
        counted = sum(what == "count refused" for what, _ in new)
        self.holds(counted == len(refused), f"{counted} counted, {len(refused)} refused")
        kept = {(one, entry.get("then")) for one, entry in world.history}
        for fields in refused:
            self.holds((fields["machine"], fields["then"]) in kept or not said, f"not in the history: {fields}")
            self.holds(bool(said), f"nobody was told: {fields}")

    # --- the end

    def teardown(self) -> None:
        if self.broken or not hasattr(self, "drive"):
            return
        self.faults.clear()
        self.bad_image = False
        world = self.world
        world.pauses.clear()
        world.silent.clear()
        world.impaired.clear()
        world.scheduled.clear()
        self.start(told=False)
        for one, there in list(world.instances.items()):
            member = world.member(one)
            if there.state is InstanceState.STOPPED and member and not member.in_service:
                self._end(one, InstanceState.TERMINATED)
        began = world.now
        while self.lacks() and world.now < began + COMES_WHOLE_WITHIN:
            self.guarded(self.drive.step)
            if any(there.state is InstanceState.STOPPED for there in world.instances.values()):
                self.start(told=False)
        lacks = self.lacks()
        self.holds(lacks is None, f"not whole {world.now - began} after all trouble: {lacks}")
        self.run(timedelta(minutes=5))
        while world.passes or world.later:
            self.guarded(self.drive.step)
        self.nothing_is_harmed()
        self.etcd_keeps_its_quorum()
        self.holds(self.lacks() is None, f"whole no more, with no trouble: {self.lacks()}")

    def lacks(self) -> str | None:
        """Say what the cluster still lacks to be whole, None when nothing is to be done any more."""
        world = self.world
        if world.interrupted or self.ended_at:
            return f"what goes on by itself: {world.interrupted}, {self.ended_at}"
        for group in world.groups.values():
            serving = [there.id for there in group.members if there.in_service and self._runs(there.id)]
            if len(serving) != group.desired or len(group.members) != group.desired:
                return f"{group.name} wants {group.desired}: {group.members}"
            balancer = API_TARGET_GROUP if group.name == CONTROL_PLANES else TARGET_GROUP
            for one in serving:
                node = world.nodes.get(one)
                if node is None or not node.ready or node.unschedulable or node.marked or node.out_of_service:
                    return f"the Node of {one}: {node}"
                if (one, balancer) not in world.targets:
                    return f"{one} gets no requests"
            if group.launch_suspended_until or group.suspended:
                return f"{group.name} launches nothing"
        members = {there.id for group in world.groups.values() for there in group.members}
        if set(world.nodes) != members:
            return f"Nodes {sorted(set(world.nodes) ^ members)}"
        if strays := [one for one, _ in world.targets if one not in members]:
            return f"load balancers still have {strays}"
        etcd = {member.name for member in world.etcd.values() if member.voter and member.healthy}
        if etcd != {there.id for there in world.groups[CONTROL_PLANES].members} or len(etcd) != len(world.etcd):
            return f"etcd: {world.etcd}"
        if world.cases or world.places or world.admission or world.certificates_for:
            return f"begun: {world.cases}, {world.places}, {world.admission}, {world.certificates_for}"
        if open_ := [one for one, join in world.joins.items() if join.open]:
            return f"tokens of {open_}"
        if {pod.name for pod in world.pods} != self.pod_names or not set(world.pods.values()) <= members:
            return f"pods: {world.pods}"
        return f"looks: {world.passes}, {world.later}" if world.passes or world.later else None


def _away(service: str, error: type[RegrowError] = RetryableError) -> Callable[[Call], None]:
    def fault(call: Call) -> None:
        if call.service == service:
            raise error(f"{service} does not answer")

    return fault
