"""A drain that a budget holds up is told well only when one entry names both the pod and its budget."""

from __future__ import annotations

import pytest

from infra.local.drills.held import judge_named

POD = "held-6d9f7c5b8-x2x4q"
SAID = f"1 of 1 pods on i-000000001 may not be evicted yet: default/{POD}: The disruption budget one-stays needs 1"


def test_an_entry_that_names_both_is_shown() -> None:
    finding = judge_named([{"verdict": "leaving"}, {"then": SAID}], POD)
    assert (finding.kept, finding.seen) == (True, SAID)


@pytest.mark.parametrize(
    "history",
    [
        [],
        [{"then": None}],
        [{"then": f"1 pod is (default/{POD}) not gone yet"}],
        [{"then": SAID.replace(POD, "held-other")}],
        [{"then": f"default/{POD} is held"}, {"then": "the disruption budget one-stays needs 1"}],
    ],
)
def test_one_without_the_other_is_not_enough(history: list[dict[str, object]]) -> None:
    assert not judge_named(history, POD).kept
