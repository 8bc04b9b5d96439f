"""The invocations of a function, as its log tells them: how many, how many cold, how many at once, what was billed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_REPORT = re.compile(
    r"^REPORT RequestId: .*\tBilled Duration: (?P<ms>\d+) ms\tMemory Size: (?P<mib>\d+) MB(?P<rest>.*)"
)


@dataclass(frozen=True)
class Invocations:
    """`at_once`: the most that ran at the same time; `slowest_ms` counts a cold one's initialisation too."""

    count: int = 0
    cold: int = 0
    at_once: int = 0
    billed_ms: int = 0
    slowest_ms: int = 0
    memory_mib: int = 0
    log_bytes: int = 0


def read_invocations(lines: Iterable[str]) -> Invocations:
    """Those that ended in these lines; one that began in earlier lines counts as it ended."""
    billed: list[int] = []
    cold = running = at_once = size = memory_mib = 0
    for line in lines:
        size += len(line.encode()) + 1
        if line.startswith("START RequestId: "):
            running += 1
            at_once = max(at_once, running)
        elif report := _REPORT.match(line):
            running = max(0, running - 1)
            billed.append(int(report["ms"]))
            cold += "Init Duration" in report["rest"]
            memory_mib = int(report["mib"])
    return Invocations(len(billed), cold, at_once, sum(billed), max(billed, default=0), memory_mib, size)
