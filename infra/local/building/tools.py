"""Other programs (pip, go), run to their end, whose failure is told in one sentence with the remedy."""

import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

LAST_LINES = 15
# The kernel ends the program when we are killed, so that no orphan goes on working where a new run begins.
DIE_WITH_US = ("setpriv", "--pdeathsig", "KILL")


class SetupError(Exception):
    """Something the world needs cannot be made: the text says what, the remedy and the program's last words."""


def run(
    command: Sequence[str | Path],
    *,
    otherwise: str,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    is_progress: Callable[[str], bool] = lambda _line: False,
    attempts: int = 1,
    pause_s: float = 2.0,
) -> str:
    """Return the command's standard output; `is_progress` sees each line of standard error as it comes.

    Lines for which it says True are left out of the last words. A failing command is tried `attempts` times,
    after pauses that double, for what depends on the network. When it fails for good, `otherwise`
    is the SetupError's sentence.
    """
    for attempt in range(attempts):
        if attempt:
            time.sleep(pause_s * 2 ** (attempt - 1))
        code, output, last_lines = _run(command, env, cwd, is_progress)
        if code == 0:
            return output
    tail = "\n  ".join(last_lines) or f"(exit code {code}, no output)"
    raise SetupError(f"{otherwise}\n  {tail}")


def _run(
    command: Sequence[str | Path],
    env: Mapping[str, str] | None,
    cwd: Path | None,
    is_progress: Callable[[str], bool],
) -> tuple[int, str, list[str]]:
    last_lines: deque[str] = deque(maxlen=LAST_LINES)
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        try:
            process = subprocess.Popen(
                [*DIE_WITH_US, *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                env=env,
                cwd=cwd,
            )
        except FileNotFoundError as error:
            raise SetupError(f"{error.filename} was not found: install util-linux.") from error
        try:
            for line in process.stderr or ():
                if not is_progress(line.rstrip()):
                    last_lines.append(line.rstrip())
            code = process.wait()
        except BaseException:
            process.kill()
            process.wait()
            raise
        output.seek(0)
        text = output.read()
    return code, text, list(last_lines) or text.splitlines()[-LAST_LINES:]
