"""The AWS process of a light world: a metadata service for user data, and the machines' switches over HTTP.

Run by a world as `standin.py NAME`. POST / with {"call": "start", ...} calls the method of `Machines`.
"""

from __future__ import annotations

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from infra.local.machines.hardware import MachineSpec
from infra.local.machines.machines import MachineError, Machines
from infra.local.network.plan import AWS_ENDPOINT, METADATA

machines = Machines.of_world(sys.argv[1])
metadata: dict[str, dict[str, str]] = {}
"""Address -> what the metadata service tells the machine that has it."""


def call(name: str, arguments: dict[str, Any]) -> Any:
    if name == "start":
        user_data = arguments.pop("user_data")
        address, instance_id = arguments["address"], arguments["instance_id"]
        known = {"meta-data/instance-id": instance_id, "user-data": user_data}
        metadata[address] = {path: text for path, text in known.items() if text}
        spec = MachineSpec(
            instance_id, IPv4Address(address), arguments["hostname"], IPv4Network("10.77.1.0/24"), "worker"
        )
        return machines.start(spec)
    result = getattr(machines, name)(**arguments)
    if isinstance(result, bytes):
        return result.decode()
    return sorted(result) if name in ("running", "reachable") else result


class Answer(BaseHTTPRequestHandler):
    def do_PUT(self) -> None:
        self._send(200, "token")

    def do_GET(self) -> None:
        if self.path == "/":
            self._send(200, "here")
            return
        text = metadata.get(self.client_address[0], {}).get(self.path.removeprefix("/latest/"))
        allowed = self.headers["X-aws-ec2-metadata-token"] == "token"
        self._send(401 if not allowed else 404 if text is None else 200, text or "")

    def do_POST(self) -> None:
        wanted = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        try:
            self._send(200, json.dumps(call(wanted.pop("call"), wanted)))
        except MachineError as error:
            self._send(409, str(error))

    def _send(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: Any) -> None:
        """Quiet: the log is for what goes wrong."""


if __name__ == "__main__":
    threading.Thread(target=ThreadingHTTPServer((str(METADATA), 80), Answer).serve_forever, daemon=True).start()
    ThreadingHTTPServer((str(AWS_ENDPOINT), 80), Answer).serve_forever()
