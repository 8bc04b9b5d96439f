"""A machine that runs and may be failing: what it is doubted for, what has been tried, and by which rungs. Pure data.

A doubt proves nothing. All that it allows is to restart what hangs, to reboot, and at last to ask Auto Scaling to
replace the machine; what may be done to the remains of it, only EC2's word that it has ended can say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum

from functions.cluster.machine import Group, InstanceId

IMPAIRED_AFTER_TAG = "regrow:impaired-after"  # of a group: seconds
SILENT_AFTER_TAG = "regrow:silent-after"
LADDER_IMPAIRED_TAG = "regrow:ladder-impaired"  # of a group: rungs, such as `restart=90 reboot=180 replace`
LADDER_SILENT_TAG = "regrow:ladder-silent"

WELL_FOR = timedelta(minutes=10)  # a machine that was well for so long begins at the lowest rung again
_RUNG = re.compile(r"(?P<rung>[a-z]+)(?:=(?P<wait>[0-9]{1,5}))?")
_SECONDS = re.compile(r"[0-9]{1,5}")
LADDER_IS = "rungs such as 'restart=90 reboot=180 replace', each once, in this order, each with 5 to 86400 s, or 'none'"
_LEAST, _MOST = timedelta(seconds=5), timedelta(days=1)


class Sign(Enum):
    """What a machine is doubted for."""

    IMPAIRED = "impaired"  # its kubelet is silent, and EC2's own status checks fail
    SILENT = "silent"  # its kubelet is silent, or says that it cannot run pods


class Rung(Enum):
    """What may be tried, the gentlest first."""

    RESTART = "restart"  # the kubelet or the container runtime
    REBOOT = "reboot"
    REPLACE = "replace"


_ORDER = tuple(Rung)


@dataclass(frozen=True)
class Impairment:
    """A status check of EC2 that fails: system, instance or ebs (EC2 user guide, status checks)."""

    check: str
    since: datetime | None


@dataclass(frozen=True)
class Trouble:
    """What is wrong with a machine now, since when, and the facts that say so, each with its source and age."""

    sign: Sign
    since: datetime
    evidence: tuple[str, ...]
    runtime: bool = False  # its kubelet says that it is the container runtime

    def __str__(self) -> str:
        return "; ".join(self.evidence)


@dataclass(frozen=True)
class Try:
    """One rung that was taken."""

    rung: Rung
    at: datetime


@dataclass(frozen=True)
class Doubt:
    """What is remembered of a machine in trouble. `calm_since`: since when it has been well again."""

    instance: InstanceId
    group: str
    since: datetime
    tried: tuple[Try, ...] = ()
    calm_since: datetime | None = None

    def with_try(self, rung: Rung, at: datetime) -> Doubt:
        return replace(self, tried=(*self.tried, Try(rung, at)), calm_since=None)


@dataclass(frozen=True)
class Wait:
    """A rung, and how long it is waited for before the next one is taken."""

    rung: Rung
    wait: timedelta


@dataclass(frozen=True)
class Repair:
    """By which rungs a doubtful machine is repaired, and how long trouble lasts before the first is taken.

    Karpenter decides after 120 s of a failing status check and a minute of polling, the quickest peers after 180 s of a
    silent kubelet.
    """

    impaired_after: timedelta = timedelta(seconds=120)
    silent_after: timedelta = timedelta(seconds=180)
    impaired: tuple[Wait, ...] = (Wait(Rung.REPLACE, timedelta(minutes=5)),)
    silent: tuple[Wait, ...] = (
        Wait(Rung.RESTART, timedelta(seconds=90)),
        Wait(Rung.REBOOT, timedelta(seconds=180)),
        Wait(Rung.REPLACE, timedelta(minutes=5)),
    )
    wrong: tuple[str, ...] = ()

    def after(self, sign: Sign) -> timedelta:
        return self.impaired_after if sign is Sign.IMPAIRED else self.silent_after

    def ladder(self, sign: Sign) -> tuple[Wait, ...]:
        return self.impaired if sign is Sign.IMPAIRED else self.silent


@dataclass(frozen=True)
class Due:
    """The next rung and when it may be taken. None for the rung: none is left, or none is wanted."""

    rung: Rung | None
    at: datetime


def next_rung(trouble: Trouble, doubt: Doubt | None, repair: Repair) -> Due:
    """Return what is to be tried next: upwards only, each rung once, but a replacement: it may have been lost."""
    ladder, tried = repair.ladder(trouble.sign), doubt.tried if doubt else ()
    first_at = trouble.since + repair.after(trouble.sign)
    if not ladder:
        return Due(None, first_at)
    waits = {one.rung: one.wait for one in repair.ladder(Sign.SILENT) + ladder}
    highest = max((_ORDER.index(one.rung) for one in tried), default=-1)
    ready_at = max((one.at + waits.get(one.rung, timedelta(0)) for one in tried), default=first_at)
    left = [one.rung for one in ladder if _ORDER.index(one.rung) > highest]
    if left:
        return Due(left[0], max(first_at, ready_at))
    return Due(Rung.REPLACE if ladder[-1].rung is Rung.REPLACE else None, max(first_at, ready_at))


def ladder_of(text: str) -> tuple[Wait, ...] | None:
    """Read rungs such as `restart=90 reboot=180 replace`, each once and in this order; `none` for no rung at all.

    The number is how many seconds a rung is waited for, 300 where there is none. None when it cannot be read so.
    """
    if text.strip() == "none":
        return ()
    found = [_RUNG.fullmatch(word) for word in text.split()]
    names = [rung.value for rung in Rung]
    if not found or any(one is None or one["rung"] not in names for one in found):
        return None
    waits = tuple(Wait(Rung(one["rung"]), timedelta(seconds=int(one["wait"] or 300))) for one in found if one)
    places = [names.index(one.rung.value) for one in waits]
    if places != sorted(set(places)) or any(not _LEAST <= one.wait <= _MOST for one in waits):
        return None
    return waits


def repair_of(group: Group | None, default: Repair) -> Repair:
    """Return how a group wants its machines repaired: as its tags say, else as for all.

    With a tag that cannot be read nothing is tried, since nobody knows what its author wanted; `wrong` says what it is.
    """
    read = _Tags(group.tags if group else {}, [])
    found = Repair(
        impaired_after=read.after(IMPAIRED_AFTER_TAG, default.impaired_after),
        silent_after=read.after(SILENT_AFTER_TAG, default.silent_after),
        impaired=read.ladder(LADDER_IMPAIRED_TAG, default.impaired),
        silent=read.ladder(LADDER_SILENT_TAG, default.silent),
    )
    return replace(found, impaired=(), silent=(), wrong=tuple(read.wrong)) if read.wrong else found


@dataclass(frozen=True)
class _Tags:
    """A group's tags one by one; one that is not as it must be is written down, with its value and what it must be."""

    tags: Mapping[str, str]
    wrong: list[str]

    def after(self, key: str, default: timedelta) -> timedelta:
        text = self.tags.get(key)
        if text is None:
            return default
        after = timedelta(seconds=int(text)) if _SECONDS.fullmatch(text) else timedelta(0)
        if _LEAST <= after <= _MOST:
            return after
        self.wrong.append(f"the tag {key} is {text!r}; it must be a whole number of seconds from 5 to 86400")
        return default

    def ladder(self, key: str, default: tuple[Wait, ...]) -> tuple[Wait, ...]:
        text = self.tags.get(key)
        ladder = default if text is None else ladder_of(text)
        if ladder is None:
            self.wrong.append(f"the tag {key} is {text!r}; it must be {LADDER_IS}")
        return ladder or ()
