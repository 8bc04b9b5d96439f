"""etcd's membership as this machine's own member knows it, and the few changes that may be made to it.

Quorum is checked here although whoever asks has checked it: between its look and this one a voter may have died.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .failures import NodeError
from .machine import run

LOCAL = "https://127.0.0.1:2379"
PKI = Path("/etc/kubernetes/pki/etcd")
STATUS_S = 2.0
CALL_S = 4.0
"""A leader is elected within about a second; what takes longer has no quorum."""
STARTING_S = 5.0
"""For the program itself to start and end on a busy machine, besides the time that a call may take."""
ALARMS = {1: "NOSPACE", 2: "CORRUPT"}  # etcd's AlarmType
LONGEST_REASON = 300
NO_LEADER = "0"


@dataclass(frozen=True)
class Status:
    """What a member says of itself. `error` instead of all else where it does not."""

    leader: str = NO_LEADER
    raft_index: int = 0
    raft_applied_index: int = 0
    db_size: int = 0
    version: str = ""
    error: str = ""

    def document(self) -> dict[str, Any]:
        if self.error:
            return {"error": self.error}
        return {
            "leader": self.leader,
            "raft_index": self.raft_index,
            "raft_applied_index": self.raft_applied_index,
            "db_size": self.db_size,
            "version": self.version,
        }


@dataclass(frozen=True)
class Member:
    id: str
    name: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]
    learner: bool
    status: Status = field(default_factory=Status)

    @property
    def answers(self) -> bool:
        return not self.status.error

    def document(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "name": self.name,
            "peer_urls": list(self.peer_urls),
            "client_urls": list(self.client_urls),
            "learner": self.learner,
            "status": self.status.document(),
        }


@dataclass(frozen=True)
class Membership:
    """`own` is the member that was asked. Not linearizable: what it remembers, since no quorum confirmed it."""

    cluster_id: str
    own: str
    members: tuple[Member, ...]
    alarms: tuple[tuple[str, str], ...] = ()
    linearizable: bool = True

    def member(self, id_: str) -> Member | None:
        return next((member for member in self.members if member.id == id_), None)

    @property
    def leader(self) -> Member | None:
        """Whom those that answer name, if they agree and it answers too."""
        named = {member.status.leader for member in self.members if member.answers} - {NO_LEADER}
        leader = self.member(named.pop()) if len(named) == 1 else None
        return leader if leader and leader.answers else None

    def healthy(self, member: Member) -> bool:
        return member.answers and all(alarmed != member.id for alarmed, _ in self.alarms)

    def document(self) -> dict[str, Any]:
        own = self.member(self.own)
        return {
            "cluster_id": self.cluster_id,
            "asked": own.name if own else "",
            "linearizable": self.linearizable,
            "members": [member.document() for member in self.members],
            "alarms": [{"member": member, "type": kind} for member, kind in self.alarms],
        }


def refusal(membership: Membership, victim: Member, peer_url: str) -> str | None:
    """Why this member must not be removed through this machine, None when it may.

    A change takes a quorum of the present voters, and has to leave one among those that remain. A victim that answers
    counts among the present ones alone. A learner has no vote: for it a leader is enough.
    """
    if not membership.linearizable:
        return "no quorum confirms who the members are"
    if victim.id == membership.own:
        return "it is the member of the machine that was asked"
    if peer_url not in victim.peer_urls:
        return f"its peer URL is {', '.join(victim.peer_urls)}"
    if membership.leader is None:
        return "no member that answers leads"
    if victim.learner:
        return None
    voters = [member for member in membership.members if not member.learner]
    if len(voters) == 1:
        return "it is the last voter"
    unsettled = [member.id for member in membership.members if member.learner or not member.name]
    if unsettled:
        return f"{', '.join(unsettled)} is still on its way in"
    staying = sum(membership.healthy(voter) for voter in voters if voter.id != victim.id)
    present = staying + membership.healthy(victim)
    for healthy, of, when in ((present, len(voters), "now"), (staying, len(voters) - 1, "afterwards")):
        if healthy < quorum(of):
            return f"{healthy} of {of} voters are healthy {when}, {quorum(of)} have to be"
    return None


def quorum(voters: int) -> int:
    return voters // 2 + 1


@dataclass(frozen=True)
class Etcd:
    """etcdctl, as kubeadm's own health check may use it: with the certificate that it made for that."""

    endpoint: str = LOCAL
    pki: Path = PKI

    def members(self) -> Membership:
        """Who they are and what each says. Without a quorum: what this member remembers.

        A quorum that is lost and members that are dead are waited for at the same time.
        """
        remembered = self._list("s")
        with ThreadPoolExecutor(max_workers=len(remembered.members) + 1) as pool:
            confirmation = pool.submit(self._confirmed)
            statuses = dict(zip(remembered.members, pool.map(self._status, remembered.members), strict=True))
        try:
            (listed, alarms), linearizable = confirmation.result(), True
        except NodeError:
            listed, alarms, linearizable = remembered, (), False
        members = tuple(replace(one, status=statuses.get(one) or self._status(one)) for one in listed.members)
        return Membership(listed.cluster_id, listed.own, members, alarms, linearizable)

    def remove(self, member_id: str, peer_url: str) -> dict[str, Any]:
        membership = self.members()
        victim = membership.member(member_id)
        if victim is None:
            if not membership.linearizable:
                return {"refused": "no quorum confirms who the members are"}
            return {"removed": False, "reason": "it is gone already"}
        reason = refusal(membership, victim, peer_url)
        if reason:
            return {"refused": reason}
        try:
            self._run(["member", "remove", member_id])
        except NodeError as problem:
            if self._list("l").member(member_id) is not None:
                raise
            return {"removed": True, "reason": f"it is gone, although etcdctl says {_last_line(problem)}"}
        return {"removed": True}

    def move_leader(self, member_id: str) -> dict[str, Any]:
        """Let this voter lead. Only who leads now can hand that on."""
        membership = self.members()
        leader, heir = membership.leader, membership.member(member_id)
        leads = leader.id if leader else NO_LEADER
        if leader is None or not leader.client_urls:
            return {"moved": False, "leader": leads, "reason": "no member that answers leads"}
        if leader.id == member_id:
            return {"moved": False, "leader": leads, "reason": "it leads already"}
        if heir is None or heir.learner or not membership.healthy(heir):
            return {"moved": False, "leader": leads, "reason": f"{member_id} is no healthy voter"}
        self._run(["move-leader", member_id], endpoint=leader.client_urls[0])
        return {"moved": True, "leader": member_id}

    def save(self, file: Path, *, timeout_s: float) -> None:
        """A snapshot of this machine's own member. etcdctl would wait all the time for one that does not answer."""
        self._asked(["endpoint", "status"], timeout_s=STATUS_S)
        self._run(["snapshot", "save", str(file)], timeout_s=timeout_s)

    def _list(self, consistency: str) -> Membership:
        return _listed(self._asked(["member", "list", f"--consistency={consistency}"]))

    def _confirmed(self) -> tuple[Membership, tuple[tuple[str, str], ...]]:
        """The members and the alarms as a quorum has them."""
        return self._list("l"), _alarms(self._asked(["alarm", "list"]))

    def _status(self, member: Member) -> Status:
        if not member.client_urls:
            return Status(error="it has never started")
        try:
            answer = self._asked(["endpoint", "status"], endpoint=member.client_urls[0], timeout_s=STATUS_S)
        except NodeError as problem:
            return Status(error=_last_line(problem))
        return _status(answer, member.id)

    def _asked(self, command: Sequence[str], *, endpoint: str = "", timeout_s: float = CALL_S) -> Any:
        text = self._run([*command, "--write-out=json"], endpoint=endpoint, timeout_s=timeout_s)
        try:
            return json.loads(text)
        except ValueError as problem:
            raise NodeError(f"etcdctl {' '.join(command[:2])} answered with something that is no JSON") from problem

    def _run(self, command: Sequence[str], *, endpoint: str = "", timeout_s: float = CALL_S) -> str:
        flags = [
            f"--endpoints={endpoint or self.endpoint}",
            f"--cacert={self.pki / 'ca.crt'}",
            f"--cert={self.pki / 'healthcheck-client.crt'}",
            f"--key={self.pki / 'healthcheck-client.key'}",
            f"--dial-timeout={STATUS_S:.0f}s",
            f"--command-timeout={timeout_s:.0f}s",
        ]
        return run(["etcdctl", *command, *flags], timeout_s=timeout_s + STARTING_S)


