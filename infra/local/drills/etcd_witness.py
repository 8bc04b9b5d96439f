"""An independent witness of etcd: enters a control plane that lives and asks its etcd with kubeadm's own certificates.

It shares nothing with what Regrow runs there. It looks all the time, so that members which are there for a second only
are seen too.
"""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import urlsplit

from infra.local.drills.findings import Finding
from infra.local.drills.timeline import Timeline
from infra.local.drills.witness import SeenNode
from infra.local.places import WorldError
from infra.local.worlds.world import World

EVERY_S = 1.0
_PKI = "/etc/kubernetes/pki/etcd"
_ETCDCTL = (
    "etcdctl --endpoints=https://127.0.0.1:2379 --dial-timeout=1s --command-timeout=2s --write-out=json"
    f" --cacert={_PKI}/ca.crt --cert={_PKI}/healthcheck-client.crt --key={_PKI}/healthcheck-client.key"
)
_WITHIN_S = 8.0
_ASK = f"{_ETCDCTL} member list && {_ETCDCTL} alarm list && {_ETCDCTL} endpoint status"
_ASK_ONE_ALONE = f"{_ETCDCTL} member list --consistency=s"
_ALARMS = {1: "NOSPACE", 2: "CORRUPT"}


@dataclass(frozen=True)
class SeenMember:
    """A member as etcd lists it; `name` is empty until it has started."""

    id: str
    name: str
    peer_url: str
    learner: bool

    @property
    def address(self) -> str:
        return urlsplit(self.peer_url).hostname or ""

    def __str__(self) -> str:
        return f"{self.id} ({self.name or f'not started, {self.address}'})"


@dataclass(frozen=True)
class EtcdSight:
    """etcd at one moment, as the machine `asked` knows it. `leader` is a member's id, None without one."""

    at: datetime
    asked: str
    members: tuple[SeenMember, ...]
    leader: str | None
    alarms: tuple[str, ...] = ()

    @property
    def voters(self) -> tuple[SeenMember, ...]:
        return tuple(member for member in self.members if not member.learner)

    @property
    def learners(self) -> tuple[SeenMember, ...]:
        return tuple(member for member in self.members if member.learner)

    @property
    def leads(self) -> str | None:
        """The name of the member that leads."""
        return next((member.name for member in self.members if member.id == self.leader), None)

    def named(self, name: str) -> SeenMember | None:
        """The member of this machine, once it has started."""
        return next((member for member in self.members if member.name == name), None)


@dataclass(frozen=True)
class News:
    """One thing that became different, and the milestone that it is."""

    what: str
    milestone: str | None = None


def read(asked: str, said: str, at: datetime) -> EtcdSight:
    """What etcdctl has said about members, alarms and its endpoint, a line of JSON each. ValueError if it is not that.

    Pure.
    """
    members, alarms, status = (json.loads(line) for line in said.splitlines() if line.strip())
    leader = status[0]["Status"].get("leader", 0)
    return EtcdSight(
        at,
        asked,
        read_members(members),
        f"{leader:x}" if leader else None,
        tuple(f"{_ALARMS.get(one['alarm'], one['alarm'])} of {one['memberID']:x}" for one in alarms.get("alarms", ())),
    )


def read_members(said: Mapping[str, object]) -> tuple[SeenMember, ...]:
    """The members in etcdctl's JSON, whose ids are decimal numbers. Pure."""
    listed = said.get("members", [])
    if not isinstance(listed, list):
        raise ValueError(f"no list of members: {listed!r}")
    return tuple(
        SeenMember(f"{one['ID']:x}", one.get("name", ""), one["peerURLs"][0], one.get("isLearner", False))
        for one in listed
    )


def news(before: EtcdSight | None, after: EtcdSight, victims: Sequence[str] = ()) -> tuple[News, ...]:
    """What is different between two looks. `victims`: the machines whose members are to go. Pure."""
    if before is None:
        return (News(f"{_count(after.voters)}, {after.leads} leads"),)
    was, now = ({member.id: member for member in sight.members} for sight in (before, after))
    left = {name for name in victims if before.named(name)}
    found = []
    for gone in (was[id_] for id_ in was if id_ not in now):
        milestone = None
        if gone.name in left:
            milestone = "member_removed" if len(left) == len(set(victims)) else "second_removed"
            left.discard(gone.name)
        found.append(News(f"member {gone} is removed", milestone))
    for id_, member in now.items():
        former = was.get(id_)
        if former is None:
            kind, milestone = ("learner", "learner") if member.learner else ("voter", "voting")
            found.append(News(f"{kind} {member} appears", milestone))
        elif former.learner and not member.learner:
            found.append(News(f"member {member} is promoted", "voting"))
        if former is not None and member.name and not former.name:
            found.append(News(f"member {member} has started"))
    if len(after.voters) != len(before.voters):
        found.append(News(_count(after.voters)))
    if after.leader != before.leader:
        found.append(News(f"{after.leads} leads" if after.leader else "nobody leads"))
    found += [News(f"alarm {alarm}") for alarm in after.alarms if alarm not in before.alarms]
    return tuple(found)


