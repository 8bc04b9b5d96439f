"""Keep Auto Scaling from moving control planes between zones.

AZRebalance launches a machine beyond a group's most and then ends one that is in service (Auto Scaling user guide,
"Availability Zone rebalancing"): of a control plane, a voter that nobody asked to go. CloudFormation cannot suspend a
process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from functions.cluster.machine import CLUSTER_TAG, ROLE_TAG, Role

PROCESS = "AZRebalance"


def keep_control_planes_in_place(cluster: str, autoscaling: Any, say: Callable[[str], None]) -> None:
    """Suspend it for each group of control planes of the cluster; one for which it is suspended stays as it is."""
    tags = {CLUSTER_TAG: cluster, ROLE_TAG: Role.CONTROL_PLANE.value}
    pages = autoscaling.get_paginator("describe_auto_scaling_groups").paginate(
        Filters=[{"Name": f"tag:{key}", "Values": [value]} for key, value in tags.items()]
    )
    for group in (group for page in pages for group in page["AutoScalingGroups"]):
        if all(process["ProcessName"] != PROCESS for process in group.get("SuspendedProcesses", [])):
            name = group["AutoScalingGroupName"]
            autoscaling.suspend_processes(AutoScalingGroupName=name, ScalingProcesses=[PROCESS])
            say(f"{name}: {PROCESS} is suspended, control planes stay where they are")
