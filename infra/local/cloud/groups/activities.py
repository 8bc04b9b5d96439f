"""Scaling activities: what a group did by itself, and why."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import uuid4

from moto.core.utils import utcnow


@dataclass
class Activity:
    """One launch, termination or other move, from its beginning to its end."""

    group_name: str
    group_arn: str
    description: str
    cause: str
    status_code: str = "InProgress"
    status_message: str = ""
    progress: int = 0
    details: dict[str, str] = field(default_factory=dict)
    activity_id: str = field(default_factory=lambda: str(uuid4()))
    request_id: str = field(default_factory=lambda: str(uuid4()))
    start_time: datetime = field(default_factory=utcnow)
    end_time: datetime | None = None

    def locate(self, subnet_id: str, zone: str) -> None:
        """Where the machine is that it is about."""
        self.details = {"Subnet ID": subnet_id, "Availability Zone": zone}

    def end(self, failure: str | None = None) -> None:
        """It is over, well unless `failure` says why not."""
        self.status_code = "Successful" if failure is None else "Failed"
        self.status_message = failure or ""
        self.progress = 100
        self.end_time = utcnow()

    def described(self) -> dict[str, Any]:
        """Its entry in DescribeScalingActivities, and in the answers of calls that begin one."""
        described: dict[str, Any] = {
            "ActivityId": self.activity_id,
            "AutoScalingGroupName": self.group_name,
            "AutoScalingGroupARN": self.group_arn,
            "Description": self.description,
            "Cause": self.cause,
            "StartTime": self.start_time,
            "StatusCode": self.status_code,
            "Progress": self.progress,
            "Details": json.dumps(self.details),
        }
        if self.end_time is not None:
            described["EndTime"] = self.end_time
        if self.status_message:
            described["StatusMessage"] = self.status_message
        return described
