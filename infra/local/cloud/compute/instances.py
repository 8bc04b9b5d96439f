"""moto's instances and subnets with what a real machine behind them needs."""

from __future__ import annotations

import ipaddress
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from moto.core.utils import utcnow
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.elastic_network_interfaces import NetworkInterface
from moto.ec2.models.instances import Instance, InstanceState, StateReason
from moto.ec2.models.subnets import Subnet

STATE_CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}

FIRST_ADDRESS = 11
"""The first ten addresses of a subnet are left to routers, endpoints and load balancers."""


@dataclass(frozen=True)
class Check:
    """What one of EC2's status checks says. `since`: when it began to be impaired."""

    outcome: str
    since: datetime | None = None

    def described(self) -> dict[str, Any]:
        """Its entry in DescribeInstanceStatus."""
        if self.outcome == "not-applicable":
            return {"Status": self.outcome}
        word = {"ok": "passed", "impaired": "failed"}.get(self.outcome, self.outcome)
        since = {"ImpairedSince": self.since} if self.since else {}
        return {"Status": self.outcome, "Details": [{"Name": "reachability", "Status": word, **since}]}


@dataclass(frozen=True)
class Checks:
    """All three of an instance."""

    instance: Check
    system: Check
    attached_ebs: Check


class MachineInstance(Instance):
    """An instance that begins as `pending`, has status checks, and gives up its address when it is terminated."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._state = InstanceState("pending", STATE_CODES["pending"])
        self.running_since: float | None = None
        self.spot_instance_request_id: str | None = None

    @staticmethod
    def of(instance: Instance) -> MachineInstance:
        """What moto calls an instance is one of these, provided that the extension was there first."""
        if not isinstance(instance, MachineInstance):
            raise TypeError(f"{instance.id} was made before the EC2 extension was installed.")
        return instance

    def move(self, state: str, reason: StateReason | None = None) -> None:
        """Take on a state, with the reason that DescribeInstances then shows."""
        self._state = InstanceState(state, STATE_CODES[state])
        self.running_since = time.monotonic() if state == "running" else None
        if state in ("pending", "running"):
            self._reason, self.state_reason = "", StateReason()
        elif reason is not None:
            self.state_reason = reason
            self._reason = reason.message
        elif state in ("shutting-down", "stopping"):
            self._reason = f"User initiated ({utcnow().strftime('%Y-%m-%d %H:%M:%S GMT')})"
            code = "Client.UserInitiatedShutdown"
            self.state_reason = StateReason(f"{code}: User initiated shutdown", code)

    def release(self) -> None:
        """What a terminated instance gives back: address, network interfaces, volumes."""
        subnet = self.ec2_backend.get_subnet(self.subnet_id) if self.subnet_id else None
        for address in self._private_ips:
            if subnet is not None:
                subnet.del_subnet_ip(address)
        for interface in self.nics.values():
            interface.stop()
            self.ec2_backend.delete_network_interface(interface.id)
        self._private_ips.clear()
        self.nics.clear()
        self._subnet_id = None
        self.teardown_defaults()

    def delete(self, account_id: str, region: str) -> None:  # noqa: ARG002 - moto's arguments
        self.ec2_backend.terminate_instances([self.id])

    @property
    def private_ip(self) -> str | None:
        return self.nics[0].private_ip_address if self.nics else None

    @property
    def private_ip_address(self) -> str | None:
        return self.private_ip

    @property
    def private_dns_name(self) -> str:
        return super().private_dns_name if self.nics else ""

    @property
    def public_ip(self) -> str | None:
        return self.nics[0].public_ip if self.nics else None

    @property
    def public_ip_address(self) -> str | None:
        return self.public_ip

    @property
    def network_interfaces(self) -> list[NetworkInterface]:
        return list(self.nics.values())

    @property
    def events(self) -> list[dict[str, Any]]:
        """What is or was scheduled for it, as DescribeInstanceStatus shows it."""
        events: list[dict[str, Any]] = self.ec2_backend.maintenance.events_of(self.id)
        return events

    @property
    def checks(self) -> Checks:
        """What the status checks say of it now."""
        found: Checks = self.ec2_backend.status_checks.of(self)
        return found


class MachineSubnet(Subnet):
    """Gives addresses out in order, and one again only when all others had their turn."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._turn = 0

    def get_available_subnet_ip(self, instance: Instance) -> str:
        first = self.cidr.network_address + FIRST_ADDRESS
        count = self.cidr.num_addresses - FIRST_ADDRESS - 1
        for _ in range(count):
            address = str(first + self._turn)
            self._turn = (self._turn + 1) % count
            if address not in self._subnet_ips:
                self._subnet_ips[address] = instance
                return address
        raise EC2ClientError(
            "InsufficientFreeAddressesInSubnet",
            f"There are not enough free addresses in subnet '{self.id}' to satisfy the requested number of instances.",
        )

    def request_ip(self, ip: str, instance: Instance) -> None:
        if ipaddress.ip_address(ip) not in self.cidr:
            raise EC2ClientError("InvalidParameterValue", f"Address {ip} is not within the subnet's address range")
        if ip in self._subnet_ips:
            raise EC2ClientError("InvalidIPAddress.InUse", f"Address {ip} is in use.")
        super().request_ip(ip, instance)
