"""IAM's word on what a role may do, with a line in the log for each denial."""

from __future__ import annotations

import logging

from infra.local.cloud.access.access import Access, Context, context_of
from infra.local.cloud.access.policies import Decision, decide
from infra.local.cloud.access.sessions import RolePolicies

log = logging.getLogger(__name__)


class Authority:
    """Decides by the roles' policies as they are now."""

    def __init__(self) -> None:
        self._policies = RolePolicies()

    def decision(self, who: str, role_arn: str, access: Access, context: Context) -> Decision:
        """`who` is how the log names the principal; `context` what is known of it. UnknownAccessError as policies."""
        whole = context_of(context, access.context)
        decision = decide(self._policies.of(role_arn), access, whole)
        if decision is not Decision.ALLOWED:
            shown = {key: values[0] if len(values) == 1 else list(values) for key, values in sorted(whole.items())}
            reason = decision.value.format(action=access.action)
            what = f"action={access.action} resource={access.resource}"
            log.warning("access denied: principal=%s %s %s context=%s", who, what, reason, shown)
        return decision
