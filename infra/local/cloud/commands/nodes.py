"""Which machines Run Command knows: those whose agent has registered, as long as EC2 has them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

HEARTBEAT_S = 300.0
"""How often an agent says that it is there (SSM Agent, `HealthFrequencyMinutes`)."""
LOST_AFTER_S = 2 * HEARTBEAT_S
"""Two heartbeats missed: `ConnectionLost`."""

VALID_STATES = ("pending", "running", "stopping", "stopped")
"""Instances in other states are unknown (Systems Manager API reference, InvalidInstanceId)."""


@dataclass(frozen=True)
class Node:
    """An agent's last registration. `seen_s` is of the monotonic clock."""

    instance_id: str
    seen_s: float
    seen_at: datetime
    said: dict[str, Any]

    def connected(self, now_s: float, second_s: float) -> bool:
        return now_s - self.seen_s < LOST_AFTER_S * second_s

    def described(self, connected: bool) -> dict[str, Any]:
        """Its entry in DescribeInstanceInformation."""
        told = ("AgentVersion", "PlatformType", "PlatformName", "PlatformVersion", "IPAddress", "ComputerName")
        return {
            "InstanceId": self.instance_id,
            "PingStatus": "Online" if connected else "ConnectionLost",
            "LastPingDateTime": self.seen_at,
            "ResourceType": "EC2Instance",
            **{name: self.said[name] for name in told if name in self.said},
        }
