"""`python -m bench.reading WAY WORLD`: read all Nodes in one way, and say what that took. In the world's network."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3

from functions.edges.kubernetes import KubernetesEdge
from functions.edges.kubernetes_api import Credentials, KubernetesApi, node_of
from functions.edges.parameters import read_credentials

Read = Callable[[], Credentials]
SWEEP_EVENT = Path(__file__).parents[1] / "events" / "sweep.json"
METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


@dataclass(frozen=True)
class Way:
    """One way to read the Nodes; `read` returns how many there were."""

    name: str
    about: str
    read: Callable[[Read], int]


def _whole(page_size: int) -> Callable[[Read], int]:
    def read(credentials: Read) -> int:
        api = KubernetesApi(credentials, page_size=page_size)
        return len([node_of(raw) for raw in api.list("list Nodes", "CoreV1Api", "list_node")])

    return read


def _as_the_edge_does(credentials: Read) -> int:
    return len(KubernetesEdge(credentials).nodes())


def _metadata(credentials: Read) -> int:
    """Names, labels, annotations: neither providerID, nor taints, nor whether the Node is Ready or cordoned."""
    return len([_small(raw) for raw in _listed(credentials, "Accept", METADATA_ONLY, page_size=500)])


def _compressed(credentials: Read) -> int:
    return len([node_of(raw) for raw in _listed(credentials, "Accept-Encoding", "gzip", page_size=100)])


def _listed(credentials: Read, header: str, value: str, *, page_size: int) -> Iterator[dict[str, Any]]:
    """Asked for with a header that the edge does not send."""
    api = KubernetesApi(credentials, page_size=page_size)
    api._connection()[0].set_default_header(header, value)
    return api.list("list Nodes", "CoreV1Api", "list_node")


def _small(raw: dict[str, Any]) -> tuple[str, dict[str, str], dict[str, str]]:
    metadata = raw["metadata"]
    return metadata["name"], metadata.get("labels", {}), metadata.get("annotations", {})


def _nothing(credentials: Read) -> int:
    """What the process holds before it has read anything but one Node's name."""
    KubernetesEdge(credentials).node("none")
    return 0


WAYS = (
    Way("nothing", "the client alone", _nothing),
    Way("edge", "as KubernetesEdge.nodes() does it", _as_the_edge_does),
    Way("pages of 1000", "whole Nodes", _whole(1000)),
    Way("pages of 500", "whole Nodes", _whole(500)),
    Way("pages of 100", "whole Nodes", _whole(100)),
    Way("gzip", "whole Nodes, pages of 100, compressed on the way", _compressed),
    Way("metadata", "names, labels and annotations alone, pages of 500", _metadata),
)


def main(name: str, world: str) -> None:
    (way,) = (one for one in WAYS if one.name == name)
    ssm = boto3.Session().client("ssm")
    started = time.monotonic()
    count = way.read(lambda: read_credentials(ssm, f"/regrow/{world}/kubeconfig/remediate"))
    took_s = time.monotonic() - started
    # Not getrusage: its maximum counts what the process was forked from.
    mib = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024
    print(json.dumps({"way": name, "about": way.about, "nodes": count, "s": round(took_s, 2), "mib": round(mib, 1)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
