"""Wait for the volumes of a dead machine to be released, and tell a person when that takes too long."""

from __future__ import annotations

from datetime import datetime, timedelta

from functions.remediate.outside import Outside
from functions.remediate.plan import SOON, AwaitDetach
from functions.remediate.steps.waiting import Waiting
from functions.remediate.telling import alert_once

OVERDUE_LOOKED_AT = timedelta(minutes=1)  # it may take a person days


def await_detach(
    step: AwaitDetach, outside: Outside, *, opened_at: datetime, at: datetime, deadline: timedelta
) -> Waiting | None:
    """Return None once no VolumeAttachment names the Node. `opened_at` is when work on the machine began."""
    attachments = outside.kubernetes.attachments_of(step.node_name)
    if not attachments:
        return None
    reason = f"{len(attachments)} volumes are still attached to {step.node_name}: {', '.join(attachments)}"
    if at - opened_at > deadline:
        text = (
            f"{reason}. They should be within {deadline}. The Node is kept until they are; look at the CSI driver's "
            "external-attacher, or delete the VolumeAttachments by hand if the storage itself has let go."
        )
        subject = f"Volumes of {step.node_name} are not released"
        alert_once(outside, f"detach#{step.node_name}", subject, text, now=at, within=timedelta(days=1))
        return Waiting(reason, OVERDUE_LOOKED_AT)
    return Waiting(reason, SOON)
