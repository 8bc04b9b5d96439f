"""The Kubernetes API, in the project's own small types. The only module that imports the kubernetes client.

The client is imported on first use: most events are about machines that are none of ours, and its import costs more
than everything else of a cold start. Answers are read as plain JSON, since building its model objects costs more
than the request.
"""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from functions.cluster.facts import Absent
from functions.cluster.machine import CORDONED_ANNOTATION, OUT_OF_SERVICE_TAINT, Node, Pod, Taint
from functions.errors import ConfigurationError, ConflictError, RetryableError

_PARALLEL = 16
_FINISHED_PHASES = frozenset({"Succeeded", "Failed"})
_OUT_OF_SERVICE = Taint(OUT_OF_SERVICE_TAINT, "NoExecute", "nodeshutdown")


@dataclass(frozen=True)
class Credentials:
    """Where an API server is, by what it is known, and who we are to it; certificates and key are PEM."""

    server: str
    ca: bytes
    client_certificate: bytes
    client_key: bytes

    @classmethod
    def from_json(cls, text: str, *, source: str) -> Credentials:
        """Read what the control plane published; raise ConfigurationError that names `source` when it is not whole."""
        try:
            content = json.loads(text)
            return cls(
                server=content["server"],
                ca=base64.b64decode(content["ca_data"]),
                client_certificate=base64.b64decode(content["client_certificate_data"]),
                client_key=base64.b64decode(content["client_key_data"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(
                f"{source} does not hold a kubeconfig as the control plane publishes it: {error!r}"
            ) from error


class KubernetesEdge:
    """One identity at one API server. `credentials` is asked again after the API server has refused us."""

    def __init__(
        self,
        credentials: Callable[[], Credentials],
        *,
        timeout_s: tuple[float, float] = (2.0, 5.0),
        page_size: int = 500,
    ) -> None:
        """`timeout_s` is for the connection and for the answer; the client has none of its own."""
        self._credentials = credentials
        self._timeout_s = timeout_s
        self._page_size = page_size
        self._api: Any = None

    def node(self, name: str) -> Node | Absent:
        try:
            return _node(self._read("get Node", "CoreV1Api", "read_node", name))
        except _NotFoundError:
            return Absent()

    def nodes(self) -> tuple[Node, ...]:
        return tuple(_node(raw) for raw in self._list("list Nodes", "CoreV1Api", "list_node"))

    def pods_on(self, node_name: str) -> tuple[Pod, ...]:
        found = self._list(
            "list Pods", "CoreV1Api", "list_pod_for_all_namespaces", field_selector=f"spec.nodeName={node_name}"
        )
        return tuple(_pod(raw) for raw in found)

    def attachments_of(self, node_name: str) -> tuple[str, ...]:
        found = self._list("list VolumeAttachments", "StorageV1Api", "list_volume_attachment")
        return tuple(raw["metadata"]["name"] for raw in found if raw["spec"]["nodeName"] == node_name)

    def cordon(self, node: Node, *, at: datetime) -> None:
        self._patch(node, {"spec": {"unschedulable": True}, "metadata": _cordoned(node, at)})

    def fence(self, node: Node, *, at: datetime) -> None:
        taints = node.taints if node.out_of_service else (*node.taints, _OUT_OF_SERVICE)
        self._patch(
            node, {"spec": {"unschedulable": True, "taints": _raw_taints(taints)}, "metadata": _cordoned(node, at)}
        )

    def restore(self, node: Node) -> None:
        kept = [taint for taint in node.taints if taint.key != OUT_OF_SERVICE_TAINT]
        spec: dict[str, Any] = {"taints": _raw_taints(kept)}
        if CORDONED_ANNOTATION in node.annotations:
            spec["unschedulable"] = None
        self._patch(node, {"spec": spec, "metadata": {"annotations": {CORDONED_ANNOTATION: None}}})

    def delete_pods(self, pods: Iterable[Pod]) -> None:
        with ThreadPoolExecutor(max_workers=_PARALLEL) as together:
            for deleted in [together.submit(self._delete_pod, pod) for pod in pods]:
                deleted.result()

    def delete_node(self, name: str, uid: str) -> None:
        try:
            self._read("delete Node", "CoreV1Api", "delete_node", name, body={"preconditions": {"uid": uid}})
        except _NotFoundError:
            return

    def _delete_pod(self, pod: Pod) -> None:
        body = {"gracePeriodSeconds": 0, "preconditions": {"uid": pod.uid}}
        try:
            self._read("delete Pod", "CoreV1Api", "delete_namespaced_pod", pod.name, pod.namespace, body=body)
        except (_NotFoundError, ConflictError):
            return  # gone, or another pod has its name: either way this one is no more

    def _patch(self, node: Node, body: dict[str, Any]) -> None:
        """Change the Node only as it was seen: a list of taints replaces the whole list that is there."""
        body["metadata"] |= {"uid": node.uid, "resourceVersion": node.resource_version}
        try:
            self._read("patch Node", "CoreV1Api", "patch_node", node.name, body)
        except _NotFoundError:
            return

    def _list(self, what: str, api: str, method: str, **query: Any) -> Iterator[dict[str, Any]]:
        token = None
        while True:
            page = self._read(
                what, api, method, limit=self._page_size, **({"_continue": token} if token else {}), **query
            )
            if not isinstance(page.get("items"), list):
                raise RetryableError(f"Kubernetes {what}: the answer is not a list of the API")
            yield from page["items"]
            token = page["metadata"].get("continue")
            if not token:
                return

    def _read(self, what: str, api: str, method: str, *arguments: Any, **options: Any) -> dict[str, Any]:
        from kubernetes import client

        if self._api is None:
            self._api = _connect(self._credentials())
        call = getattr(getattr(client, api)(self._api), method)
        with _speaking(what, self._forget_connection):
            answer = call(*arguments, **options, _preload_content=False, _request_timeout=self._timeout_s)
            content = json.loads(answer.data)
            if not isinstance(content, dict) or not isinstance(content.get("metadata"), dict):
                raise ValueError(f"no object of the API: {answer.data[:100]!r}")
            return content

    def _forget_connection(self) -> None:
        self._api = None


class _NotFoundError(RetryableError):
    """A real 404 of the API server: the only answer that means absent."""


@contextmanager
def _speaking(what: str, refused: Callable[[], None]) -> Iterator[None]:
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ApiException as error:
        message = f"Kubernetes {what}: {error.status} {error.reason}"
        if error.status == 404 and _says_not_found(error.body):
            raise _NotFoundError(message) from error
        if error.status == 409:
            raise ConflictError(message) from error
        if error.status == 401:
            refused()  # the credentials may have been renewed since we read them
        raise RetryableError(message) from error
    except HTTPError as error:
        raise RetryableError(f"Kubernetes {what}: {type(error).__name__}: {error}") from error
    except ValueError as error:
        raise RetryableError(f"Kubernetes {what}: the answer cannot be read: {error}") from error


def _says_not_found(body: object) -> bool:
    """Whether a 404 is the API server's own word about one object, not a proxy's page or a path nobody serves yet."""
    try:
        status = json.loads(body) if isinstance(body, (str, bytes)) else {}
    except ValueError:
        return False
    if not isinstance(status, Mapping) or status.get("kind") != "Status" or status.get("reason") != "NotFound":
        return False
    details = status.get("details")
    return isinstance(details, Mapping) and bool(details.get("name"))


def _connect(credentials: Credentials) -> Any:
    from kubernetes import client

    kept = tempfile.TemporaryDirectory(prefix="regrow-")  # only we may read it; the client wants files
    folder = Path(kept.name)
    configuration = client.Configuration()
    configuration.host = credentials.server
    for attribute, content in (
        ("ssl_ca_cert", credentials.ca),
        ("cert_file", credentials.client_certificate),
        ("key_file", credentials.client_key),
    ):
        path = folder / attribute
        path.touch(mode=0o600)
        path.write_bytes(content)
        setattr(configuration, attribute, str(path))
    configuration.retries = False  # the pass decides when to ask again
    configuration.connection_pool_maxsize = _PARALLEL
    api = client.ApiClient(configuration)
    api.credentials_folder = kept  # goes when the connection does
    return api


def _cordoned(node: Node, at: datetime) -> dict[str, Any]:
    """Mark the cordon as ours, so that only ours is ever taken back."""
    return {} if node.unschedulable else {"annotations": {CORDONED_ANNOTATION: at.isoformat()}}


def _raw_taints(taints: Iterable[Taint]) -> list[dict[str, str]]:
    raw = (
        {"key": taint.key, "effect": taint.effect, "value": taint.value, "timeAdded": taint.time_added}
        for taint in taints
    )
    return [{name: text for name, text in one.items() if text is not None} for one in raw]


def _node(raw: dict[str, Any]) -> Node:
    metadata, spec, status = raw["metadata"], raw.get("spec", {}), raw.get("status", {})
    return Node(
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        provider_id=spec.get("providerID", ""),
        addresses=tuple(address["address"] for address in status.get("addresses", [])),
        ready=any(one["type"] == "Ready" and one["status"] == "True" for one in status.get("conditions", [])),
        unschedulable=spec.get("unschedulable", False),
        taints=tuple(
            Taint(taint["key"], taint["effect"], taint.get("value"), taint.get("timeAdded"))
            for taint in spec.get("taints", [])
        ),
        labels=metadata.get("labels", {}),
        annotations=metadata.get("annotations", {}),
    )


def _pod(raw: dict[str, Any]) -> Pod:
    metadata = raw["metadata"]
    finished = raw.get("status", {}).get("phase") in _FINISHED_PHASES
    return Pod(metadata["namespace"], metadata["name"], metadata["uid"], finished)
