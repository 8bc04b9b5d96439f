"""What must hold after every drill of what lets machines in: nothing of it is left over, and no stranger got in."""

from __future__ import annotations

from dataclasses import dataclass

from infra.local.cluster import Cluster
from infra.local.drills.findings import Finding
from infra.local.drills.witness import NODE_USER, SeenRequest, Witness

APPROVED_BY_REGROW = "RegrowInstanceVerified"
CLIENT_SIGNER = "kubernetes.io/kube-apiserver-client-kubelet"
BOOTSTRAP_USER = "system:bootstrap:"


@dataclass(frozen=True)
class SeenJoin:
    """A join record of Regrow's table; its state is minting, issued or ended."""

    machine: str
    node_name: str
    state: str


@dataclass(frozen=True)
class JoinSight:
    """All that lets machines in, at one moment. `tokens` and `bundles` by name; requests as ever seen."""

    tokens: tuple[str, ...]
    bundles: tuple[str, ...]
    pending: tuple[SeenRequest, ...]
    requests: tuple[SeenRequest, ...]
    joins: tuple[SeenJoin, ...]
    initialised_by: str | None
    certificates: tuple[str, ...] = ()
    """What holds the control planes' certificates, encrypted, and the keys to that, by name."""


def see_joins(cluster: Cluster) -> tuple[SeenJoin, ...]:
    """The join records."""
    items = cluster.query("join")
    return tuple(SeenJoin(item["instance"]["S"], item["node_name"]["S"], item["state"]["S"]) for item in items)


def see_tokens(cluster: Cluster) -> tuple[str, ...]:
    """The names of the bootstrap tokens that the cluster has."""
    of_type = "--field-selector=type=bootstrap.kubernetes.io/token"
    return tuple(cluster.kubectl("get", "secrets", "--namespace=kube-system", of_type, "--output=name").split())


def see_certificates(cluster: Cluster) -> tuple[str, ...]:
    """The Secret that kubeadm uploads the control planes' certificates to, and the keys that were left for machines.

    The token that owns the Secret is a bootstrap token, and counted as one.
    """
    named = "--field-selector=metadata.name=kubeadm-certs"
    uploaded = cluster.kubectl("get", "secrets", "--namespace=kube-system", named, "--output=name").split()
    return (*uploaded, *_parameters(cluster, "certificate-key"))


def see_bundles(cluster: Cluster) -> tuple[str, ...]:
    """The names of the parameters that machines could fetch."""
    return _parameters(cluster, "join")


def _parameters(cluster: Cluster, kind: str) -> tuple[str, ...]:
    below = {"Key": "Path", "Option": "Recursive", "Values": [f"/regrow/{cluster.name}/{kind}"]}
    pages = cluster.client("ssm").get_paginator("describe_parameters").paginate(ParameterFilters=[below])
    return tuple(parameter["Name"] for page in pages for parameter in page["Parameters"])


def see_joining(cluster: Cluster, witness: Witness) -> JoinSight:
    return JoinSight(
        tokens=see_tokens(cluster),
        bundles=see_bundles(cluster),
        pending=tuple(request for request in witness.requests.values() if request.pending),
        requests=tuple(witness.requests_ever.values()),
        joins=see_joins(cluster),
        initialised_by=cluster.initialised_by(),
        certificates=see_certificates(cluster),
    )


def judge_joining(sight: JoinSight) -> tuple[Finding, ...]:
    """A finding for every promise about what lets machines in. Pure."""
    ours = [request for request in sight.requests if request.approved_because == APPROVED_BY_REGROW]
    return (
        _none("no bootstrap token is left", sight.tokens),
        _none("no bundle to join with is left", sight.bundles),
        _none("no control plane's certificates are left to fetch, nor a key to them", sight.certificates),
        _none("no certificate request is pending", [_said(request) for request in sight.pending]),
        _none("no join is open", [f"{join.machine} ({join.state})" for join in sight.joins if join.state != "ended"]),
        _none(
            "every certificate that Regrow approved is of a machine with a join record",
            [_said(request) for request in ours if not _belongs(request, sight)],
            otherwise=f"all {len(ours)}",
        ),
        _none(
            "nobody but Regrow approved a machine's first certificate",
            [_said(request) for request in sight.requests if _approved_by_another(request)],
        ),
    )


def _belongs(request: SeenRequest, sight: JoinSight) -> bool:
    """The control plane that initialised the cluster has no record: for its serving certificate that stands in."""
    recorded = {join.node_name for join in sight.joins}
    if request.serving:
        allowed = recorded | ({sight.initialised_by} if sight.initialised_by else set())
        return request.node in allowed and request.user == f"{NODE_USER}{request.node}"
    return request.signer == CLIENT_SIGNER and request.user.startswith(BOOTSTRAP_USER) and request.node in recorded


def _approved_by_another(request: SeenRequest) -> bool:
    """A Node that renews its own client certificate is not joining: Kubernetes approves that by itself."""
    if request.signer != CLIENT_SIGNER or request.approved_because in (None, APPROVED_BY_REGROW):
        return False
    return request.user != f"{NODE_USER}{request.node}"


def _none(promise: str, left: tuple[str, ...] | list[str], otherwise: str = "none") -> Finding:
    return Finding(promise, not left, ", ".join(left) or otherwise)


def _said(request: SeenRequest) -> str:
    return f"{request.name} of {request.user} for {request.node or 'no Node'}"
