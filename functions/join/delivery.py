"""What a machine is handed to join with, and only that machine can read."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass

from functions.join.token import Token, rfc3339


@dataclass(frozen=True)
class ApiServer:
    """Where the API server is and the authority (PEM) it is known by, both as the control plane published them."""

    url: str
    ca: bytes


@dataclass(frozen=True)
class Bundle:
    """A token, and to whom it may be shown: a machine that trusts only this authority cannot be led elsewhere."""

    cluster: str
    api_server: ApiServer
    token: Token

    def to_json(self) -> str:
        return json.dumps(
            {
                "cluster": self.cluster,
                "node_name": self.token.machine,
                "server": self.api_server.url,
                "ca_data": base64.b64encode(self.api_server.ca).decode(),
                "token": self.token.whole,
                "expires_at": rfc3339(self.token.expires_at),
            }
        )
