"""The Kubernetes API as passes use it, in the project's own small types."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

from functions.cluster.etcd import EtcdPod
from functions.cluster.facts import Absent
from functions.cluster.machine import (
    CORDONED_ANNOTATION,
    DRAINING_ANNOTATION,
    EXCLUDED_ANNOTATION,
    EXCLUDED_LABEL,
    FENCED_ANNOTATION,
    MARKS,
    NOTICE_ANNOTATION,
    OUT_OF_SERVICE_TAINT,
    Node,
    Pod,
    Taint,
)
from functions.cluster.notice import Notice
from functions.edges import evictions
from functions.edges.kubernetes_api import PARALLEL, Credentials, KubernetesApi, NotFoundError, node_of
from functions.errors import ConflictError
from functions.remediate.outside import Blocked

_FINISHED_PHASES = frozenset({"Succeeded", "Failed"})
_NODES_A_PAGE = 100  # some 15 KB each
_NODE_LEASES = "kube-node-lease"
_MIRROR_ANNOTATION = "kubernetes.io/config.mirror"
_ETCD_PODS = "component=etcd,tier=control-plane"  # kubeadm's labels of its static pod
_ETCD_URL_ANNOTATION = "kubeadm.kubernetes.io/etcd.advertise-client-urls"
_OPT_OUTS = (("cluster-autoscaler.kubernetes.io/safe-to-evict", "false"), ("regrow.dev/do-not-evict", "true"))
_OUT_OF_SERVICE = Taint(OUT_OF_SERVICE_TAINT, "NoExecute", "nodeshutdown")


class KubernetesEdge:
    """The remediator at one API server. `credentials` is asked again after the API server has refused us."""

    def __init__(
        self,
        credentials: Callable[[], Credentials],
        *,
        timeout_s: tuple[float, float] = (2.0, 5.0),
        page_size: int = 500,
    ) -> None:
        """`timeout_s` is for the connection and for the answer."""
        self._api = KubernetesApi(credentials, timeout_s=timeout_s, page_size=page_size)

    def node(self, name: str) -> Node | Absent:
        return self._api.node(name)

    def nodes(self) -> tuple[Node, ...]:
        """In small pages: a Node is large, mostly by the images that it lists, and hardly anything of it is kept."""
        found = self._api.list("list Nodes", "CoreV1Api", "list_node", most_a_page=_NODES_A_PAGE)
        return tuple(node_of(raw) for raw in found)

    def pods_on(self, node_name: str) -> tuple[Pod, ...]:
        found = self._api.list(
            "list Pods", "CoreV1Api", "list_pod_for_all_namespaces", field_selector=f"spec.nodeName={node_name}"
        )
        return tuple(_pod(raw) for raw in found)

    def attachments_of(self, node_name: str) -> tuple[str, ...]:
        found = self._api.list("list VolumeAttachments", "StorageV1Api", "list_volume_attachment")
        return tuple(raw["metadata"]["name"] for raw in found if raw["spec"]["nodeName"] == node_name)

    def renewed_at(self, node_name: str) -> datetime | Absent:
        try:
            read = "read_namespaced_lease"
            return _renewed_at(self._api.ask("get Lease", "CoordinationV1Api", read, node_name, _NODE_LEASES))
        except NotFoundError:
            return Absent()

    def renewals(self) -> dict[str, datetime]:
        found = self._api.list("list Leases", "CoordinationV1Api", "list_namespaced_lease", namespace=_NODE_LEASES)
        seen = ((raw["metadata"]["name"], _renewed_at(raw)) for raw in found)
        return {name: renewed_at for name, renewed_at in seen if isinstance(renewed_at, datetime)}

    def etcd_pods(self) -> tuple[EtcdPod, ...]:
        """Only mirrors of static pods that are on a Node: of any other pod, whoever made it chose the labels."""
        found = self._api.list(
            "list etcd's Pods", "CoreV1Api", "list_namespaced_pod", namespace="kube-system", label_selector=_ETCD_PODS
        )
        return tuple(
            EtcdPod(
                raw["spec"]["nodeName"], annotations.get(_ETCD_URL_ANNOTATION, ""), raw["metadata"]["uid"], _ready(raw)
            )
            for raw in found
            if _MIRROR_ANNOTATION in (annotations := raw["metadata"].get("annotations", {}))
            and raw.get("spec", {}).get("nodeName")
        )

    def cordon(self, node: Node, notice: Notice | None, *, drains: bool, at: datetime) -> None:
        """Also write down when the drain began, once: a cordon by somebody else does not say."""
        annotations = _cordoned(node, at)
        if notice:
            annotations[NOTICE_ANNOTATION] = notice.to_json()
        metadata: dict[str, Any] = {}
        if drains and node.draining_since(at) is None:
            annotations[DRAINING_ANNOTATION] = at.isoformat()
        if drains and EXCLUDED_LABEL not in node.labels:
            annotations[EXCLUDED_ANNOTATION] = at.isoformat()
            metadata["labels"] = {EXCLUDED_LABEL: "true"}
        self._patch(node, {"spec": {"unschedulable": True}, "metadata": metadata | _annotated(annotations)})

    def fence(self, node: Node, *, at: datetime) -> None:
        annotations = _cordoned(node, at)
        if not node.out_of_service:
            annotations[FENCED_ANNOTATION] = at.isoformat()
        taints = node.taints if node.out_of_service else (*node.taints, _OUT_OF_SERVICE)
        spec = {"unschedulable": True, "taints": _raw_taints(taints)}
        self._patch(node, {"spec": spec, "metadata": _annotated(annotations)})

    def restore(self, node: Node) -> None:
        ours = FENCED_ANNOTATION in node.annotations
        kept = [taint for taint in node.taints if not (ours and taint.key == OUT_OF_SERVICE_TAINT)]
        spec: dict[str, Any] = {"taints": _raw_taints(kept)}
        if CORDONED_ANNOTATION in node.annotations:
            spec["unschedulable"] = None
        metadata = _annotated(dict.fromkeys(sorted(MARKS)))
        if EXCLUDED_ANNOTATION in node.annotations:
            metadata["labels"] = {EXCLUDED_LABEL: None}
        self._patch(node, {"spec": spec, "metadata": metadata})

    def delete_pods(self, pods: Iterable[Pod], *, grace_s: int | None) -> None:
        with ThreadPoolExecutor(max_workers=PARALLEL) as together:
            for deleted in [together.submit(self._delete_pod, pod, grace_s) for pod in pods]:
                deleted.result()

    def evict(self, pods: Iterable[Pod], *, grace_s: int | None = None) -> tuple[Blocked, ...]:
        return evictions.evict(self._api, tuple(pods), lambda: evictions.Pace(evictions.ASK_WITHIN_S), grace_s=grace_s)

    def delete_node(self, name: str, uid: str) -> None:
        try:
            self._api.ask("delete Node", "CoreV1Api", "delete_node", name, body={"preconditions": {"uid": uid}})
        except NotFoundError:
            return

    def _delete_pod(self, pod: Pod, grace_s: int | None) -> None:
        body = evictions.delete_options(pod, grace_s)
        try:
            self._api.ask("delete Pod", "CoreV1Api", "delete_namespaced_pod", pod.name, pod.namespace, body=body)
        except (NotFoundError, ConflictError):
            return  # gone, or another pod has its name: either way this one is no more

    def _patch(self, node: Node, body: dict[str, Any]) -> None:
        """Change the Node only as it was seen: a list of taints replaces the whole list that is there."""
        body["metadata"] |= {"uid": node.uid, "resourceVersion": node.resource_version}
        try:
            self._api.ask("patch Node", "CoreV1Api", "patch_node", node.name, body)
        except NotFoundError:
            return


def _cordoned(node: Node, at: datetime) -> dict[str, str]:
    """Mark the cordon as ours, so that only ours is ever taken back."""
    return {} if node.unschedulable else {CORDONED_ANNOTATION: at.isoformat()}


def _annotated(annotations: Mapping[str, str | None]) -> dict[str, Any]:
    return {"annotations": annotations} if annotations else {}


def _raw_taints(taints: Iterable[Taint]) -> list[dict[str, str]]:
    raw = (
        {"key": taint.key, "effect": taint.effect, "value": taint.value, "timeAdded": taint.time_added}
        for taint in taints
    )
    return [{name: text for name, text in one.items() if text is not None} for one in raw]


def _renewed_at(raw: dict[str, Any]) -> datetime | Absent:
    """A machine writes its own lease: one that cannot be read is as good as none, and must not spoil the others."""
    try:
        moment = datetime.fromisoformat(raw["spec"]["renewTime"])
    except (KeyError, TypeError, ValueError):
        return Absent()
    return moment if moment.tzinfo else Absent()


def _pod(raw: dict[str, Any]) -> Pod:
    """Read a pod. Its deletionTimestamp is when its deletion was asked for plus its grace (rest.BeforeDelete)."""
    metadata, spec = raw["metadata"], raw.get("spec", {})
    annotations = metadata.get("annotations", {})
    controller = next((owner for owner in metadata.get("ownerReferences", []) if owner.get("controller")), None)
    return Pod(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        finished=raw.get("status", {}).get("phase") in _FINISHED_PHASES,
        ending="deletionTimestamp" in metadata,
        mirror=_MIRROR_ANNOTATION in annotations,
        daemon=controller is not None and controller["kind"] == "DaemonSet",
        owner=controller["uid"] if controller else None,
        labels=metadata.get("labels", {}),
        priority=spec.get("priority", 0),
        local_data=any("emptyDir" in volume for volume in spec.get("volumes", [])),
        opts_out=next((f"{key}={value}" for key, value in _OPT_OUTS if annotations.get(key) == value), None),
        gone_by=_moment(metadata.get("deletionTimestamp")),
        created_at=_moment(metadata.get("creationTimestamp")),
    )


def _ready(raw: dict[str, Any]) -> bool:
    conditions = raw.get("status", {}).get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
