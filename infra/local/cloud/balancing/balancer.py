"""The network load balancers: a real listener on each private address, health probed, connections carried.

As a network load balancer does it (its user guide, "Health checks for target groups", "Edit target group attributes"):

- New connections go to healthy targets only, or to all registered ones when none is healthy.
- A target that drains gets no new connections and keeps its old ones.
- Connections of an unhealthy target are reset if its group says so, and if another target is healthy.
- It carries packets and answers none for a target: one that is dead lets its clients wait, new ones and old ones, until
  its checks have found it out or somebody has deregistered it; a refusal comes through as a reset.
- That an instance stopped or ended it hears from EC2 late. How late is documented nowhere; meanwhile the checks decide.
- A target that reaches itself through it gets no answer while clients keep their addresses. In all else the client's
  address is not preserved.

The passive checks that AWS has beside these cannot be set or seen there, and are not here.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import cast

from infra.local.cloud.balancing import plan
from infra.local.cloud.balancing.forwarding import forward, reset
from infra.local.cloud.balancing.plan import Plan, Target, TargetKey
from infra.local.cloud.balancing.probes import probe
from infra.local.cloud.balancing.targets import INITIAL, NOT_IN_USE, STOPPED, Health, after_check

log = logging.getLogger(__name__)

_LOOK_PERIOD_S = 0.1
_CONNECT_TIMEOUT_S = 10.0
_HEARS_FROM_EC2_S = 60.0
"""A guess on the long side: an end must not be known here before a health check could have found it."""


class Balancer:
    """All network load balancers of this AWS, on one thread."""

    def __init__(self, claim: Callable[[str], None] = lambda _: None, second_s: float = 1.0) -> None:
        """`claim` puts an address on this network, so that it can be listened on; OSError if it cannot.

        `second_s`: how long one second of health checks and deregistration delays lasts. Other than 1 only in tests,
        since AWS takes 5 s as the least.
        """
        self._claim = claim
        self._second_s = second_s
        self._plan = Plan({}, {}, {})
        self._health: dict[TargetKey, Health] = {}
        self._probes: dict[TargetKey, tuple[Target, asyncio.Task[None]]] = {}
        self._servers: dict[tuple[str, int], asyncio.Server] = {}
        self._due: dict[TargetKey, float] = {}
        """When each target is checked next, whatever becomes of it until then."""
        self._lost_since: dict[TargetKey, float] = {}
        self._connections: dict[TargetKey, set[asyncio.Task[None]]] = defaultdict(set)
        self._unlistenable: set[tuple[str, int]] = set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="balancer", daemon=True)

    @property
    def second_s(self) -> float:
        return self._second_s

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Close every listener and connection."""
        if not self._stopping.is_set() and self._thread.ident is not None:
            self._stopping.set()
            self._thread.join()

    def health_of(self, target_group_arn: str, target_id: str) -> Health:
        """What is known about a registered target."""
        if target_group_arn not in self._plan.groups:
            return NOT_IN_USE
        return self._health.get((target_group_arn, target_id), INITIAL)

    async def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._plan = plan.current(self._second_s)
                self._look_after_targets()
                await self._look_after_listeners()
                self._end_connections()
            except Exception:
                log.exception("The load balancers could not be brought up to date")
            await asyncio.sleep(_LOOK_PERIOD_S)
        for server in self._servers.values():
            server.close()

    def _look_after_targets(self) -> None:
        for key, (target, task) in list(self._probes.items()):
            if self._plan.targets.get(key) != target:
                task.cancel()
                del self._probes[key]
        for kept in (self._health, self._due, self._lost_since):
            for key in kept.keys() - self._plan.targets.keys():
                del kept[key]
        for key, target in self._plan.targets.items():
            if self._heard_of_its_end(key, target):
                self._health[key] = STOPPED
                plan.forget_ended(key)
                if watched := self._probes.pop(key, None):
                    watched[1].cancel()
            elif key not in self._probes:
                # A changed check goes on from what is known; a target that comes back begins anew.
                if self._health.get(key, STOPPED) == STOPPED:
                    self._health[key] = INITIAL
                self._probes[key] = (target, asyncio.create_task(self._watch(key, target)))

    def _heard_of_its_end(self, key: TargetKey, target: Target) -> bool:
        """Whether its instance has been stopped or terminated for so long that EC2 has told of it."""
        if target.address is not None:
            self._lost_since.pop(key, None)
            return False
        since = self._lost_since.setdefault(key, time.monotonic())
        return time.monotonic() - since >= _HEARS_FROM_EC2_S * self._second_s

    async def _watch(self, key: TargetKey, target: Target) -> None:
        while True:
            await asyncio.sleep(max(0.0, self._due.get(key, 0.0) - time.monotonic()))
            self._due[key] = time.monotonic() + target.check.interval_s
            failure = await probe(target.check, target.address, target.port)
            before = self._health[key]
            self._health[key] = after_check(before, failure, target.check)
            if self._health[key].state != before.state:
                log.info("Target %s is %s (%s)", key[1], self._health[key].state, self._health[key].reason)

    async def _look_after_listeners(self) -> None:
        for place in self._servers.keys() - self._plan.listeners.keys():
            self._servers.pop(place).close()
        for place in self._plan.listeners.keys() - self._servers.keys():
            try:
                await asyncio.to_thread(self._claim, place[0])
                self._servers[place] = await asyncio.start_server(partial(self._accepted, place), *place)
                self._unlistenable.discard(place)
            except OSError as error:
                if place not in self._unlistenable:
                    self._unlistenable.add(place)
                    log.warning("The load balancer cannot listen on %s:%d: %s. It is tried on.", *place, error)

    async def _accepted(
        self, place: tuple[str, int], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        key = self._chosen(place)
        target = self._plan.targets.get(key) if key else None
        if key is None or target is None:
            reset(writer)
            return
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._connections[key].add(task)
        try:
            other = await self._connected(key, target, writer)
            if other is None:
                await _in_vain(reader)
                writer.close()
            else:
                await forward((reader, writer), other)
        except (OSError, asyncio.CancelledError):
            reset(writer)
        finally:
            self._connections[key].discard(task)

    async def _connected(
        self, key: TargetKey, target: Target, client: asyncio.StreamWriter
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """The target's end of a new connection, None if it does not answer; ConnectionError if it refuses."""
        group = self._plan.groups.get(key[0])
        of_itself = group is not None and group.preserves_client_address and _peer(client) == target.address
        if target.address is None or of_itself:
            return None
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                return await asyncio.open_connection(target.address, target.port)
        except ConnectionError:
            raise
        except (OSError, TimeoutError):  # nobody is there who could refuse
            return None

    def _chosen(self, place: tuple[str, int]) -> TargetKey | None:
        """A target for a new connection: at random, where AWS takes a hash of the addresses."""
        groups = [(arn, weight) for arn, weight in self._plan.listeners.get(place, ()) if weight > 0]
        if not groups:
            return None
        (arn,) = random.choices([arn for arn, _ in groups], [weight for _, weight in groups])  # noqa: S311
        registered = [key for key in self._plan.targets if key[0] == arn and self._health.get(key) != STOPPED]
        healthy = [key for key in registered if self._is(key, "healthy")]
        candidates = healthy or registered
        return random.choice(candidates) if candidates else None  # noqa: S311

    def _end_connections(self) -> None:
        for key, tasks in list(self._connections.items()):
            group = self._plan.groups.get(key[0])
            if group is None or not tasks:
                continue
            registered = key in self._plan.targets
            another = any(self._is(each, "healthy") for each in self._plan.targets if each[0] == key[0])
            unhealthy = registered and another and (self._is(key, "unhealthy") or self._health.get(key) == STOPPED)
            drained = not registered and key[1] not in group.draining
            if (unhealthy and group.ends_connections_of_unhealthy) or (
                drained and group.ends_connections_after_draining
            ):
                for task in list(tasks):
                    task.cancel()

    def _is(self, key: TargetKey, state: str) -> bool:
        return self._health.get(key, INITIAL).state == state


async def _in_vain(reader: asyncio.StreamReader) -> None:
    """Let a client send what it likes, until it gives up."""
    while await reader.read(64 * 1024):
        pass


def _peer(writer: asyncio.StreamWriter) -> str:
    return str(writer.get_extra_info("peername")[0])
