"""What only hours and hundreds of machines show: a zone that goes dark, a day of flapping, launches that never join,
events that never come. Each returns its figures; `python -m bench --simulations` takes them at full size."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from functions.cluster.machine import Condition, InstanceId, InstanceState, Role
from functions.cluster.trouble import LEASE_STALE
from tests.faults.driving import Drive
from tests.unit.functions.builders import NOW, SETTINGS, WORKERS, machine
from tests.unit.functions.fake_world import World
from tests.unit.functions.worlds import a_cluster, add_group, add_worker, kill, settle

ZONES = ("us-east-1a", "us-east-1b", "us-east-1c")
OTHERS = "drill-worker-others"
ACTS = frozenset({
    "abandon launch", "complete hook", "cordon", "delete node", "delete pod", "deregister", "evict pod", "fence",
    "move leader", "reboot", "remove member", "replace", "restart containerd", "restart kubelet", "restore",
    "suspend launch", "terminate",
})  # fmt: skip
ENDS = frozenset({"abandon launch", "replace", "terminate"})  # by which we end a machine that runs
MINUTE = timedelta(minutes=1)
_FIRST = 0x10000


def a_large_cluster(workers: int, *, in_the_dark: int) -> tuple[World, list[InstanceId]]:
    """A cluster of two groups in three zones, so many of whose workers are in the first zone; and these."""
    world = a_cluster(0)
    add_group(world, OTHERS, 0)
    dark = []
    for number in range(workers):
        new = machine(_FIRST + number)
        zone = ZONES[0] if number < in_the_dark else ZONES[1 + number % 2]
        add_worker(world, new, group_name=(WORKERS, OTHERS)[number % 2], zone=zone)
        dark += [new] if zone == ZONES[0] else []
    for name in (WORKERS, OTHERS):
        world.groups[name] = replace(world.groups[name], desired=len(world.groups[name].members))
    return world, dark


def readiness(world: World) -> None:
    """What the node lifecycle controller and kubelets write: a Node is Ready as long as its kubelet is heard of."""
    for name, node in world.nodes.items():
        there = world.machine_of(name)
        silent_for = world.now - world.silent.get(InstanceId(name), world.now)
        ready = there is not None and there.state is InstanceState.RUNNING and silent_for < LEASE_STALE
        if node.ready != ready:
            version = str(int(node.resource_version) + 1)
            status = "True" if ready else "Unknown"
            said = Condition("Ready", status, "" if ready else "NodeStatusUnknown", since=world.now, said_at=world.now)
            world.nodes[name] = replace(node, ready=ready, resource_version=version, conditions=(said,))
        elif ready and node.conditions:
            world.nodes[name] = replace(
                node, conditions=tuple(replace(one, said_at=world.now) for one in node.conditions)
            )


def acts(world: World, kinds: frozenset[str] = ACTS) -> dict[str, int]:
    """How often each was done."""
    return dict(Counter(what for what, _ in world.effects if what in kinds))


# --- a zone goes dark


def zone_falls_silent(workers: int, in_the_dark: int, *, lasting: timedelta = timedelta(minutes=30)) -> dict[str, Any]:
    """Its kubelets fall silent at once while EC2 says that all run; all but one come back."""
    world, dark = a_large_cluster(workers, in_the_dark=in_the_dark)
    drive = Drive(world, SETTINGS, weather=readiness)
    drive.run(timedelta(minutes=5))
    threshold = world.now + LEASE_STALE
    told = _noting_alerts(world)
    world.silent = dict.fromkeys(dark, world.now)
    drive.run(lasting)
    figures: dict[str, Any] = {
        "machines": len(world.instances),
        "groups": sum(group.role is Role.WORKER for group in world.groups.values()),
        "silent": len(dark),
        "silent_for_s": int(lasting.total_seconds()),
        "acts": acts(world),
        "alerts": len(told),
        "alert_after_threshold_s": (told[0][0] - threshold).total_seconds() if told else None,
    }
    bad, *well = dark
    for one in well:
        del world.silent[one]
    back_at, before = world.now, len(told)
    while world.now < back_at + timedelta(hours=1) and bad in world.nodes:
        drive.step()
    figures["left_over_is_gone_after_s"] = (world.now - back_at).total_seconds()
    drive.run(timedelta(minutes=15))
    figures["acts_after"] = acts(world)
    figures["alerts_after"] = len(told) - before
    return figures | _end(world, workers)


def zone_is_terminated(workers: int, in_the_dark: int) -> dict[str, Any]:
    """EC2 says of all machines of a zone that they have ended; their groups have noticed."""
    world, dark = a_large_cluster(workers, in_the_dark=in_the_dark)
    drive = Drive(world, SETTINGS, weather=readiness, settles=_SettlesEach(timedelta(seconds=2)))
    drive.run(timedelta(minutes=5))
    told, began = _noting_alerts(world), world.now
    world.attachments = {f"csi-of-{one}": one for one in dark}
    kill(world, *dark)
    while world.now < began + timedelta(hours=24) and set(dark) & set(world.nodes):
        drive.step()
    cleaned = world.now - began
    drive.run(timedelta(minutes=30))
    return {
        "machines": workers + 1,
        "terminated": len(dark),
        "most_in_flight": world.most_in_flight,
        "ended_by_us": acts(world, ENDS),
        "nodes_deleted": acts(world).get("delete node", 0),
        "cleaned_after_s": int(cleaned.total_seconds()),
        "passes": sum(what == "pass" for what, _ in world.told),
        "alerts": len(told),
    } | _end(world, workers)


@dataclass
class _SettlesEach:
    """Everybody else acts so often, and not after each pass: there are too many for that."""

    every: timedelta
    last: datetime = NOW - timedelta(days=1)

    def __call__(self, world: World) -> None:
        if world.now - self.last >= self.every:
            settle(world)
            self.last = world.now


# --- a day of flapping


@dataclass
class Flapping:
    """Troubles of single machines that all stay below their thresholds, told by a seed.

    Kubelets are silent for up to 170 s (180 are waited for) or say for as long that they are not Ready; status checks
    fail for up to two hours, and a kubelet beside them is silent for less than the 120 s that are waited for then; the
    node-problem-detector's conditions come and never go.
    """

    random: random.Random
    machines: Sequence[InstanceId]
    begins: datetime
    ends: dict[tuple[str, InstanceId], datetime] = field(default_factory=dict)
    next_at: dict[tuple[str, InstanceId], datetime] = field(default_factory=dict)
    flaps: Counter[str] = field(default_factory=Counter)

    def __call__(self, world: World) -> None:
        for one in self.machines:
            failing = ("status checks", one) in self.ends
            down_s = 115 if failing else 170
            self._flap("silent", one, world, most_s=down_s, apart_s=3600, unless=("not Ready",))
            self._flap("not Ready", one, world, most_s=down_s, apart_s=3600, unless=("silent",))
            self._flap("status checks", one, world, most_s=7200, apart_s=14400, unless=("silent", "not Ready"))
            self._flap("sticky", one, world, most_s=10**6, apart_s=43200)
            self._show(one, world)

    def _flap(
        self, kind: str, one: InstanceId, world: World, *, most_s: int, apart_s: int, unless: tuple[str, ...] = ()
    ) -> None:
        """Begin or end one kind of trouble."""
        key, now = (kind, one), world.now
        if key in self.ends:
            if now >= self.ends[key]:
                del self.ends[key]
            return
        due = self.next_at.setdefault(key, self.begins + timedelta(seconds=self.random.uniform(0, apart_s)))
        if now >= due and not any((other, one) in self.ends for other in unless):
            lasts = timedelta(seconds=self.random.uniform(1, most_s))
            self.ends[key], self.next_at[key] = now + lasts, now + lasts + self._pause(apart_s)
            self.flaps[kind] += 1
            if kind == "silent":
                world.silent[one] = now
            if kind == "status checks":
                world.impaired[one] = now

    def _pause(self, apart_s: int) -> timedelta:
        return timedelta(seconds=self.random.uniform(30, apart_s))

    def _show(self, one: InstanceId, world: World) -> None:
        """What the world shows of it."""
        for kind, failing in (("silent", world.silent), ("status checks", world.impaired)):
            if (kind, one) not in self.ends:
                failing.pop(one, None)
        there = world.nodes.get(one)
        if there is None:
            return
        down = (("not Ready", one) in self.ends) or world.now - world.silent.get(one, world.now) >= LEASE_STALE
        own_word = ("not Ready", one) in self.ends
        said = next((condition for condition in there.conditions if condition.type == "Ready"), None)
        status = "False" if own_word else "Unknown" if down else "True"
        since = said.since if said and said.status == status else world.now
        shown = [Condition("Ready", status, "KubeletNotReady" if own_word else "", since=since, said_at=world.now)]
        if ("sticky", one) in self.ends:
            shown.append(Condition("KernelDeadlock", "True", "DockerHung", since=self.begins, said_at=self.begins))
        if there.conditions != tuple(shown):
            version = str(int(there.resource_version) + 1)
            world.nodes[one] = replace(there, ready=not down, resource_version=version, conditions=tuple(shown))


def flapping(seed: int, *, hours: float = 24, workers: int = 6, control_planes: int = 3) -> dict[str, Any]:
    """A cluster all of whose machines flap below the thresholds, and what is done about them: nothing may be."""
    world = a_cluster(workers, control_planes=control_planes)
    chance = random.Random(seed)  # noqa: S311 - a seed is printed, and makes the same again
    for number, one in enumerate(sorted(world.instances)):
        world.instances[one] = replace(world.instances[one], zone=ZONES[number % 3])
    world.now += timedelta(seconds=chance.uniform(0, 60))
    weather = Flapping(chance, tuple(world.instances), world.now)
    drive = Drive(world, SETTINGS, next_sweep=world.now, weather=weather)
    drive.run(timedelta(hours=hours))
    return {
        "seed": seed,
        "hours": hours,
        "machines": len(world.instances),
        "flaps": dict(weather.flaps),
        "acts": acts(world),
        "violations": len(world.violations),
    }


# --- launches that never join


def never_joins(*, lasting: timedelta = timedelta(hours=1), missing: int = 1) -> dict[str, Any]:
    """Workers die, and for so long nothing that is launched joins; then all does."""
    world = a_cluster(3, volumes=False)
    began = world.now
    broken = True
    launched: list[datetime] = []

    def weather(_: World) -> None:
        new = [one.id for one in world.groups[WORKERS].members if one.pending and one.id not in world.stuck]
        launched.extend(world.instances[one].launched_at for one in new if one not in seen)
        seen.update(new)
        if broken:
            world.stuck.update(new)

    seen: set[InstanceId] = set()
    drive = Drive(world, SETTINGS, next_sweep=world.now, weather=weather, settles=_with(weather))
    kill(world, *(machine(number) for number in range(1, missing + 1)))
    drive.run(lasting)
    broken_s = int((world.now - began).total_seconds())
    given_up = acts(world).get("abandon launch", 0)
    subjects = [subject for subject, _ in world.alerts]
    broken = False
    while world.cases and world.now < began + timedelta(hours=6):
        drive.step()
    return {
        "broken_for_s": broken_s,
        "missing": missing,
        "launches": len(launched),
        "launches_in_any_hour": max(
            sum(timedelta(0) <= b - a < timedelta(hours=1) for b in launched) for a in launched
        ),
        "given_up": given_up,
        "alerts_of_the_brake": sum(subject.endswith("launches no more for now") for subject in subjects),
        "alerts_of_launches": sum(subject.endswith("never joined") for subject in subjects),
        "whole_after_s": int((world.now - began).total_seconds()),
    } | _end(world, 3)


def _with(weather: Callable[[World], None]) -> Callable[[World], None]:
    def settles(world: World) -> None:
        settle(world)
        weather(world)

    return settles


# --- events that never come


def events_dropped(seed: int, *, deaths: int = 4, workers: int = 8) -> dict[str, Any]:
    """Machines die one after another at any time; no event ever comes. How long until a pass has found each dead."""
    world = a_cluster(workers, pods_each=1, volumes=False, control_planes=3)
    chance = random.Random(seed)  # noqa: S311 - a seed is printed, and makes the same again
    drive = Drive(world, SETTINGS, next_sweep=world.now, settles=_deaf)
    found: dict[str, float] = {}
    for _ in range(deaths):
        drive.run(timedelta(seconds=chance.uniform(0, 600)))
        victims = [one.id for group in world.groups.values() for one in group.members if one.in_service]
        victim = chance.choice(victims)
        if world.is_control_plane(victim) and not _whole_control_plane(world):
            victim = next(one for one in victims if not world.is_control_plane(one))
        world.now += timedelta(seconds=chance.uniform(0, 60))
        kill(world, victim)
        died, heard = world.now, len(world.told)
        while victim not in found and world.now < died + timedelta(minutes=10):
            drive.step()
            for what, fields in world.told[heard:]:
                if what == "pass" and fields["machine"] == victim and fields["verdict"] == "dead":
                    found.setdefault(victim, (world.now - died).total_seconds())
            heard = len(world.told)
    drive.run(timedelta(minutes=20))
    return {
        "seed": seed,
        "deaths": deaths,
        "found": len(found),
        "found_after_s_at_most": round(max(found.values()), 1),
    } | _end(world, workers)


def _deaf(world: World) -> None:
    """Auto Scaling tells nobody that it launches."""
    heard = len(world.passes)
    settle(world)
    del world.passes[heard:]


def _whole_control_plane(world: World) -> bool:
    return len(world.etcd) == 3 and all(
        member.voter and world.instances[InstanceId(member.name)].state is InstanceState.RUNNING
        for member in world.etcd.values()
    )


def _noting_alerts(world: World) -> list[tuple[datetime, str]]:
    """From here on, when each alert was sent, and its subject."""
    told: list[tuple[datetime, str]] = []

    def note(call: object) -> None:
        if getattr(call, "method", "") == "alert":
            told.append((world.now, world.alerts[-1][0]))

    world.after = note
    return told


def _end(world: World, workers: int) -> dict[str, Any]:
    """How it ended: whether the cluster is whole, and what should never have happened."""
    groups = [group for group in world.groups.values() if group.role is Role.WORKER]
    in_service = [member.id for group in groups for member in group.members if member.in_service]
    ready = [one for one in in_service if one in world.nodes and world.nodes[one].ready]
    whole = len(in_service) == len(ready) == workers and not world.cases
    return {"whole": whole, "violations": len(world.violations)}
