"""The API server's own audit log: what Regrow's identities asked of it. A cluster is not made with one."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from infra.local.cluster import Cluster, wait_for

IDENTITY_PREFIX = "regrow:"
IDENTITIES = ("remediate", "mint", "approve")
_FOLDER = "/etc/kubernetes/audit"
_LOG = f"{_FOLDER}/audit.log"
_POLICY = f"{_FOLDER}/policy.json"
_MANIFEST = "/etc/kubernetes/manifests/kube-apiserver.yaml"
_RULES = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "Metadata", "users": [f"{IDENTITY_PREFIX}{identity}" for identity in IDENTITIES]},
        {"level": "None"},
    ],
}
_RESTARTED_WITHIN_S = 120.0


@dataclass(frozen=True)
class Asked:
    """One request to the API server, in the words of RBAC: `list nodes`, `create pods/eviction`, `get /version`."""

    identity: str
    action: str


class AuditLog:
    """The audit log of a cluster with one control plane. Made, it is on; its API server has been restarted for that."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._machine = cluster.initialised_by() or ""
        self._read = 0
        manifest = yaml.safe_load(self._in_machine(["cat", _MANIFEST]))
        if _audits(manifest):
            return
        self._in_machine(["mkdir", "-p", _FOLDER])
        self._in_machine(["tee", _POLICY], given=json.dumps(_RULES))
        # Not written where the kubelet looks: it would read half of it.
        self._in_machine(["tee", f"{_FOLDER}/manifest"], given=yaml.safe_dump(with_audit(manifest)))
        self._in_machine(["mv", f"{_FOLDER}/manifest", _MANIFEST])
        wait_for("an API server that writes an audit log", self._is_on, within_s=_RESTARTED_WITHIN_S, every_s=1.0)

    def since_last(self) -> list[Asked]:
        """What was asked since this was called last."""
        lines = self._in_machine(["sh", "-c", f"test ! -e {_LOG} || tail -n +{self._read + 1} {_LOG}"]).splitlines()
        self._read += len(lines)
        return list(read(lines))

    def _is_on(self) -> bool:
        """Every request goes through the load balancer, which must have seen the new one as well."""
        if self._in_machine(["sh", "-c", f"pgrep -f '^kube-apiserver.*{_POLICY}' || true"]) == "":
            return False
        return all(self._cluster.kubectl("get", "--raw", "/readyz", check=False) == "ok" for _ in range(5))

    def _in_machine(self, argv: list[str], *, given: str = "") -> str:
        command = self._cluster.world.machine_command(self._machine, argv)
        return subprocess.run(command, input=given, capture_output=True, text=True, check=True).stdout


def _audits(manifest: dict[str, Any]) -> bool:
    return any("--audit-log-path" in flag for flag in manifest["spec"]["containers"][0]["command"])


def with_audit(manifest: dict[str, Any]) -> dict[str, Any]:
    """The static pod's manifest with the flags and the folder that an audit log needs."""
    spec = manifest["spec"]
    (container,) = spec["containers"]
    flags = [f"--audit-policy-file={_POLICY}", f"--audit-log-path={_LOG}"]
    mount = {"name": "audit", "mountPath": _FOLDER}
    volume = {"name": "audit", "hostPath": {"path": _FOLDER, "type": "DirectoryOrCreate"}}
    audited = {
        **container,
        "command": [*container["command"], *flags],
        "volumeMounts": [*container["volumeMounts"], mount],
    }
    return {**manifest, "spec": {**spec, "containers": [audited], "volumes": [*spec["volumes"], volume]}}


def read(lines: Iterable[str]) -> Iterator[Asked]:
    """The requests in an audit log's lines. A watch, which ends only much later, is none of ours."""
    for line in lines:
        event = json.loads(line)
        if event["stage"] != "ResponseComplete":
            continue
        identity = event["user"]["username"].removeprefix(IDENTITY_PREFIX)
        of = event.get("objectRef", {})
        what = "/".join(of[name] for name in ("resource", "subresource") if name in of) or event["requestURI"]
        yield Asked(identity, f"{event['verb']} {what}")
