"""One execution environment of a function: AWS's runtime interface emulator, the runtime, and what the function starts.

The emulator serves one invocation at a time (a second one at once makes it panic), so each concurrent environment has
an emulator of its own. It runs as the first process of a PID namespace: killing it takes everything along, at once.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol, cast

# Real Lambda gives the initialisation 10 s outside the function's own timeout.
INIT_LIMIT_S = 10.0
_UP_LIMIT_S = 10.0
_LAST_LINES_LIMIT_S = 2.0
_INIT_DURATION = re.compile(r"\(rapid\) INIT REPORT\(durationMs: ([0-9.]+)\)")
_OWN_LINE = re.compile(r"^\d+ \w+ \d{4} [\d:,]+ \[\w+\] \(rapid\)|^(START|END|REPORT) RequestId: [0-9a-f-]{36}")


class Emulator(Protocol):
    """The programs that an environment is made of."""

    @property
    def rie(self) -> Path: ...

    @property
    def python(self) -> Path: ...


class EmulatorError(Exception):
    """The emulator itself did not work: no answer about the function can be given."""


@dataclass(frozen=True)
class Answer:
    """What came out of one invocation. `error` is as in X-Amz-Function-Error.

    After a `broken` one the environment must not be used again.
    """

    payload: bytes
    error: str | None
    broken: bool


class Environment:
    """A running emulator. Lines that the function writes go to `write_line` as they come."""

    def __init__(
        self,
        emulator: Emulator,
        handler: str,
        code: Path,
        variables: Mapping[str, str],
        timeout_s: int,
        write_line: Callable[[str], None],
    ) -> None:
        self._emulator = emulator
        self._handler = handler
        self._code = code
        self._variables = {**variables, "AWS_LAMBDA_FUNCTION_TIMEOUT": str(timeout_s)}
        self._timeout_s = timeout_s
        self._write_line = write_line
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._port = 0
        self._ended: dict[str, threading.Event] = {}
        self.init_s: float | None = None

    def start(self) -> None:
        """Return once the emulator listens. The thread that calls this must live as long as the environment may:
        the kernel kills the emulator when that thread ends, so that no world leaves one behind."""
        for _ in range(3):
            self._port, runtime_port = _free_ports()
            self._process = self._spawn(runtime_port)
            self._reader = threading.Thread(target=self._read, args=(self._process,), name="environment", daemon=True)
            self._reader.start()
            if self._is_up():
                return
            self.kill()
        raise EmulatorError(
            f"The emulator for {self._handler} did not begin to listen: see the last lines of the function's log."
        )

    def invoke(self, payload: bytes, request_id: str) -> Answer:
        """Run the handler once. Always returns: at the latest a little after the function's timeout."""
        ended = self._ended.setdefault(request_id, threading.Event())
        connection = http.client.HTTPConnection(
            "127.0.0.1", self._port, timeout=self._timeout_s + INIT_LIMIT_S + _LAST_LINES_LIMIT_S
        )
        try:
            connection.request(
                "POST",
                "/2015-03-31/functions/function/invocations",
                body=payload,
                headers={"X-Amzn-RequestId": request_id, "Content-Type": "application/json"},
            )
            response = connection.getresponse()
            status, body = response.status, response.read()
        except TimeoutError:
            return Answer(timed_out(request_id, self._timeout_s), "Unhandled", broken=True)
        except (OSError, http.client.HTTPException):
            return Answer(exited(request_id, self._end()), "Unhandled", broken=True)
        finally:
            connection.close()
        answer = understood(status, body, request_id, self._timeout_s)
        if not answer.broken:
            ended.wait(_LAST_LINES_LIMIT_S)
        self._ended.pop(request_id, None)
        return answer

    def kill(self) -> None:
        """SIGKILL everything that runs in this environment, and wait until it is gone. May be called at any time."""
        process, reader = self._process, self._reader
        if process is None or reader is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.wait()
        # Every process of the environment holds the pipe open: its end means that the last one is gone.
        if threading.current_thread() is not reader:
            reader.join(timeout=5.0)

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _end(self) -> str:
        """How the emulator ended, in Lambda's words for a runtime; it is ending when this is asked."""
        process = cast("subprocess.Popen[str]", self._process)
        try:
            code = process.wait(timeout=_LAST_LINES_LIMIT_S)
        except subprocess.TimeoutExpired:
            return "connection lost"
        return f"signal: {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"

    def _spawn(self, runtime_port: int) -> subprocess.Popen[str]:
        command = [
            *("setpriv", "--pdeathsig", "KILL", "unshare", "--fork", "--pid", "--kill-child=SIGKILL"),
            # Without capabilities even root cannot write to the read-only code.
            *("setpriv", "--bounding-set=-all", "--inh-caps=-all"),
            str(self._emulator.rie),
            *("--runtime-interface-emulator-address", f"127.0.0.1:{self._port}"),
            *("--runtime-api-address", f"127.0.0.1:{runtime_port}"),
            *(str(self._emulator.python), "-m", "awslambdaric", self._handler),
        ]
        try:
            return subprocess.Popen(
                command,
                cwd=self._code,
                env=self._variables,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise EmulatorError(f"{error.filename} is missing: install util-linux (setpriv, unshare).") from error

    def _is_up(self) -> bool:
        deadline = time.monotonic() + _UP_LIMIT_S
        while self.alive and time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), timeout=1.0):
                return True
            time.sleep(0.002)
        return False

    def _read(self, process: subprocess.Popen[str]) -> None:
        output = cast("IO[str]", process.stdout)
        for line in output:
            text = line.rstrip("\n")
            if found := _INIT_DURATION.search(text):
                self.init_s = self.init_s or float(found[1]) / 1000
            if text.startswith("END RequestId: ") and (ended := self._ended.get(text.split()[2])):
                ended.set()
            # The emulator's own START, END and REPORT carry made-up figures: the true ones are written by who invokes.
            if not _OWN_LINE.match(text):
                self._write_line(text)
        output.close()


def understood(status: int, body: bytes, request_id: str, timeout_s: int) -> Answer:
    """The emulator's answer in Lambda's terms. It marks no error by a header, so the body must tell.

    A handler's result is JSON, which the text about a timeout is not; a raised error has exactly four members, of
    which one is the id of this very request, so a returned object that merely looks like an error is none.
    """
    if status != http.client.OK:
        return Answer(body, "Unhandled", broken=True)
    if body.startswith(b"Task timed out after"):
        return Answer(timed_out(request_id, timeout_s), "Unhandled", broken=True)
    try:
        result = json.loads(body)
    except ValueError:
        return Answer(body, None, broken=False)
    if (
        isinstance(result, dict)
        and result.keys() == {"errorMessage", "errorType", "requestId", "stackTrace"}
        and result["requestId"] == request_id
    ):
        return Answer(body, "Unhandled", broken=False)
    return Answer(body, None, broken=False)


def timed_out(request_id: str, timeout_s: int) -> bytes:
    """What Lambda answers when a function did not end in time."""
    return _error("Sandbox.Timedout", f"RequestId: {request_id} Error: Task timed out after {timeout_s:.2f} seconds")


def exited(request_id: str, how: str) -> bytes:
    """What Lambda answers when the runtime went away."""
    return _error("Runtime.ExitError", f"RequestId: {request_id} Error: Runtime exited with error: {how}")


def _error(kind: str, message: str) -> bytes:
    return json.dumps({"errorType": kind, "errorMessage": message}).encode()


def _free_ports() -> tuple[int, int]:
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        return int(first.getsockname()[1]), int(second.getsockname()[1])
