"""From what the EC2 API was told to machines that really start and end, and back to the states that EC2 shows."""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from moto.core.utils import utcnow
from moto.ec2.models.instances import StateReason

from infra.local.cloud.compute.instances import MachineInstance
from infra.local.cloud.events.happenings import Place, state_change
from infra.local.cloud.surroundings import Surroundings
from infra.local.machines.hardware import MachineSpec
from infra.local.machines.paper import ON_PAPER_TAG

log = logging.getLogger(__name__)

RETRY_S = 5.0
"""Between two tries to end a machine that would not end."""


class Power:
    """Moves instances through their states, at the pace of the world's delays.

    An instance is shown as stopped or terminated only when the hardware has said that nothing of it runs.
    EC2's lock is held while a state changes, never while a machine starts or ends and never while others are told.
    """

    def __init__(self, surroundings: Surroundings, ec2: Any) -> None:
        self.lock: threading.RLock = ec2.lock
        self._world = surroundings
        self._ec2 = ec2
        self._place = Place(ec2.account_id, ec2.region_name)
        self._hands: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._rebooting: set[str] = set()

    def ordered(self, instance: MachineInstance) -> None:
        """The instance is `pending`: switch its machine on when it is time."""
        self._tell(instance, "pending")
        self._world.timers.after(self._world.delays.pending_s, self._switch_on, instance)

    def start_again(self, instance: MachineInstance) -> None:
        """From `stopped` to `pending`: another launch of the same instance."""
        with self.lock:
            instance.launch_time = utcnow()
            instance.move("pending")
        self.ordered(instance)

    def end(self, instance: MachineInstance, *, skip_os: bool, final: bool, reason: StateReason | None = None) -> None:
        """Begin to stop the instance, or with `final` to terminate it. Asked again with `skip_os`, it goes faster.

        `reason` is whose doing it is, if not a user's.
        """
        with self.lock:
            was = instance.state
            over = was == "terminated" or (was == "stopped" and not final)
            promoted = final and was == "stopping"
            again = was in ("shutting-down", "stopping") and not promoted
            if not over and not again:
                instance.move("shutting-down" if final else "stopping", reason)
        if over:
            return
        if again or promoted:
            if skip_os:
                self._world.timers.after(0.0, self._world.hardware.kill, instance.id)
            if again:
                return
        self._tell(instance, instance.state)
        self._world.timers.after(0.0, self._switch_off, instance, skip_os, was == "stopped")

    def reboot(self, instance: MachineInstance) -> None:
        """The instance stays `running` throughout, and on its host: one that has died boots nothing."""
        self._world.timers.after(0.0, self._reboot, instance)

    def rebooting(self) -> frozenset[str]:
        """The instances whose reboot has begun and not ended."""
        with self.lock:
            return frozenset(self._rebooting)

    def host_dies(self, instance: MachineInstance) -> None:
        """Nothing of the machine runs any more, and EC2 goes on saying that it does."""
        with self._hands[instance.id]:
            self._world.hardware.kill(instance.id)

    def network_fails(self, instance: MachineInstance) -> None:
        """The machine runs on, and nobody reaches it any more."""
        with self._hands[instance.id]:
            self._world.hardware.cut(instance.id)

    def host_is_mended(self, instance: MachineInstance) -> None:
        """Its network works again, and a machine that had died with its host boots."""
        with self._hands[instance.id]:
            if instance.state == "running" and instance.id not in self._world.hardware.running():
                self._world.hardware.start(self._spec(instance))
            else:
                self._world.hardware.mend(instance.id)

    def _switch_on(self, instance: MachineInstance) -> None:
        with self._hands[instance.id]:
            if instance.state != "pending":
                return
            try:
                self._world.hardware.start(self._spec(instance))
            except Exception:
                log.exception("Machine %s did not start", instance.id)
                self._failed(instance)
                return
            with self.lock:
                if instance.state != "pending":
                    return
                instance.move("running")
        self._tell(instance, "running")

    def _failed(self, instance: MachineInstance) -> None:
        code = "Server.InternalError"
        with self.lock:
            instance.move("shutting-down", StateReason(f"{code}: Internal error on launch", code))
        self._world.timers.after(0.0, self._switch_off, instance, True, False)

    def _switch_off(self, instance: MachineInstance, skip_os: bool, was_off: bool) -> None:
        delays, hardware = self._world.delays, self._world.hardware
        final = instance.state == "shutting-down"
        least_s = delays.stopping_s if not final else delays.shutting_down_s
        if was_off:
            least_s = 0.0
        elif skip_os:
            least_s = delays.shutting_down_skip_os_s
        began = time.monotonic()
        try:
            with self._hands[instance.id]:
                if skip_os:
                    hardware.kill(instance.id)
                elif not was_off:
                    hardware.shutdown(instance.id, delays.os_shutdown_grace_s)
        except Exception:
            # It may still run, so it must not be shown as ended.
            log.exception("Machine %s did not end; next try in %s s", instance.id, RETRY_S)
            self._world.timers.after(RETRY_S, self._switch_off, instance, True, False)
            return
        self._world.timers.after(least_s - (time.monotonic() - began), self._ended, instance, final)

    def _ended(self, instance: MachineInstance, final: bool) -> None:
        expected, reached = ("shutting-down", "terminated") if final else ("stopping", "stopped")
        with self.lock:
            if instance.state != expected:
                return
            if final:
                instance.release()
            instance.move(reached)
        if final:
            self._ec2.forget_targets(instance.id)
        self._tell(instance, reached)
        if final:
            self._world.timers.after(self._world.delays.terminated_described_s, self._ec2.forget, instance)
            with self._hands[instance.id]:
                self._world.hardware.remove(instance.id)

    def _reboot(self, instance: MachineInstance) -> None:
        with self._hands[instance.id]:
            if instance.state != "running" or instance.id not in self._world.hardware.running():
                log.info("Machine %s is not there to be rebooted", instance.id)
                return
            with self.lock:
                self._rebooting.add(instance.id)
            try:
                self._world.hardware.reboot(instance.id)
            finally:
                with self.lock:
                    self._rebooting.discard(instance.id)

    def _spec(self, instance: MachineInstance) -> MachineSpec:
        subnet = self._ec2.get_subnet(instance.subnet_id)
        tags = {tag["key"]: tag["value"] for tag in instance.get_tags()}
        return MachineSpec(
            instance_id=instance.id,
            address=IPv4Address(instance.private_ip or ""),
            hostname=instance.private_dns_name,
            subnet=IPv4Network(subnet.cidr_block),
            role_hint=tags.get("regrow:role", ""),
            on_paper=ON_PAPER_TAG in tags,
        )

    def _tell(self, instance: MachineInstance, state: str) -> None:
        self._world.publish(state_change(self._place, instance.id, state, utcnow()))
        for listener in self._world.listeners:
            listener(instance.id, state)
