"""A real HTTP server on this machine that answers what a test lays down, and keeps what it was asked."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any


@dataclass(frozen=True)
class Request:
    """One request as it came in; `body` is read as JSON when there is one."""

    method: str
    path: str
    content_type: str
    body: Any


@dataclass(frozen=True)
class Answer:
    """What to answer. One that `hangs` never comes; the connection stays open until the server ends."""

    status: int = 200
    body: bytes = b"{}"
    content_type: str = "application/json"
    hangs: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Server:
    """`answers` are given in order, the last one again and again; a path in `at` has its own one."""

    answers: list[Answer]
    at: Mapping[str, Answer] = field(default_factory=dict)
    url: str = ""
    requests: list[Request] = field(default_factory=list)
    ended: Event = field(default_factory=Event)

    def next_answer(self, request: Request) -> Answer:
        self.requests.append(request)
        if request.path in self.at:
            return self.at[request.path]
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def answer_json(content: object, status: int = 200) -> Answer:
    return Answer(status, json.dumps(content).encode())


@contextmanager
def answering(*answers: Answer, at: Mapping[str, Answer] | None = None) -> Iterator[Server]:
    server = Server(list(answers), at or {})

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            text = self.rfile.read(length)
            kind = self.headers.get("Content-Type", "")
            body = json.loads(text) if text and "json" in kind else text.decode()
            answer = server.next_answer(Request(self.command, self.path, kind, body))
            if answer.hangs:
                server.ended.wait()
                self.close_connection = True
                return
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.content_type)
            self.send_header("Content-Length", str(len(answer.body)))
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = _answer  # noqa: N815 - http.server's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """The requests are kept; nobody reads a log."""

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.daemon_threads = True
    server.url = f"http://127.0.0.1:{listening.server_address[1]}"
    thread = Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.ended.set()
        listening.shutdown()
        thread.join()
        listening.server_close()


def closed_port() -> int:
    """Return a port of this machine on which nobody listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
