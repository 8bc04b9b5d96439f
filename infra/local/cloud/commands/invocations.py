"""A command on its way to one machine, and what became of it (Systems Manager user guide, "Command statuses").

Time is an argument: nothing runs for a command that nobody picks up, its end is seen when somebody looks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from uuid import uuid4

from moto.core.utils import utcnow

from infra.local.cloud.commands.documents import CommandDocument, Values

NOT_RUN = -1
"""The response code of what has not begun, or was not delivered (GetCommandInvocation)."""
MOST_OUTPUT, MOST_ERROR = 24_000, 8_000
"""Characters that GetCommandInvocation gives of standard output and error."""


class Status(Enum):
    """An invocation's status and its details."""

    PENDING = ("Pending", "Pending")
    IN_PROGRESS = ("InProgress", "InProgress")
    CANCELLING = ("Cancelling", "Cancelling")
    SUCCESS = ("Success", "Success")
    FAILED = ("Failed", "Failed")
    CANCELLED = ("Cancelled", "Cancelled")
    UNDELIVERABLE = ("Failed", "Undeliverable")
    DELIVERY_TIMED_OUT = ("TimedOut", "DeliveryTimedOut")
    EXECUTION_TIMED_OUT = ("TimedOut", "ExecutionTimedOut")

    @property
    def word(self) -> str:
        return self.value[0]

    @property
    def details(self) -> str:
        return self.value[1]

    @property
    def final(self) -> bool:
        return self not in (Status.PENDING, Status.IN_PROGRESS, Status.CANCELLING)


BY_AGENT = {
    "Success": Status.SUCCESS,
    "Failed": Status.FAILED,
    "TimedOut": Status.EXECUTION_TIMED_OUT,
    "Cancelled": Status.CANCELLED,
}
"""How the agent's own words for an end are told."""


@dataclass
class Invocation:
    """Changed with the backend's lock held. Times are of the monotonic clock, in seconds, where not said otherwise."""

    instance_id: str
    message_id: str
    deliver_by_s: float
    """When it has not begun by then, it will not (SendCommand, `TimeoutSeconds`)."""
    expires_s: float
    """When it has not ended by then, nobody waits for its end any more."""
    status: Status = Status.PENDING
    hidden_until_s: float = 0.0
    """Its message was given to an agent that may still acknowledge it."""
    cancel_id: str = field(default_factory=lambda: str(uuid4()))
    response_code: int = NOT_RUN
    output: str = ""
    error: str = ""
    started_at: datetime | None = None
    ended_at: datetime | None = None

    def look(self, now_s: float) -> Status:
        """Its status at this moment."""
        late = self.expires_s if self.status is not Status.PENDING else self.deliver_by_s
        if not self.status.final and now_s >= late:
            self.end(Status.DELIVERY_TIMED_OUT)
        return self.status

    def acknowledge(self, now_s: float) -> bool:
        """An agent begins. False: it must not, because another has, or because it is too late or called off."""
        if self.look(now_s) is not Status.PENDING:
            return False
        self.status, self.started_at = Status.IN_PROGRESS, utcnow()
        return True

    def cancel(self, now_s: float) -> None:
        """Called off: at once if no agent has it, else when its agent has ended it."""
        status = self.look(now_s)
        if status is Status.PENDING:
            self.end(Status.CANCELLED)
        elif status is Status.IN_PROGRESS:
            self.status, self.hidden_until_s = Status.CANCELLING, 0.0

    def reply(self, now_s: float, status: Status, response_code: int, output: str, error: str) -> bool:
        """Its agent's last word. False when nobody waits for it any more."""
        if self.look(now_s) not in (Status.IN_PROGRESS, Status.CANCELLING):
            return False
        self.end(status)
        self.response_code, self.output, self.error = response_code, output[:MOST_OUTPUT], error[:MOST_ERROR]
        return True

    def end(self, status: Status) -> None:
        self.status, self.ended_at = status, utcnow()


@dataclass(frozen=True)
class Command:
    """One SendCommand."""

    command_id: str
    document_name: str
    document_version: str
    document: CommandDocument
    given: Values
    """The parameters as they were sent; `values` has the defaults too."""
    values: Values
    comment: str
    timeout_s: int
    requested_at: datetime
    expires_at: datetime
    invocations: Mapping[str, Invocation]

    def status(self, now_s: float) -> Status:
        """Of the command as a whole: the least happy of its invocations, once all have ended."""
        found: Sequence[Status] = [invocation.look(now_s) for invocation in self.invocations.values()]
        if any(not status.final for status in found):
            begun = any(status is not Status.PENDING for status in found)
            return Status.IN_PROGRESS if begun else Status.PENDING
        ranked = (*(status for status in Status if status.final and status is not Status.SUCCESS), Status.SUCCESS)
        return min(found, key=ranked.index)
