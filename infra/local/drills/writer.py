"""Somebody who writes through the load balancer all along a drill: what the death of a control plane is to clients.

Every write is a new TCP and TLS connection and one PATCH of a ConfigMap, all of it within two seconds. A write that the
API server has confirmed must be there at the end.
"""

from __future__ import annotations

import base64
import http.client
import json
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from tempfile import NamedTemporaryFile
from urllib.parse import urlsplit

from infra.local.cluster import Cluster
from infra.local.drills.findings import Finding

NAME = "regrow-writer"
EVERY_S = 0.2
TIMEOUT_S = 2.0
LONGEST_GAP_S = 12.0
"""What the promise allows."""


@dataclass(frozen=True)
class Attempt:
    """One write. `number` is what it wrote; `began_s` and `ended_s` are of one monotonic clock."""

    number: int
    began_s: float
    ended_s: float
    failure: str | None = None


@dataclass(frozen=True)
class Written:
    """What became of all attempts, in their order, and the number that was read back in the end."""

    attempts: tuple[Attempt, ...]
    read_back: int | None = None

    @property
    def failed(self) -> int:
        return sum(attempt.failure is not None for attempt in self.attempts)

    @property
    def last_confirmed(self) -> int | None:
        return max((attempt.number for attempt in self.attempts if attempt.failure is None), default=None)

    def failures(self) -> dict[str, int]:
        """How often what went wrong, the most frequent first."""
        return dict(Counter(one.failure for one in self.attempts if one.failure is not None).most_common())

    def longest_gap_s(self) -> float | None:
        """The longest time without a confirmed write, its ends included; None when nothing was tried. Pure."""
        if not self.attempts:
            return None
        confirmed = [one.ended_s for one in self.attempts if one.failure is None]
        moments = [self.attempts[0].began_s, *confirmed, self.attempts[-1].ended_s]
        return round(max(later - sooner for sooner, later in pairwise(moments)), 2)

    def figures(self) -> dict[str, float | None]:
        gap_s = self.longest_gap_s()
        return {"writes": float(len(self.attempts)), "failed_writes": float(self.failed), "longest_write_gap_s": gap_s}


def judge_writing(written: Written, at_most_s: float | None = LONGEST_GAP_S) -> tuple[Finding, ...]:
    """Whether clients could go on, and nothing that was confirmed to them is lost. Pure.

    `at_most_s`: the longest gap that is allowed; None where the gap is only told.
    """
    gap_s, last, back = written.longest_gap_s(), written.last_confirmed, written.read_back
    why = ", ".join(f"{count} x {failure}" for failure, count in written.failures().items())
    seen = f"{gap_s} s; {written.failed} of {len(written.attempts)} failed" + (f": {why}" if why else "")
    found = [
        Finding("no write that was confirmed is lost", _nothing_lost(last, back), f"{last} confirmed, {back} read")
    ]
    if at_most_s is not None:
        promise = f"a writer through the load balancer never waited longer than {at_most_s:.0f} s for a write"
        found.insert(0, Finding(promise, last is not None and gap_s is not None and gap_s <= at_most_s, seen))
    return tuple(found)


def _nothing_lost(last: int | None, back: int | None) -> bool:
    return last is not None and back is not None and back >= last


@dataclass(frozen=True)
class Door:
    """The API server as a kubeconfig names it: where it is, and who asks."""

    host: str
    port: int
    tls: ssl.SSLContext = field(repr=False)

    @classmethod
    def of(cls, cluster: Cluster) -> Door:
        """Of the cluster's admin, whose kubeconfig names the load balancer."""
        document = json.loads(cluster.kubectl("config", "view", "--raw", "--flatten", "--output=json"))
        target, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
        context = ssl.create_default_context(cadata=base64.b64decode(target["certificate-authority-data"]).decode())
        with NamedTemporaryFile(dir=cluster.world.place.directory) as file:  # OpenSSL reads them from a file alone
            for part in ("client-certificate-data", "client-key-data"):
                file.write(base64.b64decode(user[part]))
            file.flush()
            context.load_cert_chain(Path(file.name))
        server = urlsplit(target["server"])
        return cls(str(server.hostname), server.port or 443, context)

    def ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """One request over a connection of its own, in TIMEOUT_S at most. OSError or HTTPException if it fails."""
        deadline = time.monotonic() + TIMEOUT_S
        plain = socket.create_connection((self.host, self.port), timeout=TIMEOUT_S)
        try:
            plain.settimeout(_left_s(deadline))
            connection = http.client.HTTPConnection(self.host, self.port)
            connection.sock = self.tls.wrap_socket(plain, server_hostname=self.host)
        except BaseException:
            plain.close()
            raise
        try:
            connection.sock.settimeout(_left_s(deadline))
            headers = {"Content-Type": "application/merge-patch+json", "Connection": "close"}
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            said = answer.read()
            if answer.status != http.HTTPStatus.OK:
                raise http.client.HTTPException(f"HTTP {answer.status}")
            return said
        finally:
            connection.close()


@dataclass
class Writer:
    """Writes from `start()` to `end()`, on a thread of its own. The starter must be in the world's network."""

    door: Door
    namespace: str = "default"
    _attempts: list[Attempt] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        self._thread = threading.Thread(target=self._write_on, name="writer", daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._over.set()
        self._thread.join()

    def so_far(self) -> Sequence[Attempt]:
        return tuple(self._attempts)

    def written(self) -> Written:
        """All of it, with what is read back now; to be asked after the end."""
        try:
            found = json.loads(self.door.ask("GET", self._path))
            read_back = int(found.get("data", {}).get("number", 0))
        except (OSError, http.client.HTTPException, ValueError):
            read_back = None  # told as such: a confirmed write that cannot be read is lost
        return Written(tuple(self._attempts), read_back)

    @property
    def _path(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/configmaps/{NAME}"

    def _write_on(self) -> None:
        number = 0
        while not self._over.is_set():
            number += 1
            attempt = self._write(number)
            self._attempts.append(attempt)
            self._over.wait(max(0.0, attempt.began_s + EVERY_S - time.monotonic()))

    def _write(self, number: int) -> Attempt:
        began_s = time.monotonic()
        patch = json.dumps({"data": {"number": str(number)}}).encode()
        try:
            self.door.ask("PATCH", self._path, patch)
        except (OSError, http.client.HTTPException) as error:
            return Attempt(number, began_s, time.monotonic(), _said(error))
        return Attempt(number, began_s, time.monotonic())


@contextmanager
def writing(cluster: Cluster) -> Iterator[Writer]:
    """Somebody writes, until this is left."""
    cluster.kubectl("delete", "configmap", NAME, "--ignore-not-found")
    cluster.kubectl("create", "configmap", NAME, "--from-literal=number=0")
    writer = Writer(Door.of(cluster))
    writer.start()
    try:
        yield writer
    finally:
        writer.end()


def _left_s(deadline: float) -> float:
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s


def _said(error: Exception) -> str:
    """One word for a kind of failure: the texts differ from try to try."""
    return str(error) if str(error).startswith("HTTP ") else type(error).__name__
