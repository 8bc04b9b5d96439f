"""EC2's status checks: what EC2 finds out about a running instance by asking its host and its network.

EC2 user guide, "Status checks for Amazon EC2 instances". A host that has died fails the system's check and the
instance's, a machine that its network does not reach only the latter. Attached volumes never fail here.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from infra.local.cloud.compute.instances import Check, Checks, MachineInstance
from infra.local.cloud.surroundings import Surroundings

FAILURES = 2
"""In a row, until an instance is impaired."""

_NONE = Check("not-applicable")


class _Record:
    """The checks of one kind of one instance since it began to run."""

    def __init__(self) -> None:
        self.failures = 0
        self.impaired_since: datetime | None = None

    def add(self, passed: bool, now: datetime) -> None:
        self.failures = 0 if passed else self.failures + 1
        if passed:
            self.impaired_since = None
        elif self.failures >= FAILURES and self.impaired_since is None:
            self.impaired_since = now

    @property
    def check(self) -> Check:
        return Check("impaired", self.impaired_since) if self.impaired_since else Check("ok")


class StatusChecks:
    """Those of a region's instances, one round after another from the first instance on.

    `rebooting` tells which are: they are left out, since a reboot is over sooner than EC2 would notice it.
    """

    def __init__(
        self,
        surroundings: Surroundings,
        instances: Callable[[], Iterable[MachineInstance]],
        rebooting: Callable[[], frozenset[str]],
    ) -> None:
        self._world = surroundings
        self._instances = instances
        self._rebooting = rebooting
        self._lock = threading.Lock()
        self._begun = False
        self._records: defaultdict[tuple[str, float], dict[str, _Record]] = defaultdict(
            lambda: {"instance": _Record(), "system": _Record()}
        )
        """By instance and when it began to run: each of its lives has its own."""
        surroundings.listeners.append(self._instance_changed)

    def of(self, instance: MachineInstance) -> Checks:
        since = instance.running_since
        if since is None:
            return Checks(_NONE, _NONE, _NONE)
        if self._young(since):
            young = Check("initializing")
            return Checks(young, young, young)
        with self._lock:
            records = self._records[instance.id, since]
            return Checks(records["instance"].check, records["system"].check, Check("ok"))

    def _instance_changed(self, _: str, state: str) -> None:
        with self._lock:
            begins = state == "running" and not self._begun
            self._begun = self._begun or begins
        if begins:
            self._world.timers.after(self._world.delays.status_check_s, self._round)

    def _round(self) -> None:
        hardware, now = self._world.hardware, datetime.now(UTC)
        running, reachable, left_out = hardware.running(), hardware.reachable(), self._rebooting()
        alive = {(each.id, each.running_since) for each in self._instances() if each.running_since is not None}
        with self._lock:
            for gone in set(self._records) - alive:
                del self._records[gone]
            for instance_id, since in alive:
                if since is not None and instance_id not in left_out and not self._young(since):
                    records = self._records[instance_id, since]
                    records["system"].add(instance_id in running, now)
                    records["instance"].add(instance_id in reachable, now)
        self._world.timers.after(self._world.delays.status_check_s, self._round)

    def _young(self, since: float) -> bool:
        return time.monotonic() - since < self._world.delays.status_initializing_s
