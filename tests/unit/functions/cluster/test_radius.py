"""When too many are in trouble at once nothing is repaired on a doubt; one of few always is."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.cluster.radius import BRAKE_HOLDS, Brake, Limits, Sighting, brakes
from tests.unit.functions.builders import NOW, machine

USUAL = Limits()


def well(number: int, group: str = "w", zone: str = "a") -> Sighting:
    return Sighting(machine(number), group, zone)


def bad(number: int, group: str = "w", zone: str = "a") -> Sighting:
    return Sighting(machine(number), group, zone, doubted=True, unwell=True)


def away(number: int, group: str = "w", zone: str = "a") -> Sighting:
    """Dead, leaving, or not in service yet."""
    return Sighting(machine(number), group, zone, unwell=True)


def pool(size: int, in_trouble: int, group: str = "w", zone: str = "a", first: int = 0) -> list[Sighting]:
    return [(bad if n < in_trouble else well)(first + n, group, zone) for n in range(size)]


def scopes(seen: list[Sighting], limits: Limits = USUAL) -> list[str]:
    return [brake.scope for brake in brakes(seen, limits, NOW)]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_one_bad_machine_of_a_small_pool_is_always_repairable_and_of_two_neither(size: int) -> None:
    assert scopes(pool(size, 1)) == []
    assert "group w" in scopes(pool(size + 1, 2))


@pytest.mark.parametrize("size", range(1, 101))
def test_of_a_pool_a_fifth_may_be_unwell_and_always_one(size: int) -> None:
    rest = pool(1000, 0, "others", "b", first=5000)  # so that it is only the group's own brake
    most = max(1, size // 5)
    assert "group w" not in scopes(pool(size, most) + rest)
    assert size == most or "group w" in scopes(pool(size, most + 1) + rest)


def test_who_has_ended_or_only_comes_counts_among_the_unwell_of_its_group() -> None:
    assert scopes([bad(1), away(2), well(3), well(4), well(5)]) == ["group w"]
    assert scopes([away(1), away(2), well(3)]) == [], "where nobody is doubted nothing has to be held"


@pytest.mark.parametrize(("size", "in_trouble"), [(size, n) for size in range(1, 41) for n in range(size + 1)])
def test_a_zone_is_dark_at_55_percent_of_more_than_two_and_a_cluster_at_60_percent_of_more_than_one(
    size: int, in_trouble: int
) -> None:
    """Each machine in a group of its own, so that no group holds any back."""
    zone = [(bad if n < in_trouble else well)(n, f"w{n}", "a") for n in range(size)]
    elsewhere = pool(10 * size, 0, "others", "b", first=5000)
    assert ("zone a" in scopes(zone + elsewhere)) == (in_trouble > 2 and 100 * in_trouble >= 55 * size)
    assert ("cluster" in scopes(zone)) == (in_trouble > 1 and 100 * in_trouble >= 60 * size)


def test_what_has_ended_makes_no_zone_less_dark() -> None:
    dead = [away(n, f"d{n}") for n in range(5)]
    seen = [bad(n, f"w{n}") for n in range(10, 13)] + [well(n, f"w{n}") for n in range(13, 15)] + dead
    assert scopes(seen + pool(50, 0, "others", "b", first=5000)) == ["zone a"], "3 of the 5 that run, not 3 of 10"


def test_of_five_hundred_that_go_silent_in_one_zone_none_is_repaired() -> None:
    seen = pool(500, 500, "a", "a") + pool(1000, 0, "b", "b", first=500)
    assert scopes(seen) == ["zone a", "group a"]
    (zone, _) = brakes(seen, USUAL, NOW)
    assert all(zone.holds(f"w{n}", "a", NOW) for n in range(3))
    assert "500 of 500 machines in a" in zone.reason


def test_a_brake_holds_its_scope_alone_and_lets_go_by_itself() -> None:
    for scope, held, free in [
        ("cluster", ("w", "a"), None),
        ("zone a", ("w", "a"), ("w", "b")),
        ("group w", ("w", "b"), ("v", "a")),
    ]:
        brake = Brake(scope, "why", NOW + BRAKE_HOLDS)
        assert brake.holds(*held, NOW)
        assert brake.holds(*held, NOW + BRAKE_HOLDS - timedelta(seconds=1))
        assert not brake.holds(*held, NOW + BRAKE_HOLDS)
        assert free is None or not brake.holds(*free, NOW)


def test_limits_are_what_a_person_sets() -> None:
    assert scopes(pool(10, 3), replace(USUAL, group_percent=30)) == []
    assert scopes(pool(10, 3), replace(USUAL, group_percent=1, group_floor=3)) == []
    assert scopes(pool(1, 1), replace(USUAL, group_floor=0)) == ["group w"]


SIGHTINGS = st.lists(
    st.builds(
        lambda number, make, group, zone: make(number, group, zone),
        st.integers(0, 10_000),
        st.sampled_from([well, well, bad, away]),
        st.sampled_from(["v", "w"]),
        st.sampled_from(["a", "b", ""]),
    ),
    max_size=40,
)


@given(SIGHTINGS, st.randoms())
def test_brakes_do_not_depend_on_order_and_one_more_bad_machine_lifts_none(
    seen: list[Sighting], chance: Random
) -> None:
    shuffled = list(seen)
    chance.shuffle(shuffled)
    assert brakes(shuffled, USUAL, NOW) == brakes(seen, USUAL, NOW)
    for n, one in enumerate(seen):
        if not one.unwell:
            worse = [*seen[:n], replace(one, doubted=True, unwell=True), *seen[n + 1 :]]
            assert set(scopes(worse)) >= set(scopes(seen))


@given(SIGHTINGS)
def test_every_brake_says_why_and_holds_from_now_on(seen: list[Sighting]) -> None:
    for brake in brakes(seen, USUAL, NOW):
        assert brake.until == NOW + BRAKE_HOLDS
        assert any(character.isdigit() for character in brake.reason)
        assert f"{brake.until:%H:%M:%SZ}" in brake.lifted_by
