"""What a person sees of a long job: on a terminal one line that moves, elsewhere a line now and then."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

TERMINAL_EVERY_S = 1.0
LOG_EVERY_S = 15.0
CLEAR_LINE = "\r\x1b[K"


class Progress:
    """Writes to a stream; standard error by default, so that results on standard output stay alone."""

    def __init__(self, stream: TextIO | None = None, *, log_every_s: float = LOG_EVERY_S) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._terminal = self._stream.isatty()
        self._every_s = TERMINAL_EVERY_S if self._terminal else log_every_s

    def say(self, text: str) -> None:
        """Write a line that stays."""
        self._stream.write(f"{CLEAR_LINE if self._terminal else ''}{text}\n")
        self._stream.flush()

    @contextmanager
    def watching(self, describe: Callable[[], str]) -> Iterator[None]:
        """While the block runs, show what `describe` says at that moment and the seconds since the start."""
        done = threading.Event()
        started = time.monotonic()

        def show() -> None:
            while not done.wait(self._every_s):
                text = f"{describe()} ({time.monotonic() - started:.0f} s)"
                self._stream.write(f"{CLEAR_LINE}{text}" if self._terminal else f"{text}\n")
                self._stream.flush()

        thread = threading.Thread(target=show, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            if self._terminal:
                self._stream.write(CLEAR_LINE)
                self._stream.flush()
