"""A drill says that failing launches were handled only of those whose reason a person can find, and hears once."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from infra.local.drills.alerts import Alert
from infra.local.drills.never_joining import (
    RIGHT_PATH,
    SUSPENDED_BECAUSE,
    SUSPENDED_UNTIL,
    WRONG_PATH,
    GivenUp,
    Suspension,
    judge_suspension,
)
from infra.local.places import CHECKOUT

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
BOOT_LOG = f"can't open file '/opt/regrow/{WRONG_PATH}'"


def given_up(machine: str, **changes: Any) -> GivenUp:
    history: tuple[dict[str, Any], ...] = ({"verdict": "arriving"}, {"gave_up": "no token", "boot_log": BOOT_LOG})
    told = (Alert(f"{machine} never joined", f"no token.\n\n{BOOT_LOG}"),)
    return replace(GivenUp(machine, True, history, told), **changes)


HANDLED = Suspension(
    launches=tuple(given_up(f"i-{number}") for number in range(3)),
    suspended=True,
    tags={SUSPENDED_UNTIL: "2026-01-01T13:00:00Z", SUSPENDED_BECAUSE: "3 launches in a row"},
    alerts=(Alert("the group launches no more for now", "aws autoscaling resume-processes"),),
    seen_at=NOW,
)


def with_last(**changes: Any) -> Suspension:
    return replace(HANDLED, launches=(*HANDLED.launches[:2], given_up("i-2", **changes)))


def broken(sight: Suspension) -> list[str]:
    return [finding.promise for finding in judge_suspension(sight) if not finding.kept]


def test_launches_that_were_given_up_in_order_keep_every_promise() -> None:
    assert broken(HANDLED) == []


@pytest.mark.parametrize(
    ("sight", "promise"),
    [
        (with_last(unsuccessful=False), "each launch was abandoned"),
        (
            with_last(history=({"gave_up": "no token", "boot_log": ""},)),
            "the history keeps each one's reason and boot log",
        ),
        (with_last(history=({"verdict": "arriving"},)), "the history keeps each one's reason and boot log"),
        (with_last(alerts=()), "a person was told once of each, with its boot log"),
        (
            with_last(alerts=(Alert("i-2 never joined", "no token"),)),
            "a person was told once of each, with its boot log",
        ),
        (with_last(alerts=HANDLED.launches[2].alerts * 2), "a person was told once of each, with its boot log"),
        (replace(HANDLED, suspended=False), "after 3 in a row the group launches no more"),
        (replace(HANDLED, tags={**HANDLED.tags, SUSPENDED_BECAUSE: ""}), "its tags say why, and until when"),
        (
            replace(HANDLED, tags={**HANDLED.tags, SUSPENDED_UNTIL: "2026-01-01T11:00:00Z"}),
            "its tags say why, and until when",
        ),
        (replace(HANDLED, tags={}), "its tags say why, and until when"),
        (replace(HANDLED, alerts=()), "a person was told once of that"),
        (replace(HANDLED, alerts=HANDLED.alerts * 2), "a person was told once of that"),
    ],
)
def test_what_nobody_can_find_breaks_its_promise_and_no_other(sight: Suspension, promise: str) -> None:
    assert broken(sight) == [promise]


def test_a_fourth_launch_breaks_the_promise_that_there_is_none() -> None:
    more = replace(HANDLED, launches=(*HANDLED.launches, given_up("i-3")))
    assert "after 3 in a row the group launches no more" in broken(more)


def test_the_fault_is_in_what_the_workers_really_run() -> None:
    template = (CHECKOUT / "infra/cluster/template.yaml").read_text()
    worker = template[template.index("WorkerTemplate:") : template.index("ControlPlaneGroup:")]
    assert worker.count(RIGHT_PATH) == 1
    assert (CHECKOUT / "infra" / RIGHT_PATH).exists()
    assert not (CHECKOUT / "infra" / WRONG_PATH).exists()
