"""What can go wrong on a machine, each with a sentence that says what to do."""

from __future__ import annotations


class NodeError(Exception):
    """The machine cannot take up its role; the text says why and what helps."""


class AwsError(NodeError):
    """An AWS API refused a call. `code` is AWS's own, such as ParameterNotFound."""

    def __init__(self, action: str, code: str, message: str) -> None:
        super().__init__(f"{action} was refused: {code}: {message}")
        self.code = code


class UnreachableError(NodeError):
    """No usable answer at all: worth another try."""
