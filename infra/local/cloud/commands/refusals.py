"""What Run Command refuses, under AWS's own codes (Systems Manager API reference)."""

from __future__ import annotations

from collections.abc import Iterable

from moto.ssm.exceptions import SSMException


class InvalidParametersError(SSMException):
    def __init__(self, text: str) -> None:
        super().__init__("InvalidParameters", text)


class InvalidDocumentError(SSMException):
    def __init__(self, text: str) -> None:
        super().__init__("InvalidDocument", text)


class InvalidInstanceIdError(SSMException):
    def __init__(self, instance_ids: Iterable[str], account: str) -> None:
        named = ", ".join(instance_ids)
        super().__init__("InvalidInstanceId", f"Instances [[{named}]] not in a valid state for account {account}")


class InvalidCommandIdError(SSMException):
    def __init__(self) -> None:
        super().__init__("InvalidCommandId", "The specified command ID isn't valid.")


class InvocationDoesNotExistError(SSMException):
    def __init__(self) -> None:
        super().__init__("InvocationDoesNotExist", "The command ID and managed node ID you specified didn't match.")


class NotKnownHereError(SSMException):
    """Something that AWS knows and this does not: refused, so that nobody takes silence for an effect."""

    def __init__(self, what: str) -> None:
        super().__init__("ValidationException", f"The local AWS does not know {what}.")
