"""The AWS calls of a machine, made with its own role and nothing but the standard library."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from .failures import AwsError, NodeError, UnreachableError
from .signing import Credentials, sign

PARAMETER_NOT_FOUND = "ParameterNotFound"
PARAMETER_ALREADY_EXISTS = "ParameterAlreadyExists"
NO_ACTIVE_ACTION = "No active Lifecycle Action"
CHUNK_BYTES = 1 << 20
CONNECT_AND_READ_S = 10.0
PAUSES_S = (0.5, 1.0, 2.0, 4.0)


def endpoint_override(of_image: str | None) -> str | None:
    """One address for every service, where the image or the environment names one; else AWS's own are used."""
    return os.environ.get("AWS_ENDPOINT_URL") or of_image


class Api:
    """Each call takes fresh credentials and is tried a few times.

    It fails with AwsError (refused) or UnreachableError (no usable answer).
    """

    def __init__(
        self,
        region: str,
        credentials: Callable[[], Credentials],
        endpoint_url: str | None = None,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._region = region
        self._credentials = credentials
        self._endpoint_url = endpoint_url
        self._sleep = sleep

    def parameter(self, name: str) -> str | None:
        """The value of a parameter, decrypted, or None where it does not exist."""
        try:
            answer = self._ssm("GetParameter", {"Name": name, "WithDecryption": True})
        except AwsError as refusal:
            if refusal.code == PARAMETER_NOT_FOUND:
                return None
            raise
        value: str = answer["Parameter"]["Value"]
        return value

    def publish(self, name: str, value: str, *, overwrite: bool = False, secret: bool = True) -> bool:
        """Write a parameter. False where another value was there, which is then untouched."""
        kind = "SecureString" if secret else "String"
        try:
            self._ssm("PutParameter", {"Name": name, "Value": value, "Type": kind, "Overwrite": overwrite})
        except AwsError as refusal:
            if refusal.code == PARAMETER_ALREADY_EXISTS:
                return self.parameter(name) == value  # ours, when the answer to an earlier try was lost
            raise
        return True

    def leave(self, name: str, value: str, instance_arn: str) -> None:
        """Write a secret for one instance. The tag that says whose it is comes with it, so it is never anybody else's.

        AWS takes no tags when a parameter is overwritten: an earlier one has to be forgotten first.
        """
        tags = [{"Key": "InstanceArn", "Value": instance_arn}]
        try:
            self._ssm("PutParameter", {"Name": name, "Value": value, "Type": "SecureString", "Tags": tags})
        except AwsError as refusal:
            # Ours, when the answer to an earlier try was lost. To look would take the right to read what is not ours.
            if refusal.code != PARAMETER_ALREADY_EXISTS:
                raise
            self.forget(name)
            self._ssm("PutParameter", {"Name": name, "Value": value, "Type": "SecureString", "Tags": tags})

    def forget(self, name: str) -> None:
        """Delete a parameter. One that is gone is success."""
        try:
            self._ssm("DeleteParameter", {"Name": name})
        except AwsError as refusal:
            if refusal.code != PARAMETER_NOT_FOUND:
                raise

    def register_target(self, target_group_arn: str, instance_id: str, port: int) -> None:
        """Put this machine behind the load balancer. Registering twice is the same as once."""
        self._query(
            "elasticloadbalancing",
            {
                "Action": "RegisterTargets",
                "Version": "2015-12-01",
                "TargetGroupArn": target_group_arn,
                "Targets.member.1.Id": instance_id,
                "Targets.member.1.Port": str(port),
            },
        )

    def complete_launch(self, group: str, hook: str, instance_id: str) -> None:
        """Let this machine go into service. One that the hook does not hold, or no longer, is success."""
        try:
            self._query(
                "autoscaling",
                {
                    "Action": "CompleteLifecycleAction",
                    "Version": "2011-01-01",
                    "AutoScalingGroupName": group,
                    "LifecycleHookName": hook,
                    "InstanceId": instance_id,
                    "LifecycleActionResult": "CONTINUE",
                },
            )
        except AwsError as refusal:
            if refusal.code != "ValidationError" or NO_ACTIVE_ACTION not in str(refusal):
                raise

    def store(self, bucket: str, key: str, file: Path) -> None:
        """Put a file into a bucket, encrypted there. Its digest is signed, so that S3 takes these bytes or none."""
        with file.open("rb") as content:
            digest = _sha256(content)
            size_bytes = content.tell()
        if self._endpoint_url:
            url, path = self._endpoint_url.rstrip("/"), f"/{bucket}/{key}"
        else:
            url, path = f"https://{bucket}.s3.{self._region}.amazonaws.com", f"/{key}"
        headers = {
            "Content-Length": str(size_bytes),
            "Content-Type": "application/octet-stream",
            "X-Amz-Content-Sha256": digest,
            "X-Amz-Server-Side-Encryption": "AES256",
        }

        def put() -> bytes:
            with file.open("rb") as content:
                return self._send("PUT", "s3", "PutObject", url, path, headers, content, digest, _xml_refusal)

        self._patiently(put)

    def _ssm(self, action: str, arguments: dict[str, Any]) -> dict[str, Any]:
        headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": f"AmazonSSM.{action}"}
        text = self._post("ssm", action, headers, json.dumps(arguments).encode(), _json_refusal)
        answer: dict[str, Any] = json.loads(text)
        return answer

    def _query(self, service: str, arguments: dict[str, str]) -> None:
        headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
        self._post(service, arguments["Action"], headers, urllib.parse.urlencode(arguments).encode(), _xml_refusal)

    def _post(
        self,
        service: str,
        action: str,
        headers: dict[str, str],
        body: bytes,
        refusal_in: Callable[[str, bytes], AwsError],
    ) -> bytes:
        url = self._endpoint_url or f"https://{service}.{self._region}.amazonaws.com"
        digest = hashlib.sha256(body).hexdigest()
        return self._patiently(
            lambda: self._send("POST", service, action, url.rstrip("/"), "/", headers, body, digest, refusal_in)
        )

    def _patiently(self, send: Callable[[], bytes]) -> bytes:
        for pause_s in PAUSES_S:
            try:
                return send()
            except UnreachableError:
                self._sleep(pause_s)
        return send()

    def _send(
        self,
        method: str,
        service: str,
        action: str,
        url: str,
        path: str,
        headers: dict[str, str],
        body: bytes | BinaryIO,
        body_sha256: str,
        refusal_in: Callable[[str, bytes], AwsError],
    ) -> bytes:
        # S310 below: the address is AWS's or the image's own, never an outsider's.
        host = urllib.parse.urlsplit(url).netloc
        signed = sign(
            self._credentials(),
            service=service,
            region=self._region,
            host=host,
            headers=headers,
            body_sha256=body_sha256,
            now=time.gmtime(),
            method=method,
            path=path,
        )
        request = urllib.request.Request(url + path, data=body, headers=signed, method=method)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=CONNECT_AND_READ_S) as answer:  # noqa: S310
                content: bytes = answer.read()
                return content
        except urllib.error.HTTPError as problem:
            if problem.code >= 500 or problem.code == 429:
                raise UnreachableError(f"{action} failed at {host}: HTTP {problem.code}") from problem
            raise refusal_in(action, problem.read()) from problem
        except OSError as problem:
            raise UnreachableError(f"{action}: {host} does not answer: {problem}") from problem


def _sha256(content: BinaryIO) -> str:
    digest = hashlib.sha256()
    while chunk := content.read(CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


def _json_refusal(action: str, content: bytes) -> AwsError:
    try:
        document = json.loads(content)
    except ValueError as problem:
        raise NodeError(f"{action} was refused with something that is no JSON: {content[:200]!r}") from problem
    code = str(document.get("__type", "unknown")).rpartition("#")[2]
    return AwsError(action, code, str(document.get("message") or document.get("Message") or ""))


def _xml_refusal(action: str, content: bytes) -> AwsError:
    text = content.decode(errors="replace")
    code, message = (re.search(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL) for tag in ("Code", "Message"))
    if code is None:
        raise NodeError(f"{action} was refused without a code: {text[:200]!r}")
    return AwsError(action, code[1], message[1].strip() if message else "")
