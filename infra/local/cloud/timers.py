"""The clock of the local AWS: everything that happens later, on threads of its own."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

log = logging.getLogger(__name__)


@dataclass(order=True)
class Timer:
    """One thing that will happen; cancelling it after it began changes nothing."""

    due: float
    order: int
    action: Callable[[], Any] = field(compare=False)
    cancelled: bool = field(default=False, compare=False)

    def cancel(self) -> None:
        """It will not happen, unless it already began."""
        self.cancelled = True


class Timers:
    """Runs each action on a thread of its own when its time has come, so none can hold up another.

    An action that raises is logged with its trace: there is nobody to raise to.
    """

    def __init__(self) -> None:
        self._due: list[Timer] = []
        self._changed = threading.Condition()
        self._numbers = itertools.count()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="timers", daemon=True)
        self._thread.start()

    def after(self, delay_s: float, action: Callable[..., Any], *arguments: Any) -> Timer:
        """Call `action(*arguments)` in `delay_s` seconds. After `stop` nothing happens any more."""
        timer = Timer(time.monotonic() + max(0.0, delay_s), next(self._numbers), lambda: action(*arguments))
        with self._changed:
            heapq.heappush(self._due, timer)
            self._changed.notify()
        return timer

    def stop(self) -> None:
        """Nothing begins any more. What has begun goes on to its end on a daemon thread."""
        with self._changed:
            self._stopped = True
            self._due.clear()
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while (timer := self._next()) is not None:
            if not timer.cancelled:
                threading.Thread(target=self._perform, args=(timer,), daemon=True).start()

    def _next(self) -> Timer | None:
        with self._changed:
            while not self._stopped:
                now = time.monotonic()
                if self._due and self._due[0].due <= now:
                    return heapq.heappop(self._due)
                self._changed.wait(self._due[0].due - now if self._due else None)
            return None

    def _perform(self, timer: Timer) -> None:
        try:
            timer.action()
        except Exception:
            if not self._stopped:
                log.exception("A timer's action failed")
