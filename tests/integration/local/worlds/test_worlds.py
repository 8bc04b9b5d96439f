"""Worlds begin and end whole, beside each other, and leave nothing behind however they end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from infra.local.places import WorldError
from infra.local.worlds.world import World, clean
from tests.integration.local.worlds.light import eventually, light_world
from tests.integration.local.worlds.traces import processes_of, traces

pytestmark = pytest.mark.usefixtures("state")


def test_a_world_that_is_up_is_not_started_twice() -> None:
    light = light_world("twice")
    with pytest.raises(WorldError, match=r"up already.*down --world twice"):
        light_world("twice")
    assert light.call("running") == []
    light.end()


def test_an_aws_that_dies_is_told_with_its_last_words(state: Path) -> None:
    with pytest.raises(WorldError, match=r"ended while it was starting: no such thing; .*world.log\)"):
        World.up("dying", cloud=["sh", "-c", "echo no such thing >&2; exit 3"])
    assert processes_of(state) == []


def test_an_aws_that_never_answers_is_given_up(state: Path) -> None:
    with pytest.raises(WorldError, match=r"no answer from its AWS after 0\.5 s"):
        World.up("silent", cloud=["sleep", "600"], within_s=0.5)
    assert processes_of(state) == []


def test_a_world_ends_when_its_aws_does(state: Path) -> None:
    light = light_world("ending")
    machine = light.machine("exec sleep 600").start()
    subprocess.run(light.world.command(["pkill", "-KILL", "-f", "standin.py ending"]), check=True)
    eventually(lambda: not processes_of(state))
    with pytest.raises(WorldError, match="is not up"):
        World.find("ending")
    assert machine.place.log.exists()


@pytest.mark.parametrize("name", ["", "Drill", "a" * 21, "../etc", "a b"])
def test_a_bad_name_is_refused(name: str) -> None:
    with pytest.raises(WorldError, match="cannot name a world"):
        World.up(name)


def test_two_worlds_use_the_same_addresses_side_by_side() -> None:
    one, other = light_world("one"), light_world("other")
    first, second = one.machine("exec python3 -m http.server 80"), other.machine("exec python3 -m http.server 80")
    second.address = first.address
    first.start()
    eventually(lambda: one.fetch(first.address, 80))
    assert other.fetch(first.address, 80, timeout_s=0.5) is None
    second.start()
    eventually(lambda: other.fetch(second.address, 80))
    one.end()
    assert other.fetch(second.address, 80) == 200
    other.end()


def test_a_world_that_is_stopped_leaves_its_logs_alone(state: Path) -> None:
    clean()
    before = traces(state)
    light = light_world("stopped")
    machine = light.machine("echo hello").start()
    assert machine.logs("hello")
    light.end()
    after = traces(state)
    assert (after.mounts, after.links, after.groups) == (before.mounts, before.links, before.groups)
    assert after.settings == before.settings
    assert after.processes == ()
    assert "hello" in machine.log()


def test_after_sigkill_of_everything_a_clean_leaves_nothing(state: Path) -> None:
    clean()
    before = traces(state)
    light = light_world("killed")
    light.machine("exec sleep 600").start()
    frozen = light.machine("exec sleep 600").start()
    frozen.call("freeze")
    for pid in processes_of(state):
        kill(pid)
    clean()
    assert processes_of(state) == []
    assert traces(state) == before


def test_killing_the_first_process_alone_is_the_end_of_all_that_is_not_frozen(state: Path) -> None:
    light = light_world("beheaded")
    light.machine("exec sleep 600").start()
    os.kill(light.world.pid, signal.SIGKILL)
    eventually(lambda: not processes_of(state))


def test_the_next_world_to_start_removes_the_dead(state: Path) -> None:
    dead = light_world("dead")
    dead.machine("exec sleep 600").start()
    os.kill(dead.world.pid, signal.SIGKILL)
    eventually(lambda: not processes_of(state))
    light = light_world("alive")
    assert not dead.world.place.directory.exists()
    assert not any("dead" in group for group in traces(state).groups)
    light.end()


def test_cleaning_touches_no_world_of_another_state_directory(tmp_path: Path) -> None:
    light = light_world("same")
    environment = {**os.environ, "REGROW_STATE": str(tmp_path)}
    cleaned = subprocess.run(
        [sys.executable, "-m", "infra.local", "clean"], env=environment, capture_output=True, text=True, check=True
    )
    assert "nothing to remove" in cleaned.stderr
    assert light.call("running") == []
    light.end()


def test_the_command_line_tells_what_runs() -> None:
    light = light_world("told")
    machine = light.machine().start()
    command = [sys.executable, "-m", "infra.local", "status", "--world", "told", "--output", "json"]
    told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert [entry["instance_id"] for entry in told["machines"]] == [machine.instance_id]
    assert told["machines"][0]["state"] == "running"
    machine.call("freeze")
    table = subprocess.run(command[:-2], capture_output=True, text=True, check=True).stdout
    assert table.splitlines()[1].split()[:3] == [machine.instance_id, "frozen", machine.address]
    light.end()
    gone = subprocess.run(command, capture_output=True, text=True, check=False)
    assert gone.returncode == 1
    assert "is not up" in gone.stderr


def kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
