"""IAM in front of every API: decides about a request before moto sees it, answers the refused ones, and logs them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from infra.local.cloud.access import calls, refusals, trail
from infra.local.cloud.access.access import UnknownAccessError, context_of
from infra.local.cloud.access.authority import Authority
from infra.local.cloud.access.calls import Signature
from infra.local.cloud.access.policies import Decision
from infra.local.cloud.access.refusals import Kind, Refusal
from infra.local.cloud.access.services import accesses
from infra.local.cloud.access.sessions import TEMPORARY, Principal, principal, utc_now
from infra.local.cloud.extension import ACCOUNT

log = logging.getLogger(__name__)

_OF_REQUEST = {"aws:SecureTransport": "true"}
"""There is no TLS in a world's own network; what speaks TLS to AWS is taken to speak it."""

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


class Gate:
    """A WSGI application around another.

    Temporary keys are roles' sessions and may do what the role's policies say. Every other key is the account's
    administrator: the person at the keyboard, the deployment, the tests. Who has no key at all gets nothing.
    """

    def __init__(self, inner: Application) -> None:
        self._inner = inner
        self._authority = Authority()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        signed = calls.signature(environ)
        refused: Refusal | None = None
        if signed is None:
            refused = refusals.refusal(Kind.UNSIGNED, "", "json" in environ.get("CONTENT_TYPE", ""))
        elif signed.access_key.startswith(TEMPORARY):
            refused = self._refusal(environ, signed)
        if refused is None:
            return self._inner(environ, start_response)
        start_response(refused.status, list(refused.headers))
        return [refused.body]

    def _refusal(self, environ: dict[str, Any], signed: Signature) -> Refusal | None:
        json_form = signed.service == "lambda" or "json" in environ.get("CONTENT_TYPE", "")
        who: Principal | None = None
        try:
            who = principal(signed.access_key)
            if who is None or not who.holds(signed.token):
                log.warning("refused: no session has the key %s (%s)", signed.access_key, signed.service)
                return refusals.refusal(Kind.UNKNOWN_KEY, signed.service, json_form)
            if who.expired(utc_now()):
                log.warning("refused: the session of %s is over (%s)", who.arn, signed.service)
                return refusals.refusal(Kind.EXPIRED, signed.service, json_form)
            call = calls.read(environ, signed, ACCOUNT)
            context = context_of(who.context, _OF_REQUEST, {"aws:RequestedRegion": signed.region})
            for access in accesses(call):
                decision = self._authority.decision(who.arn, who.role_arn, access, context)
                if decision is not Decision.ALLOWED:
                    return refusals.denied(who.arn, access, decision, signed.service, json_form)
            trail.keep(who, call, int(environ.get("CONTENT_LENGTH") or 0))
        except UnknownAccessError as error:
            name = who.arn if who else signed.access_key
            log.error("cannot decide: principal=%s service=%s: %s", name, signed.service, error)
            return refusals.refusal(Kind.INTERNAL, signed.service, json_form, f"The local AWS cannot decide: {error}")
        return None
