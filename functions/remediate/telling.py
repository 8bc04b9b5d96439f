"""Tell a person something, once."""

from __future__ import annotations

from datetime import datetime, timedelta

from functions.errors import ConfigurationError, RetryableError
from functions.remediate.outside import Outside


def alert_once(outside: Outside, key: str, subject: str, text: str, *, now: datetime, within: timedelta) -> None:
    """Send an alert unless one with this key was sent within that time; one that could not be sent counts as unsent."""
    if not outside.table.first_time(key, now=now, within=within):
        return
    try:
        outside.alerts.alert(subject, text)
    except (RetryableError, ConfigurationError):
        outside.table.unsay(key)
        raise
