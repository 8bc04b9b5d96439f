"""A permission that is missing fails a drill; a machine that asks too early for its own bundle does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.local.drills.denials import AwsLog, judge_denials

ROLE = "arn:aws:sts::123456789012:assumed-role/regrow-drill-worker"
PARAMETER = "arn:aws:ssm:us-east-1:123456789012:parameter/regrow/drill/join"
HEAD = "2026-11-21 16:20:30,833 WARNING infra.local.cloud.access.authority: access denied:"


def denied(who: str, action: str, resource: str) -> str:
    return f"{HEAD} principal={ROLE}/{who} action={action} resource={resource} with an explicit deny context={{}}"


OWN = denied("i-01", "ssm:GetParameter", f"{PARAMETER}/i-01")
ANOTHERS = denied("i-01", "ssm:GetParameter", f"{PARAMETER}/i-02")
OWN_LONGER = denied("i-01", "ssm:GetParameter", f"{PARAMETER}/i-012")
WRITES = denied("i-01", "ssm:PutParameter", f"{PARAMETER}/i-01")
AGENT = denied("i-01", "ssm:UpdateInstanceInformation", "arn:aws:ec2:us-east-1:123456789012:instance/i-01")
FUNCTION = denied("regrow-drill-mint", "dynamodb:PutItem", "table")
UNDECIDED = "2026-11-21 16:20:30,833 ERROR infra.local.cloud.access.gate: cannot decide: principal=x: no rule for it"


@pytest.mark.parametrize("lines", [[], ["something else"], [OWN, OWN]])
def test_a_machine_may_ask_for_its_own_bundle_before_it_is_there(lines: list[str]) -> None:
    assert judge_denials(lines).kept


@pytest.mark.parametrize("line", [ANOTHERS, OWN_LONGER, WRITES, AGENT, FUNCTION, UNDECIDED])
def test_every_other_refusal_breaks_the_promise_and_is_shown(line: str) -> None:
    found = judge_denials([OWN, line, line])
    assert not found.kept
    assert found.seen.endswith("(2 times)")


def test_only_what_was_refused_since_then_counts(tmp_path: Path) -> None:
    path = tmp_path / "aws.log"
    path.write_text(FUNCTION + "\n")
    log = AwsLog(path)
    assert log.lines() == []
    with path.open("a") as more:
        more.write(UNDECIDED + "\n")
    assert log.lines() == [UNDECIDED]
