"""What a function writes: into its CloudWatch log group, into a file to follow, and into the answer's log tail."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from pathlib import Path

from moto.logs.models import logs_backends

from infra.local.cloud.extension import ACCOUNT, REGION

_TAIL_BYTES = 4096


class FunctionLog:
    """The log of one environment, as Lambda keeps it: a stream of its own in /aws/lambda/<function>."""

    def __init__(self, function: str, version: str, environment_id: str, file: Path) -> None:
        self._group = f"/aws/lambda/{function}"
        self.stream = f"{datetime.now(UTC):%Y/%m/%d}/[{version}]{environment_id}"
        self._version = version
        self._file = file
        self._lock = threading.Lock()
        self._lines: list[tuple[int, str]] = []
        file.parent.mkdir(parents=True, exist_ok=True)

    def line(self, text: str) -> None:
        """One line, as the function writes it; it can be seen in the file at once."""
        with self._lock:
            # CloudWatch takes lines in the order of their times alone: the clock may be set back, the order may not.
            earliest_ms = self._lines[-1][0] if self._lines else 0
            self._lines.append((max(int(time.time() * 1000), earliest_ms), text))
            with self._file.open("a", encoding="utf-8") as file:
                file.write(text + "\n")

    def begin(self, request_id: str) -> None:
        self.line(f"START RequestId: {request_id} Version: {self._version}")

    def end(self, request_id: str, duration_s: float, memory_mb: int, init_s: float | None, verdict: str = "") -> str:
        """Close the invocation with Lambda's END and REPORT lines, hand it to CloudWatch, and return its tail."""
        self.line(f"END RequestId: {request_id}")
        duration_ms = duration_s * 1000
        durations = f"Duration: {duration_ms:.2f} ms\tBilled Duration: {int(duration_ms) + 1} ms"
        init = "" if init_s is None else f"\tInit Duration: {init_s * 1000:.2f} ms"
        self.line(f"REPORT RequestId: {request_id}\t{durations}\tMemory Size: {memory_mb} MB{init}{verdict}")
        with self._lock:
            lines, self._lines = self._lines, []
        logs = logs_backends[ACCOUNT][REGION]
        logs.ensure_log_group(self._group)
        logs.ensure_log_stream(self._group, self.stream)
        logs.put_log_events(self._group, self.stream, [{"timestamp": at, "message": text} for at, text in lines])
        written = "".join(text + "\n" for _, text in lines).encode()
        return written[-_TAIL_BYTES:].decode(errors="ignore")
