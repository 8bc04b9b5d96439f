"""Lambda: the two functions that let machines in, called by name and waited for."""

from __future__ import annotations

import json
from typing import Any

from functions.cluster.machine import InstanceId
from functions.edges.aws import speaking_to
from functions.errors import RetryableError
from functions.remediate.outside import Answer


class JoiningEdge:
    """`client` is a boto3 Lambda client that asks once, and gives up in time for a pass to order the next look.

    What it no longer waits for may still be done: both functions are made to be called again.
    """

    def __init__(self, client: Any, *, mint: str, approve: str) -> None:
        self._client = client
        self._mint = mint
        self._approve = approve

    def mint(self, instance: InstanceId) -> Answer:
        return self._call(self._mint, {"machine": instance})

    def approve(self, instance: InstanceId | None) -> Answer:
        return self._call(self._approve, {"machine": instance} if instance else {})

    def _call(self, function: str, request: dict[str, str]) -> Answer:
        with speaking_to("Lambda", f"Invoke {function}"):
            answer = self._client.invoke(FunctionName=function, Payload=json.dumps(request).encode())
            text = answer["Payload"].read()
        if error := answer.get("FunctionError"):
            raise RetryableError(f"{function} failed ({error}): {text[:300]!r}")
        try:
            content = json.loads(text)
            return Answer(str(content["did"]), str(content["reason"]))
        except (ValueError, KeyError, TypeError) as problem:
            raise RetryableError(f"{function} answered what is not understood: {text[:300]!r}") from problem
