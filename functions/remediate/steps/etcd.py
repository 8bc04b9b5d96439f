"""Change etcd's membership, or let a machine into it: always one at a time, always read again right before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta

from functions.cluster import quorum
from functions.cluster.etcd import SnapshotBegun
from functions.cluster.joining import Admission
from functions.errors import ConfigurationError, PermanentError, RefusedError, RetryableError
from functions.remediate.outside import Outside
from functions.remediate.plan import (
    LATER,
    SOON,
    Admit,
    AwaitQuorum,
    ForgetCertificates,
    MoveLeader,
    RemoveMember,
    TakeSnapshot,
    UploadCertificates,
)
from functions.remediate.steps.waiting import Unchanged, Waiting
from functions.remediate.telling import tell_if_possible

LEASE = timedelta(seconds=60)  # longer than a pass can last
MINTED_WITHIN = timedelta(seconds=30)  # the minter counts from its token, and has ended it when the launch is given up
SNAPSHOT_ENDS_WITHIN = timedelta(minutes=3)  # delivered in half a minute, and ended by the document after two
_SNAPSHOT_AGAIN_AFTER = timedelta(minutes=1)
_HOUR = timedelta(hours=1)


def remove_member(step: RemoveMember, outside: Outside, *, at: datetime) -> Waiting | None:
    """The machine reads the members again by itself, and refuses what would cost the quorum at that moment."""
    with _lease(f"remove {step.member.id}", outside, at):
        if refused := outside.commands.remove_member(step.asked, step.member):
            return Waiting(f"{step.asked} refuses to remove {step.member}: {refused}", LATER)
    return None


def move_leader(step: MoveLeader, outside: Outside) -> Unchanged | None:
    try:
        outside.commands.move_leader(step.asked, step.to)
    except (RetryableError, ConfigurationError) as error:
        outside.journal.tell("move_leader_failed", to=step.to.name, reason=str(error))
        return Unchanged()
    return None


def admit(step: Admit, outside: Outside, *, at: datetime, join_deadline: timedelta) -> Waiting | Unchanged | None:
    with _lease(f"admit {step.instance}", outside, at):
        etcd = outside.commands.etcd(step.asked)
        joined_before = any(member.name == step.instance for member in etcd.members)
        if not joined_before and (reason := quorum.may_admit(etcd, wanted=step.wanted)):
            return Waiting(f"it waits until etcd is whole: {reason}", SOON)
        if step.admitted:
            return Unchanged()
        if not outside.table.admit(Admission(step.instance, at + join_deadline + MINTED_WITHIN, at), now=at):
            return Waiting("another machine is admitted", SOON)
    return None


def upload_certificates(step: UploadCertificates, outside: Outside) -> None:
    outside.commands.upload_certificates(step.asked, for_instance=step.instance)


def forget_certificates(step: ForgetCertificates, outside: Outside) -> Unchanged | None:
    """The certificates are for one machine: while another one is admitted they are its."""
    admission = outside.table.admission()
    if not isinstance(admission, Admission) or admission.instance != step.instance:
        return Unchanged()
    if step.asked:
        try:
            outside.commands.forget_certificates(step.asked, for_instance=step.instance)
        except (RetryableError, ConfigurationError) as error:
            outside.journal.tell("forget_certificates_failed", machine=step.instance, reason=str(error))
            outside.journal.count("forget_certificates_failed")
            return Unchanged()
    outside.table.end_admission(step.instance)
    return None


def take_snapshot(step: TakeSnapshot, outside: Outside, *, at: datetime, bucket: str) -> Waiting | Unchanged | None:
    """No pass waits until a large one is stored, and none begins another before it has ended."""
    try:
        before = outside.table.snapshot_begun()
        if isinstance(before, SnapshotBegun) and at < before.at + SNAPSHOT_ENDS_WITHIN:
            stored = bool(before.command) and _stored(before, outside, wait=False)
        else:
            begun = _begin_snapshot(step, outside, at, bucket)
            stored = begun is not None and _stored(begun, outside, wait=True)
        if stored:
            return None
    except (RetryableError, ConfigurationError, PermanentError) as error:
        subject = "No snapshot of etcd could be taken"
        text = f"{error}. Wanted since {step.reason}. It is tried again; what was to be done goes on without it."
        outside.journal.tell("snapshot_failed", asked=step.asked, reason=str(error))
        outside.journal.count("snapshot_failed")
        if step.overdue:
            tell_if_possible(outside, "snapshot-failed", subject, text, now=at, within=_HOUR)
        return Unchanged()
    return Waiting("a snapshot of etcd is under way", _SNAPSHOT_AGAIN_AFTER) if step.awaited else Unchanged()


def _begin_snapshot(step: TakeSnapshot, outside: Outside, at: datetime, bucket: str) -> SnapshotBegun | None:
    """Write it down first, so that whoever is killed in between leaves no second one; None while another pass does."""
    key = f"etcd/{at:%Y/%m/%d/%H%M%S}-{step.asked}.db"
    begun, until = SnapshotBegun(step.asked, key, at), at + SNAPSHOT_ENDS_WITHIN
    if not outside.table.begin_snapshot(begun, now=at, until=until):
        return None
    try:
        command = outside.commands.begin_snapshot(step.asked, bucket=bucket, key=key)
    except (ConfigurationError, PermanentError):
        outside.table.end_snapshot(begun)
        raise
    begun = replace(begun, command=command)
    outside.table.begin_snapshot(begun, now=at, until=until)
    return begun


def _stored(begun: SnapshotBegun, outside: Outside, *, wait: bool) -> bool:
    """Whether it has arrived, which is then noted; PermanentError when it never will."""
    try:
        snapshot = outside.commands.snapshot(begun, wait=wait)
    except PermanentError:
        outside.table.end_snapshot(begun)
        raise
    if snapshot is None:
        return False
    outside.table.note_snapshot(snapshot, at=begun.at)
    outside.table.end_snapshot(begun)
    return True


def await_quorum(step: AwaitQuorum, outside: Outside, *, at: datetime) -> Waiting:
    subject = f"etcd's membership is left as it is: {step.of}"
    text = (
        f"{step.reason}. Nothing is removed before that is so no more; Regrow looks again by itself. "
        "The run-book is docs/runbooks/etcd.md."
    )
    if not step.tells:
        return Waiting(step.reason, SOON)
    tell_if_possible(outside, f"quorum#{step.of}", subject[:100], text, now=at, within=_HOUR)
    outside.journal.count("quorum_refused")
    return Waiting(step.reason, LATER)


@contextmanager
def _lease(holder: str, outside: Outside, at: datetime) -> Iterator[None]:
    """Raises RefusedError while somebody else has it."""
    if not outside.table.take_lease(holder, now=at, until=at + LEASE):
        raise RefusedError("another pass is changing etcd's membership")
    yield  # after an error nobody knows whether the machine is still at it: the lease then lasts its time
    outside.table.end_lease(holder)
