"""A bundle holds what a machine needs to join this cluster and no other."""

from __future__ import annotations

import base64
import json

from functions.cluster.machine import Role
from functions.join.delivery import Bundle
from functions.join.token import draw
from tests.unit.functions.builders import CLUSTER, NOW, ONE
from tests.unit.functions.join.mint.launches import API_SERVER


def test_a_bundle_says_who_joins_what_by_which_authority_with_which_token_until_when() -> None:
    token = draw(ONE, Role.WORKER, lambda alphabet: alphabet[-1], now=NOW)
    assert json.loads(Bundle(CLUSTER, API_SERVER, token).to_json()) == {
        "cluster": CLUSTER,
        "node_name": ONE,
        "server": "https://api.drill.test:6443",
        "ca_data": base64.b64encode(b"-----BEGIN CERTIFICATE-----\n").decode(),
        "token": "999999.9999999999999999",
        "expires_at": "2026-11-21T12:15:00Z",
    }
