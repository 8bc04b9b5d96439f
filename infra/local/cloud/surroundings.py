"""What the extended services share: who switches machines, how long things take, where events go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from infra.local.cloud.delays import Delays
from infra.local.cloud.events.happenings import Publish
from infra.local.cloud.timers import Timers
from infra.local.machines.hardware import Hardware

StateListener = Callable[[str, str], None]
"""Called with an instance id and its new state; must return at once."""


@dataclass(frozen=True)
class Surroundings:
    """Handed to each extended backend when moto makes it."""

    hardware: Hardware
    delays: Delays
    publish: Publish
    timers: Timers = field(default_factory=Timers)
    listeners: list[StateListener] = field(default_factory=list)
