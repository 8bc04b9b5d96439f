"""A world whose machines have no container runtime, and the switches of its hardware, from a test's point of view."""

from __future__ import annotations

import http.client
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.local.machines.machines import MachineError
from infra.local.places import MachinePlace
from infra.local.worlds.world import World

STANDIN = Path(__file__).with_name("standin.py")
_numbers = itertools.count(1)


def light_world(name: str) -> LightWorld:
    return LightWorld(World.up(name, cloud=[sys.executable, str(STANDIN), name], within_s=30))


def eventually(holds: Callable[[], Any], within_s: float = 10.0) -> Any:
    """What `holds` returns once it is true."""
    deadline = time.monotonic() + within_s
    while not (result := holds()):
        assert time.monotonic() < deadline, f"not within {within_s} s"
        time.sleep(0.02)
    return result


class LightWorld:
    def __init__(self, world: World) -> None:
        self.world = world
        # Threads that live in the world's network; what a test opens in them is opened in there.
        self.inside = ThreadPoolExecutor(max_workers=4, initializer=world.enter_network)

    def end(self) -> None:
        self.inside.shutdown()
        self.world.down()

    def call(self, name: str, **arguments: Any) -> Any:
        status, text = self.inside.submit(_request, "10.77.0.2", 80, {"call": name, **arguments}).result()
        if status == 409:
            raise MachineError(text)
        assert status == 200, text
        return json.loads(text)

    def machine(self, script: str = "") -> Machine:
        """A machine that is not started yet, with user data that runs the shell script."""
        number = next(_numbers)
        user_data = f"#!/bin/sh\n{script}\n" if script else ""
        return Machine(self, f"i-{number:017x}", f"10.77.1.{10 + number}", user_data)

    def fetch(self, address: str, port: int, timeout_s: float = 3.0) -> int | None:
        """The HTTP status that a server in the world answers with; None if it does not."""
        try:
            return int(self.inside.submit(_request, address, port, None, timeout_s).result()[0])
        except OSError:
            return None


@dataclass
class Machine:
    light: LightWorld = field(repr=False)
    instance_id: str
    address: str
    user_data: str

    @property
    def place(self) -> MachinePlace:
        return self.light.world.place.machine(self.instance_id)

    def start(self) -> Machine:
        arguments = {"address": self.address, "hostname": f"host-{self.instance_id}", "user_data": self.user_data}
        self.call("start", **arguments)
        return self

    def call(self, name: str, **arguments: Any) -> Any:
        return self.light.call(name, instance_id=self.instance_id, **arguments)

    @property
    def runs(self) -> bool:
        return self.instance_id in self.light.call("running")

    def run(self, *argv: str) -> str:
        """What a command in the machine prints."""
        done = subprocess.run(
            self.light.world.machine_command(self.instance_id, argv), capture_output=True, text=True, timeout=20
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def log(self, name: str = "boot.log") -> str:
        file = self.place.log / name
        return file.read_text() if file.exists() else ""

    def logs(self, text: str) -> bool:
        return bool(eventually(lambda: text in self.log()))


def _request(address: str, port: int, body: Any, timeout_s: float = 60.0) -> tuple[int, str]:
    connection = http.client.HTTPConnection(address, port, timeout=timeout_s)
    try:
        connection.request("POST" if body else "GET", "/", json.dumps(body) if body else None)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()
