"""The AWS calls of a machine, made with its own role and nothing but the standard library."""

from __future__ import annotations

import json
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any

from .failures import AwsError, NodeError, UnreachableError
from .signing import Credentials, sign

PARAMETER_NOT_FOUND = "ParameterNotFound"
PARAMETER_ALREADY_EXISTS = "ParameterAlreadyExists"
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
        for pause_s in PAUSES_S:
            try:
                return self._post_once(service, action, headers, body, refusal_in)
            except UnreachableError:
                self._sleep(pause_s)
        return self._post_once(service, action, headers, body, refusal_in)

    def _post_once(
        self,
        service: str,
        action: str,
        headers: dict[str, str],
        body: bytes,
        refusal_in: Callable[[str, bytes], AwsError],
    ) -> bytes:
        # S310 below: the address is AWS's or the image's own, never an outsider's.
        url = self._endpoint_url or f"https://{service}.{self._region}.amazonaws.com"
        host = urllib.parse.urlsplit(url).netloc
        signed = sign(
            self._credentials(),
            service=service,
            region=self._region,
            host=host,
            headers=headers,
            body=body,
            now=time.gmtime(),
        )
        request = urllib.request.Request(url.rstrip("/") + "/", data=body, headers=signed, method="POST")  # noqa: S310
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
