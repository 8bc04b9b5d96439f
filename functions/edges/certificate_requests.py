"""The approver at the Kubernetes API: certificate signing requests of kubelets, and the word on each of them.

`credentials` are those of the approver's own identity (see KubernetesApi).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from functions.cluster.facts import Absent
from functions.cluster.machine import Node
from functions.edges.kubernetes_api import Credentials, KubernetesApi
from functions.join.certificate_request import CertificateRequest

_API = "CertificatesV1Api"
_DECIDED = frozenset({"Approved", "Denied", "Failed"})


class CertificateRequestsEdge:
    def __init__(
        self,
        credentials: Callable[[], Credentials],
        *,
        timeout_s: tuple[float, float] = (2.0, 5.0),
        page_size: int = 500,
    ) -> None:
        self._api = KubernetesApi(credentials, timeout_s=timeout_s, page_size=page_size)

    def requests(self) -> tuple[CertificateRequest, ...]:
        """Read those of every signer: the list knows no selector for what is not decided.

        Kubernetes keeps what was decided for an hour, so what was made of a request is seen in the same list.
        """
        found = self._api.list("list CertificateSigningRequests", _API, "list_certificate_signing_request")
        return tuple(_request(raw) for raw in found if _pending(raw) or _issued(raw))

    def version(self) -> str:
        return self._api.version()

    def approve(self, request: CertificateRequest, *, reason: str, message: str, at: datetime) -> None:
        self._decide(request, "Approved", reason, message, at)

    def deny(self, request: CertificateRequest, *, reason: str, message: str, at: datetime) -> None:
        self._decide(request, "Denied", reason, message, at)

    def node(self, name: str) -> Node | Absent:
        return self._api.node(name)

    def _decide(self, request: CertificateRequest, word: str, reason: str, message: str, at: datetime) -> None:
        """Put the object back whole: with its uid and resourceVersion in it, no other one of its name is decided."""
        status = request.whole.get("status", {})
        condition = {
            "type": word,
            "status": "True",
            "reason": reason,
            "message": message,
            "lastUpdateTime": f"{at:%Y-%m-%dT%H:%M:%SZ}",
        }
        body = {
            **request.whole,
            "apiVersion": "certificates.k8s.io/v1",  # items of a list come without
            "kind": "CertificateSigningRequest",
            "status": {**status, "conditions": [*status.get("conditions", []), condition]},
        }
        what = f"put {word} on CertificateSigningRequest {request.name}"
        self._api.ask(what, _API, "replace_certificate_signing_request_approval", request.name, body)


def _pending(raw: Mapping[str, Any]) -> bool:
    status = raw.get("status", {})
    return not status.get("certificate") and not any(
        condition["type"] in _DECIDED for condition in status.get("conditions", [])
    )


def _issued(raw: Mapping[str, Any]) -> str | None:
    return raw.get("status", {}).get("certificate") or None


def _request(raw: Mapping[str, Any]) -> CertificateRequest:
    metadata, spec = raw["metadata"], raw["spec"]
    return CertificateRequest(
        name=metadata["name"],
        uid=metadata["uid"],
        created_at=datetime.fromisoformat(metadata["creationTimestamp"]),
        signer=spec["signerName"],
        username=spec.get("username", ""),
        user_uid=spec.get("uid", ""),
        groups=tuple(spec.get("groups", [])),
        extra={key: tuple(values) for key, values in spec.get("extra", {}).items()},
        usages=tuple(spec.get("usages", [])),
        expiration_s=spec.get("expirationSeconds"),
        request=spec["request"],
        whole=raw,
        issued=_issued(raw),
    )
