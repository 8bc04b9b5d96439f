"""What EC2 schedules is listed by EC2, told once by AWS Health for all its instances, and happens when it is time."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from infra.local.cluster import Cluster
from infra.local.drills import announcing
from infra.local.places import WorldError, WorldPlace
from infra.local.worlds.world import World
from tests.integration.cloud.machines.rig import Aws, eventually

HEALTH = "AWS Health Event"
TOMORROW = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)


@dataclasses.dataclass(frozen=True)
class Session:
    aws: Aws

    def client(self, service: str) -> Any:
        return self.aws.client(service)


@pytest.fixture
def cluster(aws: Aws, tmp_path: Path) -> Cluster:
    return Cluster(World(WorldPlace(tmp_path, "t"), 0), Session(aws))


def listed(aws: Aws, **asked: Any) -> dict[str, list[dict[str, Any]]]:
    pages = aws.client("ec2").get_paginator("describe_instance_status").paginate(**asked)
    return {status["InstanceId"]: status["Events"] for page in pages for status in page["InstanceStatuses"]}


def soon() -> datetime:
    return datetime.now(UTC) + timedelta(seconds=0.2)


def test_an_event_of_two_machines_is_listed_with_both_and_told_once(aws: Aws, cluster: Cluster) -> None:
    first, second, other = aws.run(), aws.run(), aws.run()
    name = announcing.schedule(cluster, [first, second], "instance-reboot", TOMORROW)
    events = listed(aws)
    assert (events[first][0]["Code"], events[first][0]["NotBefore"]) == ("instance-reboot", TOMORROW)
    assert len(events[second]) == 1
    assert events[other] == []
    (told,) = aws.events_of(HEALTH)
    assert (told["source"], told["resources"]) == ("aws.health", [first, second])
    detail = told["detail"]
    assert (detail["service"], detail["eventTypeCategory"], detail["statusCode"]) == (
        "EC2",
        "scheduledChange",
        "upcoming",
    )
    assert detail["eventArn"] == name
    assert [entity["entityValue"] for entity in detail["affectedEntities"]] == [first, second]
    assert detail["startTime"] == f"{TOMORROW:%a, %d %b %Y %H:%M:%S} GMT"


@pytest.mark.parametrize(("end", "word"), [(announcing.cancel, "Canceled"), (announcing.complete, "Completed")])
def test_an_event_that_is_over_says_so_and_is_told_again(aws: Aws, cluster: Cluster, end: Any, word: str) -> None:
    first, second = aws.run(), aws.run()
    end(cluster, announcing.schedule(cluster, [first, second], "instance-stop", TOMORROW))
    assert [event[0]["Description"].startswith(f"[{word}]") for event in listed(aws).values()] == [True, True]
    last = aws.events_of(HEALTH)[-1]["detail"]
    assert (last["statusCode"], [entity["status"] for entity in last["affectedEntities"]]) == (
        "closed",
        ["RESOLVED", "RESOLVED"],
    )


def test_those_with_an_event_of_a_code_are_found_by_it_page_by_page(aws: Aws, cluster: Cluster) -> None:
    machines = [aws.run() for _ in range(7)]
    announcing.schedule(cluster, machines[:6], "instance-stop", TOMORROW)
    announcing.schedule(cluster, machines[6:], "system-reboot", TOMORROW)
    filters = [{"Name": "event.code", "Values": ["instance-stop", "instance-retirement"]}]
    assert set(listed(aws, Filters=filters, PaginationConfig={"PageSize": 5})) == set(machines[:6])


def test_stopped_machines_are_listed_only_when_all_are_asked_for(aws: Aws, cluster: Cluster) -> None:
    machine = aws.run()
    announcing.schedule(cluster, [machine], "system-maintenance", TOMORROW)
    aws.client("ec2").stop_instances(InstanceIds=[machine])
    eventually(lambda: aws.state(machine) == "stopped")
    assert machine not in listed(aws)
    assert listed(aws, IncludeAllInstances=True)[machine][0]["Code"] == "system-maintenance"


def test_when_it_is_time_a_reboot_is_a_reboot(aws: Aws, cluster: Cluster) -> None:
    machine = aws.run()
    announcing.schedule(cluster, [machine], "instance-reboot", soon())
    eventually(lambda: ("reboot", machine) in aws.machines.calls)
    eventually(lambda: listed(aws)[machine][0]["Description"].startswith("[Completed]"))
    assert aws.state(machine) == "running"


@pytest.mark.parametrize("code", ["instance-stop", "instance-retirement"])
def test_when_it_is_time_a_machine_to_be_stopped_is_told_to_shut_down(aws: Aws, cluster: Cluster, code: str) -> None:
    machine = aws.run()
    announcing.schedule(cluster, [machine], code, soon())
    eventually(lambda: aws.state(machine) == "stopped")
    assert ("shutdown", machine) in [call[:2] for call in aws.machines.calls]


def test_what_was_cancelled_does_not_happen(aws: Aws, cluster: Cluster) -> None:
    cancelled, kept = aws.run(), aws.run()
    announcing.cancel(cluster, announcing.schedule(cluster, [cancelled], "instance-stop", soon()))
    announcing.schedule(cluster, [kept], "instance-stop", soon())
    eventually(lambda: aws.state(kept) == "stopped")
    assert aws.state(cancelled) == "running"


def test_what_ec2_would_not_schedule_is_refused(aws: Aws, cluster: Cluster) -> None:
    machine = aws.run()
    for instances, code in (
        ([machine], "instance-nap"),
        ([], "instance-stop"),
        (["i-0123456789abcdef0"], "instance-stop"),
    ):
        with pytest.raises(WorldError, match="EC2 refuses"):
            announcing.schedule(cluster, instances, code, TOMORROW)
    assert not aws.events_of(HEALTH)


def test_only_the_accounts_administrator_can_schedule(aws: Aws) -> None:
    machine, iam, sts = aws.run(), aws.client("iam"), aws.client("sts")
    role = iam.create_role(RoleName="worker", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    given = sts.assume_role(RoleArn=role, RoleSessionName="it")["Credentials"]
    keys = {"aws_access_key_id": given["AccessKeyId"], "aws_secret_access_key": given["SecretAccessKey"]}
    ec2 = aws.client("ec2", **keys, aws_session_token=given["SessionToken"])

    order = {"do": "schedule", "instances": [machine], "code": "instance-stop", "notBefore": TOMORROW.isoformat()}

    def redirect(request: Any, **_: Any) -> None:
        request.url = request.url.rstrip("/") + "/scheduled-events"
        request.data = json.dumps(order).encode()

    ec2.meta.events.register("request-created.ec2.*", redirect)
    with pytest.raises(ec2.exceptions.ClientError, match="InternalError"):
        ec2.describe_instance_status()
    assert listed(aws)[machine] == []
