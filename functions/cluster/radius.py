"""How much trouble at once is too much to be the machines' own. Pure.

When many machines fail together, it is rarely they that are to blame: a zone, the network, or the API server's own
eyes. Ending them would make it worse, so the brake holds everything that a doubt would bring, and lets go by itself.
What EC2 calls ended is cleaned up all the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from functions.cluster.doubt import Doubt
from functions.cluster.machine import InstanceId

BRAKE_HOLDS = timedelta(minutes=3)  # after it was last seen to be called for: kubelets come back one after another
_FEW = 2  # so few make no dark zone, however small it is (Kubernetes' node lifecycle controller: three at least)


@dataclass(frozen=True)
class Sighting:
    """One machine that is meant to serve, as one look at all of them saw it.

    `doubted`: it runs and is in trouble. `unwell`: doubted, leaving, dead, or not in service yet: its group does
    without it for now.
    """

    instance: InstanceId
    group: str
    zone: str
    doubted: bool = False
    unwell: bool = False


@dataclass(frozen=True)
class Limits:
    """How much may be wrong at once for single machines to be repaired.

    Of a group `group_percent`, and always `group_floor` machines, so that small groups stay repairable (Karpenter's
    limit of 20 % paralysed pools of 3 to 5: karpenter issue 2134). Of a zone and of the cluster less than Kubernetes
    (55 % of a zone) and Gardener's dependency-watchdog (60 % of all leases) have. `replaced_an_hour` is a group's.
    """

    group_percent: int = 20
    group_floor: int = 1
    zone_percent: int = 55
    cluster_percent: int = 60
    replaced_an_hour: int = 3


@dataclass(frozen=True)
class Around:
    """What one look at all machines says about repairing one of them. `doubts` are those about all of them."""

    brakes: tuple[Brake, ...] = ()
    doubts: tuple[Doubt, ...] = ()
    refreshing: bool = False  # an instance refresh of its group is under way


@dataclass(frozen=True)
class Brake:
    """Why machines of a scope (the cluster, `zone NAME`, `group NAME`) are not repaired now; `until` when at least."""

    scope: str
    reason: str
    until: datetime

    @property
    def lifted_by(self) -> str:
        return f"it lets go by itself when that is over, not before {self.until:%H:%M:%SZ}"

    def holds(self, group: str | None, zone: str, at: datetime) -> bool:
        return at < self.until and self.scope in ("cluster", f"zone {zone}", f"group {group}")


def brakes(sightings: Iterable[Sighting], limits: Limits, at: datetime) -> tuple[Brake, ...]:
    """Return every brake that one look at all machines calls for, the widest first.

    Of a zone and of the cluster only those count that could be in trouble: what has ended, or only comes, is silent for
    a reason of its own.
    """
    seen = tuple(sightings)
    serving = [one for one in seen if one.doubted or not one.unwell]
    until = at + BRAKE_HOLDS
    found: list[Brake] = []
    doubted = sum(one.doubted for one in serving)
    if doubted > 1 and 100 * doubted >= limits.cluster_percent * len(serving):
        reason = f"{doubted} of {len(serving)} machines are in trouble at once: rather the API server or the network"
        found.append(Brake("cluster", reason, until))
    zones, dark = Counter(one.zone for one in serving), Counter(one.zone for one in serving if one.doubted)
    for zone, many in sorted(dark.items()):
        if many > _FEW and 100 * many >= limits.zone_percent * zones[zone]:
            reason = f"{many} of {zones[zone]} machines in {zone} are in trouble at once: rather the zone than they"
            found.append(Brake(f"zone {zone}", reason, until))
    groups, unwell = Counter(one.group for one in seen), Counter(one.group for one in seen if one.unwell)
    for group in sorted({one.group for one in seen if one.doubted}):
        most, many = max(limits.group_floor, limits.group_percent * groups[group] // 100), unwell[group]
        if many > most:
            reason = f"{many} of {groups[group]} machines of {group} are not well, and {most} at once may be repaired"
            found.append(Brake(f"group {group}", reason, until))
    return tuple(found)
