"""What a control plane is asked through Run Command, how long it is waited for, and which answers are believed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from functions.cluster.etcd import Etcd, EtcdMember, Snapshot, SnapshotBegun
from functions.edges.commands import CommandsEdge
from functions.errors import ConfigurationError, PermanentError, RegrowError, RetryableError
from functions.remediate.steps.etcd import SNAPSHOT_ENDS_WITHIN
from infra.local.places import CHECKOUT
from infra.node import members as node_members
from tests.integration.functions.answering import Answer, Server, answer_json, answering
from tests.integration.functions.test_aws_errors import client, json_error
from tests.templates import resources
from tests.unit.functions.builders import ONE, TWO
from tests.unit.functions.etcds import etcd_member

COMMAND = "0f6e1c52-9d0b-4f1e-8a3c-5b7d2e9f4a61"
SENT = answer_json({"Command": {"CommandId": COMMAND}})
ARN = f"arn:aws:ec2:us-east-1:123456789012:instance/{TWO}"
VICTIM = etcd_member(2, id="8e9e05c52164694d")


@dataclass
class Time:
    """Passes when somebody sleeps, and only then."""

    now: float = 1000.0
    slept: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def ended(output: object, status: str = "Success", details: str = "", error: str = "") -> Answer:
    text = output if isinstance(output, str) else json.dumps(output)
    content = {"CommandId": COMMAND, "InstanceId": ONE, "Status": status, "StatusDetails": details or status}
    return answer_json(content | {"StandardOutputContent": text, "StandardErrorContent": error})


@contextmanager
def machine_answering(*answers: Answer) -> Iterator[tuple[CommandsEdge, Server, Time]]:
    time = Time()
    with answering(*answers) as server:
        edge = CommandsEdge(
            client("ssm", server.url),
            cluster="drill",
            beside_arn="arn:aws:sns:us-east-1:123456789012:regrow-drill",
            clock=lambda: time.now,
            sleep=time.sleep,
        )
        yield edge, server, time


def asked(server: Server) -> dict[str, Any]:
    """What the one command was that was sent."""
    (sent,) = [request.body for request in server.requests if "DocumentName" in request.body]
    assert isinstance(sent, dict)
    return sent


def member_json(id_: str, **changes: Any) -> dict[str, Any]:
    status = {"leader": "a1", "raft_index": 7, "raft_applied_index": 7, "db_size": 20480, "version": "3.6.5"}
    whole = {"id": id_, "name": f"name-of-{id_}", "peer_urls": [f"https://10.0.0.{int(id_, 16)}:2380"]}
    return (
        whole | {"client_urls": [f"https://10.0.0.{int(id_, 16)}:2379"], "learner": False, "status": status} | changes
    )


def membership(*members: dict[str, Any], **changes: Any) -> dict[str, Any]:
    whole = {
        "cluster_id": "c0ffee",
        "asked": "name-of-a1",
        "linearizable": True,
        "members": list(members),
        "alarms": [],
    }
    return whole | changes


def test_the_members_are_read_whole() -> None:
    silent = {"status": {"error": "context deadline exceeded"}}
    learner = member_json("a4", name="", client_urls=[], learner=True, **silent)
    alarms = [{"member": "a2", "type": "NOSPACE"}, {"member": "a9", "type": "CORRUPT"}]
    answer = membership(member_json("a1"), member_json("a2"), member_json("a3", **silent), learner, alarms=alarms)
    with machine_answering(SENT, ended(answer)) as (edge, server, _):
        seen = edge.etcd(ONE)
    assert seen == Etcd(
        asked="name-of-a1",
        members=(
            EtcdMember(
                id="a1",
                name="name-of-a1",
                peer_urls=("https://10.0.0.161:2380",),
                client_urls=("https://10.0.0.161:2379",),
                learner=False,
                leads=True,
                answers=True,
                raft_index=7,
                size_bytes=20480,
                version="3.6.5",
            ),
            EtcdMember(
                id="a2",
                name="name-of-a2",
                peer_urls=("https://10.0.0.162:2380",),
                client_urls=("https://10.0.0.162:2379",),
                learner=False,
                leads=False,
                answers=True,
                alarms=("NOSPACE",),
                raft_index=7,
                size_bytes=20480,
                version="3.6.5",
            ),
            EtcdMember(
                id="a3",
                name="name-of-a3",
                peer_urls=("https://10.0.0.163:2380",),
                client_urls=("https://10.0.0.163:2379",),
                learner=False,
                leads=False,
                answers=False,
            ),
            EtcdMember(
                id="a4",
                name="",
                peer_urls=("https://10.0.0.164:2380",),
                client_urls=(),
                learner=True,
                leads=False,
                answers=False,
            ),
        ),
        cluster_id="c0ffee",
        linearizable=True,
        stray_alarms=("CORRUPT of a9, no member now",),
    )
    assert asked(server) == {
        "DocumentName": "regrow-drill-etcd-members",
        "InstanceIds": [ONE],
        "Parameters": {},
        "TimeoutSeconds": 30,
    }


def test_what_the_machine_s_own_program_prints_is_understood() -> None:
    led = node_members.Status(leader="a1", raft_index=9, raft_applied_index=9, db_size=1, version="3.6.5")
    members = (
        node_members.Member("a1", "one", ("https://10.0.0.1:2380",), ("https://10.0.0.1:2379",), False, led),
        node_members.Member("a2", "", ("https://10.0.0.2:2380",), (), True, node_members.Status(error="not started")),
    )
    printed = node_members.Membership("c0ffee", "a1", members, alarms=(("a1", "NOSPACE"),), linearizable=False)
    with machine_answering(SENT, ended(printed.document())) as (edge, _, _):
        seen = edge.etcd(ONE)
    assert (seen.asked, seen.cluster_id, seen.linearizable) == ("one", "c0ffee", False)
    assert [(one.id, one.leads, one.answers, one.alarms, one.learner) for one in seen.members] == [
        ("a1", True, True, ("NOSPACE",), False),
        ("a2", False, False, (), True),
    ]


@pytest.mark.parametrize(
    ("said", "leaders"),
    [
        ({"a1": "a2", "a2": "a2", "a3": "a2"}, ["a2"]),
        ({"a1": "a2", "a2": None, "a3": "a2"}, ["a2"]),  # it has just died, and nobody else is elected yet
        ({"a1": "a1", "a2": None, "a3": "a2"}, ["a1"]),  # one has not heard of the election
        ({"a1": "a2", "a2": "a1", "a3": "0"}, []),
        ({"a1": "0", "a2": None, "a3": "0"}, []),
        ({"a1": "a1", "a2": "a2", "a3": "a2"}, ["a1", "a2"]),
    ],
)
def test_who_leads_is_what_the_leader_itself_says_or_the_others_of_a_silent_one(
    said: dict[str, str | None], leaders: list[str]
) -> None:
    members = [
        member_json(id_, status=member_json(id_)["status"] | {"leader": leader} if leader else {"error": "no answer"})
        for id_, leader in said.items()
    ]
    with machine_answering(SENT, ended(membership(*members))) as (edge, _, _):
        seen = edge.etcd(ONE)
    assert [member.id for member in seen.members if member.leads] == leaders
    assert (seen.leader is not None) == (len(leaders) == 1)


def test_a_command_is_asked_for_until_it_has_ended_soon_at_first_and_then_each_second() -> None:
    under_way = [json_error("InvocationDoesNotExist"), *(ended("", status) for status in ("Pending", "Delayed"))]
    running = [ended("", "InProgress")] * 5
    answers = (SENT, *under_way, *running, ended(membership(member_json("a1"))))
    with machine_answering(*answers) as (edge, server, time):
        assert edge.etcd(ONE).leader is not None
    assert time.slept[0] == pytest.approx(0.2)
    assert time.slept == sorted(time.slept)
    assert time.slept[-1] == pytest.approx(1.0)
    assert len(time.slept) == len(server.requests) - 1 == 9


def test_a_command_that_does_not_end_is_given_up_in_time_and_not_sent_again() -> None:
    with machine_answering(SENT, ended("", "InProgress")) as (edge, server, time):
        with pytest.raises(RetryableError, match=f"members on {ONE}: InProgress after 10 s, no longer waited for"):
            edge.etcd(ONE)
        assert sum(time.slept) <= 10
        assert asked(server)["InstanceIds"] == [ONE]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (ended({"error": "no such action"}, "Failed", error="failed to run commands: exit status 1"), "no such action"),
        (ended("Traceback\n  secret\nKeyError: 'x'\n", "Failed"), r"Failed: KeyError: 'x'$"),
        (ended("half", "Failed", error="python3: not found\n\n"), "Failed: python3: not found$"),
        (ended("x" * 9000, "Failed"), r"Failed: x{300}$"),
        (ended("[" * 9000, "Failed"), r"Failed: \[{300}$"),
        (ended("", "Failed"), "Failed$"),
        (ended("", "TimedOut", "Execution Timed Out"), "Execution Timed Out$"),
        (ended("", "TimedOut", "Delivery Timed Out"), "Delivery Timed Out$"),
        (ended("", "Failed", "Undeliverable"), "Undeliverable$"),
        (ended("", "Cancelled"), "Cancelled$"),
        (json_error("ThrottlingException"), f"GetCommandInvocation members on {ONE}: ThrottlingException"),
        (json_error("InternalServerError", 500), "InternalServerError"),
    ],
)
def test_a_command_that_fails_says_how_and_only_its_last_line(answer: Answer, says: str) -> None:
    with machine_answering(SENT, answer) as (edge, _, _), pytest.raises(RetryableError, match=says) as raised:
        edge.etcd(ONE)
    assert "secret" not in str(raised.value)
    assert len(str(raised.value)) < 500


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("InvalidInstanceId", RetryableError),
        ("ThrottlingException", RetryableError),
        ("AccessDeniedException", ConfigurationError),
        ("InvalidDocument", ConfigurationError),
    ],
)
def test_a_command_that_is_not_taken_says_why_and_whether_a_person_must_mend_it(
    code: str, error: type[RegrowError]
) -> None:
    with machine_answering(json_error(code)) as (edge, server, _), pytest.raises(error, match=code) as raised:
        edge.etcd(ONE)
    assert type(raised.value) is error
    assert f"SSM SendCommand members to {ONE}" in str(raised.value)
    assert len(server.requests) == 1


GOOD = member_json("a1")


@pytest.mark.parametrize(
    "output",
    [
        "",
        "Warning: not JSON",
        "[" * 20_000,
        json.dumps(membership(GOOD))[:100],  # as SSM cuts it off
        [],
        {},
        membership(),
        membership(GOOD, GOOD),
        membership(*(member_json(f"{number:x}") for number in range(1, 40))),
        membership("a1"),  # type: ignore[arg-type]
        membership(member_json("a1", id="0x8E")),
        membership(member_json("a1", id="1" * 17)),
        membership(member_json("a1", id=7)),
        membership(member_json("a1", name=None)),
        membership(member_json("a1", name="n" * 257)),
        membership(member_json("a1", peer_urls="https://10.0.0.1:2380")),
        membership(member_json("a1", peer_urls=[""])),
        membership(member_json("a1", learner="false")),
        membership(member_json("a1", status=None)),
        membership(member_json("a1", status={})),
        membership(member_json("a1", status=GOOD["status"] | {"raft_index": -1})),
        membership(member_json("a1", status=GOOD["status"] | {"raft_index": True})),
        membership(member_json("a1", status=GOOD["status"] | {"db_size": 1e9})),
        membership(member_json("a1", status=GOOD["status"] | {"leader": "nobody"})),
        membership(GOOD, alarms=None),
        membership(GOOD, alarms=[{"member": "a1"}]),
        membership(GOOD, asked=""),
        membership(GOOD, cluster_id="no number"),
        membership(GOOD, linearizable=None),
    ],
    ids=lambda output: str(output)[:60],
)
def test_members_that_are_not_understood_are_not_believed_nor_told(output: object) -> None:
    says = r"members on .* answered \d+ characters that are not understood"
    with machine_answering(SENT, ended(output)) as (edge, _, _), pytest.raises(RetryableError, match=says):
        edge.etcd(ONE)


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ({"removed": True}, None),
        ({"removed": False, "reason": "it is gone already"}, None),
        ({"refused": "it is the last voter"}, "it is the last voter"),
    ],
)
def test_a_member_is_removed_by_id_and_peer_url_and_a_refusal_is_told(
    output: dict[str, Any], reason: str | None
) -> None:
    with machine_answering(SENT, ended(output)) as (edge, server, _):
        assert edge.remove_member(ONE, VICTIM) == reason
    assert asked(server)["Parameters"] == {
        "action": ["remove"],
        "first": ["8e9e05c52164694d"],
        "second": ["https://10.77.1.2:2380"],
    }


@pytest.mark.parametrize("peer_urls", [(), ("https://10.0.0.1:2380; reboot",), ("https://" + "a" * 256,), ("",)])
def test_an_argument_that_the_document_would_not_take_is_not_sent(peer_urls: tuple[str, ...]) -> None:
    with machine_answering(SENT) as (edge, server, _):
        with pytest.raises(PermanentError):
            edge.remove_member(ONE, etcd_member(2, peer_urls=peer_urls))
        assert server.requests == []


@pytest.mark.parametrize("moved", [True, False])
def test_leadership_has_moved_when_the_heir_leads(moved: bool) -> None:
    with machine_answering(SENT, ended({"moved": moved, "leader": VICTIM.id})) as (edge, server, _):
        edge.move_leader(ONE, VICTIM)
    assert asked(server)["Parameters"] == {"action": ["move-leader"], "first": [VICTIM.id]}


@pytest.mark.parametrize(
    ("output", "says"),
    [
        ({"moved": False, "leader": "a1"}, "a1 does"),
        ({"moved": False, "leader": "0", "reason": "no member that answers leads"}, "no member that answers leads"),
    ],
)
def test_leadership_that_did_not_move_is_an_error(output: dict[str, Any], says: str) -> None:
    with machine_answering(SENT, ended(output)) as (edge, _, _), pytest.raises(RetryableError, match=says):
        edge.move_leader(ONE, VICTIM)


SNAPSHOT = {"bucket": "snapshots", "key": "drill/1", "bytes": 20512, "hash": "fe01cf57", "revision": 12, "keys": 9}


BEGUN = SnapshotBegun(ONE, "drill/1", datetime(2026, 11, 21, 12, tzinfo=UTC), COMMAND)


def test_a_snapshot_is_begun_and_told_with_what_was_verified() -> None:
    with machine_answering(SENT, ended("", "InProgress"), ended(SNAPSHOT)) as (edge, server, _):
        assert edge.begin_snapshot(ONE, bucket="snapshots", key="drill/1") == COMMAND
        taken = edge.snapshot(BEGUN, wait=True)
    assert taken == Snapshot("drill/1", 20512, "fe01cf57", 12)
    assert asked(server)["Parameters"] == {"action": ["snapshot"], "first": ["snapshots"], "second": ["drill/1"]}


@pytest.mark.parametrize(("wait", "seconds"), [(True, 15), (False, 0)])
def test_a_snapshot_that_is_under_way_is_none_yet_and_is_waited_for_in_its_first_seconds_only(
    wait: bool, seconds: int
) -> None:
    with machine_answering(ended("", "InProgress")) as (edge, server, time):
        assert edge.snapshot(BEGUN, wait=wait) is None
        assert seconds - 1 <= sum(time.slept) <= seconds or not wait
        assert wait or (time.slept, len(server.requests)) == ([], 1)


def test_the_document_has_ended_a_snapshot_before_another_one_may_begin() -> None:
    document = resources(CHECKOUT / "infra" / "cluster" / "template.yaml")["ControlPlaneDocument"]
    (step,) = document["Properties"]["Content"]["mainSteps"]
    delivered_s, sent_s = 30, 10
    longest = timedelta(seconds=int(step["inputs"]["timeoutSeconds"]) + delivered_s + sent_s)
    assert longest < SNAPSHOT_ENDS_WITHIN


def test_whether_a_snapshot_has_failed_is_not_known_when_ssm_does_not_answer() -> None:
    with machine_answering(json_error("ThrottlingException")) as (edge, _, _), pytest.raises(RetryableError):
        edge.snapshot(BEGUN, wait=False)


@pytest.mark.parametrize("changed", [{"key": "drill/2"}, {"bytes": 0}, {"hash": ""}, {"revision": None}])
def test_a_snapshot_of_nothing_or_somewhere_else_is_none(changed: dict[str, Any]) -> None:
    with machine_answering(ended(SNAPSHOT | changed)) as (edge, _, _), pytest.raises(PermanentError):
        edge.snapshot(BEGUN, wait=False)


@pytest.mark.parametrize("how", ["Failed", "TimedOut", "Cancelled"])
def test_a_snapshot_that_has_failed_has_failed_for_good(how: str) -> None:
    failed = ended({"error": "no space left"}, how)
    with machine_answering(failed) as (edge, _, _), pytest.raises(PermanentError, match="no space left"):
        edge.snapshot(BEGUN, wait=True)


def test_certificates_are_uploaded_for_one_instance_and_forgotten() -> None:
    with machine_answering(SENT, ended({"expires_at": "2026-11-21T14:00:00Z"})) as (edge, server, _):
        expires_at = edge.upload_certificates(ONE, for_instance=TWO)
    assert expires_at == datetime(2026, 11, 21, 14, tzinfo=UTC)
    assert asked(server)["Parameters"] == {"action": ["upload-certificates"], "first": [ARN]}
    with machine_answering(SENT, ended({"forgotten": False})) as (edge, server, _):
        edge.forget_certificates(ONE, for_instance=TWO)
    assert asked(server)["Parameters"] == {"action": ["forget-certificates"], "first": [ARN]}


@pytest.mark.parametrize(
    ("call", "output"),
    [
        (lambda edge: edge.upload_certificates(ONE, for_instance=TWO), {"expires_at": "2026-11-21T14:00:00"}),
        (lambda edge: edge.upload_certificates(ONE, for_instance=TWO), {"expires_at": "soon"}),
        (lambda edge: edge.upload_certificates(ONE, for_instance=TWO), {"key": "c2VjcmV0"}),
        (lambda edge: edge.forget_certificates(ONE, for_instance=TWO), {"forgotten": "yes"}),
        (lambda edge: edge.remove_member(ONE, VICTIM), {"removed": False}),
        (lambda edge: edge.remove_member(ONE, VICTIM), {"refused": ""}),
        (lambda edge: edge.move_leader(ONE, VICTIM), {"moved": True}),
    ],
)
def test_an_answer_that_lacks_what_it_must_say_is_an_error_that_does_not_repeat_it(
    call: Callable[[CommandsEdge], object], output: dict[str, Any]
) -> None:
    wrong = pytest.raises(RetryableError, match="not understood")
    with machine_answering(SENT, ended(output)) as (edge, _, _), wrong as raised:
        call(edge)
    assert "c2VjcmV0" not in str(raised.value)


@pytest.mark.parametrize(("service", "unit"), [("kubelet", "kubelet"), ("runtime", "containerd")])
def test_any_machine_restarts_what_hangs_by_the_document_for_all(service: str, unit: str) -> None:
    with machine_answering(SENT, ended({"restarted": unit})) as (edge, server, _):
        edge.restart(ONE, service)
    sent = asked(server)
    assert sent["DocumentName"] == "regrow-drill-machine"
    assert (sent["InstanceIds"], sent["Parameters"]) == ([ONE], {"action": [f"restart-{service}"]})


@pytest.mark.parametrize(
    "answers",
    [
        (json_error("InvalidInstanceId"),),
        (SENT, ended("", "Failed", "DeliveryTimedOut")),
        (SENT, ended({"error": "the unit is not there"}, "Failed")),
        (SENT, ended({})),
        (SENT, ended({"restarted": ""})),
        (SENT, ended("done")),
        (SENT, ended("", "InProgress")),
    ],
    ids=[
        "no agent",
        "not delivered",
        "it failed",
        "an empty answer",
        "nothing restarted",
        "no JSON",
        "it takes too long",
    ],
)
def test_a_machine_that_does_not_say_that_it_restarted_did_not(answers: tuple[Answer, ...]) -> None:
    with (
        machine_answering(*answers) as (edge, _, time),
        pytest.raises(RetryableError, match=f"restart-kubelet (on|to) {ONE}"),
    ):
        edge.restart(ONE, "kubelet")
    assert sum(time.slept) <= 12
