"""Long work is visible: lines in a log, one moving line on a terminal."""

import io
import time

from infra.local.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_gets_what_is_true_at_that_moment_now_and_then() -> None:
    log, count = io.StringIO(), iter(range(1000))
    with Progress(log, log_every_s=0.01).watching(lambda: f"{next(count)} done"):
        time.sleep(0.1)
    lines = log.getvalue().splitlines()
    assert lines[0] == "0 done (0 s)"
    assert lines[1] == "1 done (0 s)"


def test_short_work_leaves_a_log_alone() -> None:
    log = io.StringIO()
    with Progress(log).watching(lambda: "at work"):
        pass
    assert log.getvalue() == ""


def test_a_terminal_ends_with_the_moving_line_gone() -> None:
    terminal = Terminal()
    progress = Progress(terminal)
    with progress.watching(lambda: "at work"):
        pass
    progress.say("done")
    assert terminal.getvalue().endswith("\r\x1b[Kdone\n")
