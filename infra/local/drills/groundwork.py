"""What the workers' group is made to be before a drill, and put back to after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from infra.local.cluster import Cluster
from infra.local.drills.acts import await_whole, set_capacity
from infra.local.drills.announcing import spot_workers
from infra.local.drills.witness import Witness


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
