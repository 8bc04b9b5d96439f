"""Elastic Load Balancing: take an instance out of a target group."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError

from functions.cluster.machine import InstanceId
from functions.edges.aws import code, speaking_to

_GONE = frozenset({"TargetGroupNotFound", "InvalidTarget"})


class LoadBalancingEdge:
    """`client` is a boto3 ELBv2 client."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def deregister(self, instance: InstanceId, target_group: str) -> None:
        with speaking_to("Elastic Load Balancing", "DeregisterTargets"):
            try:
                self._client.deregister_targets(TargetGroupArn=target_group, Targets=[{"Id": instance}])
            except ClientError as error:
                if code(error) not in _GONE:
                    raise
