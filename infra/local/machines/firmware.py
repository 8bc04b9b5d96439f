"""A machine's firmware: turns fresh namespaces into a machine, then hands over to the image's init.

Started by `Machines.start` as pid 1 of the new namespaces. Talks to it over its standard output (`here` once the
namespaces exist; the init then says `started`) and input (`plugged` when the network cable is in).
"""

from __future__ import annotations

import json
import os
import socket
import sys
from ipaddress import IPv4Address
from pathlib import Path

from infra.local.machines import root
from infra.local.machines.files import ENVIRONMENT, IMAGE, Identity, files
from infra.local.places import MachinePlace


def main(settings_path: str) -> None:
    settings = json.loads(Path(settings_path).read_text())
    _say("here")
    place = MachinePlace(Path(settings_path).parent)
    boot_log = os.open(_log(place), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    machine = Identity(settings["instance_id"], settings["hostname"], IPv4Address(settings["address"]))
    python, prefix = root.interpreter()
    root.build(
        place,
        files(machine, may_raise_limits=root.may_raise_limits()),
        {target: Path(source) for target, source in settings["shown"].items()},
        Path(settings["state"]),
        python,
        prefix,
    )
    socket.sethostname(machine.hostname)
    if sys.stdin.readline() != "plugged\n":
        raise RuntimeError("the network cable was not plugged in")
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    os.dup2(boot_log, 2)
    init = [str(python), "-I", "-S", f"{IMAGE}/init.py"]
    os.execve(init[0], init, dict(ENVIRONMENT))  # noqa: S606


def _say(word: str) -> None:
    print(word, flush=True)


def _log(place: MachinePlace) -> Path:
    place.log.mkdir(parents=True, exist_ok=True)
    return place.console


if __name__ == "__main__":
    main(sys.argv[1])
