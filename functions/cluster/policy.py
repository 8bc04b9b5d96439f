"""What a person has chosen about how machines are treated. Pure data; `functions/settings.py` reads it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum

from functions.cluster.doubt import Repair
from functions.cluster.draining import DrainPolicy
from functions.cluster.radius import Limits

MARGIN = timedelta(minutes=1)  # a planned drain is to be over before its machine is touched


class Rebalance(Enum):
    """What follows from AWS's advice to leave a Spot machine, most of which are never taken."""

    IGNORE = "ignore"
    CORDON = "cordon"
    DRAIN = "drain"


@dataclass(frozen=True)
class Policy:
    """`join_deadline` counts from a machine's launch to its Ready Node. `repair` is of groups that say nothing else."""

    join_deadline: timedelta = timedelta(seconds=480)
    drain: DrainPolicy = field(default_factory=DrainPolicy)
    rebalance: Rebalance = Rebalance.CORDON
    repair: Repair = field(default_factory=Repair)
    limits: Limits = field(default_factory=Limits)

    @property
    def planned_ahead(self) -> timedelta:
        """How long before scheduled maintenance a machine is drained."""
        return self.drain.deadline + MARGIN
