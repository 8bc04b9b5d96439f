"""What the tests of functions, queues and rules say most often: a function that obeys its event, and waiting."""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from infra.local.cloud.events.bus import EventBus
from infra.local.cloud.functions.environments import Functions
from infra.local.cloud.functions.pollers import Pollers

# What the functions of these tests do is told by their event; each run leaves a line in a file that tests read.
HANDLER = """
import json, os, sys, time
LEDGER = os.environ["LEDGER"]

def note(**what):
    with open(LEDGER, "a") as file:
        file.write(json.dumps({"at": time.time(), "process": os.environ["AWS_LAMBDA_LOG_STREAM_NAME"], **what}) + "\\n")

def obey(order):
    note(did="begin", order=order)
    print("obeying", json.dumps(order))
    time.sleep(order.get("sleep_s", 0))
    if order.get("write"):
        open(os.path.join(os.environ["LAMBDA_TASK_ROOT"], order["write"]), "w")
    if order.get("raise"):
        raise ValueError(order["raise"])
    if order.get("exit"):
        os._exit(3)
    note(did="end", order=order)
    return order.get("answer", {"ok": True})

def handler(event, context):
    if "Records" in event and "body" in event["Records"][0]:
        note(did="batch", records=event["Records"])
        failed = []
        for record in event["Records"]:
            order = json.loads(record["body"])
            if order.get("report"):
                failed.append({"itemIdentifier": record["messageId"]})
                continue
            obey({**order, "count": int(record["attributes"]["ApproximateReceiveCount"])})
        return {"batchItemFailures": failed} if failed else None
    if event.get("show"):
        return {name: os.environ.get(name) for name in event["show"]}
    if "detail-type" in event or "Records" in event:
        note(did="event", event=event)
        return None
    return obey(event)
"""


@dataclass
class LocalAws:
    """The parts, and what the tests say most often."""

    endpoint: str
    functions: Functions
    bus: EventBus
    pollers: Pollers
    state: Path
    dedup_now: list[float]
    made: list[str] = field(default_factory=list)

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"max_attempts": 0}, read_timeout=60),
        )

    def deploy(self, name: str, source: str = HANDLER, **settings: Any) -> str:
        """A function with that source; returns its ARN."""
        variables = {"LEDGER": str(self.state / f"{name}.jsonl"), **settings.pop("variables", {})}
        arn: str = self.client("lambda").create_function(
            FunctionName=name,
            Runtime="python3.11",
            Role="arn:aws:iam::123456789012:role/worker",
            Handler="app.handler",
            Code={"ZipFile": zipped(source)},
            Timeout=settings.pop("Timeout", 5),
            Environment={"Variables": variables},
            **settings,
        )["FunctionArn"]
        self.made.append(name)
        return arn

    def ledger(self, name: str, did: str | None = None) -> list[dict[str, Any]]:
        """What the function noted, in order; a line that is still being written is not there yet."""
        file = self.state / f"{name}.jsonl"
        *whole, _ = (file.read_text() if file.exists() else "").split("\n")
        return [note for note in map(json.loads, whole) if did in (None, note["did"])]

    def queue(self, name: str, **attributes: str) -> tuple[str, str]:
        """A queue with these attributes; its URL and ARN."""
        sqs = self.client("sqs")
        url = sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        return url, sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]


def zipped(source: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as package:
        package.writestr("app.py", source)
    return file.getvalue()


def eventually(holds: Callable[[], Any], within_s: float = 5.0) -> Any:
    """Wait until `holds()` is true and return what it gave; AssertionError after `within_s`."""
    deadline = time.monotonic() + within_s
    while not (result := holds()):
        assert time.monotonic() < deadline, f"did not come true within {within_s} s"
        time.sleep(0.01)
    return result
