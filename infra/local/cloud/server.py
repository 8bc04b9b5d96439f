"""moto's server with the extensions in place: the AWS endpoint of one world, or of one test."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from moto.core.base_backend import BackendDict
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import BaseWSGIServer, make_server

from infra.local.cloud.access.gate import Application, Gate
from infra.local.cloud.balancing import classic
from infra.local.cloud.commands import ssm_api
from infra.local.cloud.commands.agent_api import AgentApi
from infra.local.cloud.compute import ec2_api, experiments
from infra.local.cloud.compute.metadata import MetadataServer
from infra.local.cloud.delays import Delays
from infra.local.cloud.events.happenings import Publish
from infra.local.cloud.formation import resources
from infra.local.cloud.groups import autoscaling_api
from infra.local.cloud.surroundings import Surroundings
from infra.local.machines.hardware import Hardware

log = logging.getLogger(__name__)

POLL_S = 0.05
"""How soon the listening thread notices that it is to end."""


class QuietHandler(MotoRequestHandler):
    """Sends small answers at once, and logs through `logging`."""

    disable_nagle_algorithm = True

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:  # noqa: ARG002 - werkzeug's
        log.debug("%s %s %s", self.address_string(), self.requestline, code)

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 - werkzeug's name
        log.log(logging.ERROR if type == "error" else logging.INFO, message, *args)


class Readiness:
    """Answers an unsigned GET / as soon as everything is there, not before, and hands every other request on."""

    def __init__(self, inner: Application) -> None:
        self._inner = inner
        self.ready = threading.Event()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        unsigned = not environ.get("HTTP_AUTHORIZATION") and not environ.get("QUERY_STRING")
        if unsigned and environ["REQUEST_METHOD"] in ("GET", "HEAD") and environ.get("PATH_INFO") == "/":
            self.ready.wait()
            start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "3")])
            return [b"ok\n"]
        return self._inner(environ, start_response)


class Cloud:
    """One AWS: its API, its timers and the metadata service of its instances.

    moto keeps its state in module globals, so there is one at a time in a process. `install` begins with nothing;
    other extensions of moto go in between `install` and `start`.
    """

    def __init__(
        self,
        hardware: Hardware,
        delays: Delays,
        publish: Publish,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        metadata_host: str = "127.0.0.1",
        metadata_port: int = 0,
    ) -> None:
        self.surroundings = Surroundings(hardware, delays, publish)
        self._address = (host, port)
        self._metadata_address = (metadata_host, metadata_port)
        self._server: BaseWSGIServer | None = None
        self._metadata: MetadataServer | None = None

    @property
    def endpoint(self) -> str:
        """What goes into AWS_ENDPOINT_URL."""
        if self._server is None:
            raise RuntimeError("The cloud has no endpoint before start().")
        return f"http://{self._address[0]}:{self._server.port}"

    @property
    def metadata_endpoint(self) -> str:
        """Where instances find their metadata."""
        if self._metadata is None:
            raise RuntimeError("The cloud has no metadata service before start().")
        return self._metadata.endpoint

    def install(self) -> None:
        """Forget all that moto knows and put the extensions in place."""
        # Not BackendDict.reset(): some backends make others anew while they are reset.
        used: list[BackendDict[Any]] = BackendDict._instances
        for backends in used:
            backends.clear()
        used.clear()
        ec2_api.install(self.surroundings)
        experiments.install()
        classic.install()
        autoscaling_api.install(self.surroundings)
        ssm_api.install(self.surroundings)
        resources.install()

    def start(self, prepare: Callable[[str], None] = lambda _: None) -> None:
        """Serve. `prepare` gets the endpoint, and may use it, before GET / is answered."""
        app = Readiness(Gate(AgentApi(DomainDispatcherApplication(create_backend_app))))
        self._server = make_server(*self._address, app, threaded=True, request_handler=QuietHandler)
        threading.Thread(target=self._server.serve_forever, args=(POLL_S,), name="aws", daemon=True).start()
        self._metadata = MetadataServer(*self._metadata_address)
        self._metadata.start()
        prepare(self.endpoint)
        app.ready.set()

    def stop(self) -> None:
        """Nothing moves any more and the ports are free. Machines are left as they are."""
        self.surroundings.timers.stop()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        if self._metadata is not None:
            self._metadata.stop()
            self._metadata = None
