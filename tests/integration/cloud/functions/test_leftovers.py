"""Nothing of the functions outlives the process that runs them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.cloud.functions.local_aws import eventually

# One environment in a handler that sleeps, and one that is warm; the emulators are started from a thread that lives on.
PROGRAM = """
import sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from infra.local.building.emulator import ensure
from infra.local.cloud.functions.emulation import Environment

starter = ThreadPoolExecutor(1)
def made():
    environment = Environment(ensure(), "app.handler", Path(sys.argv[1]), {"PATH": "/usr/bin:/bin"}, 60, lambda _: None)
    starter.submit(environment.start).result()
    return environment
warm, busy = made(), made()
warm.invoke(b'{"sleep_s": 0}', "00000000-0000-0000-0000-000000000001")
threading.Thread(target=busy.invoke, args=(b'{"sleep_s": 50}', "00000000-0000-0000-0000-000000000002")).start()
print("ready", flush=True)
time.sleep(60)
"""
APP = "import time\ndef handler(event, context): time.sleep(event['sleep_s'])\n"


def processes_in(directory: Path) -> list[int]:
    """Every process whose working directory it is."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and (entry / "cwd").readlink() == directory:
                found.append(int(entry.name))
        except OSError:
            continue
    return found


@pytest.mark.usefixtures("emulator")
def test_a_killed_aws_process_takes_every_emulator_and_function_along(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": "."}
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    # Of each environment: unshare, the emulator, and Python.
    eventually(lambda: len(processes_in(tmp_path)) == 6)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    eventually(lambda: not processes_in(tmp_path))
