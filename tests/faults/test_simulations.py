"""Hours and hundreds of machines, on a smaller scale than `python -m bench --simulations` takes them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from functions.errors import RetryableError
from tests.faults.driving import at, run_for
from tests.faults.simulations import (
    ENDS,
    events_dropped,
    flapping,
    never_joins,
    zone_falls_silent,
    zone_is_terminated,
)
from tests.unit.functions.builders import ONE, SETTINGS, TWO, machine
from tests.unit.functions.fake_world import World
from tests.unit.functions.worlds import a_cluster

SILENT_AFTER = SETTINGS.policy.repair.silent_after


@pytest.fixture(scope="module")
def dark() -> dict[str, Any]:
    return zone_falls_silent(100, 50)


def test_nothing_is_done_while_a_whole_zone_is_silent_and_one_alert_says_so_within_a_minute(
    dark: dict[str, Any],
) -> None:
    assert dark["silent"] == 50
    assert dark["acts"] == {}
    assert dark["alerts"] == 1
    assert dark["alert_after_threshold_s"] <= 60


def test_when_the_zone_is_back_the_one_machine_that_stays_bad_is_replaced_with_nobody_asked(
    dark: dict[str, Any],
) -> None:
    assert dark["acts_after"]["replace"] == 1
    assert dark["left_over_is_gone_after_s"] <= 15 * 60
    assert (dark["whole"], dark["violations"]) == (True, 0)


def test_a_zone_that_ec2_calls_terminated_is_cleaned_up_a_few_at_a_time_with_one_alert() -> None:
    figures = zone_is_terminated(40, 20)
    assert figures["most_in_flight"] == SETTINGS.max_in_flight
    assert figures["ended_by_us"] == {}
    assert figures["nodes_deleted"] == 20
    assert figures["alerts"] == 1
    assert (figures["whole"], figures["violations"]) == (True, 0)


def test_what_many_deaths_cost_grows_with_their_number_and_not_with_its_square() -> None:
    each = [zone_is_terminated(2 * dead, dead)["passes"] / dead for dead in (10, 30)]
    assert each[1] < 1.5 * each[0]


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_is_done_about_machines_that_flap_below_the_thresholds(seed: int) -> None:
    figures = flapping(seed, hours=6)
    assert min(figures["flaps"].values()) > 3, "it did flap"
    assert figures["acts"] == {}


@pytest.mark.parametrize("missing", [1, 2])
def test_launches_that_never_join_are_stopped_after_three_with_one_alert_and_go_on_after_an_hour(missing: int) -> None:
    figures = never_joins(missing=missing)
    under_way = missing - 1  # Auto Scaling launches for all that is missing at once
    assert figures["launches_in_any_hour"] <= 3 + under_way
    assert figures["given_up"] <= 3 + under_way
    assert figures["alerts_of_the_brake"] == 1
    assert (figures["whole"], figures["violations"]) == (True, 0)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_death_that_no_event_tells_of_is_found_by_the_second_sweep(seed: int) -> None:
    figures = events_dropped(seed)
    assert figures["found"] == figures["deaths"]
    assert figures["found_after_s_at_most"] <= 120
    assert (figures["whole"], figures["violations"]) == (True, 0)


def a_failing_check() -> World:
    """EC2's checks have failed for an hour, and the kubelet answers."""
    world = a_cluster(3, volumes=False)
    world.impaired[ONE] = world.now
    run_for(world, timedelta(hours=1))
    assert world.effects == []
    world.silent[ONE] = world.now
    return world


def test_a_kubelet_that_is_silent_for_a_moment_is_not_taken_for_dead_since_a_check_has_failed_for_long() -> None:
    world = a_failing_check()
    run_for(world, timedelta(seconds=110))
    assert world.effects == []
    del world.silent[ONE]
    run_for(world, timedelta(minutes=10))
    assert world.effects == []


def test_one_that_stays_silent_beside_a_failing_check_is_replaced_within_three_minutes() -> None:
    world = a_failing_check()
    run_for(world, timedelta(minutes=3))
    assert {what for what, _ in world.effects} & ENDS == {"replace"}


def test_an_alert_about_brakes_that_could_not_be_sent_is_sent_by_the_next_sweep() -> None:
    world = a_cluster(10, volumes=False)
    run_for(world, timedelta(minutes=1))
    world.silent = dict.fromkeys([ONE, TWO, *map(machine, range(3, 8))], world.now)

    def nobody_hears(call: object) -> None:
        if getattr(call, "method", "") == "alert":
            raise RetryableError("SNS does not answer")

    world.before = nobody_hears
    run_for(world, timedelta(minutes=2))
    assert world.alerts == []
    world.before = at(0, RetryableError("never"))
    run_for(world, timedelta(minutes=2))
    assert len(world.alerts) == 1
    assert world.effects == []
