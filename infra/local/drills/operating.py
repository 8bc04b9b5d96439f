"""What AWS' own operators do, which no customer can ask for: requests that the local AWS alone knows."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from infra.local.cluster import Cluster
from infra.local.places import WorldError

_TIMEOUT_S = 60.0
"""A machine that is mended boots first."""


def host_dies(cluster: Cluster, machine: str) -> None:
    """Everything in it ends at once, and EC2 goes on saying that it runs."""
    order(cluster, "/hosts", {"do": "die", "instance": machine})


def network_fails(cluster: Cluster, machine: str) -> None:
    """It runs on, and nothing reaches it or is reached by it any more. A reboot changes nothing about that."""
    order(cluster, "/hosts", {"do": "cut", "instance": machine})


def host_is_mended(cluster: Cluster, machine: str) -> None:
    """Its network is back; when its host had died, it boots."""
    order(cluster, "/hosts", {"do": "mend", "instance": machine})


def order(cluster: Cluster, path: str, wanted: dict[str, Any]) -> dict[str, Any]:
    """See infra/local/cloud/compute: maintenance_api.py, hosts_api.py. WorldError for what is refused."""
    meta = cluster.client("ec2").meta
    request = AWSRequest("POST", f"{meta.endpoint_url}{path}", data=json.dumps(wanted).encode())
    # Any key will do: no signature is checked, and who has no role's key is the account's administrator.
    SigV4Auth(Credentials("drill", "drill"), "ec2", meta.region_name).add_auth(request)
    sent = urllib.request.Request(request.url, request.data, dict(request.headers), method="POST")  # noqa: S310
    try:
        with urllib.request.urlopen(sent, timeout=_TIMEOUT_S) as answer:  # noqa: S310
            said: dict[str, Any] = json.loads(answer.read())
            return said
    except urllib.error.HTTPError as error:
        raise WorldError(f"EC2 refuses {wanted['do']} of {path}: {error.read().decode()}") from error
