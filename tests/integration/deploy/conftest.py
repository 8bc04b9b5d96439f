"""An empty account and a tiny app with Regrow's entry points, so that a deployment takes seconds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

from infra import deploy as command
from tests.integration.deploy.plain_aws import plain_aws

APP = """
import os
from chalice import Chalice, Rate
from functions.answer import ANSWER

app = Chalice(app_name="regrow")
cluster = os.environ["REGROW_CLUSTER"]


@app.on_sqs_message(queue=f"regrow-{cluster}-inbox", batch_size=10)
def intake(event):
    return ANSWER


@app.on_sqs_message(queue=f"regrow-{cluster}-pass.fifo", batch_size=1)
def remediate(event):
    return ANSWER


@app.schedule(Rate(1, unit=Rate.MINUTES))
def sweep(event):
    return ANSWER


@app.lambda_function()
def drill(event, context):
    return ANSWER


@app.lambda_function()
def mint(event, context):
    return ANSWER


@app.lambda_function()
def approve(event, context):
    return ANSWER
"""


@dataclass(frozen=True)
class Site:
    """A checkout, a place to build in, and an account to deploy to."""

    checkout: Path
    build: Path
    session: Any

    def deploy(self, cluster: str, settings: dict[str, str] | None = None) -> command.Deployment:
        build = self.build / cluster
        return command.deploy(cluster, session=self.session, source=self.checkout, build=build, settings=settings)

    def remove(self, cluster: str) -> None:
        command.remove(cluster, session=self.session, build=self.build / cluster)

    def client(self, service: str) -> Any:
        return self.session.client(service)


@pytest.fixture(scope="session")
def account() -> Iterator[str]:
    with plain_aws() as url:
        yield url


@pytest.fixture
def site(account: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    for name, value in {
        "AWS_ENDPOINT_URL": account,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "REGROW_CACHE": str(tmp_path / "cache"),
    }.items():
        monkeypatch.setenv(name, value)
    checkout = tmp_path / "checkout"
    (checkout / "functions").mkdir(parents=True)
    (checkout / "app.py").write_text(APP)
    (checkout / "requirements.txt").write_text("")
    (checkout / "functions" / "__init__.py").write_text("")
    (checkout / "functions" / "answer.py").write_text("ANSWER = 1\n")
    return Site(checkout, tmp_path / "build", boto3.Session())
