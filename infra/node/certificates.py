"""The cluster's authorities on their way to one joining control plane: encrypted in the cluster, the key in AWS.

kubeadm encrypts them with a key and keeps them in a Secret for two hours. The key is made here, and goes nowhere but
into kubeadm's configuration and one parameter, which IAM lets only the instance read whose ARN is its tag.
"""

from __future__ import annotations

import base64
import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .aws import Api
from .configuration import upload_configuration
from .failures import NodeError
from .machine import ADMIN_KUBECONFIG, SECRETS_FOLDER, Machine, run, write_secret

KEY_BYTES = 32  # an AES-256 key, as kubeadm demands it
UPLOADED = "kubeadm-certs"
KUBECTL_S = 30.0
KUBEADM_S = 60.0


@dataclass(frozen=True)
class Certificates:
    kubeconfig: Path = ADMIN_KUBECONFIG
    secrets: Path = SECRETS_FOLDER

    def upload(self, machine: Machine, api: Api, instance_arn: str) -> dict[str, Any]:
        """The old key goes first: until all is there the joining machine finds none, never one that does not fit.

        An upload that nobody has taken back goes too: kubeadm would leave the token alone by which it was to end.
        """
        parameter = _parameter(machine, instance_arn)
        key = secrets.token_hex(KEY_BYTES)
        api.forget(parameter)
        self._take_back()
        self._upload(machine, key)
        api.leave(parameter, key, instance_arn)
        return {"expires_at": self._expiry()}

    def forget(self, machine: Machine, api: Api, instance_arn: str) -> dict[str, Any]:
        """The key, the Secret, and the token whose end would have ended it. Whatever is gone already is success.

        A machine that has joined has deleted the key by itself; one that died has not.
        """
        api.forget(_parameter(machine, instance_arn))
        return {"forgotten": self._take_back()}

    def _take_back(self) -> bool:
        owner = self._owner()
        if owner is None:
            return False
        self._kubectl("delete", "secret", *filter(None, (UPLOADED, owner)), "--ignore-not-found")
        return True

    def _upload(self, machine: Machine, key: str) -> None:
        """kubeadm's words are for nobody: it prints the key unless it is told not to."""
        of_cluster = self._kubectl("get", "configmap", "kubeadm-config", "-o", "jsonpath={.data.ClusterConfiguration}")
        configuration = write_secret("upload.json", upload_configuration(machine, key, of_cluster), self.secrets)
        command = ["kubeadm", "init", "phase", "upload-certs", "--upload-certs", "--skip-certificate-key-print"]
        try:
            run([*command, "--config", str(configuration), "--kubeconfig", str(self.kubeconfig)], timeout_s=KUBEADM_S)
        except NodeError as problem:
            raise NodeError(str(problem).replace(key, "(key)")) from None
        finally:
            configuration.unlink()

    def _owner(self) -> str | None:
        """The name of the token's Secret that owns the uploaded one; "" where nothing does, None without an upload."""
        text = self._kubectl(
            "get", "secret", UPLOADED, "--ignore-not-found", "-o", "jsonpath=[{.metadata.ownerReferences[*].name}]"
        )
        return text.strip().strip("[]").partition(" ")[0] if text.strip() else None

    def _expiry(self) -> str:
        owner = self._owner()
        if not owner:
            raise NodeError(f"Secret {UPLOADED} is gone again, or has no token whose end would end it")
        token = json.loads(self._kubectl("get", "secret", owner, "-o", "json"))
        try:
            return base64.b64decode(token["data"]["expiration"]).decode()
        except (KeyError, ValueError) as problem:
            raise NodeError(f"Secret {owner} does not say when it ends") from problem

    def _kubectl(self, *arguments: str) -> str:
        command = ["kubectl", *arguments, "--namespace", "kube-system", "--kubeconfig", str(self.kubeconfig)]
        return run(command, timeout_s=KUBECTL_S)


def _parameter(machine: Machine, instance_arn: str) -> str:
    return machine.certificate_key_parameter(instance_arn.rpartition("/")[2])
