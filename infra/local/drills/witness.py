"""An independent witness: sees the cluster with the admin's kubeconfig and the AWS APIs, and asks Regrow nothing.

It watches Nodes, pods, certificate requests and volumes' attachments, so that a state which lasts a tenth of a second
is seen too, and keeps the time of each change. What a drill claims is what the witness saw.
"""

from __future__ import annotations

import base64
import binascii
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID
from kubernetes import client, config, watch
from urllib3.exceptions import HTTPError, ReadTimeoutError

OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
EXCLUDED = "node.kubernetes.io/exclude-from-external-load-balancers"
MARK = "regrow.dev/"
"""How the annotations begin by which Regrow remembers what it has done to a Node, and why."""

DRAINING = f"{MARK}draining-since"
NOTICE = f"{MARK}notice"
EVICTED_BY = "EvictionByEvictionAPI"
"""The reason in a pod's DisruptionTarget condition after an eviction (Kubernetes, pod disruption conditions)."""

NODE_USER = "system:node:"
_WATCH_S = 3600
_SILENT_S = 10
"""After so long without a word a watch is asked for again: a control plane that died says no goodbye."""
_ANSWERS_WITHIN = (3, _SILENT_S)
_AGAIN_AFTER_S = 0.5


@dataclass(frozen=True)
class SeenNode:
    """A Node as the API server last showed it. `marks` are Regrow's annotations."""

    name: str
    uid: str
    ready: bool
    out_of_service: bool
    unschedulable: bool
    excluded: bool = False
    marks: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def draining(self) -> bool:
        return DRAINING in self.marks

    @property
    def untouched(self) -> bool:
        """Whether nothing is on it that keeps pods or requests away, or that Regrow has put there."""
        return not (self.unschedulable or self.out_of_service or self.excluded or self.marks)


@dataclass(frozen=True)
class SeenPod:
    """A pod as the API server last showed it. `evicted`: its end was asked for by an eviction, not by a deletion."""

    name: str
    uid: str
    node: str | None
    ready: bool
    app: str = "web"
    evicted: bool = False
    ending: bool = False


@dataclass(frozen=True)
class SeenRequest:
    """A certificate request as the API server last showed it.

    `node` is the Node that its subject names, None when it names none; `approved_because` the reason of its approval.
    """

    name: str
    uid: str
    user: str
    signer: str
    node: str | None
    approved_because: str | None = None
    denied: bool = False

    @property
    def pending(self) -> bool:
        return self.approved_because is None and not self.denied

    @property
    def serving(self) -> bool:
        return self.signer == "kubernetes.io/kubelet-serving"


@dataclass(frozen=True)
class SeenAttachment:
    """A VolumeAttachment as the API server last showed it. `attached`: the driver has done what it asks for."""

    name: str
    volume: str
    node: str
    attached: bool


Seen = SeenNode | SeenPod | SeenRequest | SeenAttachment


@dataclass(frozen=True)
class Change:
    """Something that became different: `before` or `after` is None when it came or went; `of` is the other one.

    `revision` is the store's, which is one order for all kinds of objects; None when a list has shown it.
    """

    at: datetime
    of: Seen
    before: Seen | None
    after: Seen | None
    revision: int | None = None


