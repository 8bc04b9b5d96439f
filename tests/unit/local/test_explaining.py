"""A person reads in one line each what would be done about a machine, and what is in the way."""

from __future__ import annotations

from functions.drill import answer
from infra.local.explaining import as_text
from tests.unit.functions.builders import NOW, ONE, SETTINGS, TWO, case, pause
from tests.unit.functions.fake_world import World
from tests.unit.functions.fakes import desk_of
from tests.unit.functions.worlds import a_cluster, kill


def explained(world: World, **of: str) -> str:
    return as_text(answer({"do": "explain", **of}, desk_of(world), SETTINGS, now=NOW))


def troubled() -> World:
    world = a_cluster(3, volumes=False)
    kill(world, ONE)
    world.pauses[ONE] = pause(ONE)
    world.cases[TWO] = case(TWO)
    return world


def test_of_a_cluster_each_machine_has_its_line_and_what_holds_for_more_comes_after() -> None:
    text = explained(troubled()).splitlines()
    assert text[0].split() == ["MACHINE", "ROLE", "VERDICT", "WHY", "PLAN", "REFUSED"]
    (dead,) = [line for line in text if line.startswith(ONE)]
    assert dead.split()[1:5] == ["worker", "dead", "EC2:", "terminated"]
    assert dead.endswith("is paused until 2026-11-21 13:00:00Z: the network is being rebuilt")
    assert text[-3:] == [
        f"open case: {TWO}, cleaning since 2026-11-21T12:00:00+00:00",
        f"in flight: {TWO}",
        f"paused: {ONE} until 2026-11-21T13:00:00+00:00 (table): the network is being rebuilt",
    ]


def test_of_a_machine_there_is_the_verdict_the_steps_and_the_refusal() -> None:
    text = explained(troubled(), machine=ONE).splitlines()
    assert text[:3] == [f"{ONE} is dead: EC2: terminated", "plan:", "  OpenCase: EC2: terminated"]
    assert text[-1].startswith(f"refused: {ONE} is paused until")
    assert explained(a_cluster(), machine=ONE).splitlines()[-1] == "plan: nothing is to be done"
