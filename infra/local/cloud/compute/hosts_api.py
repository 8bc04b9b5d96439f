"""What befalls the hosts below the instances, which no customer of AWS can ask for. Signed for EC2, with any key.

POST /hosts with JSON {"do": ..., "instance": ID} answers {}: "die" (nothing of the machine runs any more), "cut" (it
runs on, and no network reaches it), "mend" (its network is back; what had died boots). EC2 goes on saying `running` and
finds out by its status checks.
"""

from __future__ import annotations

import json
from typing import Any, cast

from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import ec2_backends

from infra.local.cloud.compute.ec2 import MachinesBackend
from infra.local.cloud.extension import ACCOUNT, REGION

PATH = "/hosts"


def answer(request: Any, full_url: str, headers: Any) -> tuple[int, dict[str, str], str]:  # noqa: ARG001 - moto's
    """The status, headers and body; 400 with the reason for what is not understood, or for what does not run."""
    ec2 = cast(MachinesBackend, ec2_backends[ACCOUNT][REGION])
    acts = {"die": ec2.power.host_dies, "cut": ec2.power.network_fails, "mend": ec2.power.host_is_mended}
    try:
        order = json.loads(request.get_data())
        act, instance = acts[order["do"]], ec2.machine(order["instance"])
        if instance.state != "running":
            raise ValueError(f"{instance.id} is {instance.state}")
        act(instance)
    except (EC2ClientError, ValueError, KeyError, TypeError) as error:
        return 400, {"Content-Type": "application/json"}, json.dumps({"error": str(error)})
    return 200, {"Content-Type": "application/json"}, "{}"
