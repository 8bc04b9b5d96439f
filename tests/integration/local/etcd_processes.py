"""A real etcd cluster of processes on this host, asked over its own JSON gateway."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, TypeVar
from urllib.request import Request, urlopen

from functions.cluster.etcd import Etcd, EtcdMember

HOST = "127.0.0.1"
WITHIN_S = 30.0
ANSWERS_WITHIN_S = 1.0  # a healthy member of an idle cluster needs milliseconds; an election takes half a second

Seen = TypeVar("Seen")


@dataclass
class Process:
    """One member. It has no TLS, and is as quick to elect as processes of one host can be."""

    name: str
    client: int
    running: subprocess.Popen[bytes]

    def ask(self, path: str, question: dict[str, Any]) -> dict[str, Any]:
        return _ask(f"http://{HOST}:{self.client}", path, question)

    def takes_writes(self) -> bool:
        try:
            self.ask("kv/put", {"key": "YQ==", "value": "YQ=="})
        except OSError:
            return False
        return True

    def kill(self) -> None:
        self.running.kill()
        self.running.wait()

    def etcd(self, *, linearizable: bool = True) -> Etcd:
        """All members, or those that it remembers, each with what it says of itself."""
        listed = self.ask("cluster/member/list", {"linearizable": linearizable})
        with ThreadPoolExecutor() as together:
            members = tuple(together.map(_member, listed["members"]))
        return Etcd(self.name, members, linearizable=linearizable)


@dataclass
class Processes:
    members: list[Process]

    def named(self, name: str) -> Process:
        return next(one for one in self.members if one.name == name)


@contextmanager
def etcd_cluster(programs: Path, folder: Path, size: int) -> Iterator[Processes]:
    """A cluster that takes writes. etcd's own check of changes is off: what it would refuse is to be shown."""
    ports = _free_ports(2 * size)
    members: list[Process] = []
    names = [f"m{number}" for number in range(size)]
    initial = ",".join(f"{name}=http://{HOST}:{peer}" for name, peer in zip(names, ports[size:], strict=True))
    try:
        for name, client, peer in zip(names, ports[:size], ports[size:], strict=True):
            command = [
                str(programs / "etcd"),
                f"--name={name}",
                f"--data-dir={folder / name}",
                f"--listen-client-urls=http://{HOST}:{client}",
                f"--advertise-client-urls=http://{HOST}:{client}",
                f"--listen-peer-urls=http://{HOST}:{peer}",
                f"--initial-advertise-peer-urls=http://{HOST}:{peer}",
                f"--initial-cluster={initial}",
                "--strict-reconfig-check=false",
                "--heartbeat-interval=25",
                "--election-timeout=250",
                "--unsafe-no-fsync",
                "--log-level=error",
            ]
            with (folder / f"{name}.log").open("wb") as log:
                members.append(Process(name, client, subprocess.Popen(command, stdout=log, stderr=log)))
        until(lambda: all(member.takes_writes() for member in members))
        yield Processes(members)
    finally:
        for member in members:
            member.kill()


def until(seen: Callable[[], Seen | None]) -> Seen:
    """Return the first thing that is seen and is not nothing."""
    deadline = time.monotonic() + WITHIN_S
    while True:
        with suppress(OSError):
            if found := seen():
                return found
        assert time.monotonic() < deadline, f"not seen within {WITHIN_S:.0f} s"
        time.sleep(0.05)


def _member(raw: dict[str, Any]) -> EtcdMember:
    """The gateway says 64-bit numbers as text, and leaves out what is empty."""
    status: dict[str, Any] = {}
    for url in raw.get("clientURLs", ()):
        with suppress(OSError):
            status = _ask(url, "maintenance/status", {})
    return EtcdMember(
        id=f"{int(raw['ID']):x}",
        name=raw.get("name", ""),
        peer_urls=tuple(raw["peerURLs"]),
        client_urls=tuple(raw.get("clientURLs", ())),
        learner=raw.get("isLearner", False),
        leads=bool(status) and status.get("leader") == raw["ID"],
        answers=bool(status),
        raft_index=int(status.get("raftIndex", 0)),
    )


def _ask(url: str, path: str, question: dict[str, Any]) -> dict[str, Any]:
    """Raises OSError when it does not answer, or says that it cannot."""
    request = Request(f"{url}/v3/{path}", json.dumps(question).encode(), {"Content-Type": "application/json"})  # noqa: S310
    try:
        with urlopen(request, timeout=ANSWERS_WITHIN_S) as answer:  # noqa: S310
            content = json.load(answer)
    except (HTTPException, ValueError) as error:
        raise OSError(f"{url} broke off: {error!r}") from error
    assert isinstance(content, dict)
    return content


def _free_ports(count: int) -> list[int]:
    """Held together until all are found, so that none is found twice."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((HOST, 0))
        return [int(one.getsockname()[1]) for one in sockets]