def judge_etcd(
    sight: EtcdSight | None, *, wanted: int, machines: Iterable[str], nodes: Mapping[str, SeenNode]
) -> tuple[Finding, ...]:
    """What must hold of etcd in the end. `machines`: those of the control planes' group. Pure."""
    if sight is None:
        return (Finding("etcd answers", False, "not once"),)
    alive = {name for name in machines if name in nodes and nodes[name].ready}
    strangers = [str(member) for member in sight.members if member.name not in alive]
    return (
        Finding(f"etcd has {wanted} voters", len(sight.voters) == wanted, str(len(sight.voters))),
        Finding("no learner is left", not sight.learners, ", ".join(map(str, sight.learners)) or "none"),
        Finding("no alarm is raised", not sight.alarms, ", ".join(sight.alarms) or "none"),
        Finding("etcd has a leader", sight.leads is not None, sight.leads or "none"),
        Finding(
            "every member is a machine of the group with a Ready Node",
            not strangers and {member.name for member in sight.members} == set(machines),
            ", ".join(strangers) or f"{len(alive)} machines",
        ),
    )


def _count(voters: Sequence[SeenMember]) -> str:
    return f"{len(voters)} voter{'' if len(voters) == 1 else 's'}"


def gone_at(sights: Sequence[EtcdSight], member: str) -> datetime | None:
    """When the member of this id, which was there, was first seen to be there no more. Pure."""
    was_there = False
    for sight in sights:
        there = member in {each.id for each in sight.members}
        if was_there and not there:
            return sight.at
        was_there = was_there or there
    return None


def judge_course(sights: Sequence[EtcdSight], *, wanted: int) -> tuple[Finding, ...]:
    """What must have held all along: removed before added, and one learner at a time. Pure."""
    most = max((len(sight.members) for sight in sights), default=0)
    learners = max((len(sight.learners) for sight in sights), default=0)
    return (
        Finding(f"there were never more than {wanted} members", 0 < most <= wanted, f"{most} at most"),
        Finding("there was never more than one learner", bool(sights) and learners <= 1, f"{learners} at most"),
    )


@dataclass
class EtcdWitness:
    """Looks from `start()` to `stop()`, and tells a timeline what became different."""

    world: World
    timeline: Timeline
    every_s: float = EVERY_S
    victims: list[str] = field(default_factory=list)
    """The machines whose members are expected to go."""
    react: Callable[[EtcdSight], None] = lambda _: None
    """Called with each look, on the witness's own thread."""
    _sights: list[EtcdSight] = field(default_factory=list)
    _blind: bool = False
    _over: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """The first look is there when this returns; WorldError if no etcd answers it."""
        self._look()
        if not self._sights:
            raise WorldError(f"No control plane of world {self.world.name!r} says anything about its etcd.")
        self._thread = threading.Thread(target=self._keep_looking, name="etcd witness", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    @property
    def sights(self) -> tuple[EtcdSight, ...]:
        """All looks so far at which etcd answered."""
        return tuple(self._sights)

    @property
    def last(self) -> EtcdSight | None:
        """The last look; None while etcd does not answer."""
        return None if self._blind or not self._sights else self._sights[-1]

    def as_one_knows(self, machine: str) -> tuple[SeenMember, ...]:
        """The members as this machine's etcd has them on its disk: it says that without a quorum too."""
        return read_members(json.loads(self._said(machine, _ASK_ONE_ALONE)))

    def _keep_looking(self) -> None:
        while not self._over.wait(self.every_s):
            self._look()

    def _look(self) -> None:
        """Ask the one that answered last, then the others."""
        asked = self._sights[-1].asked if self._sights else None
        for machine in sorted(self.world.control_planes(), key=lambda each: each != asked):
            try:
                self._saw(read(machine, self._said(machine, _ASK), datetime.now(UTC)))
            except (WorldError, ValueError, LookupError, subprocess.TimeoutExpired):
                continue  # it has just died, or its etcd is not up yet: another one may know
            return
        if not self._blind:
            self._blind = True
            self.timeline.add(datetime.now(UTC), "etcd", "nobody answers any more")

    def _saw(self, sight: EtcdSight) -> None:
        before = self._sights[-1] if self._sights else None
        if self._blind:
            self.timeline.add(sight.at, "etcd", f"{sight.asked} answers again")
        self._blind = False
        self._sights.append(sight)
        for one in news(before, sight, self.victims):
            self.timeline.add(sight.at, "etcd", one.what, milestone=one.milestone)
        self.react(sight)

    def _said(self, machine: str, script: str) -> str:
        command = self.world.machine_command(machine, ["sh", "-ec", script])
        done = subprocess.run(command, capture_output=True, text=True, timeout=_WITHIN_S, check=False)
        if done.returncode:
            raise WorldError(f"etcdctl in {machine}: {done.stderr.strip()}")
        return done.stdout