@dataclass
class Witness:
    """Watches from `start()` to `stop()`. The calling thread must be in the world's network when it starts."""

    kubeconfig: Path
    namespace: str = "default"
    tell: Callable[[Change], None] = lambda _: None
    _nodes: dict[str, SeenNode] = field(default_factory=dict)
    _pods: dict[str, SeenPod] = field(default_factory=dict)
    _requests: dict[str, SeenRequest] = field(default_factory=dict)
    _requests_ever: dict[str, SeenRequest] = field(default_factory=dict)
    _attachments: dict[str, SeenAttachment] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stop: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Read everything once, so that what follows are changes, then watch."""
        api = config.new_client_from_config(str(self.kubeconfig))
        self._core, self._certificates = client.CoreV1Api(api), client.CertificatesV1Api(api)
        self._storage = client.StorageV1Api(api)
        for thing in (self._watch_nodes, self._watch_pods, self._watch_requests, self._watch_attachments):
            threading.Thread(target=self._keep_watching, args=(thing,), daemon=True).start()

    def stop(self) -> None:
        """Nothing is told any more. The watches themselves end at their next event."""
        self._stop.set()

    @property
    def nodes(self) -> Mapping[str, SeenNode]:
        """The Nodes by name."""
        with self._lock:
            return dict(self._nodes)

    @property
    def pods(self) -> Mapping[str, SeenPod]:
        """The pods by uid."""
        with self._lock:
            return dict(self._pods)

    @property
    def requests(self) -> Mapping[str, SeenRequest]:
        """The certificate requests that there are, by uid."""
        with self._lock:
            return dict(self._requests)

    @property
    def requests_ever(self) -> Mapping[str, SeenRequest]:
        """All that were seen since the start, those that are gone as they were last."""
        with self._lock:
            return dict(self._requests_ever)

    @property
    def attachments(self) -> Mapping[str, SeenAttachment]:
        """The volumes' attachments by name."""
        with self._lock:
            return dict(self._attachments)

    def _keep_watching(self, thing: Callable[[], None]) -> None:
        while not self._stop.is_set():
            try:
                thing()
            except (HTTPError, client.ApiException, OSError):
                # The API server is away or the watch too old: begin again, with a list that finds what was missed.
                self._stop.wait(_AGAIN_AFTER_S)

    def _watch_nodes(self) -> None:
        self._watch(self._core.list_node, (), self._nodes, _node, lambda seen: seen.name)

    def _watch_pods(self) -> None:
        self._watch(self._core.list_namespaced_pod, (self.namespace,), self._pods, _pod, lambda seen: seen.uid)

    def _watch_requests(self) -> None:
        list_requests = self._certificates.list_certificate_signing_request
        self._watch(list_requests, (), self._requests, _request, lambda seen: seen.uid)

    def _watch_attachments(self) -> None:
        listing = self._storage.list_volume_attachment
        self._watch(listing, (), self._attachments, _attachment, lambda seen: seen.name)

    def _watch(
        self,
        listing: Callable[..., Any],
        arguments: tuple[str, ...],
        kept: dict[str, Any],
        read: Callable[[Any], Any],
        key: Callable[[Any], str],
    ) -> None:
        listed = listing(*arguments, _request_timeout=_ANSWERS_WITHIN)
        self._replace(kept, {key(seen): seen for seen in map(read, listed.items)})
        since = listed.metadata.resource_version
        while not self._stop.is_set():
            timeouts = {"timeout_seconds": _WATCH_S, "_request_timeout": _ANSWERS_WITHIN}
            stream = watch.Watch().stream(listing, *arguments, resource_version=since, **timeouts)
            try:
                for event in stream:
                    if self._stop.is_set():
                        return
                    seen, since = read(event["object"]), event["object"].metadata.resource_version
                    self._put(kept, key(seen), None if event["type"] == "DELETED" else seen, int(since))
            except ReadTimeoutError:
                continue  # where it was, so that every change is seen with its revision

    def _replace(self, kept: dict[str, Any], listed: dict[str, Any]) -> None:
        for key in set(kept) | set(listed):
            self._put(kept, key, listed.get(key))

    def _put(self, kept: dict[str, Any], key: str, after: Any, revision: int | None = None) -> None:
        with self._lock:
            before = kept.pop(key, None)
            if after is not None:
                kept[key] = after
                if isinstance(after, SeenRequest):
                    self._requests_ever[key] = after
        if before != after:
            self.tell(Change(datetime.now(UTC), after or before, before, after, revision))


def _node(raw: Any) -> SeenNode:
    conditions = raw.status.conditions or []
    return SeenNode(
        name=raw.metadata.name,
        uid=raw.metadata.uid,
        ready=any(one.type == "Ready" and one.status == "True" for one in conditions),
        out_of_service=any(taint.key == OUT_OF_SERVICE for taint in raw.spec.taints or []),
        unschedulable=bool(raw.spec.unschedulable),
        excluded=EXCLUDED in (raw.metadata.labels or {}),
        marks={name: text for name, text in (raw.metadata.annotations or {}).items() if name.startswith(MARK)},
    )


def _pod(raw: Any) -> SeenPod:
    conditions = raw.status.conditions or []
    ready = any(one.type == "Ready" and one.status == "True" for one in conditions)
    ending = raw.metadata.deletion_timestamp is not None
    return SeenPod(
        name=raw.metadata.name,
        uid=raw.metadata.uid,
        node=raw.spec.node_name,
        ready=ready and not ending,
        app=(raw.metadata.labels or {}).get("app", ""),
        evicted=any(one.type == "DisruptionTarget" and one.reason == EVICTED_BY for one in conditions),
        ending=ending,
    )


def _request(raw: Any) -> SeenRequest:
    conditions = {one.type: one for one in raw.status.conditions or []}
    approved = conditions.get("Approved")
    return SeenRequest(
        name=raw.metadata.name,
        uid=raw.metadata.uid,
        user=raw.spec.username or "",
        signer=raw.spec.signer_name,
        node=node_in_subject(raw.spec.request),
        approved_because=(approved.reason or "") if approved else None,
        denied="Denied" in conditions,
    )


def _attachment(raw: Any) -> SeenAttachment:
    return SeenAttachment(
        name=raw.metadata.name,
        volume=raw.spec.source.persistent_volume_name or "",
        node=raw.spec.node_name,
        attached=bool(raw.status and raw.status.attached),
    )


def node_in_subject(request: str) -> str | None:
    """The Node that a certificate request (base64 of PEM) is for; None when it is for something else."""
    try:
        subject = x509.load_pem_x509_csr(base64.b64decode(request)).subject
    except (ValueError, binascii.Error, x509.InvalidVersion):
        return None
    names = [str(attribute.value) for attribute in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if len(names) != 1 or not names[0].startswith(NODE_USER):
        return None
    return names[0].removeprefix(NODE_USER)
