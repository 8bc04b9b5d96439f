"""What Regrow may try on a machine that it doubts: start one of two services again. Their pods run on meanwhile.

One JSON object is printed, and nothing else: what was started again, or {"error": ...} with exit code 1.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress

from .failures import NodeError
from .machine import run

UNITS = {"restart-kubelet": "kubelet", "restart-runtime": "containerd"}
IN_ORDER_S = 15.0
"""systemd would wait for 90 s before it ends a service that does not end by itself (systemd-system.conf)."""
ONCE_ENDED_S = 20.0

Run = Callable[..., str]


def restart(unit: str, run: Run = run) -> None:
    """Return once it has been started again; NodeError when it has not. One that does not end is ended."""
    try:
        run(["systemctl", "restart", unit], timeout_s=IN_ORDER_S)
    except NodeError:
        with suppress(NodeError):  # there may be nothing left of it
            run(["systemctl", "kill", "--signal=SIGKILL", unit], timeout_s=IN_ORDER_S)
        run(["systemctl", "restart", unit], timeout_s=ONCE_ENDED_S)


def main(given: Sequence[str] | None = None, run: Run = run) -> int:
    words = list(sys.argv[1:] if given is None else given)
    try:
        if len(words) != 1 or words[0] not in UNITS:
            raise NodeError(f"no such action; there are {', '.join(UNITS)}, without arguments")
        restart(UNITS[words[0]], run)
    except NodeError as problem:
        print(json.dumps({"error": str(problem)[-2000:]}))
        return 1
    print(json.dumps({"restarted": UNITS[words[0]]}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
