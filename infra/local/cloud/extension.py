"""How a service of moto is replaced by a more complete one, in the way that moto itself is built."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

from moto.core.base_backend import BackendDict

REGION = "us-east-1"
ACCOUNT = "123456789012"

_undoings: list[Callable[[], None]] = []


def put_in_place(backends: BackendDict[Any], backend: type[Any]) -> None:
    """Every backend of this service made from now on is of the class `backend`.

    RuntimeError if one was made already: it would go on without the extension, unnoticed.
    """
    if any(len(account) for account in backends.values()):
        raise RuntimeError(
            f"A backend of {backends.service_name} exists already: install the extensions before the first request, "
            "or forget all state before."
        )
    # moto looks for the service's URLs beside the module that the backend's class names.
    backend.__module__ = backends.backend.__module__
    replace(backends, "backend", backend)


def replace(owner: ModuleType | BackendDict[Any], name: str, model: type[Any]) -> None:
    """Have moto make its models of the class `model` where it makes them by this name."""
    _undoings.append(partial(setattr, owner, name, getattr(owner, name)))
    setattr(owner, name, model)


def restore() -> None:
    """Take all of it back, for another AWS in the same process that goes without."""
    while _undoings:
        _undoings.pop()()
