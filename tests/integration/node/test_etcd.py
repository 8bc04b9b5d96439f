"""What the machine's program finds out about etcd and changes of it, with real members that really die."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from infra.local.building import build
from infra.local.progress import Progress
from infra.node.aws import Api
from infra.node.failures import AwsError, NodeError
from infra.node.members import Etcd
from infra.node.signing import Credentials
from infra.node.snapshots import Snapshots, verified
from tests.integration.deploy.plain_aws import plain_aws
from tests.integration.node.etcd_members import Members, etcd_members, write_pki

PROGRAMS = build.build(Progress(io.StringIO()))


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pki(tmp_path_factory.mktemp("etcd") / "pki")


@pytest.fixture
def etcd(tmp_path: Path, pki: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Members]:
    monkeypatch.setenv("PATH", f"{PROGRAMS}:/usr/bin:/bin")
    with etcd_members(tmp_path, pki, PROGRAMS) as members:
        yield members


def seen(etcd: Etcd) -> dict[str, Any]:
    """The answer as whoever asked gets it."""
    answer: dict[str, Any] = json.loads(json.dumps(etcd.members().document()))
    return answer


def test_three_members_are_seen_as_they_are_and_a_dead_one_is_removed_by_another(etcd: Members) -> None:
    etcd.found("one", "two", "three")
    all_three = seen(etcd.at("one"))
    assert all_three["asked"] == "one"
    assert all_three["linearizable"] is True
    assert all_three["alarms"] == []
    listed = {member["name"]: member for member in all_three["members"]}
    assert set(listed) == {"one", "two", "three"}
    for name, member in listed.items():
        assert member["peer_urls"] == [etcd.processes[name].peer_url]
        assert member["client_urls"] == [etcd.processes[name].client_url]
        assert member["learner"] is False
        assert member["status"]["version"] == "3.6.8"
        assert member["status"]["db_size"] > 0
        assert member["status"]["raft_index"] > 0
    (leader,) = {member["status"]["leader"] for member in listed.values()}
    assert leader in {member["id"] for member in listed.values()}
    assert etcd.ctl("one", "member", "list").stdout.count(leader) == 1  # the form in which etcdctl takes ids

    etcd.kill("three")
    etcd.wait_until_they_answer("one", "two")
    victim = next(member for member in seen(etcd.at("one"))["members"] if member["name"] == "three")
    assert set(victim["status"]) == {"error"}
    other_url = etcd.processes["two"].peer_url
    refused = etcd.at("one").remove(victim["id"], other_url)
    assert refused == {"refused": f"its peer URL is {etcd.processes['three'].peer_url}"}
    assert etcd.at("one").remove(victim["id"], etcd.processes["three"].peer_url) == {"removed": True}
    assert {member["name"] for member in seen(etcd.at("two"))["members"]} == {"one", "two"}
    again = etcd.at("one").remove(victim["id"], etcd.processes["three"].peer_url)
    assert again == {"removed": False, "reason": "it is gone already"}

    one = etcd.id("one", by="one")
    assert etcd.at("one").remove(one, etcd.processes["one"].peer_url) == {
        "refused": "it is the member of the machine that was asked"
    }


def test_nothing_is_removed_that_would_cost_the_quorum_and_the_loss_of_it_is_told(etcd: Members) -> None:
    etcd.found("one", "two", "three")
    ids = {name: etcd.id(name, by="one") for name in ("one", "two", "three")}
    etcd.kill("three")
    etcd.wait_until_they_answer("one", "two")
    refused = etcd.at("one").remove(ids["two"], etcd.processes["two"].peer_url)
    assert refused == {"refused": "1 of 2 voters are healthy afterwards, 2 have to be"}
    etcd.kill("two")
    lost = seen(etcd.at("one"))
    assert lost["linearizable"] is False
    assert {member["id"] for member in lost["members"]} == set(ids.values())  # what it remembers
    assert [member["name"] for member in lost["members"] if "error" not in member["status"]] == ["one"]
    refused = etcd.at("one").remove(ids["three"], etcd.processes["three"].peer_url)
    assert refused == {"refused": "no quorum confirms who the members are"}
    with pytest.raises(NodeError, match="etcdctl member list"):
        etcd.at("two").members()


def test_a_learner_that_never_started_blocks_every_voter_and_is_removed_itself(etcd: Members) -> None:
    etcd.found("one", "two", "three")
    learner = etcd.announce_learner("four", by="one")
    found = next(member for member in seen(etcd.at("one"))["members"] if member["id"] == learner)
    assert found["name"] == ""
    assert found["learner"] is True
    assert found["client_urls"] == []
    assert found["status"] == {"error": "it has never started"}
    etcd.kill("three")
    etcd.wait_until_they_answer("one", "two")
    three = etcd.id("three", by="one")
    refused = etcd.at("one").remove(three, etcd.processes["three"].peer_url)
    assert refused == {"refused": f"{learner} is still on its way in"}
    assert etcd.at("one").remove(learner, etcd.processes["four"].peer_url) == {"removed": True}
    assert etcd.at("one").remove(three, etcd.processes["three"].peer_url) == {"removed": True}


def test_the_last_voter_stays_whoever_asks(etcd: Members) -> None:
    etcd.found("only")
    only = etcd.id("only", by="only")
    assert set(etcd.at("only").remove(only, etcd.processes["only"].peer_url)) == {"refused"}
    assert [member["id"] for member in seen(etcd.at("only"))["members"]] == [only]


def test_who_leads_hands_it_on_to_a_healthy_voter_alone(etcd: Members) -> None:
    etcd.found("one", "two", "three")
    leader = etcd.at("one").members().leader
    assert leader is not None
    others = sorted({"one", "two", "three"} - {leader.name})
    etcd.kill(others[1])
    dead, heir = etcd.id(others[1], by=leader.name), etcd.id(others[0], by=leader.name)
    asked = etcd.at(others[0])
    assert asked.move_leader(dead) == {"moved": False, "leader": leader.id, "reason": f"{dead} is no healthy voter"}
    assert asked.move_leader(heir) == {"moved": True, "leader": heir}
    now = asked.members().leader
    assert now is not None
    assert now.id == heir
    assert asked.move_leader(heir) == {"moved": False, "leader": heir, "reason": "it leads already"}


def test_a_full_database_is_seen_as_an_alarm_and_its_member_as_unhealthy(etcd: Members) -> None:
    etcd.found("one", "two", quota_backend_bytes=str(1 << 20))
    for _ in range(30):
        if not etcd.put("one", 200_000):
            break
    alarms = seen(etcd.at("one"))["alarms"]
    assert {alarm["type"] for alarm in alarms} == {"NOSPACE"}
    assert {alarm["member"] for alarm in alarms} <= {etcd.id("one", by="one"), etcd.id("two", by="one")}
    two = etcd.id("two", by="one")
    assert "refused" in etcd.at("one").remove(two, etcd.processes["two"].peer_url)


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    with plain_aws() as url:
        yield url


def test_a_snapshot_is_verified_stored_encrypted_and_not_left_behind(etcd: Members, aws: str, tmp_path: Path) -> None:
    etcd.found("one")
    assert etcd.put("one", 1000)
    s3 = boto3.client("s3", endpoint_url=aws, region_name="us-east-1", aws_access_key_id="A", aws_secret_access_key="b")
    s3.create_bucket(Bucket="snapshots")
    api = Api("us-east-1", lambda: Credentials("AKIDEXAMPLE", "secret", "session"), aws, sleep=lambda _: None)
    folder = tmp_path / "root-only"
    told = Snapshots(etcd.at("one"), api, folder).take("snapshots", "etcd/drill/1.db")
    assert not list(folder.iterdir())
    stored = s3.get_object(Bucket="snapshots", Key="etcd/drill/1.db")
    content = stored["Body"].read()
    assert stored["ServerSideEncryption"] == "AES256"
    assert (told["bucket"], told["key"], told["bytes"]) == ("snapshots", "etcd/drill/1.db", len(content))
    copy = tmp_path / "copy.db"
    copy.write_bytes(content)
    assert verified(copy) == {name: told[name] for name in ("hash", "revision", "keys")}
    assert told["keys"] >= 1
    assert told["revision"] >= 2

    with pytest.raises(AwsError, match="PutObject was refused: NoSuchBucket"):
        Snapshots(etcd.at("one"), api, folder).take("elsewhere", "etcd/drill/1.db")
    assert not list(folder.iterdir())
    etcd.kill("one")
    with pytest.raises(NodeError, match="etcdctl endpoint status"):
        Snapshots(etcd.at("one"), api, folder).take("snapshots", "etcd/drill/2.db")
    assert not list(folder.iterdir())
    assert s3.list_objects_v2(Bucket="snapshots")["KeyCount"] == 1


def test_a_damaged_snapshot_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{PROGRAMS}:/usr/bin:/bin")
    file = tmp_path / "etcd.db"
    file.write_bytes(b"\0" * 40_000)
    with pytest.raises(NodeError, match="etcdutl snapshot status"):
        verified(file)
