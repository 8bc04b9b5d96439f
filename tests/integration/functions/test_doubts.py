"""What edges read about machines in trouble and do to them: leases, status checks, reboots, replacements, memory."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from functions.cluster.doubt import Doubt, Impairment, Rung, Try
from functions.cluster.facts import Absent
from functions.cluster.machine import Condition, InstanceId, Node
from functions.cluster.radius import Brake
from functions.cluster.trouble import reported
from functions.edges.autoscaling import AutoScalingEdge
from functions.edges.ec2 import Ec2Edge
from functions.edges.kubernetes import KubernetesEdge
from functions.edges.kubernetes_api import Credentials
from functions.edges.table import DOUBT_KEPT, TableEdge
from functions.errors import RegrowError, RetryableError
from tests.integration.functions.answering import Answer, Server, answer_json, answering
from tests.integration.functions.conftest import Clients
from tests.integration.functions.kubernetes_objects import node_json, not_found, status
from tests.integration.functions.surroundings import a_group, a_table
from tests.integration.functions.test_aws_errors import client, ec2_error, query_error
from tests.unit.functions.builders import CLUSTER, NOW, ONE, THREE, TWO, WORKERS, machine

RENEWED = "2026-11-21T12:00:00.123456Z"
BEGAN = "2026-11-21T12:00:00Z"
RENEWED_AT = datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=UTC)


def kubernetes(server: Server, page_size: int = 500) -> KubernetesEdge:
    return KubernetesEdge(lambda: Credentials(server.url, b"", b"", b""), page_size=page_size)


def lease(name: str, spec: object = None) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "kube-node-lease"}, "spec": spec}


def leases(*items: dict[str, Any], more: str = "") -> Answer:
    return answer_json({"kind": "LeaseList", "metadata": {"continue": more} if more else {}, "items": list(items)})


def test_a_kubelet_was_heard_when_its_lease_was_renewed() -> None:
    with answering(answer_json(lease(ONE, {"holderIdentity": ONE, "renewTime": RENEWED}))) as server:
        assert kubernetes(server).renewed_at(ONE) == RENEWED_AT
    assert [request.path for request in server.requests] == [
        f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{ONE}"
    ]


def test_leases_of_all_nodes_are_read_page_by_page_in_their_own_namespace() -> None:
    first = leases(lease(ONE, {"renewTime": RENEWED}), more="there-is-more")
    with answering(first, leases(lease(TWO, {"renewTime": "2026-11-21T12:00:10Z"}))) as server:
        assert kubernetes(server).renewals() == {ONE: RENEWED_AT, TWO: NOW + timedelta(seconds=10)}
    asked = [urlsplit(request.path) for request in server.requests]
    assert {one.path for one in asked} == {"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"}
    assert parse_qs(asked[1].query)["continue"] == ["there-is-more"]


UNREADABLE: list[object] = [
    None, {}, {"renewTime": None}, {"renewTime": ""}, {"renewTime": "yesterday"}, {"renewTime": 1795262400},
    {"renewTime": "2026-11-21T12:00:00"}, {"renewTime": [RENEWED]}, {"renewTime": "2026-13-41T12:00:00Z"},
    {"holderIdentity": ONE, "leaseDurationSeconds": 40}, [], "text",
]  # fmt: skip


@pytest.mark.parametrize("spec", UNREADABLE)
def test_a_lease_that_does_not_say_when_is_none_and_spoils_no_others(spec: object) -> None:
    with answering(answer_json(lease(ONE, spec))) as server:
        assert kubernetes(server).renewed_at(ONE) == Absent()
    with answering(leases(lease(ONE, spec), lease(TWO, {"renewTime": RENEWED}))) as server:
        assert kubernetes(server).renewals() == {TWO: RENEWED_AT}


def test_a_node_without_a_lease_has_none() -> None:
    with answering(not_found("leases", ONE)) as server:
        assert kubernetes(server).renewed_at(ONE) == Absent()


@pytest.mark.parametrize(
    "answer",
    [
        status(401, "Unauthorized"), status(403, "Forbidden"), status(429, "TooManyRequests"), status(500, "Internal"),
        Answer(404, b"404 page not found\n", "text/plain"), Answer(200, b"<html>"), Answer(200, b"{}"),
    ],
)  # fmt: skip
def test_leases_that_cannot_be_read_are_an_error_never_silence(answer: Answer) -> None:
    with answering(answer) as server:
        with pytest.raises(RetryableError, match="Kubernetes get Lease"):
            kubernetes(server).renewed_at(ONE)
        with pytest.raises(RetryableError, match="Kubernetes list Leases"):
            kubernetes(server).renewals()


def test_a_list_of_leases_that_breaks_off_is_no_shorter_list() -> None:
    first = leases(lease(ONE, {"renewTime": RENEWED}), more="there-is-more")
    with answering(first, status(410, "Expired")) as server, pytest.raises(RetryableError, match="410"):
        kubernetes(server).renewals()


def test_conditions_are_read_with_their_times_and_the_message_of_what_is_wrong() -> None:
    raw = node_json()
    raw["status"]["conditions"] = [
        {"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown", "message": "Kubelet stopped posting.",
         "lastTransitionTime": "2026-11-21T12:00:40Z", "lastHeartbeatTime": "2026-11-21T11:59:00Z"},
        {"type": "KernelDeadlock", "status": "True", "reason": "DockerHung", "message": "x" * 5000},
        {"type": "DiskPressure", "status": "False", "message": "kubelet has no disk pressure"},
        {"type": "NetworkingReady", "status": "True", "message": "fine"},
        {"type": "StorageReady", "status": "False", "message": "no disk"},
    ]  # fmt: skip
    with answering(answer_json(raw)) as server:
        seen = kubernetes(server).node(ONE)
    assert isinstance(seen, Node)
    at, said_at = NOW + timedelta(seconds=40), NOW - timedelta(minutes=1)
    assert seen.conditions == (
        Condition("Ready", "Unknown", "NodeStatusUnknown", "Kubelet stopped posting.", at, said_at),
        Condition("KernelDeadlock", "True", "DockerHung", "x" * 300),
        Condition("DiskPressure", "False"),
        Condition("NetworkingReady", "True"),
        Condition("StorageReady", "False", "", "no disk"),
    )
    assert not seen.ready
    assert [one.type for one in reported(seen)] == ["KernelDeadlock", "StorageReady"]


def statuses(*items: str, token: str = "") -> Answer:
    more = f"<nextToken>{token}</nextToken>" if token else ""
    text = f"<DescribeInstanceStatusResponse><instanceStatusSet>{''.join(items)}</instanceStatusSet>{more}"
    return Answer(200, f"{text}</DescribeInstanceStatusResponse>".encode(), "text/xml")


def checked(one: InstanceId, **checks: tuple[str, str | None]) -> str:
    found = "".join(
        f"<{name}><status>{state}</status><details><item><name>reachability</name>"
        f"<status>{'failed' if state == 'impaired' else 'passed'}</status>"
        f"{f'<impairedSince>{since}</impairedSince>' if since else ''}</item></details></{name}>"
        for name, (state, since) in checks.items()
    )
    return f"<item><instanceId>{one}</instanceId>{found}</item>"


def test_failing_status_checks_are_read_with_the_time_they_began_and_page_by_page() -> None:
    first = statuses(checked(ONE, systemStatus=("impaired", BEGAN), instanceStatus=("impaired", None)), token="more")
    second = statuses(
        checked(TWO, systemStatus=("ok", None), instanceStatus=("initializing", None)),
        checked(
            THREE, attachedEbsStatus=("impaired", "2026-11-21T12:00:00Z"), systemStatus=("insufficient-data", None)
        ),
    )
    with answering(first, second) as server:
        seen = Ec2Edge(client("ec2", server.url)).impairments((ONE, TWO, THREE))
    assert seen == {
        ONE: (Impairment("system", NOW), Impairment("instance", None)),
        THREE: (Impairment("ebs", NOW),),
    }
    asked = parse_qs(server.requests[0].body)
    assert [asked[f"InstanceId.{n}"] for n in (1, 2, 3)] == [[ONE], [TWO], [THREE]]


@pytest.mark.parametrize("answer", [ec2_error("InvalidInstanceID.NotFound"), ec2_error("RequestLimitExceeded", 503)])
def test_status_checks_that_cannot_be_read_are_an_error_never_passed(answer: Answer) -> None:
    with answering(answer) as server, pytest.raises(RetryableError, match="EC2 DescribeInstanceStatus"):
        Ec2Edge(client("ec2", server.url)).impairments((ONE,))


def test_machines_that_pass_their_checks_or_do_not_run_have_no_impairment(clients: Clients) -> None:
    one, two = map(InstanceId, a_group(clients))
    clients("ec2").stop_instances(InstanceIds=[two])
    assert Ec2Edge(clients("ec2")).impairments((one, two)) == {}


def test_a_reboot_leaves_the_instance_running_and_one_that_is_unknown_is_an_error(clients: Clients) -> None:
    edge, one = Ec2Edge(clients("ec2")), InstanceId(a_group(clients)[0])
    before = edge.instance(one)
    edge.reboot(one)
    assert edge.instance(one) == before, "EC2 counts no new launch"
    with pytest.raises(RegrowError, match="EC2 RebootInstances"):
        edge.reboot(machine(99))


def members(clients: Clients, name: str = WORKERS) -> dict[str, str]:
    (group,) = clients("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
    return {one["InstanceId"]: one["LifecycleState"] for one in group["Instances"]}


def test_a_replaced_machine_is_ended_and_its_group_has_as_many_as_before(clients: Clients) -> None:
    one, two = map(InstanceId, a_group(clients))
    assert AutoScalingEdge(clients("autoscaling")).replace(one, WORKERS)
    there = members(clients)
    assert len(there) == 2
    assert one not in there
    assert two in there
    states = clients("ec2").describe_instances(InstanceIds=[one])["Reservations"][0]["Instances"][0]["State"]["Name"]
    assert states in ("shutting-down", "terminated")


def test_a_machine_that_the_group_does_not_have_in_service_is_not_replaced(clients: Clients) -> None:
    one, two = map(InstanceId, a_group(clients))
    (other, _) = map(InstanceId, a_group(clients, name="other-worker"))
    edge = AutoScalingEdge(clients("autoscaling"))
    clients("autoscaling").enter_standby(
        AutoScalingGroupName=WORKERS, InstanceIds=[two], ShouldDecrementDesiredCapacity=True
    )
    for stranger in (two, other, machine(99)):
        assert not edge.replace(stranger, WORKERS)
    assert members(clients) == {one: "InService", two: "Standby"}
    assert len(members(clients, "other-worker")) == 2


def in_service(lifecycle_state: str) -> Answer:
    text = (
        "<DescribeAutoScalingInstancesResponse><DescribeAutoScalingInstancesResult><AutoScalingInstances><member>"
        f"<InstanceId>{ONE}</InstanceId><AutoScalingGroupName>{WORKERS}</AutoScalingGroupName>"
        f"<LifecycleState>{lifecycle_state}</LifecycleState></member></AutoScalingInstances>"
        "</DescribeAutoScalingInstancesResult></DescribeAutoScalingInstancesResponse>"
    )
    return Answer(200, text.encode(), "text/xml")


@pytest.mark.parametrize("state", ["Terminating", "Terminating:Wait", "Pending:Wait", "Standby", "Warmed:Stopped"])
def test_a_machine_that_is_not_in_service_at_that_moment_is_not_ended(state: str) -> None:
    with answering(in_service(state)) as server:
        assert not AutoScalingEdge(client("autoscaling", server.url)).replace(ONE, WORKERS)
    assert len(server.requests) == 1


def test_a_group_that_must_not_shrink_says_why_a_machine_is_not_ended() -> None:
    busy = query_error("ScalingActivityInProgress")
    with (
        answering(in_service("InService"), busy) as server,
        pytest.raises(RetryableError, match="TerminateInstanceInAutoScalingGroup: ScalingActivityInProgress"),
    ):
        AutoScalingEdge(client("autoscaling", server.url)).replace(ONE, WORKERS)
    assert parse_qs(server.requests[1].body)["ShouldDecrementDesiredCapacity"] == ["false"]


def refresh(state: str | None) -> Answer:
    one = f"<member><InstanceRefreshId>1</InstanceRefreshId><Status>{state}</Status></member>" if state else ""
    text = (
        "<DescribeInstanceRefreshesResponse><DescribeInstanceRefreshesResult><InstanceRefreshes>"
        f"{one}</InstanceRefreshes></DescribeInstanceRefreshesResult></DescribeInstanceRefreshesResponse>"
    )
    return Answer(200, text.encode(), "text/xml")


@pytest.mark.parametrize(
    ("state", "under_way"),
    [
        (None, False), ("Successful", False), ("Failed", False), ("Cancelled", False), ("RollbackSuccessful", False),
        ("RollbackFailed", False), ("Pending", True), ("InProgress", True), ("Cancelling", True),
        ("RollbackInProgress", True), ("Baking", True),
    ],
)  # fmt: skip
def test_an_instance_refresh_is_under_way_until_it_has_ended(state: str | None, *, under_way: bool) -> None:
    with answering(refresh(state)) as server:
        assert AutoScalingEdge(client("autoscaling", server.url)).refreshing(WORKERS) is under_way
    assert parse_qs(server.requests[0].body)["AutoScalingGroupName"] == [WORKERS]


def test_a_refresh_that_cannot_be_asked_for_is_an_error_never_none() -> None:
    with answering(query_error("AccessDenied", status=403)) as server, pytest.raises(RegrowError, match="AccessDenied"):
        AutoScalingEdge(client("autoscaling", server.url)).refreshing(WORKERS)


def test_a_groups_tags_suspensions_and_protection_are_shown(clients: Clients) -> None:
    one, two = a_group(clients)
    autoscaling = clients("autoscaling")
    autoscaling.suspend_processes(AutoScalingGroupName=WORKERS, ScalingProcesses=["Terminate", "ReplaceUnhealthy"])
    autoscaling.set_instance_protection(AutoScalingGroupName=WORKERS, InstanceIds=[one], ProtectedFromScaleIn=True)
    tag = {"ResourceId": WORKERS, "ResourceType": "auto-scaling-group", "PropagateAtLaunch": False}
    autoscaling.create_or_update_tags(Tags=[tag | {"Key": "regrow:ladder-silent", "Value": "reboot=60 replace"}])
    (group,) = AutoScalingEdge(autoscaling).groups(CLUSTER)
    assert group.suspended == {"Terminate", "ReplaceUnhealthy"}
    assert {member.id: member.protected for member in group.members} == {one: True, two: False}
    assert group.tags["regrow:ladder-silent"] == "reboot=60 replace"


@pytest.fixture
def table(clients: Clients) -> TableEdge:
    return TableEdge(clients("dynamodb"), table=a_table(clients))


DOUBTS = [
    Doubt(ONE, WORKERS, NOW),
    Doubt(ONE, WORKERS, NOW, (Try(Rung.RESTART, NOW + timedelta(minutes=3)),)),
    Doubt(
        ONE,
        WORKERS,
        RENEWED_AT,
        tuple(Try(rung, RENEWED_AT + timedelta(minutes=n)) for n, rung in enumerate((*Rung, Rung.REPLACE))),
        calm_since=RENEWED_AT + timedelta(hours=1),
    ),
]


@pytest.mark.parametrize("doubt", DOUBTS)
def test_a_doubt_comes_back_as_it_was_written_to_its_own_machine_and_to_who_asks_for_all(
    table: TableEdge, doubt: Doubt
) -> None:
    other = replace(doubt, instance=TWO)
    for one in (doubt, other):
        table.note_doubt(one, at=NOW)
    assert table.memory(ONE, now=NOW).doubt == doubt
    assert table.memory(THREE, now=NOW).doubt is None
    assert set(table.doubts(now=NOW)) == {doubt, other}


def test_the_last_word_about_a_machine_counts_and_a_forgotten_doubt_is_gone(table: TableEdge) -> None:
    for doubt in DOUBTS:
        table.note_doubt(doubt, at=NOW)
        assert table.doubts(now=NOW) == (doubt,)
    table.forget_doubt(ONE)
    table.forget_doubt(ONE)
    assert (table.doubts(now=NOW), table.memory(ONE, now=NOW).doubt) == ((), None)


def test_a_doubt_ends_a_day_after_it_was_written_last_however_late_dynamodb_deletes_it(table: TableEdge) -> None:
    table.note_doubt(DOUBTS[0], at=NOW)
    before, after = NOW + DOUBT_KEPT - timedelta(seconds=1), NOW + DOUBT_KEPT
    assert table.doubts(now=before) == (DOUBTS[0],)
    assert table.memory(ONE, now=before).doubt == DOUBTS[0]
    assert (table.doubts(now=after), table.memory(ONE, now=after).doubt) == ((), None)


def test_brakes_hold_until_their_end_and_a_later_one_of_the_scope_takes_over(table: TableEdge) -> None:
    first = Brake("zone us-east-1a", "3 of 5 machines are in trouble", NOW + timedelta(minutes=3))
    other = Brake(f"group {WORKERS}", "2 of 5 are not well", NOW + timedelta(minutes=1))
    for brake in (first, other):
        table.note_brake(brake)
    assert set(table.brakes(now=NOW)) == {first, other}
    assert table.brakes(now=NOW + timedelta(minutes=1)) == (first,)
    later = replace(first, until=NOW + timedelta(minutes=4))
    table.note_brake(later)
    assert table.brakes(now=NOW + timedelta(minutes=3)) == (later,)
    assert table.brakes(now=NOW + timedelta(minutes=4)) == ()
