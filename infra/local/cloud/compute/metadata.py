"""The instance metadata service, version 2 only: who asks is told by the address it asks from."""

from __future__ import annotations

import http.server
import logging
import secrets
import socket
import threading
import time
from http import HTTPStatus

from infra.local.cloud.compute.instances import MachineInstance
from infra.local.cloud.compute.metadata_tree import MetadataTree

log = logging.getLogger(__name__)

POLL_S = 0.05
LONGEST_TTL_S = 21_600
TOKEN_PATH = "/latest/api/token"  # noqa: S105 - not a secret
TOKEN_HEADER = "X-aws-ec2-metadata-token"  # noqa: S105 - not a secret
USUAL_HOPS = 64
TTL_HEADER = "X-aws-ec2-metadata-token-ttl-seconds"


class Tokens:
    """Session tokens. Each is good for one instance and for the time it was asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tokens: dict[str, tuple[str, float]] = {}

    def issue(self, instance_id: str, ttl_s: int) -> str:
        token = secrets.token_urlsafe(40)
        now = time.monotonic()
        with self._lock:
            self._tokens = {key: held for key, held in self._tokens.items() if held[1] > now}
            self._tokens[token] = (instance_id, now + ttl_s)
        return token

    def good(self, token: str, instance_id: str) -> bool:
        with self._lock:
            owner, until = self._tokens.get(token, ("", 0.0))
        return owner == instance_id and until > time.monotonic()


class Handler(http.server.BaseHTTPRequestHandler):
    """One request of one instance."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server_version = "EC2ws"
    sys_version = ""
    server: MetadataHTTPServer

    def do_PUT(self) -> None:
        instance = self._caller()
        if instance is None:
            return
        # A proxy in between would hand the token to strangers.
        if self.headers.get("X-Forwarded-For"):
            self._answer(HTTPStatus.FORBIDDEN)
        elif self.path != TOKEN_PATH:
            self._answer(HTTPStatus.METHOD_NOT_ALLOWED)
        else:
            ttl = self.headers.get(TTL_HEADER, "")
            if not ttl.isdigit() or not 1 <= int(ttl) <= LONGEST_TTL_S:
                self._answer(HTTPStatus.BAD_REQUEST)
            else:
                token = self.server.tokens.issue(instance.id, int(ttl))
                # Pods are a hop further away than the instance, so its hop limit decides whether they get a token.
                self._reach(instance.metadata_options.http_put_response_hop_limit)
                self._answer(HTTPStatus.OK, token, {TTL_HEADER: ttl})
                self.wfile.flush()
                self._reach(USUAL_HOPS)

    def do_GET(self) -> None:
        instance = self._caller()
        if instance is None:
            return
        if not self.server.tokens.good(self.headers.get(TOKEN_HEADER, ""), instance.id):
            self._answer(HTTPStatus.UNAUTHORIZED)
            return
        found = self.server.tree.get(instance, self.path.partition("?")[0])
        self._answer(HTTPStatus.NOT_FOUND if found is None else HTTPStatus.OK, found)

    do_HEAD = do_GET  # noqa: N815 - the base class's name

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        log.debug("%s %s", self.client_address[0], format % args)

    def _reach(self, hops: int) -> None:
        self.connection.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hops)

    def _caller(self) -> MachineInstance | None:
        instance = self.server.tree.instance_at(self.client_address[0])
        if instance is None:
            self._answer(HTTPStatus.NOT_FOUND)
        return instance

    def _answer(
        self, status: HTTPStatus, body: str | bytes | None = None, headers: dict[str, str] | None = None
    ) -> None:
        # A body that came with the request is left unread, so the connection cannot go on.
        self.close_connection = self.close_connection or self.headers.get("Content-Length", "0") != "0"
        content = (status.phrase if body is None else body) if isinstance(body, str | None) else body
        encoded = content.encode() if isinstance(content, str) else content
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(encoded)))
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(encoded)


class MetadataHTTPServer(http.server.ThreadingHTTPServer):
    """The listening side, with what its handlers share."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int]) -> None:
        self.tokens = Tokens()
        self.tree = MetadataTree()
        super().__init__(address, Handler)

    def server_bind(self) -> None:
        # The base class looks its own name up in DNS, which takes seconds where there is none.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        host, self.server_port = self.socket.getsockname()
        self.server_name = str(host)


class MetadataServer:
    """Serves between `start` and `stop`. In a world on 169.254.169.254:80."""

    def __init__(self, host: str, port: int) -> None:
        self._server = MetadataHTTPServer((host, port))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(POLL_S,), name="metadata", daemon=True)

    @property
    def endpoint(self) -> str:
        return f"http://{self._server.server_name}:{self._server.server_port}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
