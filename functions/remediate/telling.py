"""Tell a person something, once."""

from __future__ import annotations

from datetime import datetime, timedelta

from functions.errors import ConfigurationError, RetryableError
from functions.remediate.outside import Outside

LASTS_FOR = timedelta(seconds=30)
_FORGOTTEN_AFTER = timedelta(minutes=5)


def tell_if_it_lasts(outside: Outside, key: str, subject: str, text: str, *, now: datetime, within: timedelta) -> bool:
    """As `tell_if_possible`, of what is seen again `LASTS_FOR` later; return whether that is still to be found out."""
    try:
        new = outside.table.first_time(f"begins#{key}", now=now, within=_FORGOTTEN_AFTER)
        lasts = outside.table.first_time(f"lasts#{key}", now=now, within=LASTS_FOR) and not new
    except (RetryableError, ConfigurationError) as error:
        outside.journal.tell("alert_failed", subject=subject, text=text, reason=str(error))
        return False
    if lasts:
        tell_if_possible(outside, key, subject, text, now=now, within=within)
    return new


def tell_if_possible(outside: Outside, key: str, subject: str, text: str, *, now: datetime, within: timedelta) -> bool:
    """As `alert_once`, for what has to go on whether a person can be told or not."""
    try:
        return alert_once(outside, key, subject, text, now=now, within=within)
    except (RetryableError, ConfigurationError) as error:
        outside.journal.tell("alert_failed", subject=subject, text=text, reason=str(error))
        outside.journal.count("alert_failed")
        return False


def alert_once(outside: Outside, key: str, subject: str, text: str, *, now: datetime, within: timedelta) -> bool:
    """Send an alert unless one with this key was sent within that time, and return whether it was sent now.

    One that could not be sent counts as unsent.
    """
    if not outside.table.first_time(key, now=now, within=within):
        return False
    try:
        outside.alerts.alert(subject, text)
    except (RetryableError, ConfigurationError):
        outside.table.unsay(key)
        raise
    return True
