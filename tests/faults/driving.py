"""Drive the functions through a fake world as queues, schedule and time would, until nothing is left to do."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from functions.errors import RegrowError
from functions.intake import take_in
from functions.messages import CONTROL_PLANE, Look
from functions.remediate.control_planes import run_control_plane
from functions.remediate.reconcile import run_pass
from functions.remediate.sweep import run_sweep
from functions.settings import Settings
from tests.unit.functions.builders import NOW, SETTINGS
from tests.unit.functions.fake_world import Call, Crash, World
from tests.unit.functions.fakes import outside_of
from tests.unit.functions.worlds import settle

VISIBILITY = timedelta(seconds=40)  # how soon the queue hands out again what a killed function had
MAX_RECEIVE_COUNT = 5
_SWEEP_EVERY = timedelta(minutes=1)
_GIVE_UP_AFTER = timedelta(hours=2)


def one_pass(world: World, look: Look, settings: Settings = SETTINGS) -> None:
    run = run_control_plane if look.machine == CONTROL_PLANE else run_pass
    run(look, outside_of(world), settings, lambda: world.now)


def run_to_end(
    world: World,
    *,
    settings: Settings = SETTINGS,
    sweeps: bool = True,
    choose: Callable[[list[Look]], int] = lambda _: 0,
) -> None:
    """Deliver looks until no case and no joining is open and none is waiting.

    `choose` picks which waiting look comes next.
    """
    drive = Drive(world, settings, sweeps, choose, next_sweep=world.now + _SWEEP_EVERY)
    end = world.now + _GIVE_UP_AFTER
    while world.passes or world.later or world.cases or any(join.open for join in world.joins.values()):
        assert world.now < end, f"not at rest: {world.cases}, {world.passes}, {world.later}"
        drive.step()


def run_for(world: World, duration: timedelta, *, settings: Settings = SETTINGS) -> None:
    """Let that much time pass, with a sweep in each minute."""
    Drive(world, settings, next_sweep=world.now).run(duration)


def nothing_else(world: World) -> None:
    """No weather."""


@dataclass
class Drive:
    """Queues, schedule and time. `weather` is what else goes on in the world, whenever time has passed."""

    world: World
    settings: Settings
    sweeps: bool = True
    choose: Callable[[list[Look]], int] = lambda _: 0
    next_sweep: datetime = NOW
    weather: Callable[[World], None] = nothing_else
    settles: Callable[[World], None] = settle
    receives: dict[Look, int] = field(default_factory=dict)

    def run(self, duration: timedelta) -> None:
        """Let that much time pass."""
        end = self.world.now + duration
        while self.world.now < end:
            self.step()

    def step(self) -> None:
        """Deliver one look, or let time pass until something is due."""
        if self.world.passes:
            self._pass(self.world.passes.pop(self.choose(self.world.passes)))
            self.settles(self.world)
        else:
            ticks = (datetime.fromtimestamp(look.due_s or 0, UTC) for look in self.world.later)
            self.world.now = max(self.world.now, min([self.next_sweep, *ticks]))
            self.weather(self.world)
            self._deliver_due()
        if self.sweeps and self.world.now >= self.next_sweep:
            self.sweep()
        elif self.world.now >= self.next_sweep:
            self.next_sweep = self.world.now + _SWEEP_EVERY

    def _pass(self, look: Look) -> None:
        """A pass that raises or is killed comes again after the visibility time-out, five times at most."""
        try:
            one_pass(self.world, look, self.settings)
        except (RegrowError, Crash):
            self.receives[look] = self.receives.get(look, 0) + 1
            self.world.now += VISIBILITY
            if self.receives[look] < MAX_RECEIVE_COUNT:
                self.world.passes.append(look)

    def _deliver_due(self) -> None:
        due = [look for look in self.world.later if (look.due_s or 0) <= self.world.now.timestamp()]
        self.world.later = [look for look in self.world.later if look not in due]
        outside = outside_of(self.world)
        try:
            take_in([look.to_json() for look in due], outside.queues, outside.journal)
        except (RegrowError, Crash):
            self.world.later += due
            self.world.now += VISIBILITY

    def sweep(self) -> None:
        self.next_sweep = self.world.now + _SWEEP_EVERY
        # A sweep that fails is not repeated: the schedule comes again in a minute.
        with suppress(RegrowError, Crash):
            run_sweep(outside_of(self.world), self.settings, now=self.world.now)
        self.settles(self.world)


def at(number: int, what: BaseException) -> Callable[[Call], None]:
    """Raise `what` at the call of that number, once."""

    def interfere(call: Call) -> None:
        if call.number == number:
            raise what

    return interfere


def with_another_pass_at(number: int, world: World, look: Look) -> World:
    """Have a second pass run whole right before the call of that number."""

    def other_pass(call: Call) -> None:
        if call.number == number:
            one_pass(world, look)
            settle(world)

    world.before = other_pass
    return world
