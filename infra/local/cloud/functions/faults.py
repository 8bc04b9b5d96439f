"""Faults that a drill or a test brings about from outside the world, as root on the host."""

from __future__ import annotations

import os
import signal
from pathlib import Path


def kill_function(world: Path, function: str) -> int:
    """SIGKILL every environment of the function in the world with that directory, at work or warm; returns how many.

    What runs in them dies in the middle of what it does, and Lambda starts the next invocation cold.
    """
    name, code = f"AWS_LAMBDA_FUNCTION_NAME={function}".encode(), f"LAMBDA_TASK_ROOT={world}/functions/".encode()
    victims = [pid for pid in _processes() if _is_first_of_environment(pid, name, code)]
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    return len(victims)


def _processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def _is_first_of_environment(pid: int, name: bytes, code: bytes) -> bool:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        # It ended meanwhile.
        return False
    of_function = name in variables and any(variable.startswith(code) for variable in variables)
    return command[0] == b"unshare" and of_function
