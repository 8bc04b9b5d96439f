"""What befalls a host is done to its machine, not told by EC2, and found out by its status checks."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from infra.local.cloud.delays import Delays
from infra.local.cluster import Cluster
from infra.local.drills.operating import host_dies, host_is_mended, network_fails
from infra.local.places import WorldError, WorldPlace
from infra.local.worlds.world import World
from tests.integration.cloud.machines.rig import QUICK, Aws, eventually, never
from tests.integration.cloud.machines.test_maintenance import Session

IMPAIRED = {
    kind: [{"Name": f"{kind}.status", "Values": ["impaired"]}]
    for kind in ("system-status", "instance-status", "attached-ebs-status")
}


@pytest.fixture
def cluster(aws: Aws, tmp_path: Path) -> Cluster:
    return Cluster(World(WorldPlace(tmp_path, "t"), 0), Session(aws))


def checks(aws: Aws, machine: str) -> dict[str, str]:
    status = aws.client("ec2").describe_instance_status(InstanceIds=[machine])["InstanceStatuses"][0]
    return {kind: status[kind]["Status"] for kind in ("SystemStatus", "InstanceStatus", "AttachedEbsStatus")}


def found(aws: Aws, **asked: Any) -> set[str]:
    pages = aws.client("ec2").get_paginator("describe_instance_status").paginate(**asked)
    return {status["InstanceId"] for page in pages for status in page["InstanceStatuses"]}


def all_ok(aws: Aws, machine: str) -> bool:
    return set(checks(aws, machine).values()) == {"ok"}


def test_a_dead_host_fails_both_checks_while_ec2_says_running(aws: Aws, cluster: Cluster) -> None:
    dead, alive = aws.run(), aws.run()
    assert all_ok(aws, dead)
    died_at = datetime.now(UTC)
    host_dies(cluster, dead)
    assert dead not in aws.machines.running()
    eventually(lambda: checks(aws, dead)["SystemStatus"] == "impaired")
    assert checks(aws, dead) == {"SystemStatus": "impaired", "InstanceStatus": "impaired", "AttachedEbsStatus": "ok"}
    assert aws.state(dead) == "running"
    assert all_ok(aws, alive)
    status = aws.client("ec2").describe_instance_status(InstanceIds=[dead])["InstanceStatuses"][0]
    (detail,) = status["SystemStatus"]["Details"]
    assert (detail["Name"], detail["Status"]) == ("reachability", "failed")
    assert abs(detail["ImpairedSince"] - died_at) < timedelta(seconds=2)  # EC2 tells whole seconds
    assert "ImpairedSince" not in status["AttachedEbsStatus"]["Details"][0]


def test_a_cut_network_fails_the_instances_check_alone_and_mending_it_passes(aws: Aws, cluster: Cluster) -> None:
    machine = aws.run()
    network_fails(cluster, machine)
    eventually(lambda: checks(aws, machine)["InstanceStatus"] == "impaired")
    assert checks(aws, machine)["SystemStatus"] == "ok"
    assert machine in aws.machines.running()
    host_is_mended(cluster, machine)
    eventually(lambda: all_ok(aws, machine))


def test_a_machine_whose_host_is_mended_boots(aws: Aws, cluster: Cluster) -> None:
    machine = aws.run()
    host_dies(cluster, machine)
    host_is_mended(cluster, machine)
    assert machine in aws.machines.running()
    assert [call[0] for call in aws.machines.calls] == ["start", "kill", "start"]


def test_each_filter_finds_what_fails_its_check_and_nothing_else_page_by_page(aws: Aws, cluster: Cluster) -> None:
    dead, cut, _, stopped = aws.run(), aws.run(), aws.run(), aws.run()
    more = [aws.run() for _ in range(6)]
    aws.client("ec2").stop_instances(InstanceIds=[stopped])
    for machine in (dead, *more):
        host_dies(cluster, machine)
    network_fails(cluster, cut)
    paged = {"PaginationConfig": {"PageSize": 5}}
    system, instance, ebs = IMPAIRED.values()
    eventually(lambda: found(aws, Filters=system, **paged) == {dead, *more})
    eventually(lambda: found(aws, Filters=instance, **paged) == {dead, cut, *more})
    assert found(aws, Filters=ebs) == set()
    assert found(aws, Filters=[*system, *instance]) == {dead, *more}
    assert found(aws, Filters=instance, InstanceIds=[cut]) == {cut}
    assert found(aws, Filters=[{"Name": "instance-status.reachability", "Values": ["failed"]}]) == {dead, cut, *more}
    eventually(lambda: aws.state(stopped) == "stopped")
    none = [{"Name": "system-status.status", "Values": ["not-applicable"]}]
    assert found(aws, Filters=none) == set()
    assert found(aws, Filters=none, IncludeAllInstances=True) == {stopped}


def test_a_reboot_of_a_dead_host_is_accepted_and_does_nothing(aws: Aws, cluster: Cluster) -> None:
    machine = aws.run()
    host_dies(cluster, machine)
    aws.client("ec2").reboot_instances(InstanceIds=[machine])
    never(lambda: ("reboot", machine) in aws.machines.calls)
    assert aws.state(machine) == "running"


def test_a_dead_host_is_terminated_like_any_other(aws: Aws, cluster: Cluster) -> None:
    machine = aws.run()
    host_dies(cluster, machine)
    eventually(lambda: checks(aws, machine)["SystemStatus"] == "impaired")
    aws.client("ec2").terminate_instances(InstanceIds=[machine])
    eventually(lambda: ("remove", machine) in aws.machines.calls)
    assert aws.state(machine) == "terminated"
    assert found(aws, Filters=IMPAIRED["system-status"], IncludeAllInstances=True) == set()


def test_only_what_runs_can_be_broken_and_in_no_unknown_way(aws: Aws, cluster: Cluster) -> None:
    machine = aws.run()
    aws.client("ec2").terminate_instances(InstanceIds=[machine])
    eventually(lambda: aws.state(machine) == "terminated")
    for name in (machine, "i-0123456789abcdef0", "nonsense"):
        with pytest.raises(WorldError, match="EC2 refuses"):
            host_dies(cluster, name)


class TestWithTimeToLook:
    @pytest.fixture
    def delays(self) -> Delays:
        return dataclasses.replace(QUICK, status_check_s=2.0)

    def test_one_failure_alone_says_nothing(self, aws: Aws, cluster: Cluster) -> None:
        machine = aws.run()
        host_dies(cluster, machine)
        never(lambda: checks(aws, machine)["SystemStatus"] != "ok", for_s=1.0)
        eventually(lambda: checks(aws, machine)["SystemStatus"] == "impaired", within_s=15.0)
