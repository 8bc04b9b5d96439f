"""What a drill says of the way in: whatever is left of it, or came in another way, breaks a promise."""

from __future__ import annotations

from dataclasses import replace

import pytest

from infra.local.drills.joining import APPROVED_BY_REGROW, CLIENT_SIGNER, JoinSight, SeenJoin, judge_joining
from infra.local.drills.witness import SeenRequest

OLD, NEW, CONTROL_PLANE, STRANGER = "i-000000001", "i-000000002", "i-0000000cc", "i-00000000f"
SERVING_SIGNER = "kubernetes.io/kubelet-serving"


def client_request(
    node: str | None, approved: str | None = APPROVED_BY_REGROW, user: str = "system:bootstrap:abc123"
) -> SeenRequest:
    return SeenRequest("csr-1", f"client-{node}", user, CLIENT_SIGNER, node, approved)


def serving_request(node: str, approved: str | None = APPROVED_BY_REGROW, user: str | None = None) -> SeenRequest:
    return SeenRequest("csr-2", f"serving-{node}", user or f"system:node:{node}", SERVING_SIGNER, node, approved)


CLEAN = JoinSight(
    tokens=(),
    bundles=(),
    pending=(),
    requests=(client_request(NEW), serving_request(NEW), serving_request(CONTROL_PLANE)),
    joins=(SeenJoin(OLD, OLD, "ended"), SeenJoin(NEW, NEW, "ended")),
    initialised_by=CONTROL_PLANE,
)
RECORD = "every certificate that Regrow approved is of a machine with a join record"
CERTIFICATES = "no control plane's certificates are left to fetch, nor a key to them"
NOBODY_ELSE = "nobody but Regrow approved a machine's first certificate"


def broken(sight: JoinSight) -> list[str]:
    return [finding.promise for finding in judge_joining(sight) if not finding.kept]


def asked(*requests: SeenRequest) -> JoinSight:
    return replace(CLEAN, requests=requests)


def test_a_cluster_that_everybody_joined_by_right_keeps_every_promise() -> None:
    assert broken(CLEAN) == []


@pytest.mark.parametrize(
    ("sight", "promise"),
    [
        (replace(CLEAN, tokens=("secret/bootstrap-token-abc123",)), "no bootstrap token is left"),
        (replace(CLEAN, bundles=(f"/regrow/c/join/{NEW}",)), "no bundle to join with is left"),
        (replace(CLEAN, certificates=("secret/kubeadm-certs",)), CERTIFICATES),
        (replace(CLEAN, certificates=(f"/regrow/c/certificate-key/{NEW}",)), CERTIFICATES),
        (replace(CLEAN, pending=(serving_request(NEW, None),)), "no certificate request is pending"),
        (replace(CLEAN, joins=(*CLEAN.joins, SeenJoin("i-3", "i-3", "issued"))), "no join is open"),
        (replace(CLEAN, joins=(*CLEAN.joins, SeenJoin("i-3", "i-3", "minting"))), "no join is open"),
        (asked(client_request(STRANGER)), RECORD),
        (asked(client_request(None)), RECORD),
        (asked(client_request(NEW, user="system:serviceaccount:default:x")), RECORD),
        (asked(client_request(CONTROL_PLANE)), RECORD),
        (asked(serving_request(STRANGER)), RECORD),
        (asked(serving_request(NEW, user=f"system:node:{OLD}")), RECORD),
        (replace(asked(serving_request(CONTROL_PLANE)), initialised_by=None), RECORD),
        (asked(client_request(NEW, "AutoApproved")), NOBODY_ELSE),
        (asked(client_request(STRANGER, "KubectlApprove")), NOBODY_ELSE),
        (asked(client_request(NEW, "AutoApproved", user=f"system:node:{OLD}")), NOBODY_ELSE),
    ],
)
def test_what_is_left_or_came_another_way_breaks_its_promise_and_no_other(sight: JoinSight, promise: str) -> None:
    assert broken(sight) == [promise]


def test_a_node_that_renews_its_own_certificate_is_nobodys_way_in() -> None:
    assert broken(asked(client_request(NEW, "AutoApproved", user=f"system:node:{NEW}"))) == []
