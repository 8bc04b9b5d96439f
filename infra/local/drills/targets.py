"""Target groups: one of the drill's own, behind which the workers serve, and the one of the API servers."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from infra.local.cluster import Cluster

_LOOK_EVERY_S = 0.1


@dataclass(frozen=True)
class Targets:
    """A target group, as Elastic Load Balancing tells of it."""

    client: Any
    arn: str

    def machines(self) -> set[str]:
        """Those that it would send requests to: who is being taken out gets none any more."""
        found = self.client.describe_target_health(TargetGroupArn=self.arn)["TargetHealthDescriptions"]
        return {one["Target"]["Id"] for one in found if one["TargetHealth"]["State"] != "draining"}

    def states(self) -> dict[str, str]:
        """Every target's health, the draining ones' too."""
        found = self.client.describe_target_health(TargetGroupArn=self.arn)["TargetHealthDescriptions"]
        return {one["Target"]["Id"]: one["TargetHealth"]["State"] for one in found}


def api_targets(cluster: Cluster) -> Targets:
    """The target group behind which the API servers are, as the cluster's stack tells."""
    (stack,) = cluster.client("cloudformation").describe_stacks(StackName=f"regrow-{cluster.name}-cluster")["Stacks"]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
    return Targets(cluster.client("elbv2"), outputs["ApiTargetGroupArn"])


@contextmanager
def target_group(cluster: Cluster) -> Iterator[Targets]:
    """The workers serve behind a target group of the drill's own."""
    elb, autoscaling = cluster.client("elbv2"), cluster.client("autoscaling")
    vpc = cluster.client("ec2").describe_vpcs(Filters=[{"Name": "tag:Name", "Values": ["regrow"]}])["Vpcs"][0]["VpcId"]
    tags = [{"Key": "regrow:cluster", "Value": cluster.name}]  # Regrow may touch no other
    made = elb.create_target_group(Name=f"{cluster.name}-drill", Protocol="TCP", Port=30080, VpcId=vpc, Tags=tags)
    arn = made["TargetGroups"][0]["TargetGroupArn"]
    which = {"AutoScalingGroupName": cluster.worker_group, "TargetGroupARNs": [arn]}
    try:
        autoscaling.attach_load_balancer_target_groups(**which)
        yield Targets(elb, arn)
    finally:
        autoscaling.detach_load_balancer_target_groups(**which)
        elb.delete_target_group(TargetGroupArn=arn)


@contextmanager
def when_out(targets: Targets, machines: Iterable[str]) -> Iterator[Mapping[str, datetime]]:
    """When each of these machines was first seen to get no requests any more, as soon as that is seen.

    By a thread that does nothing else: what comes next may come soon.
    """
    out, inside, over = dict[str, datetime](), set(machines), threading.Event()

    def look() -> None:
        while inside and not over.is_set():
            still = targets.machines()
            out.update(dict.fromkeys(inside - still, datetime.now(UTC)))
            inside.intersection_update(still)
            over.wait(_LOOK_EVERY_S)

    thread = threading.Thread(target=look, name="targets", daemon=True)
    thread.start()
    try:
        yield out
    finally:
        over.set()
        thread.join()
