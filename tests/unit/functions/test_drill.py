"""The manual invoke does what a person asks for, or says why not; a drill never makes two troubles of one."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from functions.cluster.facts import Pause
from functions.cluster.machine import PAUSE_ANNOTATION, PAUSE_TAG, InstanceState
from functions.drill import answer
from functions.errors import PermanentError, RefusedError
from tests.unit.functions.builders import CLUSTER, NOW, ONE, SETTINGS, TWO, WORKERS, case, machine, pause
from tests.unit.functions.fake_world import World
from tests.unit.functions.fakes import desk_of
from tests.unit.functions.worlds import CONTROL_PLANE, a_cluster, kill

EVENTS = Path(__file__).parents[3] / "events"


def ask(world: World, request: object) -> dict[str, Any]:
    said = answer(request, desk_of(world), SETTINGS, now=NOW)
    return dict(json.loads(json.dumps(said)))  # what Lambda makes of it


def opt_out(world: World, kind: str, name: Any) -> None:
    text = (NOW + timedelta(hours=1)).isoformat()
    match kind:
        case "groups":
            world.groups[name] = replace(world.groups[name], pause_until=text)
        case "instances":
            there = world.instances[name]
            world.instances[name] = replace(there, tags=there.tags | {PAUSE_TAG: text})
        case _:
            world.nodes[name] = replace(world.nodes[name], annotations={PAUSE_ANNOTATION: text})


def test_a_drill_terminates_one_worker_and_says_which() -> None:
    world = a_cluster()
    said = ask(world, {"do": "drill"})
    assert said == {
        "did": "drill",
        "group": WORKERS,
        "machine": ONE,
        "how": "terminated with no shutdown of its operating system",
    }
    assert world.effects == [("terminate", ONE)]


def test_a_dry_run_says_the_same_and_touches_nothing() -> None:
    world = a_cluster()
    said = ask(world, {"do": "drill", "dry_run": True})
    assert (said["would"], said["machine"], world.effects) == ("drill", ONE, [])


def test_a_drill_takes_the_worker_that_is_named() -> None:
    assert ask(a_cluster(), {"do": "drill", "machine": TWO})["machine"] == TWO


@pytest.mark.parametrize(
    "request_", [{"do": "drill"}, {"do": "drill", "dry_run": True}, {"do": "drill", "machine": ONE}]
)
@pytest.mark.parametrize(
    ("trouble", "says"),
    [
        (lambda world: world.cases.update({TWO: case(TWO)}), f"a case is open about {TWO}"),
        (lambda world: kill(world, TWO), "1 of 2 machines of drill-worker are in service"),
        (
            lambda world: world.nodes.update({TWO: replace(world.nodes[TWO], ready=False)}),
            f"{TWO} of drill-worker is in service, but its Node is not Ready",
        ),
        (
            lambda world: world.nodes.update({CONTROL_PLANE: replace(world.nodes[CONTROL_PLANE], unschedulable=True)}),
            "is in service, but its Node is not Ready",
        ),
        (lambda world: world.groups.pop(WORKERS), "no group that is tagged as its workers"),
        (lambda world: world.pauses.update({CLUSTER: pause()}), f"{CLUSTER} is paused until"),
        (lambda world: world.pauses.update({WORKERS: pause(WORKERS)}), f"{WORKERS} is paused until"),
        (lambda world: world.pauses.update({ONE: pause(ONE)}), f"{ONE} is paused until"),
        (lambda world: opt_out(world, "groups", WORKERS), f"{WORKERS} is paused by its tag regrow:pause-until until"),
        (lambda world: opt_out(world, "instances", ONE), f"{ONE} is paused by its tag regrow:pause-until until"),
        (lambda world: opt_out(world, "nodes", ONE), f"{ONE} is paused by its annotation regrow.dev/pause-until"),
    ],
)
def test_a_drill_is_refused_where_the_cluster_is_not_whole_or_not_healed(
    request_: object, trouble: Any, says: str
) -> None:
    world = a_cluster()
    trouble(world)
    with pytest.raises(RefusedError, match=says):
        ask(world, request_)
    assert world.effects == []


@pytest.mark.parametrize("request_", [{"do": "drill"}, {"do": "drill", "machine": ONE}])
def test_a_drill_is_refused_where_no_second_worker_takes_the_pods(request_: object) -> None:
    world = a_cluster(workers=1)
    with pytest.raises(RefusedError, match="no second worker"):
        ask(world, request_)
    assert world.effects == []


@pytest.mark.parametrize("victim", [CONTROL_PLANE, machine(77)])
def test_a_drill_of_anything_but_a_worker_in_service_is_refused(victim: str) -> None:
    world = a_cluster()
    with pytest.raises(RefusedError, match="is not a worker in service"):
        ask(world, {"do": "drill", "machine": victim})
    assert world.effects == []


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (None, "must be an object"),
        ([], "must be an object"),
        ("drill", "must be an object"),
        ({}, "'do' is None; it must be one of drill"),
        ({"do": "reboot"}, "'do' is 'reboot'"),
        ({"do": ["drill"]}, "'do' is"),
        ({"do": "drill", "dry-run": True}, "drill knows dry_run, machine, not 'dry-run'"),
        ({"do": "drill", "dry_run": "no"}, "'dry_run' is 'no'; it must be true or false"),
        ({"do": "drill", "machine": "worker-1"}, "'machine' is 'worker-1'"),
        ({"do": "explain", "machine": None}, "'machine' is None"),
        ({"do": "report", "machine": None}, "'machine' is None"),
        ({"do": "pause", "reason": "x"}, "'minutes' is None"),
        ({"do": "pause", "minutes": 0, "reason": "x"}, "'minutes' is 0"),
        ({"do": "pause", "minutes": -5, "reason": "x"}, "'minutes' is -5"),
        ({"do": "pause", "minutes": 10081, "reason": "x"}, "from 1 to 10080"),
        ({"do": "pause", "minutes": True, "reason": "x"}, "'minutes' is True"),
        ({"do": "pause", "minutes": "60", "reason": "x"}, "'minutes' is '60'"),
        ({"do": "pause", "minutes": 60}, "'reason' is missing"),
        ({"do": "pause", "minutes": 60, "reason": ""}, "'reason' is missing"),
        ({"do": "pause", "minutes": 60, "reason": "x", "of": "drill-wrkers"}, "'of' is 'drill-wrkers'; it must be"),
        ({"do": "resume", "of": 7}, "'of' is 7"),
    ],
)
def test_a_request_that_cannot_be_understood_says_what_is_wrong(request_: object, says: str) -> None:
    world = a_cluster()
    with pytest.raises(PermanentError, match=says):
        ask(world, request_)
    assert (world.effects, world.pauses) == ([], {})


@pytest.mark.parametrize("of", [CLUSTER, WORKERS, ONE])
def test_a_pause_lasts_as_long_as_asked_and_resume_ends_it(of: str) -> None:
    world = a_cluster()
    said = ask(world, {"do": "pause", "of": of, "minutes": 60, "reason": "the network is being rebuilt"})
    assert said["until"] == "2026-11-21T13:00:00+00:00"
    assert world.pauses == {of: Pause(of, NOW + timedelta(hours=1), "the network is being rebuilt")}
    assert ask(world, {"do": "resume", "of": of}) == {"did": "resume", "of": of}
    assert world.pauses == {}


def test_a_pause_without_a_subject_is_of_the_whole_cluster() -> None:
    world = a_cluster()
    ask(world, {"do": "pause", "minutes": 1, "reason": "x"})
    assert list(world.pauses) == [CLUSTER]


def test_a_pause_that_is_over_does_not_keep_a_drill_back() -> None:
    world = a_cluster()
    world.pauses[CLUSTER] = pause(minutes=0)
    assert ask(world, {"do": "drill"})["machine"] == ONE


def test_explain_shows_what_a_pass_would_do_and_does_not_do_it() -> None:
    world = a_cluster()
    kill(world, ONE)
    said = ask(world, {"do": "explain", "machine": ONE})
    assert (said["verdict"], said["reason"], said["refused"]) == ("dead", "EC2: terminated", None)
    assert [step["step"] for step in said["plan"]][:3] == ["OpenCase", "Fence", "DeletePods"]
    assert said["facts"]["instance"]["state"] == "terminated"
    assert (world.effects, world.cases, world.history, world.later) == ([], {}, [], [])


def test_explain_of_a_machine_that_nobody_knows_says_so() -> None:
    said = ask(a_cluster(), {"do": "explain", "machine": machine(77)})
    assert (said["verdict"], said["plan"]) == ("foreign", [])


def test_a_report_lists_open_cases_and_of_one_machine_its_history() -> None:
    world = a_cluster()
    world.cases[ONE] = case()
    world.history = [(ONE, {"then": "its group is not whole"}), (TWO, {"then": "other"})]
    whole = ask(world, {"do": "report"})
    assert whole["cluster"] == CLUSTER
    assert [one["instance"] for one in whole["open_cases"]] == [ONE]
    one = ask(world, {"do": "report", "machine": ONE})
    assert one["history"] == [{"then": "its group is not whole"}]
    assert ask(world, {"do": "report", "machine": TWO})["open_cases"] == []


@pytest.mark.parametrize(
    "name",
    [
        "drill",
        "drill-dry-run",
        "report",
        "report-machine",
        "explain",
        "explain-cluster",
        "dead-letters",
        "put-back",
        "pause",
        "resume",
    ],
)
def test_every_sample_request_is_understood(name: str) -> None:
    assert ask(a_cluster(), json.loads((EVENTS / f"{name}.json").read_text()))


def test_a_stopped_worker_is_not_drilled() -> None:
    world = a_cluster(workers=3)
    kill(world, ONE, state=InstanceState.STOPPED)
    with pytest.raises(RefusedError, match="2 of 3 machines"):
        ask(world, {"do": "drill", "machine": ONE})
