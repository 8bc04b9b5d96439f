"""Figures of what no local world is large enough for, or has the hours: the decision code on fakes of the outside.

The same simulations as tests/faults/test_simulations.py has on a smaller scale. Their time is simulated, their seeds
are printed, and the same seed makes the same run.
"""

from __future__ import annotations

import time
import traceback
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.faults.simulations import (
    events_dropped,
    flapping,
    never_joins,
    zone_falls_silent,
    zone_is_terminated,
)
from tests.faults.state_machine import Clusters

CLUSTERS_EACH = 50
STEPS = 25
SEARCH = settings(
    max_examples=CLUSTERS_EACH,
    stateful_step_count=STEPS,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
MACHINES, IN_THE_ZONE = 1000, 500
MISSING = (1, 2, 3)


def simulate(seeds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Everything, each with so many seeds where there is chance in it."""
    figures: dict[str, Any] = {}
    figures["zone falls silent"] = _one(say, "zone falls silent", partial(zone_falls_silent, MACHINES, IN_THE_ZONE))
    terminated = _one(say, "zone is terminated", partial(zone_is_terminated, MACHINES, IN_THE_ZONE))
    figures["zone is terminated"] = terminated
    days = [_one(say, "24 hours of flapping", partial(flapping, seed)) for seed in range(1, seeds + 1)]
    flaps: Counter[str] = sum((Counter(day["flaps"]) for day in days), Counter())
    figures["flapping"] = {
        "seeds": seeds,
        "hours": sum(day["hours"] for day in days),
        "machines": days[0]["machines"],
        "flaps": dict(flaps),
        "acts": sum(sum(day["acts"].values()) for day in days),
        "seeds_with_acts": [day["seed"] for day in days if day["acts"]],
    }
    figures["never joins"] = [_one(say, "never joins", partial(never_joins, missing=many)) for many in MISSING]
    lost = [_one(say, "events dropped", partial(events_dropped, seed)) for seed in range(1, 10 * seeds + 1)]
    figures["events dropped"] = {
        "seeds": len(lost),
        "deaths": sum(one["deaths"] for one in lost),
        "found": sum(one["found"] for one in lost),
        "found_after_s_at_most": max(one["found_after_s_at_most"] for one in lost),
        "whole": all(one["whole"] for one in lost),
        "violations": sum(one["violations"] for one in lost),
    }
    return figures


def search_for_trouble(seeds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Clusters in trouble that hypothesis makes up, so many for each seed; what fails is reduced and printed."""
    failed = []
    for number in range(1, seeds + 1):
        started = time.monotonic()
        try:
            run_state_machine_as_test(seed(number)(type("Clusters", (Clusters,), {})), settings=SEARCH)
        except Exception:  # whatever it is, it has been found
            failed.append(number)
            say(traceback.format_exc())
        said = "FAILED" if number in failed else "held"
        say(f"seed {number}: {CLUSTERS_EACH} clusters in trouble, {said} ({time.monotonic() - started:.0f} s)")
    return {"seeds": seeds, "clusters": seeds * CLUSTERS_EACH, "steps_each": STEPS, "failed_seeds": failed}


def _one(say: Callable[[str], None], name: str, run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    started = time.monotonic()
    figures = run()
    say(f"{name} ({time.monotonic() - started:.0f} s): {figures}")
    return figures
