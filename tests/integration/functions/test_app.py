"""The app's entry points, as Lambda calls them, against an account in this process."""

from __future__ import annotations

import base64
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chalice.test import Client

from functions.cluster.facts import Phase
from functions.cluster.machine import InstanceId
from functions.cluster.notice import Cause
from functions.edges.ec2 import Ec2Edge
from functions.edges.table import TableEdge
from functions.errors import ConfigurationError, PermanentError, RefusedError
from functions.messages import Look
from tests.integration.functions.answering import Server, answer_json, answering, closed_port
from tests.integration.functions.conftest import Clients
from tests.integration.functions.kubernetes_objects import node_json, not_found
from tests.integration.functions.surroundings import a_group, a_table, queue_urls, received
from tests.unit.functions.builders import ENVIRONMENT, NOW, machine, pause
from tests.unit.functions.samples import INBOX, bodies, sample

ROOT = Path(__file__).parents[3]
KUBECONFIGS = [f"{ENVIRONMENT['REGROW_KUBECONFIG_PATH']}/{identity}" for identity in ("remediate", "mint", "approve")]


def load_app() -> Client:
    """Load the app anew, as a cold start does: it keeps settings and clients for its life."""
    spec = importlib.util.spec_from_file_location("app", ROOT / "app.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return Client(module.app, project_dir=str(ROOT))


class Account:
    """The account with what the app's settings name, and the app."""

    def __init__(self, clients: Clients, urls: tuple[str, str], app: Client) -> None:
        self.clients = clients
        self.pass_queue_url, self.inbox_queue_url = urls
        self.app = app
        self.table = TableEdge(clients("dynamodb"), table="regrow-drill")

    def invoke(self, function: str, payload: object) -> Any:
        return self.app.lambda_.invoke(function, payload).payload

    def publish_credentials(self, server: str) -> None:
        nothing = base64.b64encode(b"").decode()
        fields = ("ca_data", "client_certificate_data", "client_key_data")
        content = {"server": server} | dict.fromkeys(fields, nothing)
        for name in KUBECONFIGS:
            self.clients("ssm").put_parameter(Name=name, Type="SecureString", Value=json.dumps(content))

    def looks(self) -> list[Look]:
        return [Look.from_json(message["Body"]) for message in received(self.clients, self.pass_queue_url)]

    def later_looks(self) -> int:
        sqs = self.clients("sqs")
        attributes = sqs.get_queue_attributes(QueueUrl=self.inbox_queue_url, AttributeNames=["All"])["Attributes"]
        return int(attributes["ApproximateNumberOfMessagesDelayed"])


@pytest.fixture
def account(clients: Clients, monkeypatch: pytest.MonkeyPatch) -> Account:
    urls = queue_urls(clients)
    a_table(clients)
    topic = clients("sns").create_topic(Name="regrow-drill")["TopicArn"]
    made = {"REGROW_PASS_QUEUE_URL": urls[0], "REGROW_INBOX_QUEUE_URL": urls[1], "REGROW_TOPIC_ARN": topic}
    for name, value in (ENVIRONMENT | made).items():
        monkeypatch.setenv(name, value)
    return Account(clients, urls, load_app())


@pytest.fixture
def api_server(account: Account) -> Iterator[Server]:
    with answering(not_found("nodes", "x")) as server:
        account.publish_credentials(server.url)
        yield server


def message(look: Look) -> dict[str, Any]:
    event = sample("pass-message")
    event["Records"][0]["body"] = look.to_json()
    return dict(event)


def queued(name: str) -> dict[str, Any]:
    """The event as EventBridge puts it into the inbox, and Lambda hands it to the function."""
    event = sample("inbox-event")
    event["Records"][0]["body"] = json.dumps(sample(name))
    return dict(event)


def test_an_event_orders_a_pass_for_its_machine(account: Account) -> None:
    account.invoke("intake", queued("ec2-terminated"))
    assert account.looks() == [Look(InstanceId("i-0123456789abcdef0"), "EC2 says terminated")]


def test_an_event_that_is_delivered_twice_orders_one_pass(account: Account) -> None:
    for _ in range(2):
        account.invoke("intake", queued("autoscaling-terminate-action"))
    assert len(account.looks()) == 1


def test_each_machine_of_an_event_gets_a_pass_with_what_was_announced(account: Account) -> None:
    account.invoke("intake", queued("health-scheduled"))
    account.invoke("intake", queued("spot-interruption-stop"))
    looks = account.looks()
    assert [look.machine for look in looks] == [f"i-0123456789abcdef{number}" for number in (0, 1, 0)]
    causes = [look.notice.cause for look in looks if look.notice]
    assert causes == [Cause.MAINTENANCE, Cause.MAINTENANCE, Cause.SPOT]


@pytest.mark.parametrize("name", ["ec2-pending", "alarm-composite", "health-issue", "unknown-source"])
def test_an_event_that_calls_for_nothing_is_logged_with_its_reason(
    account: Account, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    account.invoke("intake", queued(name))
    assert account.looks() == []
    (told,) = [record for record in caplog.records if record.message == "event_dropped"]
    assert vars(told)["reason"]


def an_inbox(clients: Clients) -> tuple[str, str]:
    """A queue as the stack makes it, and a topic that sends to it: URL and ARN."""
    sqs, sns = clients("sqs"), clients("sns")
    url = sqs.create_queue(QueueName="regrow-drill-inbox")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    topic = sns.create_topic(Name="machines")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    return url, topic


def batch(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """What Lambda hands to the function for these messages of a queue."""
    (form,) = sample("inbox-terminate-action")["Records"]
    return {
        "Records": [
            {**form, "messageId": one["MessageId"], "receiptHandle": one["ReceiptHandle"], "body": one["Body"]}
            for one in messages
        ]
    }


def test_what_auto_scaling_sends_to_a_queue_and_to_a_topic_becomes_one_pass_whatever_comes_beside_it(
    account: Account,
) -> None:
    url, topic = an_inbox(account.clients)
    (notification,) = bodies("inbox-terminate-action")
    sqs = account.clients("sqs")
    for poison in ("", "not JSON", '{"Type": "Notification", "Message": "{"}', "[" * 5000, '{"order": 4711}'):
        sqs.send_message(QueueUrl=url, MessageBody=poison or " ")
    sqs.send_message(QueueUrl=url, MessageBody=notification)
    account.clients("sns").publish(TopicArn=topic, Message=notification)
    messages = received(account.clients, url)
    assert len(messages) == 7
    account.invoke("intake", batch(messages))
    account.invoke("intake", batch(messages))  # SQS may deliver them twice
    assert account.looks() == [Look(InstanceId("i-0123456789abcdef0"), "drill-worker terminates it")]


def test_an_action_that_also_came_by_eventbridge_is_the_same_pass(account: Account) -> None:
    event = sample("autoscaling-launch-action")
    url, topic = an_inbox(account.clients)
    account.clients("sns").publish(TopicArn=topic, Message=json.dumps(event["detail"]))
    account.invoke("intake", queued("autoscaling-launch-action"))
    account.invoke("intake", batch(received(account.clients, url)))
    assert [look.reason for look in account.looks()] == ["drill-worker launches it"]


def test_what_a_batch_holds_beside_actions_is_logged_and_keeps_none_of_them_back(
    account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    account.invoke("intake", sample("inbox-batch"))
    assert [look.reason for look in account.looks()] == ["drill-worker terminates it", "drill-worker launches it"]
    dropped = [vars(record)["reason"] for record in caplog.records if record.message == "event_dropped"]
    assert dropped == [read for read in INBOX["inbox-batch"] if isinstance(read, str)]


def test_a_failed_launch_is_counted_under_a_name_of_its_own(
    account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    account.invoke("intake", sample("inbox-launch-error"))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "_aws" in line]
    assert [line["launch_unsuccessful"] for line in lines] == [[1.0]]


def test_a_look_that_is_due_becomes_a_pass(account: Account) -> None:
    account.invoke("intake", sample("look-due"))
    assert [look.reason for look in account.looks()] == ["its group is not known to be whole yet"]


def test_a_message_that_can_never_be_parsed_fails_each_time(account: Account) -> None:
    for _ in range(2):
        with pytest.raises(PermanentError, match="not JSON"):
            account.invoke("remediate", sample("pass-message-unreadable"))


def test_a_pass_about_a_machine_that_nobody_knows_ends_in_peace(account: Account, api_server: Server) -> None:
    a_group(account.clients)
    account.invoke("remediate", sample("pass-message"))
    assert (account.later_looks(), account.table.cases()) == (0, ())
    assert {request.method for request in api_server.requests} == {"GET"}, "a Node of it would have to be told"


def test_a_pass_takes_out_a_dead_worker_and_looks_again(account: Account, api_server: Server) -> None:
    victim = InstanceId(a_group(account.clients)[0])
    account.clients("ec2").terminate_instances(InstanceIds=[victim])
    node = answer_json(node_json(victim))
    empty = answer_json({"metadata": {}, "items": []})
    api_server.answers[:] = [node, empty, empty, node, node, empty, node]
    account.invoke("remediate", message(Look(victim, "EC2 says terminated")))
    changes = [(request.method, request.path) for request in api_server.requests if request.method != "GET"]
    assert changes == [("PATCH", f"/api/v1/nodes/{victim}"), ("DELETE", f"/api/v1/nodes/{victim}")]
    assert [case.phase for case in account.table.cases()] == [Phase.REPLACING]
    assert account.later_looks() == 1
    (entry,) = account.table.history(victim)
    assert [done["step"] for done in entry["steps"]][:2] == ["OpenCase", "Fence"]


@pytest.mark.parametrize("trouble", ["nobody serves it", "no credentials"])
def test_without_the_api_server_nothing_is_changed_and_the_machine_is_looked_at_again(
    account: Account, trouble: str
) -> None:
    if trouble == "nobody serves it":
        account.publish_credentials(f"http://127.0.0.1:{closed_port()}")
    victim = InstanceId(a_group(account.clients)[0])
    account.clients("ec2").terminate_instances(InstanceIds=[victim])
    account.invoke("remediate", message(Look(victim, "EC2 says terminated")))
    assert (account.table.cases(), account.table.history(victim)) == ((), ())
    assert account.later_looks() == 1


def test_a_sweep_finds_a_dead_worker_that_no_event_told_of(account: Account, api_server: Server) -> None:
    victim, other = map(InstanceId, a_group(account.clients))
    account.clients("ec2").terminate_instances(InstanceIds=[victim])
    api_server.answers[:] = [answer_json({"metadata": {}, "items": [node_json(victim), node_json(other)]})]
    account.invoke("sweep", sample("sweep"))
    (replacement,) = {one.id for one in Ec2Edge(account.clients("ec2")).fleet("drill")} - {victim, other}
    looks = {look.machine: look.reason for look in account.looks()}
    assert looks == {
        victim: "the sweep: it is dead: EC2: terminated",
        replacement: "the sweep: it is arriving: it is in service, new, and without a Node",
    }
    assert {record.instance for record in account.table.records()} == {other}


def test_a_drill_terminates_one_worker_of_a_whole_cluster(account: Account, api_server: Server) -> None:
    one, other = sorted(a_group(account.clients))
    nodes = answer_json({"metadata": {}, "items": [node_json(one), node_json(other)]})
    lease = answer_json({"metadata": {}, "spec": {}})
    api_server.answers[:] = [nodes, answer_json(node_json(one)), lease] * 2
    assert account.invoke("drill", sample("drill-dry-run"))["machine"] == one
    assert account.invoke("drill", sample("drill"))["did"] == "drill"
    described = account.clients("ec2").describe_instances(InstanceIds=[one, other])["Reservations"]
    states = {each["InstanceId"]: each["State"]["Name"] for held in described for each in held["Instances"]}
    assert states == {one: "terminated", other: "running"}


def test_a_drill_of_a_cluster_that_is_not_whole_is_refused(account: Account, api_server: Server) -> None:
    a_group(account.clients)
    api_server.answers[:] = [answer_json({"metadata": {}, "items": []})]
    with pytest.raises(RefusedError, match="the cluster is not whole"):
        account.invoke("drill", sample("drill"))


def test_pause_report_and_resume_work_by_the_table_alone(account: Account) -> None:
    account.invoke("drill", sample("pause"))
    assert [one.of for one in account.table.pauses()] == ["drill"]
    assert account.invoke("drill", sample("report")) == {"cluster": "drill", "open_cases": [], "joining": []}
    account.invoke("drill", sample("resume"))
    assert account.table.pauses() == ()


def test_explain_tells_of_a_pause_that_refuses(account: Account, api_server: Server) -> None:
    victim = a_group(account.clients)[0]
    account.clients("ec2").terminate_instances(InstanceIds=[victim])
    account.table.pause(pause(minutes=10**6))
    api_server.answers[:] = [
        answer_json(node_json(victim)),
        answer_json({"metadata": {}, "items": []}),
    ]
    said = account.invoke("drill", {"do": "explain", "machine": victim})
    assert said["verdict"] == "dead"
    assert said["refused"].startswith("drill is paused until")


def test_explain_of_the_cluster_tells_of_each_machine(account: Account, api_server: Server) -> None:
    victim, other = map(InstanceId, a_group(account.clients))
    account.clients("ec2").terminate_instances(InstanceIds=[victim])
    account.table.pause(pause(victim, minutes=10**6))
    api_server.answers[:] = [answer_json({"metadata": {}, "items": [node_json(victim), node_json(other)]})]
    said = account.invoke("drill", sample("explain-cluster"))
    lines = {line["machine"]: line for line in said["machines"]}
    assert (lines[other]["verdict"], lines[victim]["verdict"]) == ("healthy", "dead")
    assert lines[victim]["refused"].startswith(f"{victim} is paused until")
    assert [one["of"] for one in said["pauses"]] == [victim]
    assert (account.looks(), account.table.cases()) == ([], ())
    assert len(api_server.requests) == 3, "Nodes, Leases and etcd's pods, a page each"


@pytest.mark.parametrize("function", ["intake", "remediate", "sweep", "drill"])
@pytest.mark.usefixtures("clients")
def test_a_function_without_its_settings_names_them_all(monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    payload = {
        "intake": "inbox-batch",
        "remediate": "pass-message",
        "sweep": "sweep",
    }
    with pytest.raises(ConfigurationError) as error:
        load_app().lambda_.invoke(function, sample(payload.get(function, "report")))
    assert [name for name in ENVIRONMENT if name not in str(error.value)] == []


def test_history_of_a_machine_is_reported(account: Account) -> None:
    account.table.write_history(machine(1), NOW, {"then": "its group is not whole"})
    said = account.invoke("drill", {"do": "report", "machine": machine(1)})
    assert said["history"] == [{"at": "2026-11-21T12:00:00+00:00", "then": "its group is not whole"}]
