"""What the functions did in a stretch of time: their calls, as those counted them who were called, and their runs."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.audit import Asked, AuditLog
from infra.local.cloud.access import trail
from infra.local.cluster import Cluster
from infra.local.drills.invocations import Invocations, read_invocations

_READS = frozenset({"GetItem", "Query"})
"""Each is one consistent read of at most 4 KB, one unit, as long as there are few machines."""
_WRITES = frozenset({"PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems"})


@dataclass(frozen=True)
class Called:
    """One kind of call: of which function, to what ("AWS", "Kubernetes"), and which: `ec2:DescribeInstances`."""

    function: str
    service: str
    action: str


@dataclass(frozen=True)
class Tally:
    """All that was counted. The units are DynamoDB's request units."""

    calls: Counter[Called] = field(default_factory=Counter)
    runs: Mapping[str, Invocations] = field(default_factory=dict)
    read_units: int = 0
    write_units: int = 0
    metrics: frozenset[tuple[str, str]] = frozenset()  # function and name


class Count:
    """Counts from where it was made, or read last, until it is read."""

    def __init__(self, cluster: Cluster, audit: AuditLog) -> None:
        self._cluster = cluster
        self._audit = audit
        self._log = cluster.world.place.log
        self._read: dict[Path, int] = {}
        self.read(speaks={})

    def read(self, *, speaks: Mapping[str, str]) -> Tally:
        """`speaks`: which function has spoken under each identity at the API server; others speak for themselves."""
        asked = self._audit.since_last()
        aws = [one for one in trail.read(self._new(self._log / "trail.log")) if self._function(one.caller)]
        prefix = self._cluster.function("")
        logs = {
            file.stem.removeprefix(prefix): list(self._new(file))
            for file in sorted((self._log / "functions").glob("*.log"))
        }
        return Tally(
            calls=Counter([*self._to_aws(aws), *to_kubernetes(asked, speaks)]),
            runs={function: runs for function, lines in logs.items() if (runs := read_invocations(lines)).count},
            read_units=sum(one.operation in _READS for one in aws),
            write_units=sum(write_units(one.operation, one.request_bytes) for one in aws if one.operation in _WRITES),
            metrics=frozenset((function, name) for function, lines in logs.items() for name in metrics_in(lines)),
        )

    def _to_aws(self, entries: Iterable[trail.Entry]) -> Iterator[Called]:
        for one in entries:
            # A batch of ten looks is far below the 64 kB that SQS charges as one request.
            operation = one.operation.removesuffix("Batch") if one.service == "sqs" else one.operation
            yield Called(self._function(one.caller), "AWS", f"{one.service}:{operation}")

    def _function(self, caller: str) -> str:
        """Without the cluster's name; empty when it is no function but a machine."""
        prefix = self._cluster.function("")
        return caller.removeprefix(prefix) if caller.startswith(prefix) else ""

    def _new(self, file: Path) -> Iterator[str]:
        """Its lines since the last time, whole ones only."""
        with file.open("rb") as text:
            text.seek(self._read.get(file, 0))
            lines = text.read()
        whole = lines[: lines.rfind(b"\n") + 1]
        self._read[file] = self._read.get(file, 0) + len(whole)
        yield from whole.decode(errors="replace").splitlines()


def to_kubernetes(asked: Iterable[Asked], speaks: Mapping[str, str]) -> Iterator[Called]:
    for one in asked:
        yield Called(speaks.get(one.identity, one.identity), "Kubernetes", one.action)


def read_units(item_bytes: int) -> int:
    """Of one consistent read: at least one, also when nothing is found."""
    return max(1, math.ceil(item_bytes / 4096))


def write_units(operation: str, request_bytes: int) -> int:
    """At most so many: the request is larger than the item. A transaction here writes two small items, at twice."""
    units = max(1, math.ceil(request_bytes / 1024))
    return 2 * max(2, units) if operation == "TransactWriteItems" else units


def metrics_in(lines: Iterable[str]) -> Iterator[str]:
    """The names of the metrics that a log's lines carry, in CloudWatch's embedded format."""
    for line in lines:
        if line.startswith('{"_aws"'):
            for directive in json.loads(line)["_aws"]["CloudWatchMetrics"]:
                yield from (metric["Name"] for metric in directive["Metrics"])
