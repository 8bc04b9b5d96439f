"""What a tag or an annotation holds back is done when its time is over; nothing is held back for ever unheard."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from functions.cluster.machine import PAUSE_ANNOTATION, PAUSE_TAG
from tests.faults.driving import run_for
from tests.unit.functions.builders import NOW, ONE, TWO, WORKERS
from tests.unit.functions.fake_world import World
from tests.unit.functions.worlds import CONTROL_PLANES, a_cluster, kill, let_go, schedule

HALF_AN_HOUR = (NOW + timedelta(minutes=30)).isoformat()
PODS = {("evict pod", "uid-of-web-1-0"), ("evict pod", "uid-of-web-1-1")}


def tag_group(world: World, text: str | None, name: str = WORKERS) -> None:
    world.groups[name] = replace(world.groups[name], pause_until=text)


def tag_instance(world: World, text: str) -> None:
    there = world.instances[ONE]
    world.instances[ONE] = replace(there, tags=there.tags | {PAUSE_TAG: text})


def annotate(world: World, text: str) -> None:
    there = world.nodes[ONE]
    version = str(int(there.resource_version) + 1)
    world.nodes[ONE] = replace(
        there, annotations=there.annotations | {PAUSE_ANNOTATION: text}, resource_version=version
    )


def subjects(world: World) -> list[str]:
    return [subject for subject, _ in world.alerts]


@pytest.mark.parametrize("opt_out", [tag_group, tag_instance])
def test_a_dead_machine_with_a_tag_is_left_alone_until_its_time_is_over_and_then_healed(opt_out: object) -> None:
    world = a_cluster(3, volumes=False)
    opt_out(world, HALF_AN_HOUR)  # type: ignore[operator]
    kill(world, ONE)
    run_for(world, timedelta(minutes=29))
    assert (world.effects, world.cases, subjects(world)) == ([], {}, [f"{ONE} is dead and left alone"])
    run_for(world, timedelta(minutes=5))
    assert ("delete node", f"uid-of-{ONE}") in world.effects
    assert (world.cases, world.violations) == ({}, [])


@pytest.mark.parametrize("opt_out", [tag_group, tag_instance, annotate])
def test_a_drain_ahead_of_maintenance_waits_for_an_opt_out_and_begins_after_it(opt_out: object) -> None:
    world = a_cluster(3, volumes=False)
    opt_out(world, HALF_AN_HOUR)  # type: ignore[operator]
    schedule(world, ONE, NOW + timedelta(minutes=50))
    run_for(world, timedelta(minutes=29))
    assert world.effects == []
    run_for(world, timedelta(minutes=5))
    assert set(world.effects) >= PODS


def test_a_tag_that_is_taken_off_holds_no_longer() -> None:
    world = a_cluster(3, volumes=False)
    tag_group(world, "until further notice")
    kill(world, ONE)
    run_for(world, timedelta(hours=3))
    assert world.effects == []
    tag_group(world, None)
    run_for(world, timedelta(minutes=3))
    assert ("delete node", f"uid-of-{ONE}") in world.effects


@pytest.mark.parametrize("text", [HALF_AN_HOUR, "leave me alone", (NOW + timedelta(days=6)).isoformat()])
def test_what_a_dead_machine_wrote_on_its_node_keeps_none_of_its_remains(text: str) -> None:
    world = a_cluster(3, volumes=False)
    annotate(world, text)
    kill(world, ONE)
    run_for(world, timedelta(minutes=3))
    assert ("delete node", f"uid-of-{ONE}") in world.effects


def test_what_a_machine_writes_on_its_node_keeps_no_hook_waiting() -> None:
    world = a_cluster(3, volumes=False)
    annotate(world, (NOW + timedelta(days=6)).isoformat())
    let_go(world, ONE)
    run_for(world, timedelta(minutes=3))
    assert set(world.effects) >= PODS
    assert ("complete hook", ONE) in world.effects


def test_a_machine_that_renews_its_annotation_each_day_is_left_alone_for_seven_days_and_no_longer() -> None:
    world = a_cluster(3, volumes=False)
    schedule(world, ONE, NOW + timedelta(minutes=30))
    for day in range(8):
        assert world.effects == [], f"on day {day}"
        world.now = NOW + timedelta(days=day)
        annotate(world, (world.now + timedelta(days=6)).isoformat())
        run_for(world, timedelta(minutes=3))
    assert set(world.effects) >= PODS


def test_a_person_hears_once_a_day_of_each_opt_out_that_is_not_understood() -> None:
    world = a_cluster(3, volumes=False)
    tag_group(world, "tomorrow")
    tag_instance(world, "2099-01-01T00:00:00Z")
    annotate(world, "tomorrow")
    run_for(world, timedelta(hours=1))
    assert sorted(subjects(world)) == sorted(
        [f"The pause of {WORKERS} is not understood", *[f"The pause of {ONE} is not understood"] * 2]
    )
    texts = [text for _, text in world.alerts]
    assert [text.rpartition("reason. ")[2] for text in texts] == [
        f"Until it is, nothing is done to {WORKERS}.",
        f"Until it is, nothing is done to {ONE}.",
        "It holds nothing back.",
    ]
    world.now += timedelta(days=1)
    run_for(world, timedelta(minutes=3))
    assert len(world.alerts) == 6


def test_nodes_that_all_say_nonsense_neither_flood_a_person_nor_hide_a_persons_tag() -> None:
    world = a_cluster(40, volumes=False)
    for name, there in world.nodes.items():
        world.nodes[name] = replace(there, annotations={PAUSE_ANNOTATION: f"nonsense {name}"})
    tag_group(world, "tomorrow")
    run_for(world, timedelta(minutes=10))
    assert len(world.alerts) == 10
    assert subjects(world)[0] == f"The pause of {WORKERS} is not understood"


def test_launches_that_we_suspended_are_resumed_only_when_the_groups_tag_no_longer_holds() -> None:
    world = a_cluster(3, volumes=False)
    there = world.groups[WORKERS]
    world.groups[WORKERS] = replace(
        there, suspended=frozenset({"Launch"}), launch_suspended_until=NOW + timedelta(minutes=5)
    )
    tag_group(world, HALF_AN_HOUR)
    run_for(world, timedelta(minutes=29))
    assert world.effects == []
    run_for(world, timedelta(minutes=3))
    assert world.effects == [("resume launch", WORKERS)]


def test_a_dead_control_plane_whose_group_is_tagged_stays_in_the_load_balancer_until_then() -> None:
    world = a_cluster(2, volumes=False, control_planes=3)
    first = world.groups[CONTROL_PLANES].members[0].id
    tag_group(world, HALF_AN_HOUR, CONTROL_PLANES)
    kill(world, first)
    run_for(world, timedelta(minutes=25))
    assert [effect for effect in world.effects if first in effect] == []
    run_for(world, timedelta(minutes=20))
    assert ("deregister", first) in world.effects
    assert ("remove member", first) in world.effects


def test_of_others_nothing_is_held_back() -> None:
    world = a_cluster(3, volumes=False)
    tag_instance(world, HALF_AN_HOUR)
    kill(world, TWO)
    run_for(world, timedelta(minutes=5))
    assert ("delete node", f"uid-of-{TWO}") in world.effects
