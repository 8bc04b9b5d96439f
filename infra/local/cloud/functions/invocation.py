"""One run of a function, and why there may be none."""

from __future__ import annotations

from dataclasses import dataclass


class ThrottledError(Exception):
    """The function's concurrency is used up: Lambda's TooManyRequestsException."""

    def __init__(self, function: str, why: str) -> None:
        super().__init__(f"{function} was not run: {why}.")


@dataclass(frozen=True)
class Invocation:
    """What an invocation gave. `error` is None, or as in the X-Amz-Function-Error header.

    `cold` says that an environment was made for it, whose initialisation took `init_s` of `duration_s`.
    An asynchronous one carries its request id alone.
    """

    payload: bytes = b""
    error: str | None = None
    log: str = ""
    cold: bool = False
    duration_s: float = 0.0
    init_s: float | None = None
    environment_id: str = ""
    request_id: str = ""
