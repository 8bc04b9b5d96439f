"""The one request that AWS has not: what its operators do to the hosts. Signed for EC2 like any other, with any key.

POST /scheduled-events with JSON: {"do": "schedule", "instances": [...], "code": "instance-reboot", "notBefore": "..."}
answers {"event": ARN}; {"do": "cancel" or "complete", "event": ARN} answers {}.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, cast

from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import ec2_backends

from infra.local.cloud.compute.ec2 import MachinesBackend
from infra.local.cloud.compute.maintenance import UnknownScheduleError
from infra.local.cloud.extension import ACCOUNT, REGION

PATH = "/scheduled-events"
_ENDS = {"cancel": "Canceled", "complete": "Completed"}


def answer(request: Any, full_url: str, headers: Any) -> tuple[int, dict[str, str], str]:  # noqa: ARG001 - moto's
    """The status, headers and body; 400 with the reason for what is not understood."""
    maintenance = cast(MachinesBackend, ec2_backends[ACCOUNT][REGION]).maintenance
    try:
        order = json.loads(request.get_data())
        if order["do"] == "schedule":
            not_before = datetime.fromisoformat(order["notBefore"])
            said = {"event": maintenance.schedule(order["instances"], order["code"], not_before)}
        else:
            maintenance.close(order["event"], _ENDS[order["do"]])
            said = {}
    except (UnknownScheduleError, EC2ClientError, ValueError, KeyError, TypeError) as error:
        return 400, {"Content-Type": "application/json"}, json.dumps({"error": str(error)})
    return 200, {"Content-Type": "application/json"}, json.dumps(said)