def _listed(answer: Any) -> Membership:
    """etcdctl's member list. It leaves out whatever is empty or false, and says ids as decimal numbers."""
    try:
        members = tuple(
            Member(
                id=_hex(one["ID"]),
                name=one.get("name", ""),
                peer_urls=tuple(one.get("peerURLs", ())),
                client_urls=tuple(one.get("clientURLs", ())),
                learner=one.get("isLearner", False),
            )
            for one in answer["members"]
        )
        return Membership(_hex(answer["header"]["cluster_id"]), _hex(answer["header"]["member_id"]), members)
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        raise NodeError(f"etcdctl's member list lacks something ({problem!r})") from problem


def _status(answer: Any, member_id: str) -> Status:
    """What a member says of itself, or that it is another one that answers there."""
    try:
        said = answer[0]["Status"]
        answering = _hex(said["header"]["member_id"])
        if answering != member_id:
            return Status(error=f"another member answers there: {answering}")
        return Status(
            leader=_hex(said.get("leader", 0)),
            raft_index=int(said.get("raftIndex", 0)),
            raft_applied_index=int(said.get("raftAppliedIndex", 0)),
            db_size=int(said.get("dbSize", 0)),
            version=str(said.get("version", "")),
        )
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as problem:
        return Status(error=f"etcdctl's endpoint status lacks something ({problem!r})")


def _alarms(answer: Any) -> tuple[tuple[str, str], ...]:
    try:
        raised = [(one["memberID"], one["alarm"]) for one in answer.get("alarms") or ()]
        return tuple((_hex(member), ALARMS.get(kind, f"alarm {kind}")) for member, kind in raised)
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        raise NodeError(f"etcdctl's alarm list lacks something ({problem!r})") from problem


def _hex(number: int) -> str:
    """An id as etcdctl takes it. In JSON it is an unsigned 64-bit number, which Python keeps whole."""
    return f"{number:x}"


def _last_line(problem: NodeError) -> str:
    lines = str(problem).strip().splitlines()
    return lines[-1][-LONGEST_REASON:]
