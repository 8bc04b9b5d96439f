"""What a function tells is one JSON line each, with metrics that CloudWatch reads out of the log."""

from __future__ import annotations

import json
import warnings

import pytest

from functions.edges.journal import JournalEdge


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_line_holds_what_happened_its_fields_and_which_cluster_and_function(
    capsys: pytest.CaptureFixture[str],
) -> None:
    JournalEdge(cluster="drill", function="tells").tell("pass", machine="i-00000001", steps=["Fence"], reason="x")
    (line,) = lines(capsys)
    assert (
        line.items()
        >= {
            "message": "pass",
            "machine": "i-00000001",
            "steps": ["Fence"],
            "reason": "x",
            "cluster": "drill",
            "service": "regrow-tells",
        }.items()
    )


def test_counts_are_added_up_and_told_with_cluster_and_function_as_their_only_dimensions(
    capsys: pytest.CaptureFixture[str],
) -> None:
    journal = JournalEdge(cluster="drill", function="counts")
    for _ in range(2):
        journal.count("pass_dead")
    journal.flush()
    (line,) = lines(capsys)
    assert line["pass_dead"] == [1.0, 1.0]
    assert (line["cluster"], line["service"]) == ("drill", "regrow-counts")
    metrics = json.loads(json.dumps(line["_aws"]))["CloudWatchMetrics"][0]
    assert metrics["Namespace"] == "Regrow"
    assert sorted(metrics["Dimensions"][0]) == ["cluster", "service"]


def test_every_invocation_starts_with_no_counts_and_keeps_its_dimensions(capsys: pytest.CaptureFixture[str]) -> None:
    journal = JournalEdge(cluster="drill", function="again")
    for _ in range(2):
        journal.count("sweep")
        journal.flush()
    assert [(line["sweep"], line["cluster"]) for line in lines(capsys)] == [([1.0], "drill")] * 2


def test_an_invocation_that_counted_nothing_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        JournalEdge(cluster="drill", function="quiet").flush()
    assert capsys.readouterr().out == ""
