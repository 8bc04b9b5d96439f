"""moto's own server in a process of its own: nothing that another test does to moto in this process reaches it."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

START_S = 30.0


@contextmanager
def plain_aws() -> Iterator[str]:
    """The address of an empty account, for as long as the block lasts."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_it_answers(url, server)
        yield url
    finally:
        server.kill()
        server.wait()


def _wait_until_it_answers(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            urllib.request.urlopen(f"{url}/moto-api/data.json", timeout=5).close()  # noqa: S310 - our own server
            return
        except (urllib.error.URLError, ConnectionError):
            assert server.poll() is None, "moto's server ended at once"
            assert time.monotonic() < deadline, "moto's server does not answer"
            time.sleep(0.05)
