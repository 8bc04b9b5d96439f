"""What a month costs follows from what was counted, by list prices, with nothing left out."""

from __future__ import annotations

from collections import Counter

import pytest

from bench.cost import MINUTES, Month, fixed_usd, of_month, of_tally, prices
from bench.counting import Called, Tally, read_units, write_units
from infra.local.drills.invocations import Invocations

USD = {
    "lambda_request": 1.0,
    "lambda_gb_s_x86": 10.0,
    "lambda_gb_s_arm": 8.0,
    "sqs_standard": 100.0,
    "sqs_fifo": 1000.0,
    "dynamodb_read": 0.5,
    "dynamodb_write": 0.25,
    "kms_request": 7.0,
    "sns_publish": 3.0,
    "logs_gb": 2.0,
}
LISTED = {"prices": {name: {"usd": usd} for name, usd in USD.items()}}


def tally(*calls: Called, **runs: Invocations) -> Tally:
    return Tally(Counter(calls), runs, read_units=4, write_units=8)


def test_lambda_is_paid_by_invocation_and_by_gigabyte_second() -> None:
    runs = Invocations(count=2, billed_ms=3000, memory_mib=512)
    assert of_tally(tally(mint=runs), USD, "x86")["Lambda"] == 2 * 1.0 + 1.5 * 10.0
    assert of_tally(tally(mint=runs), USD, "arm")["Lambda"] == 2 * 1.0 + 1.5 * 8.0


def test_a_message_costs_its_sending_its_receipt_and_its_deletion_by_the_kind_of_its_queue() -> None:
    sent = Called("intake", "AWS", "sqs:SendMessage")
    later = Called("remediate", "AWS", "sqs:SendMessage")
    counted = tally(sent, later, remediate=Invocations(count=1), intake=Invocations(count=1))
    assert of_tally(counted, USD, "x86")["SQS"] == (1000 + 2 * 1000) + (100 + 2 * 100)


def test_everything_else_is_paid_by_its_own_unit() -> None:
    calls = (Called("mint", "AWS", "ssm:GetParameter"), Called("remediate", "AWS", "sns:Publish"))
    costs = of_tally(tally(*calls, mint=Invocations(count=1, log_bytes=500_000_000)), USD, "x86")
    assert (costs["KMS"], costs["SNS"], costs["logs"]) == (7.0, 3.0, 1.0)
    assert costs["DynamoDB"] == 4 * 0.5 + 8 * 0.25


def test_a_month_is_its_cases_its_sweeps_and_the_waiting_at_its_queues() -> None:
    one = tally(mint=Invocations(count=1))
    month = of_month(Month({"dead": 300}, sweeps=10, pollers=2), {"dead": one, "idle sweep": one}, LISTED)
    assert month["cases: Lambda"] == 300.0
    assert month["the sweep: Lambda"] == 10.0
    assert month["waiting at queues: remediate"] == 2 * 3 * MINUTES * 1000.0


def test_a_month_of_thirty_days_has_three_receipts_a_minute_for_each_poller() -> None:
    listed = prices()
    nothing = {"idle sweep": Tally()}
    waiting = sum(of_month(Month({}, pollers=5), nothing, listed).values())
    assert waiting == pytest.approx(5 * 3 * 43_200 * (0.4 + 0.5) / 1e6, abs=1e-3)


def test_fixed_items_are_counted_apart() -> None:
    fixed = fixed_usd(alarms=9, always_metrics=1, other_metrics=10, listed=prices())
    assert sum(fixed.values()) == pytest.approx(1.0 + 0.9 + 0.3 + 3.0)


@pytest.mark.parametrize(("size", "units"), [(0, 1), (4096, 1), (4097, 2), (40_960, 10)])
def test_a_consistent_read_takes_a_unit_for_each_four_kilobytes_and_at_least_one(size: int, units: int) -> None:
    assert read_units(size) == units


@pytest.mark.parametrize(
    ("operation", "size", "units"), [("PutItem", 300, 1), ("PutItem", 1025, 2), ("TransactWriteItems", 700, 4)]
)
def test_a_write_takes_a_unit_for_each_kilobyte_and_a_transaction_of_two_items_four(
    operation: str, size: int, units: int
) -> None:
    assert write_units(operation, size) == units
