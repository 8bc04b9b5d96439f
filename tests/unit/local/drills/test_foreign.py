"""A drill says that a stranger was left alone only when nothing of his and nothing of the cluster's was touched."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest

from infra.local.drills.foreign import (
    BOOTSTRAP_USER,
    Stranger,
    Untouched,
    judge_stranger,
    judge_untouched,
    request_for,
)
from infra.local.drills.witness import SeenRequest, node_in_subject

PENDING = SeenRequest("stranger-0", "uid", BOOTSTRAP_USER, "kubernetes.io/kube-apiserver-client-kubelet", "i-00000000f")
ALONE = Stranger("Pending:Wait", "Pending:Wait", (PENDING,), ("refused",))
BEFORE = Untouched(
    nodes={"i-1": ("uid-1", False, False, False)},
    pods=frozenset({"a", "b"}),
    tokens=frozenset(),
    bundles=frozenset(),
    joins=frozenset({"i-1"}),
)


@pytest.mark.parametrize(
    ("stranger", "broken"),
    [
        (ALONE, []),
        (replace(ALONE, answers=("nothing",)), []),
        (replace(ALONE, state="InService"), ["now: its hook was left alone"]),
        (replace(ALONE, state="gone"), ["now: its hook was left alone"]),
        (
            replace(ALONE, requests=(PENDING, replace(PENDING, approved_because="RegrowInstanceVerified"))),
            ["now: its certificate requests were neither approved nor denied"],
        ),
        (
            replace(ALONE, requests=(replace(PENDING, denied=True),)),
            ["now: its certificate requests were neither approved nor denied"],
        ),
        (replace(ALONE, requests=()), ["now: its certificate requests were neither approved nor denied"]),
        (replace(ALONE, answers=("minted",)), ["now: mint, asked by name, refused"]),
        (replace(ALONE, answers=("error",)), ["now: mint, asked by name, refused"]),
        (replace(ALONE, answers=()), ["now: mint, asked by name, refused"]),
    ],
)
def test_whatever_is_done_for_or_to_the_stranger_breaks_its_promise(stranger: Stranger, broken: list[str]) -> None:
    assert [finding.promise for finding in judge_stranger(stranger, "now") if not finding.kept] == broken


@pytest.mark.parametrize(
    ("after", "broken"),
    [
        (BEFORE, []),
        (replace(BEFORE, pods=BEFORE.pods | {"c"}), []),
        (replace(BEFORE, nodes={}), ["now: no Node was cordoned, tainted or deleted"]),
        (
            replace(BEFORE, nodes={"i-1": ("other", False, False, False)}),
            ["now: no Node was cordoned, tainted or deleted"],
        ),
        (
            replace(BEFORE, nodes={"i-1": ("uid-1", True, False, False)}),
            ["now: no Node was cordoned, tainted or deleted"],
        ),
        (replace(BEFORE, pods=frozenset({"a"})), ["now: no pod was evicted or deleted"]),
        (replace(BEFORE, tokens=frozenset({"t"})), ["now: nothing was minted"]),
        (replace(BEFORE, bundles=frozenset({"b"})), ["now: nothing was minted"]),
        (replace(BEFORE, joins=frozenset({"i-1", "i-f"})), ["now: nothing was minted"]),
    ],
)
def test_whatever_is_touched_of_the_cluster_breaks_its_promise(after: Untouched, broken: list[str]) -> None:
    assert [finding.promise for finding in judge_untouched(BEFORE, after, "now") if not finding.kept] == broken


def test_the_strangers_request_is_one_that_a_kubelet_could_have_made() -> None:
    request = request_for("stranger-0", "i-00000000f")["spec"]["request"]
    assert node_in_subject(request) == "i-00000000f"


@pytest.mark.parametrize("request_", ["", "not base64!", base64.b64encode(b"no certificate request").decode()])
def test_what_is_no_request_names_no_node(request_: str) -> None:
    assert node_in_subject(request_) is None
