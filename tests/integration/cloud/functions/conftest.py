"""A small AWS in this process: moto's server with functions, queues and rules that really work, in seconds."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest

from infra.local.building.emulator import Emulator, ensure
from infra.local.cloud import extension
from infra.local.cloud.events import rule_api, topic_api
from infra.local.cloud.events.bus import EventBus
from infra.local.cloud.events.schedules import Schedules
from infra.local.cloud.functions import lambda_api
from infra.local.cloud.functions.environments import Functions
from infra.local.cloud.functions.pollers import Pollers
from infra.local.cloud.queues import fifo
from infra.local.cloud.server import Cloud
from tests.integration.cloud.functions.local_aws import LocalAws
from tests.integration.cloud.machines.rig import QUICK, ListedMachines

POLLING = ["sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"]
ROLE_ACTIONS = [*POLLING, "autoscaling:CompleteLifecycleAction", "lambda:InvokeFunction", "sqs:SendMessage"]
"""What the functions of these tests call, and what Lambda does in their name."""


@pytest.fixture(scope="session")
def emulator() -> Emulator:
    return ensure()


@pytest.fixture(scope="module")
def aws(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    state = tmp_path_factory.mktemp("world")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    dedup_now = [1000.0]
    functions = Functions(state, f"http://127.0.0.1:{port}", emulator, retry_after_s=(0.2, 0.4), idle_s=60.0)
    bus = EventBus(functions, delay_s=0.0, log=state / "log" / "events.log")
    cloud = Cloud(ListedMachines(), QUICK, bus.publish, port=port)
    cloud.install()
    fifo.install(clock=lambda: dedup_now[0])
    lambda_api.install(functions)
    topic_api.install(functions)
    rule_api.install(bus)
    cloud.start()
    pollers = Pollers(functions)
    parts = (functions, bus, Schedules(bus), pollers)
    for part in parts:
        part.start()
    aws = LocalAws(cloud.endpoint, functions, bus, pollers, state, dedup_now)
    iam = aws.client("iam")
    iam.create_role(RoleName="worker", AssumeRolePolicyDocument="{}")
    allowed = {"Effect": "Allow", "Action": ROLE_ACTIONS, "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    iam.put_role_policy(RoleName="worker", PolicyName="calls", PolicyDocument=document)
    yield aws
    for part in reversed(parts):
        part.stop()
    cloud.stop()
    extension.restore()
