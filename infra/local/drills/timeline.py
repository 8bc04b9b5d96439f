"""What happened when, in seconds since the drill's first act: shown as it comes, and kept for the record."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

MILESTONES = (
    # a machine is doubted
    "noticed",
    "restarted",
    "rebooted",
    "replaced",
    "heard",
    # a machine goes
    "advised",
    "warned",
    "announced",
    "held",
    "event",
    "cordoned",
    "excluded",
    "evicted",
    "drained",
    "released",
    "let_go",
    "taken",
    "stopped",
    "terminated",
    "tainted",
    "detached",
    "attached_elsewhere",
    "pods_ready",
    "node_gone",
    # a control plane goes
    "deregistered",
    "member_removed",
    "second_removed",
    "join_died",
    "voter_removed",
    # or gets well again
    "ran_out",
    "called_off",
    "started",
    "uncordoned",
    "clean",
    # another one comes
    "launched",
    "hook",
    "minted",
    "requested",
    "learner",
    "voting",
    "approved_client",
    "ready",
    "requested_serving",
    "approved_serving",
    "in_service",
    # or does not
    "abandoned",
    "suspended",
    "resumed",
    "closed",
)
"""In the order in which they are shown; which of them a drill has is its own."""


@dataclass(frozen=True)
class Entry:
    """One thing that happened; `who` saw it or did it."""

    at: datetime
    who: str
    what: str


@dataclass
class Timeline:
    """Entries may come from several threads, and before the time of the first act is known: they are shown after it."""

    show: Callable[[str], None]
    began_at: datetime | None = None
    entries: list[Entry] = field(default_factory=list)
    milestones: dict[str, datetime] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def add(self, at: datetime, who: str, what: str, *, milestone: str | None = None) -> None:
        """Keep and show an entry. The first entry of a milestone is the one that counts."""
        with self._lock:
            entry = Entry(at, who, what)
            self.entries.append(entry)
            if milestone:
                self.milestones.setdefault(milestone, at)
            if self.began_at:
                self._show(entry)

    def begin(self, at: datetime) -> None:
        """From here on seconds count."""
        with self._lock:
            self.began_at = at
            for entry in self.entries:
                self._show(entry)

    def seconds(self, at: datetime) -> float:
        if self.began_at is None:
            raise ValueError("the drill has not begun")
        return round((at - self.began_at).total_seconds(), 2)

    def milestone_seconds(self) -> dict[str, float]:
        """Every milestone that was reached, in seconds since the first act, in the order of MILESTONES."""
        with self._lock:
            return {name: self.seconds(self.milestones[name]) for name in MILESTONES if name in self.milestones}

    def between(self, first: str, second: str) -> float | None:
        """Seconds from one milestone to another, None when one of them was not reached."""
        with self._lock:
            if not {first, second} <= set(self.milestones):
                return None
            return round((self.milestones[second] - self.milestones[first]).total_seconds(), 2)

    def as_data(self) -> list[dict[str, Any]]:
        """The entries in order of time; none at all when the drill has not begun."""
        with self._lock:
            ordered = sorted(self.entries, key=lambda entry: entry.at) if self.began_at else []
            return [{"s": self.seconds(entry.at), "who": entry.who, "what": entry.what} for entry in ordered]

    def _show(self, entry: Entry) -> None:
        self.show(f"{self.seconds(entry.at):+8.2f} s  {entry.who:<6} {entry.what}")


@dataclass
class Tail:
    """The lines of a file of JSON lines, each once, as they come."""

    path: Path
    _read_bytes: int = 0

    def new(self) -> list[dict[str, Any]]:
        """The whole lines that came since the last call; a line that is still being written waits."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(self._read_bytes)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._read_bytes += len(whole)
        return [json.loads(line) for line in whole.splitlines()]
