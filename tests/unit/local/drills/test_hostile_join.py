"""A drill with a hostile machine is passed only when nothing it asked for was approved and nothing of it is left."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from infra.local.drills.findings import Finding
from infra.local.drills.hostile_join import Asked, Fate, judge_asked, judge_fate, word_on
from infra.local.drills.hostile_requests import for_the_identity_of, in_another_form
from infra.local.drills.witness import SeenRequest, node_in_subject

WAYS = {f"way {number}": "Denied" for number in range(20)}
ASKED = Asked(refused=("c13 empty",), answers=WAYS, convicted="its subject names another")
FATE = Fate(listed=False, join="ended", tokens=(), bundles=(), alerts=("i-1 never joined",))


def broken(findings: tuple[Finding, ...]) -> list[str]:
    return [finding.promise for finding in findings if not finding.kept]


def test_a_machine_that_got_nothing_breaks_no_promise() -> None:
    assert broken(judge_asked(ASKED)) == []
    assert broken(judge_fate(FATE)) == []


@pytest.mark.parametrize(
    ("changes", "promises"),
    [
        ({"answers": {**WAYS, "way 7": "Approved"}}, ["none of them was approved", "each was denied"]),
        ({"answers": {**WAYS, "way 7": "Pending"}}, ["each was denied"]),
        ({"answers": dict(list(WAYS.items())[:19])}, ["it could ask in 20 ways and more"]),
        ({"answers": {}}, ["it could ask in 20 ways and more"]),
        ({"convicted": None}, ["its launch was convicted, with the proof"]),
    ],
)
def test_every_promise_about_its_requests_can_be_broken(changes: dict[str, Any], promises: list[str]) -> None:
    assert broken(judge_asked(replace(ASKED, **changes))) == promises


@pytest.mark.parametrize(
    ("changes", "promise"),
    [
        ({"listed": True}, "its launch was given up"),
        ({"join": "issued"}, "its joining has ended"),
        ({"tokens": ("secret/bootstrap-token-aaaaaa",)}, "its token and its bundle are gone"),
        ({"bundles": ("/regrow/drill/join/i-1",)}, "its token and its bundle are gone"),
        ({"alerts": ()}, "a person was told"),
    ],
)
def test_every_promise_about_its_end_can_be_broken(changes: dict[str, Any], promise: str) -> None:
    assert broken(judge_fate(replace(FATE, **changes))) == [promise]


@pytest.mark.parametrize(
    ("seen", "word"),
    [({}, "Pending"), ({"approved_because": ""}, "Approved"), ({"denied": True}, "Denied")],
)
def test_the_word_on_a_request_is_the_witnesss(seen: dict[str, Any], word: str) -> None:
    request = SeenRequest("csr-1", "1", "system:bootstrap:aaaaaa", "signer", None)
    assert word_on([replace(request, name="other"), replace(request, **seen)], "csr-1") == word


def test_whatever_a_hostile_machine_sends_the_witness_can_look_at() -> None:
    own, other = "i-00000000000000001", "i-00000000000000002"
    asked = {**for_the_identity_of(other, own), **in_another_form(own, other)}
    seen = {way: node_in_subject(request) for way, request in asked.items()}
    assert seen["c01 another node's name"] == other
    assert len(seen) > 40
