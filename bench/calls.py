"""Which calls each kind of case costs: counted where they arrive, in AWS's trail and in the API server's audit log.

Each case begins with every function cold, as it is where little happens, and ends when nothing is left to do: the
queues are empty, no function runs, no case is open, the group is whole.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.audit import AuditLog
from bench.counting import Count, Tally, read_units
from infra.local.cluster import Cluster, wait_for
from infra.local.drills.acts import event_rules, prepare_workload, rules_disabled, set_capacity
from infra.local.drills.announcing import interrupt
from infra.local.drills.crowd import crowd
from infra.local.drills.groundwork import as_it_is, one_spot_worker, spot_members
from infra.local.drills.witness import Witness
from infra.local.machines.paper import ON_PAPER_TAG

OVER_WITHIN_S = 400.0
STILL_FOR_S = 6.0
"""Longer than a later look waits before it is in sight of SQS's counts."""

MACHINES = 100
IDLE = "idle sweep"
_SWEPT = ("case", "machine", "join")
"""The partitions of the table that a sweep reads whole, with one query each."""

Play = Callable[[Cluster], None]


@dataclass(frozen=True)
class Case:
    """One kind. `groundwork` is what the cluster is made to be for it."""

    name: str
    about: str
    play: Play
    groundwork: Callable[[Cluster, Witness], AbstractContextManager[None]] = as_it_is


def count_cases(cluster: Cluster, cases: tuple[Case, ...], say: Callable[[str], None]) -> dict[str, Tally]:
    """Play each, and return what was counted."""
    audit = AuditLog(cluster)
    witness = Witness(cluster.kubeconfig)
    witness.start()
    counted: dict[str, Tally] = {IDLE: count_sweep(cluster, audit)}
    say(f"{IDLE}: {sum(counted[IDLE].calls.values())} calls")
    try:
        with rules_disabled(cluster, schedules(cluster)):
            for case in cases:
                with case.groundwork(cluster, witness):
                    prepare_workload(cluster, witness)
                    _until_still(cluster)
                    chill(cluster)
                    count = Count(cluster, audit)
                    case.play(cluster)
                    _until_still(cluster)
                    counted[case.name] = count.read(speaks={})
                say(f"{case.name}: {sum(counted[case.name].calls.values())} calls")
    finally:
        witness.stop()
    return counted


def count_sweep(cluster: Cluster, audit: AuditLog) -> Tally:
    """A sweep of 100 machines with nothing wrong, its environment warm, as the minute before has left it."""
    more = MACHINES - sum(len(group["Instances"]) for group in cluster.groups())
    rules = [*event_rules(cluster), *schedules(cluster)]
    with rules_disabled(cluster, rules), crowd(cluster, "idle", more) as many:
        many.make_nodes()
        for _ in range(2):
            invoke_sweep(cluster)  # writes machines down that it sees for the first time
        count = Count(cluster, audit)
        invoke_sweep(cluster)
        tally = count.read(speaks={"remediate": "sweep"})
    others = tally.read_units - len(_SWEPT)
    return replace(tally, read_units=others + sum(_units_of(cluster, partition) for partition in _SWEPT))


def _units_of(cluster: Cluster, partition: str) -> int:
    """Of one consistent query of it with 100 machines. Those on paper never joined: theirs are reckoned as others'."""
    items = cluster.query(partition)
    size = sum(len(name) + len(value) for item in items for name, kind in item.items() for value in kind.values())
    return read_units(math.ceil(size * MACHINES / len(items)) if items and partition != "case" else size)


def chill(cluster: Cluster) -> None:
    """A changed configuration retires every warm environment, as Lambda does. What it says stays the same."""
    client = cluster.client("lambda")
    for function in client.list_functions()["Functions"]:
        name = function["FunctionName"]
        variables = client.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
        changed = {**variables, "REGROW_BENCH_TURN": str(time.time_ns())}
        client.update_function_configuration(FunctionName=name, Environment={"Variables": changed})


