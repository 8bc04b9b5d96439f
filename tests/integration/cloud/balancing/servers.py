"""Real servers to stand behind a balancer, each on a loopback address of its own."""

from __future__ import annotations

import socket
import socketserver
import ssl
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa


class NamingServer(socketserver.ThreadingTCPServer):
    """Sends its name to who connects, then what it is sent, until the client half-closes; then `bye`."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, address: str, port: int, name: str) -> None:
        self.name = name
        super().__init__((address, port), _Naming)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients of these tests come and go as they like."""

    def end(self) -> None:
        self.shutdown()
        self.server_close()


class _Naming(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, NamingServer)
        self.request.sendall(self.server.name.encode())
        while data := self.request.recv(65536):
            self.request.sendall(data)
        self.request.sendall(b"bye")


class StatusServer(ThreadingHTTPServer):
    """Answers every GET with `status`, which a test may change."""

    def __init__(self, address: str, port: int, tls: ssl.SSLContext | None = None) -> None:
        self.status = 200
        self.paths: list[str] = []
        super().__init__((address, port), _Status)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def end(self) -> None:
        self.shutdown()
        self.server_close()


class _Status(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, StatusServer)
        self.server.paths.append(self.path)
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Checks are many."""


def self_signed(directory: Path) -> ssl.SSLContext:
    """A server's TLS with a certificate that nobody trusts."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nobody")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = directory / "server.pem"
    file.write_bytes(private + certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


def connected(address: str, port: int, *, source: str = "", timeout_s: float = 3.0) -> socket.socket:
    return socket.create_connection((address, port), timeout=timeout_s, source_address=(source, 0))


def named(address: str, port: int, *, source: str = "", timeout_s: float = 3.0) -> str:
    """The name of the server that a new connection reaches, or the error that it meets."""
    try:
        with connected(address, port, source=source, timeout_s=timeout_s) as connection:
            return connection.recv(100).decode() or "closed"
    except OSError as error:
        return type(error).__name__
