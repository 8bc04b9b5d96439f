"""The instance metadata service, version 2: who this machine is, and its role's credentials."""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass

from .failures import NodeError, UnreachableError
from .signing import Credentials

SERVICE = "http://169.254.169.254"
TOKEN_TTL_S = 300
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # link-local: never by way of a proxy


@dataclass(frozen=True)
class Identity:
    """This machine, as its signed identity document names it."""

    instance_id: str
    zone: str
    region: str
    address: str


class Metadata:
    """A client that speaks IMDSv2 alone: each call brings a session token, which is renewed in time."""

    def __init__(
        self,
        service: str = "",
        *,
        wait_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._service = (service or os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or SERVICE).rstrip("/")
        self._wait_s = wait_s
        self._clock = clock
        self._sleep = sleep
        self._token = ""
        self._token_until = 0.0

    def identity(self) -> Identity:
        document = json.loads(self.get("/latest/dynamic/instance-identity/document"))
        return Identity(
            instance_id=document["instanceId"],
            zone=document["availabilityZone"],
            region=document["region"],
            address=document["privateIp"],
        )

    def credentials(self) -> Credentials:
        """The role's credentials of this moment: read again for each use, so they are never stale."""
        role = self.get("/latest/meta-data/iam/security-credentials/").strip()
        if not role:
            raise NodeError("this machine has no instance profile; its launch template must name one")
        document = json.loads(self.get(f"/latest/meta-data/iam/security-credentials/{role}"))
        return Credentials(document["AccessKeyId"], document["SecretAccessKey"], document["Token"])

    def get(self, path: str) -> str:
        """The text at a path. The service may come up after us: it is given `wait_s` before that is an error."""
        deadline = self._clock() + self._wait_s
        while True:
            try:
                return self._request("GET", path, {"X-aws-ec2-metadata-token": self._session()})
            except UnreachableError:
                if self._clock() >= deadline:
                    raise
                self._sleep(1.0)

    def _session(self) -> str:
        if self._clock() >= self._token_until:
            self._token = self._request(
                "PUT", "/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_TTL_S)}
            )
            self._token_until = self._clock() + TOKEN_TTL_S / 2
        return self._token

    def _request(self, method: str, path: str, headers: dict[str, str]) -> str:
        request = urllib.request.Request(self._service + path, method=method, headers=headers)  # noqa: S310
        try:
            with DIRECT.open(request, timeout=5) as answer:
                text: str = answer.read().decode()
                return text
        except urllib.error.HTTPError as refusal:
            if refusal.code == 401:  # the token ran out, or the machine has another one since a reboot
                self._token_until = 0.0
                raise UnreachableError(f"instance metadata wants a new session token for {path}") from refusal
            if refusal.code >= 500:
                raise UnreachableError(f"instance metadata failed on {path}: HTTP {refusal.code}") from refusal
            raise NodeError(f"instance metadata has no {path}: HTTP {refusal.code}") from refusal
        except OSError as problem:
            raise UnreachableError(f"instance metadata at {self._service} does not answer: {problem}") from problem
