"""What AWS has announced about a machine that still runs: that it will be taken, or should be left.

A notice travels with the look that an event orders and is written on the machine's Node with the cordon: the Node
remembers, so that no later pass depends on the event. What EC2 can tell by itself is read from EC2, and wins.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

REBALANCE_HOLDS = timedelta(hours=1)  # a recommendation has no end of its own; most machines are never taken
SPOT_STAYS = timedelta(minutes=10)  # a machine that still runs so long after its time was not taken after all
SPOT_WARNS = timedelta(minutes=2)  # before a machine is taken (EC2 user guide, Spot instance interruption notices)
_SKEW = timedelta(minutes=1)
_YEARS = (2000, 3000)  # no sum or difference of such moments overflows


class Cause(Enum):
    """Why a machine is to go, most urgent first."""

    SPOT = "spot-interruption"
    MAINTENANCE = "maintenance"
    REBALANCE = "rebalance-recommendation"


@dataclass(frozen=True)
class Notice:
    """One announcement. `what` is the action or the code of EC2's scheduled event: terminate, instance-reboot, …

    `until`: Spot: when the machine is taken; maintenance: when it may begin; rebalance: for how long it is heeded.
    """

    cause: Cause
    what: str
    heard_at: datetime
    until: datetime

    def in_effect(self, at: datetime) -> bool:
        """Whether it still says something. Maintenance has no end but EC2's word.

        One that reaches further ahead than AWS ever says is none: whoever has root on a machine can write on its Node.
        """
        match self.cause:
            case Cause.SPOT:
                return -(SPOT_WARNS + _SKEW) <= at - self.until < SPOT_STAYS
            case Cause.REBALANCE:
                return -(REBALANCE_HOLDS + _SKEW) <= at - self.until < timedelta(0)
            case Cause.MAINTENANCE:
                return True

    @property
    def taken_at(self) -> datetime | None:
        """When the machine may be gone, whatever still runs on it; None for advice."""
        return None if self.cause is Cause.REBALANCE else self.until

    def to_json(self) -> str:
        moments = {"heard_at": self.heard_at.isoformat(), "until": self.until.isoformat()}
        return json.dumps({"cause": self.cause.value, "what": self.what, **moments})

    @classmethod
    def from_json(cls, text: object) -> Notice | None:
        """Return None for what is no notice: whoever has root on a machine can write on its Node."""
        try:
            raw = json.loads(text) if isinstance(text, str) else None
            if not isinstance(raw, dict):
                return None
            heard_at, until = (datetime.fromisoformat(raw[name]) for name in ("heard_at", "until"))
            if any(moment.tzinfo is None or not _YEARS[0] <= moment.year < _YEARS[1] for moment in (heard_at, until)):
                return None
            return cls(Cause(raw["cause"]), str(raw["what"])[:64], heard_at, until)
        except (ValueError, KeyError, TypeError, RecursionError):
            return None

    def __str__(self) -> str:
        match self.cause:
            case Cause.SPOT:
                return f"Spot: AWS will {self.what} it at {self.until:%H:%M:%SZ}"
            case Cause.MAINTENANCE:
                return f"EC2 has scheduled {self.what} for {self.until:%Y-%m-%d %H:%M:%SZ}"
            case Cause.REBALANCE:
                return f"Spot: AWS recommends to leave it (heeded until {self.until:%H:%M:%SZ})"


@dataclass(frozen=True)
class ScheduledEvent:
    """Maintenance that EC2 has scheduled for an instance (EC2 API reference, InstanceStatusEvent)."""

    code: str
    not_before: datetime
    description: str = ""

    @property
    def over(self) -> bool:
        """EC2 lists an event for a while after it has ended, and says so in front of its description."""
        return self.description.startswith(("[Completed]", "[Canceled]"))
