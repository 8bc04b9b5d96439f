"""A connection to the Kubernetes API, for every edge that speaks to it. The only module that imports its client.

The client is imported on first use: most events are about machines that are none of ours, and its import costs more
than everything else of a cold start. Answers are read as plain JSON, since building its model objects costs more
than the request.
"""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import Any

from functions.cluster.facts import Absent
from functions.cluster.machine import Condition, Node, Taint
from functions.errors import ConfigurationError, ConflictError, RetryableError

_LONGEST_MESSAGE = 300
PARALLEL = 64  # an eviction mostly waits: the API server lists budgets up to its next progress request, each 100 ms


@dataclass(frozen=True)
class Credentials:
    """Where an API server is, by what it is known, and who we are to it; certificates and key are PEM."""

    server: str
    ca: bytes
    client_certificate: bytes
    client_key: bytes = field(repr=False)

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


class AnswerError(RetryableError):
    """The answer was an error. `status` is the Status object that came with it, empty when none did."""

    def __init__(
        self, message: str, *, code: int, status: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.headers = headers or {}

    @property
    def said(self) -> str:
        return str(self.status.get("message", ""))

    def causes(self, reason: str) -> list[str]:
        """The messages of the causes that are of this reason."""
        details = self.status.get("details")
        causes = details.get("causes") if isinstance(details, Mapping) else None
        return [str(cause.get("message", reason)) for cause in causes or () if cause.get("reason") == reason]


class NotFoundError(AnswerError):
    """A real 404 of the API server: the only answer that means absent."""


class ChangedError(AnswerError, ConflictError):
    """A 409: a precondition does not hold."""


class KubernetesApi:
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
        self._connected: tuple[Any, Credentials] | None = None
        self._connecting = Lock()

    def ask(self, what: str, api: str, method: str, *arguments: Any, **options: Any) -> dict[str, Any]:
        """Call a method of one of the client's APIs and return the object that the API server answers with."""
        return self._call(what, ("metadata", dict), api, method, *arguments, **options)

    def version(self) -> str:
        """The API server's own, such as v1.36.3. It is no object of the API."""
        return str(self._call("get version", ("gitVersion", str), "VersionApi", "get_code")["gitVersion"])

    def credentials(self) -> Credentials:
        """Those that the connection was made with."""
        return self._connection()[1]

    def _call(
        self, what: str, holds: tuple[str, type], api: str, method: str, *arguments: Any, **options: Any
    ) -> dict[str, Any]:
        """Call a method; an answer that does not hold a field of that name and type is none."""
        from kubernetes import client

        call = getattr(getattr(client, api)(self._connection()[0]), method)
        with _speaking(what, self._forget_connection):
            options.setdefault("_request_timeout", self._timeout_s)
            answer = call(*arguments, **options, _preload_content=False)
            content = json.loads(answer.data)
            field_name, kind = holds
            if not isinstance(content, dict) or not isinstance(content.get(field_name), kind):
                raise ValueError(f"no {field_name} in its {len(answer.data)} bytes")
            return content

    def list(
        self, what: str, api: str, method: str, *, most_a_page: int | None = None, **query: Any
    ) -> Iterator[dict[str, Any]]:
        """Yield the objects of a list, page by page; a page is forgotten before the next one is asked for."""
        limit = min(self._page_size, most_a_page or self._page_size)
        token = None
        while True:
            page = self.ask(what, api, method, limit=limit, **({"_continue": token} if token else {}), **query)
            if not isinstance(page.get("items"), list):
                raise RetryableError(f"Kubernetes {what}: the answer is not a list of the API")
            yield from page["items"]
            token = page["metadata"].get("continue")
            del page
            if not token:
                return

    def node(self, name: str) -> Node | Absent:
        try:
            return node_of(self.ask("get Node", "CoreV1Api", "read_node", name))
        except NotFoundError:
            return Absent()

    def _connection(self) -> tuple[Any, Credentials]:
        with self._connecting:
            if self._connected is None:
                credentials = self._credentials()
                self._connected = _connect(credentials), credentials
            return self._connected

    def _forget_connection(self) -> None:
        self._connected = None


def node_of(raw: dict[str, Any]) -> Node:
    metadata, spec, status = raw["metadata"], raw.get("spec", {}), raw.get("status", {})
    conditions = tuple(_condition(one) for one in status.get("conditions", []))
    return Node(
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        provider_id=spec.get("providerID", ""),
        addresses=tuple(address["address"] for address in status.get("addresses", [])),
        ready=any(one.type == "Ready" and one.status == "True" for one in conditions),
        unschedulable=spec.get("unschedulable", False),
        taints=tuple(
            Taint(taint["key"], taint["effect"], taint.get("value"), taint.get("timeAdded"))
            for taint in spec.get("taints", [])
        ),
        labels=metadata.get("labels", {}),
        annotations=metadata.get("annotations", {}),
        created_at=datetime.fromisoformat(metadata["creationTimestamp"]),
        conditions=conditions,
    )


def _condition(raw: dict[str, Any]) -> Condition:
    """The message only of what is not as it should be: of each of thousands of Nodes the rest says the same."""
    well = raw["status"] == ("True" if raw["type"].endswith("Ready") else "False")
    return Condition(
        type=raw["type"],
        status=raw["status"],
        reason=raw.get("reason", ""),
        message="" if well else raw.get("message", "")[:_LONGEST_MESSAGE],
        since=_moment(raw.get("lastTransitionTime")),
        said_at=_moment(raw.get("lastHeartbeatTime")),
    )


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


@contextmanager
def _speaking(what: str, refused: Callable[[], None]) -> Iterator[None]:
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ApiException as error:
        status = _status(error.body)
        said = status.get("message")
        message = f"Kubernetes {what}: {error.status} {error.reason}{f': {said}' if said else ''}"
        answer = {"code": error.status or 0, "status": status, "headers": error.headers}
        if error.status == 404 and _says_not_found(status):
            raise NotFoundError(message, **answer) from error
        if error.status == 409:
            raise ChangedError(message, **answer) from error
        if error.status == 401:
            refused()  # the credentials may have been renewed since we read them
        raise AnswerError(message, **answer) from error
    except HTTPError as error:
        raise RetryableError(f"Kubernetes {what}: {type(error).__name__}: {error}") from error
    except ValueError as error:
        raise RetryableError(f"Kubernetes {what}: the answer cannot be read: {error}") from error


def _status(body: object) -> Mapping[str, Any]:
    try:
        status = json.loads(body) if isinstance(body, (str, bytes)) else {}
    except ValueError:
        return {}
    return status if isinstance(status, Mapping) and status.get("kind") == "Status" else {}


def _says_not_found(status: Mapping[str, Any]) -> bool:
    """Whether a 404 is the API server's own word about one object, not a proxy's page or a path nobody serves yet."""
    details = status.get("details")
    return status.get("reason") == "NotFound" and isinstance(details, Mapping) and bool(details.get("name"))


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
    configuration.connection_pool_maxsize = PARALLEL
    api = client.ApiClient(configuration)
    api.credentials_folder = kept  # goes when the connection does
    return api
