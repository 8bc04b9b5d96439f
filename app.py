"""The Chalice app: which event reaches which function, and with which edges it works. Nothing is decided here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from chalice import Chalice, Rate
from chalice.app import CloudWatchEvent, SQSEvent

from functions import drill as manual
from functions import intake as way_in
from functions.edges.alerts import AlertsEdge
from functions.edges.autoscaling import AutoScalingEdge
from functions.edges.aws import CONFIG_OF_CALLS, LateClient
from functions.edges.commands import CommandsEdge
from functions.edges.dead_letters import DeadLettersEdge
from functions.edges.ec2 import Ec2Edge
from functions.edges.functions import JoiningEdge
from functions.edges.journal import JournalEdge
from functions.edges.kubernetes import KubernetesEdge
from functions.edges.kubernetes_api import Credentials
from functions.edges.load_balancing import LoadBalancingEdge
from functions.edges.parameters import read_credentials
from functions.edges.queues import QueuesEdge
from functions.edges.table import TableEdge
from functions.messages import CONTROL_PLANE, Look
from functions.remediate.control_planes import run_control_plane
from functions.remediate.outside import Outside
from functions.remediate.reconcile import run_pass
from functions.remediate.sweep import run_sweep
from functions.settings import Settings

if TYPE_CHECKING:
    from functions.join.approving_outside import Outside as ApprovingOutside
    from functions.join.minting_outside import MintingOutside

INTAKES_AT_ONCE = 2  # each hands on ten messages in a tenth of a second; fewer than two Lambda does not take
PASSES_AT_ONCE = 7  # a storm is worked off by functions that are warm: a cold start costs more than three passes
CLUSTER = os.environ.get("REGROW_CLUSTER", "")  # names the queues at deployment

app = Chalice(app_name="regrow")


@app.on_sqs_message(queue=f"regrow-{CLUSTER}-inbox", batch_size=10, maximum_concurrency=INTAKES_AT_ONCE)
def intake(event: SQSEvent) -> None:
    with _journal("intake") as journal:
        way_in.take_in([record.body for record in event], _queues(), journal)


@app.on_sqs_message(queue=f"regrow-{CLUSTER}-pass.fifo", batch_size=1, maximum_concurrency=PASSES_AT_ONCE)
def remediate(event: SQSEvent) -> None:
    with _journal("remediate") as journal:
        for record in event:
            look = Look.from_json(record.body)
            run = run_control_plane if look.machine == CONTROL_PLANE else run_pass
            run(look, _outside(journal), _settings(), _now)


@app.schedule(Rate(1, unit=Rate.MINUTES))
def sweep(event: CloudWatchEvent) -> None:
    with _journal("sweep") as journal:
        run_sweep(_outside(journal), _settings(), now=_now())


@app.lambda_function()
def mint(event: Any, context: Any) -> dict[str, Any]:
    from functions.join import mint as minting  # late, here and below: no other function's cold start pays for it

    with _journal("mint") as journal:
        said = minting.answer(event, _minting(), _settings(), now=_now())
        journal.tell("minting", **said)
        return said


@app.lambda_function()
def approve(event: Any, context: Any) -> dict[str, Any]:
    from functions.join import approve as approving

    with _journal("approve") as journal:
        return approving.answer(event, _approving(journal), cluster=_settings().cluster, now=_now())


@app.lambda_function()
def drill(event: Any, context: Any) -> dict[str, Any]:
    with _journal("drill") as journal:
        desk = manual.Desk(_outside(journal), _ec2(), _table(), _dead_letters())
        return manual.answer(event, desk, _settings(), now=_now())


def _now() -> datetime:
    return datetime.now(UTC)


@contextmanager
def _journal(function: str) -> Iterator[JournalEdge]:
    journal = _journal_of(function)
    try:
        yield journal
    finally:
        journal.flush()


@cache
def _journal_of(function: str) -> JournalEdge:
    return JournalEdge(cluster=_settings().cluster, function=function)


@cache
def _settings() -> Settings:
    return Settings.from_env(os.environ)


@cache
def _minting() -> MintingOutside:
    from functions.edges.bootstrap_tokens import BootstrapTokensEdge
    from functions.edges.bundles import BundlesEdge
    from functions.join.minting_outside import MintingOutside

    settings = _settings()
    return MintingOutside(
        ec2=_ec2(),
        autoscaling=_autoscaling(),
        kubernetes=BootstrapTokensEdge(lambda: _credentials("mint")),
        bundles=BundlesEdge(LateClient("ssm"), cluster=settings.cluster, beside_arn=settings.topic_arn),
        table=_table(),
    )


@cache
def _approving(journal: JournalEdge) -> ApprovingOutside:
    from functions.edges.certificate_requests import CertificateRequestsEdge
    from functions.edges.keys import read_certificate, wrong_with_key
    from functions.edges.parameters import read_initialised_by
    from functions.join.approving_outside import Outside as ApprovingOutside

    return ApprovingOutside(
        ec2=_ec2(),
        autoscaling=_autoscaling(),
        table=_table(),
        kubernetes=CertificateRequestsEdge(lambda: _credentials("approve")),
        initialised_by=lambda: read_initialised_by(LateClient("ssm"), _settings().cluster),
        wrong_with_key=wrong_with_key,
        read_certificate=read_certificate,
        journal=journal,
    )


def _credentials(identity: str) -> Credentials:
    return read_credentials(LateClient("ssm"), _settings().kubeconfig_parameter(identity))


@cache
def _queues() -> QueuesEdge:
    settings = _settings()
    return QueuesEdge(
        LateClient("sqs"), pass_queue_url=settings.pass_queue_url, inbox_queue_url=settings.inbox_queue_url
    )


@cache
def _dead_letters() -> DeadLettersEdge:
    settings = _settings()
    return DeadLettersEdge(
        LateClient("sqs"),
        pass_dead_url=settings.pass_dead_queue_url,
        inbox_dead_url=settings.inbox_dead_queue_url,
        inbox_url=settings.inbox_queue_url,
    )


@cache
def _ec2() -> Ec2Edge:
    return Ec2Edge(LateClient("ec2"))


@cache
def _autoscaling() -> AutoScalingEdge:
    return AutoScalingEdge(LateClient("autoscaling"))


@cache
def _table() -> TableEdge:
    return TableEdge(LateClient("dynamodb"), table=_settings().table)


@cache
def _outside(journal: JournalEdge) -> Outside:
    settings = _settings()
    return Outside(
        ec2=_ec2(),
        autoscaling=_autoscaling(),
        load_balancing=LoadBalancingEdge(LateClient("elbv2"), LateClient("elb")),
        kubernetes=KubernetesEdge(lambda: _credentials("remediate")),
        joining=JoiningEdge(
            LateClient("lambda", CONFIG_OF_CALLS), mint=settings.mint_function, approve=settings.approve_function
        ),
        table=_table(),
        commands=CommandsEdge(LateClient("ssm"), cluster=settings.cluster, beside_arn=settings.topic_arn),
        queues=_queues(),
        alerts=AlertsEdge(LateClient("sns"), topic_arn=settings.topic_arn),
        journal=journal,
    )
