"""What a group is made to be before a drill, and put back to after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from infra.local.cluster import Cluster
from infra.local.drills.acts import await_whole, set_capacity
from infra.local.drills.announcing import spot_workers
from infra.local.drills.targets import api_targets
from infra.local.drills.witness import Witness

_DEFAULT_CHECKS = {
    "HealthCheckIntervalSeconds": 30,
    "HealthCheckTimeoutSeconds": 10,
    "HealthyThresholdCount": 5,
    "UnhealthyThresholdCount": 2,
}
_DEFAULT_ATTRIBUTES = {
    "deregistration_delay.timeout_seconds": "300",
    "deregistration_delay.connection_termination.enabled": "false",
    "target_health_state.unhealthy.connection_termination.enabled": "true",
}


@contextmanager
def as_it_is(_cluster: Cluster, _witness: Witness) -> Iterator[None]:
    """Nothing is changed."""
    yield


@contextmanager
def one_more_worker(cluster: Cluster, witness: Witness) -> Iterator[None]:
    """The group is larger by one."""
    _, desired = cluster.members()
    try:
        set_capacity(cluster, desired + 1)
        await_whole(cluster, witness)
        yield
    finally:
        set_capacity(cluster, desired)
        await_whole(cluster, witness)


@contextmanager
def one_spot_worker(cluster: Cluster, witness: Witness) -> Iterator[None]:
    """One of the workers is a Spot instance; in the end none is."""
    try:
        with spot_workers(cluster):
            replace(cluster, witness, min(cluster.members()[0]))
        yield
    finally:
        for machine in spot_members(cluster):
            replace(cluster, witness, machine)


@contextmanager
def default_balancing(cluster: Cluster, _witness: Witness) -> Iterator[None]:
    """The API's target group is as one gets it that says nothing of health checks, for figures of what that costs.

    The defaults are those of the network load balancers' user guide. Clients' addresses stay as they are: with them
    preserved no control plane could reach itself.
    """
    targets = api_targets(cluster)
    elb, which = targets.client, {"TargetGroupArn": targets.arn}
    (group,) = elb.describe_target_groups(TargetGroupArns=[targets.arn])["TargetGroups"]
    attributes = elb.describe_target_group_attributes(**which)["Attributes"]
    elb.modify_target_group(**which, **_DEFAULT_CHECKS)
    elb.modify_target_group_attributes(
        **which, Attributes=[{"Key": key, "Value": value} for key, value in _DEFAULT_ATTRIBUTES.items()]
    )
    try:
        yield
    finally:
        elb.modify_target_group(**which, **{key: group[key] for key in _DEFAULT_CHECKS})
        elb.modify_target_group_attributes(
            **which, Attributes=[each for each in attributes if each["Key"] in _DEFAULT_ATTRIBUTES]
        )


def replace(cluster: Cluster, witness: Witness, machine: str) -> None:
    """Have the group end this member and launch another one in its place."""
    cluster.client("autoscaling").terminate_instance_in_auto_scaling_group(
        InstanceId=machine, ShouldDecrementDesiredCapacity=False
    )
    await_whole(cluster, witness, without=machine)


def spot_members(cluster: Cluster) -> list[str]:
    """The workers that EC2 says are Spot instances."""
    members = list(cluster.members()[0])
    described = cluster.client("ec2").describe_instances(InstanceIds=members)["Reservations"] if members else []
    instances = [instance for reservation in described for instance in reservation["Instances"]]
    return sorted(one["InstanceId"] for one in instances if one.get("InstanceLifecycle") == "spot")
