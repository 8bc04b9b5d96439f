"""What people ask of the deployed drill function: a pause holds everything back, a look at things touches nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from infra.local.cluster import wait_for
from infra.local.places import WorldError
from tests.e2e.scene import Scene
from tests.e2e.sights import see_cluster, see_machine

REASON = "the network is being rebuilt"


def test_a_paused_cluster_is_left_alone_until_the_pause_ends_and_then_heals(scene: Scene) -> None:
    victim = scene.workers()[0]
    before, history, steps = see_machine(scene, victim), scene.history(victim), scene.steps(victim)
    with paused(scene):
        with pytest.raises(WorldError, match=f"is paused until .*{REASON}"):
            scene.ask({"do": "drill"})
        scene.kill(victim)
        wait_for("the refusal to heal a dead machine", lambda: "dead" in verdicts(scene, victim), within_s=30)

        refused = f"refused: {scene.cluster.name} is paused until"
        assert all(entry["then"].startswith(refused) for entry in scene.history(victim)[len(history) :])
        assert scene.steps(victim) == steps
        assert scene.case(victim) is None
        assert scene.place_in_group(victim) == "Terminating:Wait"
        assert see_machine(scene, victim) == before
        assert len(scene.alerts.heard(f"{victim} is ")) == 1  # told once, however often it is refused

        # A person who does not want to wait may let the machine go; Regrow does not need it.
        scene.client("autoscaling").complete_lifecycle_action(
            AutoScalingGroupName=scene.cluster.worker_group,
            LifecycleHookName="regrow-terminate",
            InstanceId=victim,
            LifecycleActionResult="CONTINUE",
        )
    scene.sweep()
    scene.await_healed(victim)


@contextmanager
def paused(scene: Scene) -> Iterator[None]:
    assert scene.ask({"do": "pause", "minutes": 60, "reason": REASON})["of"] == scene.cluster.name
    try:
        yield
    finally:
        assert scene.ask({"do": "resume"}) == {"did": "resume", "of": scene.cluster.name}


def verdicts(scene: Scene, machine: str) -> set[str]:
    return {entry["verdict"] for entry in scene.history(machine)}


def test_a_dry_run_and_an_explanation_touch_nothing(scene: Scene) -> None:
    before = see_cluster(scene)
    passes = scene.journal("remediate")
    would = scene.ask({"do": "drill", "dry_run": True})
    explained = scene.ask({"do": "explain", "machine": would["machine"]})
    control_plane = scene.ask({"do": "explain", "machine": scene.control_plane()})
    whole = scene.ask({"do": "explain"})

    assert would["would"] == "drill"
    assert would["group"] == scene.cluster.worker_group
    assert would["machine"] in scene.workers()
    assert (explained["verdict"], explained["plan"], explained["unknown"]) == ("healthy", [], [])
    assert (control_plane["verdict"], control_plane["plan"], control_plane["refused"]) == ("healthy", [], None)
    (tied,) = control_plane["control_plane"]["ties"]
    assert (tied["instance"], tied["member"]["answers"]) == (scene.control_plane(), True)
    shown = {line["machine"]: (line["verdict"], line["planned"]) for line in whole["machines"]}
    ended = {machine for machine, said in shown.items() if said == ("dead", [])}  # which EC2 still remembers
    assert {machine: shown[machine] for machine in shown.keys() - ended} == dict.fromkeys(
        [scene.control_plane(), *scene.workers()], ("healthy", [])
    )
    assert (whole["held"], whole["open_cases"], whole["pauses"], whole["in_flight"]) == (None, [], [], [])
    assert scene.state_of(would["machine"]) == "running"
    assert see_cluster(scene) == before
    assert [line for line in passes.lines(message="pass") if line["steps"]] == []


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        ({"do": "drill", "dryrun": True}, "drill knows dry_run, machine, not 'dryrun'"),
        ({"do": "drill", "machine": "i-0123456789abcdef0"}, "is not a worker in service of this cluster"),
        ({"do": "pause", "minutes": 0, "reason": "x"}, "must be a whole number from 1"),
        ({"do": "pause", "minutes": 5, "reason": "x", "of": "regrow-typo"}, "must be the cluster"),
        ({}, "'do' is None; it must be one of"),
    ],
)
def test_a_request_that_cannot_be_meant_is_refused_in_words(
    scene: Scene, request_: dict[str, object], why: str
) -> None:
    before = see_cluster(scene)
    with pytest.raises(WorldError, match=why):
        scene.ask(request_)
    assert see_cluster(scene) == before
