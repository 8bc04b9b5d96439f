"""What a month costs by the call: from what was counted of each kind of case, and list prices. Pure.

What does not depend on calls is listed apart: see `fixed_usd`.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.counting import Called, Tally

PRICES = Path(__file__).with_name("prices.json")
MINUTES = 30 * 24 * 60
LONG_POLL_S = 20
GB = 1e9
FIFO_SENDERS = frozenset({"intake", "sweep"})
"""They send to the queue of passes; passes send to the inbox."""
CONSUMERS = {"remediate": "sqs_fifo", "intake": "sqs_standard"}
_DECRYPTED = frozenset({"ssm:GetParameter", "ssm:PutParameter"})


@dataclass(frozen=True)
class Month:
    """What happens in one. `pollers`: how many receivers Lambda keeps at each queue that is empty: it begins with five
    and goes down to two where little comes (Lambda developer guide, scaling of SQS event source mappings)."""

    cases: Mapping[str, int]
    sweeps: int = MINUTES
    pollers: int = 5
    architecture: str = "x86"


def prices() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(PRICES.read_text())
    return content


def of_month(month: Month, counted: Mapping[str, Tally], listed: Mapping[str, Any]) -> dict[str, float]:
    """USD a month of each thing that is paid by use; `counted` has the sweep under `idle sweep`."""
    usd = {name: one["usd"] for name, one in listed["prices"].items()}
    lines: defaultdict[str, float] = defaultdict(float)
    for name, times in {**month.cases, "idle sweep": month.sweeps}.items():
        of = "the sweep" if name == "idle sweep" else "cases"
        for what, cost in of_tally(counted[name], usd, month.architecture).items():
            lines[f"{of}: {what}"] += times * cost
    for consumer, price in CONSUMERS.items():
        polls = month.pollers * MINUTES * 60 / LONG_POLL_S
        lines[f"waiting at queues: {consumer}"] = polls * usd[price]
    return {line: round(cost, 4) for line, cost in sorted(lines.items())}


def of_tally(tally: Tally, usd: Mapping[str, float], architecture: str) -> dict[str, float]:
    """USD of each service for one play of a case."""
    runs = tally.runs.values()
    gb_s = sum(one.billed_ms / 1000 * one.memory_mib / 1024 for one in runs)
    sent = _count(tally.calls, "sqs:SendMessage")
    sqs = sum(n * usd["sqs_fifo" if who in FIFO_SENDERS else "sqs_standard"] for who, n in sent.items())
    # A batch that was worked off is deleted, and was received by a poll that did not wait its time.
    sqs += sum(2 * tally.runs[who].count * usd[price] for who, price in CONSUMERS.items() if who in tally.runs)
    keys = sum(sum(_count(tally.calls, action).values()) for action in _DECRYPTED)
    return {
        "Lambda": sum(one.count for one in runs) * usd["lambda_request"] + gb_s * usd[f"lambda_gb_s_{architecture}"],
        "SQS": sqs,
        "DynamoDB": tally.read_units * usd["dynamodb_read"] + tally.write_units * usd["dynamodb_write"],
        "KMS": keys * usd["kms_request"],
        "SNS": sum(_count(tally.calls, "sns:Publish").values()) * usd["sns_publish"],
        "logs": sum(one.log_bytes for one in runs) / GB * usd["logs_gb"],
    }


def fixed_usd(*, alarms: int, always_metrics: int, other_metrics: int, listed: Mapping[str, Any]) -> dict[str, float]:
    """What is paid whether or not anything happens. Metrics that only cases send are paid by their hours, at most."""
    usd = {name: one["usd"] for name, one in listed["fixed"].items()}
    return {
        "KMS key": usd["kms_key"],
        f"{alarms} alarms": round(alarms * usd["alarm"], 2),
        f"{always_metrics} metrics that every sweep sends": round(always_metrics * usd["metric"], 2),
        f"{other_metrics} metrics that cases send, at most": round(other_metrics * usd["metric"], 2),
    }


def _count(calls: Counter[Called], action: str) -> Counter[str]:
    """How often each function made this call."""
    found: Counter[str] = Counter()
    for called, times in calls.items():
        if called.action == action:
            found[called.function] += times
    return found
