"""The metadata client against a server that insists on version 2, as instances with HttpTokens=required do."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from infra.node.failures import NodeError, UnreachableError
from infra.node.metadata import Identity, Metadata

DOCUMENT = {
    "instanceId": "i-0abc",
    "availabilityZone": "us-east-1a",
    "region": "us-east-1",
    "privateIp": "10.77.1.5",
    "architecture": "x86_64",
}
ROLE_PATH = "/latest/meta-data/iam/security-credentials/"


class Service(ThreadingHTTPServer):
    """A metadata service whose tokens can be made to run out."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.tokens_given = 0
        self.failures_to_come = 0
        self.pages = {
            "/latest/dynamic/instance-identity/document": json.dumps(DOCUMENT),
            ROLE_PATH: "regrow-drill-worker",
            ROLE_PATH + "regrow-drill-worker": json.dumps(
                {"AccessKeyId": "AKID", "SecretAccessKey": "secret", "Token": "session"}
            ),
        }

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def current_token(self) -> str:
        return f"token-{self.tokens_given}"

    def forget_tokens(self) -> None:
        self.tokens_given += 1


class Answer(BaseHTTPRequestHandler):
    server: Service

    def do_PUT(self) -> None:
        assert self.path == "/latest/api/token"
        assert int(self.headers["X-aws-ec2-metadata-token-ttl-seconds"]) > 0
        self.server.tokens_given += 1
        self._say(200, self.server.current_token)

    def do_GET(self) -> None:
        if self.server.failures_to_come:
            self.server.failures_to_come -= 1
            self._say(503, "")
        elif self.headers.get("X-aws-ec2-metadata-token") != self.server.current_token:
            self._say(401, "")
        elif self.path in self.server.pages:
            self._say(200, self.server.pages[self.path])
        else:
            self._say(404, "")

    def _say(self, code: int, text: str) -> None:
        self.send_response(code)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Tests say nothing."""


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_a_machine_learns_who_it_is(service: Service) -> None:
    assert Metadata(service.url).identity() == Identity("i-0abc", "us-east-1a", "us-east-1", "10.77.1.5")


def test_one_session_token_serves_several_questions(service: Service) -> None:
    metadata = Metadata(service.url)
    metadata.identity()
    assert metadata.credentials().session_token == "session"
    assert service.tokens_given == 1


def test_a_token_that_the_service_forgot_is_replaced(service: Service) -> None:
    metadata = Metadata(service.url, sleep=lambda _: None)
    metadata.identity()
    service.forget_tokens()
    assert metadata.identity().instance_id == "i-0abc"


def test_a_service_that_comes_up_late_is_waited_for(service: Service) -> None:
    service.failures_to_come = 3
    waited: list[float] = []
    assert Metadata(service.url, sleep=waited.append).identity().instance_id == "i-0abc"
    assert len(waited) == 3


def test_a_machine_without_a_role_is_told_what_its_template_lacks(service: Service) -> None:
    service.pages[ROLE_PATH] = ""
    with pytest.raises(NodeError, match="launch template"):
        Metadata(service.url).credentials()


def test_no_service_at_all_is_an_error_after_the_wait() -> None:
    with pytest.raises(UnreachableError, match="does not answer"):
        Metadata("http://127.0.0.1:1", wait_s=0).identity()