def invoke_sweep(cluster: Cluster) -> None:
    payload = (
        b'{"version":"0","id":"bench","source":"aws.events","detail-type":"Scheduled Event","account":"123456789012",'
    )
    payload += b'"time":"2026-01-01T00:00:00Z","region":"us-east-1","resources":[],"detail":{}}'
    answer = cluster.client("lambda").invoke(FunctionName=cluster.function("sweep"), Payload=payload)
    if "FunctionError" in answer:
        raise RuntimeError(f"the sweep failed: {answer['Payload'].read()!r}")


def _stranger_comes_and_goes(cluster: Cluster) -> None:
    """A machine of nobody's: EC2 tells by events that it runs, and that it ends."""
    ec2 = cluster.client("ec2")
    image = ec2.describe_images(Owners=["self"])["Images"][0]["ImageId"]
    tags = [{"ResourceType": "instance", "Tags": [{"Key": ON_PAPER_TAG, "Value": "yes"}]}]
    ran = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, TagSpecifications=tags)
    machines = [ran["Instances"][0]["InstanceId"]]
    ec2.get_waiter("instance_running").wait(InstanceIds=machines)
    ec2.terminate_instances(InstanceIds=machines)
    ec2.get_waiter("instance_terminated").wait(InstanceIds=machines)


def _one_more(cluster: Cluster) -> None:
    set_capacity(cluster, cluster.members()[1] + 1)


def _one_less(cluster: Cluster) -> None:
    set_capacity(cluster, cluster.members()[1] - 1)


def _interrupt_one(cluster: Cluster) -> None:
    interrupt(cluster, spot_members(cluster)[:1])
    members = set(cluster.members()[0])
    wait_for("its end", lambda: not members <= set(cluster.members()[0]), within_s=300, every_s=1.0)


def _kill_one(cluster: Cluster) -> None:
    machine = sorted(cluster.members()[0])[0]
    cluster.client("ec2").terminate_instances(InstanceIds=[machine], SkipOsShutdown=True)


CASES = (
    Case("foreign machine", "one that is in no group of the cluster comes and goes", _stranger_comes_and_goes),
    Case("arriving", "the workers' group is made larger by one, until the machine is in service", _one_more),
    Case("leaving", "the group is made smaller by one, until the machine's Node is gone", _one_less),
    Case(
        "spot",
        "EC2 interrupts a Spot worker, from its two minutes' notice until its replacement is in service",
        _interrupt_one,
        one_spot_worker,
    ),
    Case("dead", "a worker is killed, until its replacement is in service and the case is closed", _kill_one),
)


def schedules(cluster: Cluster) -> list[str]:
    """The rules that the clock alone fires."""
    return [rule["Name"] for rule in cluster.client("events").list_rules()["Rules"] if not rule.get("EventPattern")]


def _until_still(cluster: Cluster) -> None:
    """Until nothing has been left to do for a while."""
    still_since = time.monotonic()

    def still() -> bool:
        nonlocal still_since
        if not _nothing_left(cluster):
            still_since = time.monotonic()
        return time.monotonic() - still_since > STILL_FOR_S

    wait_for("an end of the case", still, within_s=OVER_WITHIN_S, every_s=0.5)


def _nothing_left(cluster: Cluster) -> bool:
    members, desired = cluster.members()
    whole = len(members) == desired and all(state == "InService" for state in members.values())
    nodes = set(cluster.kubectl("get", "nodes", "-l", "!node-role.kubernetes.io/control-plane", "-o", "name").split())
    joined = nodes == {f"node/{machine}" for machine in members}
    idle = not any(map(_busy, _queues(cluster))) and not any(
        map(_runs, (cluster.world.place.log / "functions").iterdir())
    )
    return whole and joined and idle and not cluster.query("case")


def _runs(log: Path) -> bool:
    """Whether an invocation of the function is under way, by its log."""
    lines = log.read_text(errors="replace").splitlines()
    return sum(line.startswith("START ") for line in lines) > sum(line.startswith("REPORT ") for line in lines)


def _queues(cluster: Cluster) -> list[dict[str, Any]]:
    sqs = cluster.client("sqs")
    urls = sqs.list_queues(QueueNamePrefix=cluster.function("")).get("QueueUrls", [])
    return [sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"] for url in urls]


def _busy(attributes: dict[str, Any]) -> bool:
    counts = ("", "NotVisible", "Delayed")
    return any(int(attributes[f"ApproximateNumberOfMessages{kind}"]) for kind in counts)
