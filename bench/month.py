"""The figures and the page about calls: which, how often, why, and what a month costs. Pure but for the files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.calls import CASES, IDLE
from bench.cost import MINUTES, Month, fixed_usd, of_month, of_tally, prices
from bench.counting import Called, Tally
from bench.reasons import reason_of
from infra.local.places import CHECKOUT

DOCS = CHECKOUT / "docs" / "calls.md"
TEMPLATE = CHECKOUT / "infra" / "remediator" / "template.yaml"
EVENTS_A_MONTH = 10 * 30
TO_REACH_USD = 1.0


def figures(counted: Mapping[str, Tally], delays: str) -> dict[str, Any]:
    """All that was counted, and a month in which each of ten events a day is of the dearest kind there is."""
    listed = prices()
    usd = {name: one["usd"] for name, one in listed["prices"].items()}
    case_usd = {name: sum(of_tally(tally, usd, "x86").values()) for name, tally in counted.items()}
    dearest = max((name for name in counted if name != IDLE), key=case_usd.__getitem__)
    months = {
        f"{pollers} pollers, {architecture}": of_month(
            Month({dearest: EVENTS_A_MONTH}, pollers=pollers, architecture=architecture), counted, listed
        )
        for pollers, architecture in ((5, "x86"), (2, "x86"), (2, "arm"))
    }
    always = counted[IDLE].metrics
    others = frozenset().union(*(tally.metrics for tally in counted.values())) - always
    alarms = len(re.findall(r"Type: AWS::CloudWatch::Alarm", TEMPLATE.read_text()))
    return {
        "delays": delays,
        "cases": {name: _as_data(name, tally) for name, tally in counted.items()},
        "case_usd": {name: round(cost, 7) for name, cost in case_usd.items()},
        "month": {
            "machines": 100,
            "events": EVENTS_A_MONTH,
            "each_event": dearest,
            "sweeps": MINUTES,
            "usd": {name: {"in all": round(sum(lines.values()), 4), **lines} for name, lines in months.items()},
            "fixed_usd": fixed_usd(alarms=alarms, always_metrics=len(always), other_metrics=len(others), listed=listed),
            "network_usd": {name: listed["fixed"][name]["usd"] for name in ("nat_gateway", "interface_endpoint")},
            "prices_as_of": listed["as_of"],
        },
    }


def _as_data(name: str, tally: Tally) -> dict[str, Any]:
    """RuntimeError for calls of which nobody has said why they are made."""
    rows = [(called, times) for called, times in sorted(tally.calls.items(), key=lambda one: _order(one[0]))]
    if unexplained := [str(called) for called, _ in rows if reason_of(called) is None]:
        raise RuntimeError(f"{name}: no reason is given in bench/reasons.py for {'; '.join(unexplained)}")
    return {
        "calls": [{**asdict(called), "times": times, "reason": reason_of(called)} for called, times in rows],
        "runs": {function: asdict(runs) for function, runs in tally.runs.items()},
        "dynamodb": {"read_units": tally.read_units, "write_units": tally.write_units},
    }


def _order(called: Called) -> tuple[str, str, str]:
    return called.function, called.service, called.action


def write_docs(found: Mapping[str, Any], path: Path = DOCS) -> None:
    path.write_text("\n".join(page(found)) + "\n")


def page(found: Mapping[str, Any]) -> Iterator[str]:
    """The page, line by line. Nothing in it is written by hand but the reasons."""
    names = list(found["cases"])
    yield "# Calls"
    yield ""
    yield "Written by `python -m bench --calls`, which counts: AWS by the record of its gate (a world's `trail.log`),"
    yield "Kubernetes by the API server's audit log. Reasons are in `bench/reasons.py`; a call without one fails there."
    yield f"Delays are those of `{found['delays']}`; functions begin cold. How often a pass looks again is a matter of"
    yield "time: the counts of a case differ from run to run, and grow on a host that is slow."
    yield ""
    yield f"- **{IDLE}**: a minute in which nothing is wrong with 100 machines, in a warm environment"
    for case in CASES:
        if case.name in names:
            yield f"- **{case.name}**: {case.about}"
    yield ""
    yield f"| function | call | {' | '.join(names)} | why |"
    yield f"|---|---|{'---|' * len(names)}---|"
    yield from _rows(found["cases"])
    yield ""
    yield f"| invocations (cold), billed s | {' | '.join(names)} |"
    yield f"|---|{'---|' * len(names)}"
    functions = sorted({function for case in found["cases"].values() for function in case["runs"]})
    for function in functions:
        cells = (_ran(case["runs"].get(function)) for case in found["cases"].values())
        yield f"| {function} | {' | '.join(cells)} |"
    yield f"| DynamoDB units read, written | {' | '.join(_units(case) for case in found['cases'].values())} |"
    yield ""
    yield from _cost(found)


def _rows(cases: Mapping[str, Any]) -> Iterator[str]:
    rows: dict[tuple[str, str, str, str], dict[str, int]] = {}
    for name, case in cases.items():
        for call in case["calls"]:
            key = (call["function"], call["service"], call["action"], call["reason"])
            rows.setdefault(key, {})[name] = call["times"]
    for (function, _, action, reason), times in sorted(rows.items()):
        counts = " | ".join(str(times.get(name, "")) for name in cases)
        yield f"| {function} | `{action}` | {counts} | {reason} |"


def _ran(runs: Mapping[str, Any] | None) -> str:
    return "" if runs is None else f"{runs['count']} ({runs['cold']}), {runs['billed_ms'] / 1000:.1f}"


def _units(case: Mapping[str, Any]) -> str:
    return f"{case['dynamodb']['read_units']}, {case['dynamodb']['write_units']}"


def _cost(found: Mapping[str, Any]) -> Iterator[str]:
    month = found["month"]
    columns = month["usd"]
    yield "## What a month costs"
    yield ""
    machines, sweeps = month["machines"], month["sweeps"]
    yield f"{machines} machines, {sweeps} sweeps, and ten events a day, each of them of the dearest kind"
    yield f"(*{month['each_event']}*). List prices of us-east-1, {month['prices_as_of']} (`bench/prices.json`), without"
    yield "free tiers. Lambda keeps five receivers at an empty queue, or as few as two where little comes; durations"
    yield "are those of the host on which this was counted."
    yield ""
    yield f"| USD | {' | '.join(columns)} |"
    yield f"|---|{'---|' * len(columns)}"
    for line in dict.fromkeys(line for lines in columns.values() for line in lines):
        yield f"| {line} | {' | '.join(f'{lines.get(line, 0):.3f}' for lines in columns.values())} |"
    yield ""
    yield f"To reach: {TO_REACH_USD:.2f} in all. Apart from that, whether or not anything happens:"
    yield ""
    yield "| fixed | USD a month |"
    yield "|---|---|"
    for what, cost in month["fixed_usd"].items():
        yield f"| {what} | {cost:.2f} |"
    yield f"| the functions' way to AWS from a VPC: a NAT gateway | {month['network_usd']['nat_gateway']:.2f} |"
    yield f"| or seven interface endpoints in one zone | {7 * month['network_usd']['interface_endpoint']:.2f} |"
