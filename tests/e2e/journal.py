"""What a deployed function has written to its log, line by line as it comes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class Journal:
    """The structured lines that a function writes after this was made; Lambda's own and metrics are left out."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_bytes = path.stat().st_size if path.exists() else 0
        self._lines: list[dict[str, Any]] = []
        self._broken = 0

    def lines(self, **having: Any) -> list[dict[str, Any]]:
        """All lines so far in which every one of these fields is as given."""
        self._read()
        return [line for line in self._lines if having.items() <= line.items()]

    def broken(self) -> int:
        """How many runs so far ended because their runtime did."""
        self._read()
        return self._broken

    def _read(self) -> None:
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._read_bytes)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._read_bytes += len(whole)
        lines = whole.splitlines()
        self._lines += [json.loads(line) for line in lines if line.startswith(b'{"level"')]
        self._broken += sum(line.startswith(b"REPORT") and b"Status: error" in line for line in lines)
