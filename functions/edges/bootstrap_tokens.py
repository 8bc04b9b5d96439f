"""The minter at the Kubernetes API: bootstrap tokens, and what must hold before one is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from functions.cluster.facts import Absent
from functions.cluster.joining import AUTHENTICATED_GROUP, BOOTSTRAP_USER_PREFIX, BOOTSTRAPPERS_GROUP
from functions.cluster.machine import Node
from functions.edges.kubernetes_api import Credentials, KubernetesApi, NotFoundError
from functions.errors import ConflictError, RetryableError
from functions.join.delivery import ApiServer
from functions.join.token import Token, rfc3339

_NAMESPACE = "kube-system"
_SIGNATURE_KEY = "jws-kubeconfig-"
_SOME_TOKEN = "aaaaaa"  # noqa: S105 - the id of a token that nobody made


class BootstrapTokensEdge:
    """The minter's identity at one API server. `credentials` is asked again after the API server has refused us."""

    def __init__(self, credentials: Callable[[], Credentials], *, timeout_s: tuple[float, float] = (2.0, 5.0)) -> None:
        """`timeout_s` is for the connection and for the answer."""
        self._api = KubernetesApi(credentials, timeout_s=timeout_s)

    def node(self, name: str) -> Node | Absent:
        return self._api.node(name)

    def version(self) -> str:
        return self._api.version()

    def api_server(self) -> ApiServer:
        credentials = self._api.credentials()
        return ApiServer(credentials.server, credentials.ca)

    def approves_unseen(self, group: str) -> bool:
        """Ask what kube-controller-manager asks before it approves a first certificate (its sarapprove.go)."""
        spec = {
            "user": f"{BOOTSTRAP_USER_PREFIX}{_SOME_TOKEN}",
            "groups": [BOOTSTRAPPERS_GROUP, group, AUTHENTICATED_GROUP],
            "resourceAttributes": {
                "group": "certificates.k8s.io",
                "version": "*",
                "resource": "certificatesigningrequests",
                "subresource": "nodeclient",
                "verb": "create",
            },
        }
        what = "create SubjectAccessReview"
        review = self._api.ask(
            what,
            "AuthorizationV1Api",
            "create_subject_access_review",
            {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec},
        )
        status = review.get("status")
        if not isinstance(status, dict) or not isinstance(status.get("allowed"), bool):
            raise RetryableError(f"Kubernetes {what}: the answer is no review")
        if not status["allowed"] and status.get("evaluationError"):
            raise RetryableError(f"Kubernetes {what}: {status['evaluationError']}")  # an authorizer did not answer
        return bool(status["allowed"])

    def signing_tokens(self) -> tuple[str, ...]:
        try:
            published = self._api.ask(
                "get ConfigMap cluster-info", "CoreV1Api", "read_namespaced_config_map", "cluster-info", "kube-public"
            )
        except NotFoundError:
            return ()
        keys = published.get("data") or {}
        return tuple(sorted(key.removeprefix(_SIGNATURE_KEY) for key in keys if key.startswith(_SIGNATURE_KEY)))

    def create_token(self, token: Token) -> str:
        """Create, never replace: a Secret of that name is somebody else's."""
        secret: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": _name(token.id), "namespace": _NAMESPACE},
            "type": "bootstrap.kubernetes.io/token",
            "stringData": {
                "token-id": token.id,
                "token-secret": token.secret,
                "expiration": rfc3339(token.expires_at),
                "usage-bootstrap-authentication": "true",
                "auth-extra-groups": token.group,
                "description": token.machine,
            },
        }
        what = "create bootstrap token"
        created = self._api.ask(what, "CoreV1Api", "create_namespaced_secret", _NAMESPACE, secret)
        uid = created["metadata"].get("uid")
        if not isinstance(uid, str):
            raise RetryableError(f"Kubernetes {what}: the answer is no Secret")
        return uid

    def delete_token(self, token_id: str, uid: str | None) -> None:
        body = {"preconditions": {"uid": uid}} if uid else {}
        try:
            self._api.ask(
                "delete bootstrap token",
                "CoreV1Api",
                "delete_namespaced_secret",
                _name(token_id),
                _NAMESPACE,
                body=body,
            )
        except (NotFoundError, ConflictError):
            return  # gone, or another token has its id: either way this one is no more


def _name(token_id: str) -> str:
    return f"bootstrap-token-{token_id}"
