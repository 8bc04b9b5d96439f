"""What the local AWS has refused to functions and machines: a permission that a policy lacks shows here."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from infra.local.drills.findings import Finding

_DENIED = re.compile(r"access denied: principal=(?P<who>\S+) action=(?P<action>\S+) resource=(?P<resource>\S+)")
_UNDECIDED = re.compile(r"cannot decide: (?P<what>.*)")
_OWN_BUNDLE = re.compile(r"(?P<machine>i-[0-9a-f]+) ssm:GetParameter \S+/(?:join|certificate-key)/(?P=machine)")


class AwsLog:
    """The log of a world's AWS, from here on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._from = path.stat().st_size

    def lines(self) -> list[str]:
        with self._path.open("rb") as log:
            log.seek(self._from)
            return log.read().decode(errors="replace").splitlines()


def judge_denials(lines: Iterable[str]) -> Finding:
    """Nothing may have been refused but to a machine that asks for its bundle before there is one. Pure.

    A parameter that does not exist has no tag that could name the machine, so IAM says no to it.
    """
    refused: Counter[str] = Counter()
    for line in lines:
        if denied := _DENIED.search(line):
            said = f"{denied['who'].rpartition('/')[2]} {denied['action']} {denied['resource']}"
            refused[said] += not _OWN_BUNDLE.fullmatch(said)
        elif undecided := _UNDECIDED.search(line):
            refused[undecided["what"]] += 1
    wrong = [f"{said} ({count} times)" for said, count in refused.items() if count]
    return Finding("no call to AWS was refused", not wrong, "; ".join(wrong) or "none")
