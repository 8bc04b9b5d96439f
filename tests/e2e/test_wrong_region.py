"""Deployed to a wrong region EC2 knows none of the machines: nothing happens to them, and one alert goes out."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from functions.cluster.assess import Kind
from functions.cluster.facts import Record
from functions.cluster.machine import InstanceId, Role
from functions.edges.alerts import AlertsEdge
from functions.edges.autoscaling import AutoScalingEdge
from functions.edges.commands import CommandsEdge
from functions.edges.ec2 import Ec2Edge
from functions.edges.functions import JoiningEdge
from functions.edges.journal import JournalEdge
from functions.edges.kubernetes import KubernetesEdge
from functions.edges.load_balancing import LoadBalancingEdge
from functions.edges.parameters import read_credentials
from functions.edges.queues import QueuesEdge
from functions.edges.table import TableEdge
from functions.messages import Look
from functions.remediate.outside import Outside
from functions.remediate.reconcile import run_pass
from functions.remediate.sweep import run_sweep
from functions.settings import Settings
from infra.local.drills.alerts import Subscriber
from tests.e2e.scene import Scene, settings_of
from tests.e2e.sights import see_cluster

WRONG_REGION = "eu-west-1"


@pytest.fixture
def settings(scene: Scene) -> Iterator[Settings]:
    """The remediator's own things as they would be there: queues, table and topic, empty."""
    session = scene.cluster.session
    sqs, sns = session.client("sqs", region_name=WRONG_REGION), session.client("sns", region_name=WRONG_REGION)
    database = session.client("dynamodb", region_name=WRONG_REGION)
    keys = [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}]
    database.create_table(
        TableName="e2e-wrong",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": key["AttributeName"], "AttributeType": "S"} for key in keys],
        KeySchema=keys,
    )
    yield Settings(
        cluster=scene.cluster.name,
        pass_queue_url=sqs.create_queue(QueueName="e2e-wrong.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"],
        inbox_queue_url=sqs.create_queue(QueueName="e2e-wrong-inbox")["QueueUrl"],
        table="e2e-wrong",
        snapshot_bucket="e2e-wrong",
        topic_arn=sns.create_topic(Name="e2e-wrong")["TopicArn"],
        kubeconfig_path=settings_of(scene.cluster)["REGROW_KUBECONFIG_PATH"],
    )
    database.delete_table(TableName="e2e-wrong")


@pytest.fixture
def outside(scene: Scene, settings: Settings) -> Outside:
    def client(service: str) -> object:
        return scene.cluster.session.client(service, region_name=WRONG_REGION)

    here = scene.client("ssm")  # somebody has copied the credentials over: the cluster itself can be reached
    return Outside(
        ec2=Ec2Edge(client("ec2")),
        autoscaling=AutoScalingEdge(client("autoscaling")),
        load_balancing=LoadBalancingEdge(client("elbv2"), client("elb")),
        kubernetes=KubernetesEdge(lambda: read_credentials(here, settings.kubeconfig_parameter("remediate"))),
        joining=JoiningEdge(client("lambda"), mint=settings.mint_function, approve=settings.approve_function),
        table=TableEdge(client("dynamodb"), table=settings.table),
        commands=CommandsEdge(client("ssm"), cluster=settings.cluster, beside_arn=settings.topic_arn),
        queues=QueuesEdge(
            client("sqs"), pass_queue_url=settings.pass_queue_url, inbox_queue_url=settings.inbox_queue_url
        ),
        alerts=AlertsEdge(client("sns"), topic_arn=settings.topic_arn),
        journal=JournalEdge(cluster=settings.cluster, function="e2e"),
    )


def test_in_a_wrong_region_nothing_happens_even_to_machines_on_record_and_one_alert_goes_out(
    scene: Scene, settings: Settings, outside: Outside
) -> None:
    before = see_cluster(scene)
    alerts = Subscriber(scene.cluster.session, settings.topic_arn, region=WRONG_REGION)
    now, long_ago = datetime.now(UTC), datetime.now(UTC) - timedelta(days=1)
    for machine in scene.workers():
        uid = before.machines[machine].uid
        outside.table.remember(Record(InstanceId(machine), "regrow", Role.WORKER, machine, uid, long_ago))
    for _ in range(2):
        swept = run_sweep(outside, settings, now=now)
        assert swept.looks == ()
    for machine in before.machines:
        judgement = run_pass(Look(InstanceId(machine), "asked by hand"), outside, settings, lambda: datetime.now(UTC))
        assert judgement.verdict.kind in (Kind.HELD, Kind.FOREIGN)
        assert not judgement.plan.touches

    assert see_cluster(scene) == before
    assert outside.table.cases() == ()
    told = alerts.heard()
    assert [alert.subject for alert in told] == [f"The sweep of {settings.cluster} holds"]
    assert "wrong region or account" in told[0].text
