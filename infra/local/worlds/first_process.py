"""The first process of a world: makes its network, keeps its AWS running, and takes everything along when it ends.

It is pid 1 of the world's process namespace, so its end, however it comes about, is the end of everything in the world.
It holds the world's lock, which it inherits, all its life.
"""

from __future__ import annotations

import argparse
import http.client
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import NoReturn

from infra.local.linux.cgroups import Cgroup, remove_top_if_empty
from infra.local.network import bridge
from infra.local.network.plan import AWS_ENDPOINT
from infra.local.places import WorldPlace

END_WITHIN_S = 10.0
OWN_GROUP = "world"
"""The group of everything in the world that is not a machine."""


class _EndAskedError(Exception):
    """Somebody asked the world to end."""


def main() -> int:
    parser = argparse.ArgumentParser(description="First process of a world; started by `python -m infra.local up`.")
    parser.add_argument("name")
    parser.add_argument("--ready", type=int, required=True, help="descriptor to write a line to once AWS answers")
    parser.add_argument("cloud", nargs=argparse.REMAINDER, help="command of the AWS process")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, _end)
    world = WorldPlace.of(arguments.name)
    group = Cgroup.of(world.group)
    try:
        own = Cgroup.of(world.group, OWN_GROUP)
        own.create()
        own.enter()
        bridge.build()
        return _run(arguments.cloud, arguments.ready)
    except _EndAskedError:
        return 0
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _end_everything(group)


def _run(cloud: list[str], ready: int) -> int:
    aws = subprocess.Popen(cloud, stdin=subprocess.DEVNULL)
    try:
        waiting = True
        while True:
            if waiting and _answers():
                os.write(ready, b"ready\n")
                os.close(ready)
                waiting = False
            pid, status = os.waitpid(-1, os.WNOHANG if waiting else 0)
            if pid == aws.pid:
                aws.returncode = os.waitstatus_to_exitcode(status)
                print(
                    f"the AWS process ended with {aws.returncode}, and so does the world", file=sys.stderr, flush=True
                )
                return 1
            if pid == 0:
                time.sleep(0.05)
    except _EndAskedError:
        aws.terminate()
        _wait(aws)
        raise


def _wait(aws: subprocess.Popen[bytes]) -> None:
    try:
        aws.wait(END_WITHIN_S)
    except subprocess.TimeoutExpired:
        print(f"the AWS process did not end within {END_WITHIN_S:g} s and is killed", file=sys.stderr, flush=True)


def _answers() -> bool:
    connection = http.client.HTTPConnection(str(AWS_ENDPOINT), timeout=2)
    try:
        connection.request("GET", "/")
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


def _end_everything(group: Cgroup) -> None:
    """Every other process of this process namespace is the world's."""
    with suppress(ProcessLookupError):  # there is none
        os.kill(-1, signal.SIGKILL)
    group.thaw_all()
    while True:
        try:
            os.wait()
        except ChildProcessError:
            break
    group.leave()
    group.remove()
    remove_top_if_empty()


def _end(*_: object) -> NoReturn:
    raise _EndAskedError


if __name__ == "__main__":
    sys.exit(main())
