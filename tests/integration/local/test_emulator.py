"""The emulator answers an invocation as Lambda would, with the Python and boto3 of the runtime."""

import http.client
import io
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local.building.emulator import ensure
from infra.local.progress import Progress

HANDLER = "import boto3\ndef handler(event, context):\n    return {'got': event, 'boto3': boto3.__version__}\n"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "app.py").write_text(HANDLER)
    emulator, port = ensure(Progress(io.StringIO())), free_port()
    process = subprocess.Popen(
        [
            emulator.rie,
            *("--runtime-interface-emulator-address", f"127.0.0.1:{port}"),
            *("--runtime-api-address", f"127.0.0.1:{free_port()}"),
            *(emulator.python, "-m", "awslambdaric", "app.handler"),
        ],
        env={"PATH": os.defpath, "LAMBDA_TASK_ROOT": str(tmp_path), "AWS_REGION": "us-east-1"},
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    yield port
    process.kill()
    process.wait()


def invoke(port: int, event: object) -> bytes:
    """Invoke the function, as soon as the emulator listens."""
    deadline = time.monotonic() + 10
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request("POST", "/2015-03-31/functions/function/invocations", json.dumps(event))
            return connection.getresponse().read()
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        finally:
            connection.close()


def test_a_handler_runs_on_the_runtimes_own_boto3(port: int) -> None:
    assert json.loads(invoke(port, {"a": 1})) == {"got": {"a": 1}, "boto3": "1.44.5"}


def test_what_was_fetched_is_not_fetched_again() -> None:
    first = ensure(Progress(io.StringIO()))
    said = io.StringIO()
    assert ensure(Progress(said)) == first
    assert said.getvalue() == ""
