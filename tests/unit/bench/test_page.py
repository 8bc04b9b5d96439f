"""The page about calls says what was counted, and a call of which nobody has said why stops it."""

from __future__ import annotations

from collections import Counter

import pytest

from bench.audit import Asked, read, with_audit
from bench.counting import Called, Tally, metrics_in, to_kubernetes
from bench.month import figures, page
from infra.local.drills.invocations import Invocations

SWEEP = Tally(
    Counter({Called("sweep", "AWS", "dynamodb:Query"): 3}), {"sweep": Invocations(1, 0, 1, 200, 200, 1024, 900)}
)
DEAD = Tally(Counter({Called("remediate", "Kubernetes", "patch nodes"): 2}), {"remediate": Invocations(1, 1)})


def test_each_call_stands_on_the_page_with_its_counts_and_its_reason() -> None:
    lines = list(page(figures({"idle sweep": SWEEP, "dead": DEAD}, "aws")))
    (row,) = [line for line in lines if line.startswith("| remediate | `patch nodes`")]
    assert row.split(" | ")[2:4] == ["", "2"]
    assert "cordon" in row


def test_a_call_without_a_reason_stops_the_bench() -> None:
    odd = Tally(Counter({Called("mint", "AWS", "iam:CreateUser"): 1}))
    with pytest.raises(RuntimeError, match="iam:CreateUser"):
        figures({"idle sweep": SWEEP, "dead": odd}, "aws")


def test_an_audit_event_is_read_in_the_words_of_rbac() -> None:
    line = (
        '{"stage": "ResponseComplete", "verb": "create", "user": {"username": "regrow:remediate"},'
        ' "requestURI": "/x", "objectRef": {"resource": "pods", "subresource": "eviction"}}'
    )
    assert list(read([line])) == [Asked("remediate", "create pods/eviction")]


def test_what_the_sweep_asks_under_the_identity_of_passes_is_counted_as_the_sweeps() -> None:
    asked = [Asked("remediate", "list nodes"), Asked("approve", "get nodes")]
    assert [one.function for one in to_kubernetes(asked, {"remediate": "sweep"})] == ["sweep", "approve"]


def test_an_audit_log_adds_its_flags_and_its_folder_and_changes_nothing_else() -> None:
    container = {"command": ["kube-apiserver", "--a"], "volumeMounts": [{"name": "k"}], "image": "i"}
    manifest = {"kind": "Pod", "spec": {"containers": [container], "volumes": [{"name": "k"}], "priority": 1}}
    audited = with_audit(manifest)
    (after,) = audited["spec"]["containers"]
    assert after["command"][:2] == container["command"]
    assert [flag.partition("=")[0] for flag in after["command"][2:]] == ["--audit-policy-file", "--audit-log-path"]
    assert [volume["name"] for volume in audited["spec"]["volumes"]] == ["k", "audit"]
    assert (audited["kind"], audited["spec"]["priority"], after["image"]) == ("Pod", 1, "i")


def test_the_metrics_of_a_log_are_those_in_its_embedded_lines() -> None:
    line = '{"_aws":{"CloudWatchMetrics":[{"Metrics":[{"Name":"sweep"},{"Name":"held"}]}]}}'
    assert list(metrics_in([line, '{"level":"INFO"}'])) == ["sweep", "held"]
