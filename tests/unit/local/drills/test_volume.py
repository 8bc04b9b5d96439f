"""The drill of a volume finds two writers, lost data and a Node that went too early."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from infra.local.drills.findings import Before, Finding
from infra.local.drills.timeline import Timeline
from infra.local.drills.volume import Moves, judge_lines, judge_order, silence_s
from infra.local.drills.volume_setup import VOLUME, Line
from infra.local.drills.witness import Change, SeenAttachment, SeenNode

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TENTH_NS = 100_000_000
VICTIM = SeenNode("i-dead", "uid-of-the-node", ready=True, out_of_service=False, unschedulable=False)


def written(writers: str, numbers: list[int] | None = None) -> tuple[Line, ...]:
    """A line of each writer in turn, a tenth of a second apart."""
    counted = numbers or list(range(1, len(writers) + 1))
    return tuple(
        Line(number, writer, at * TENTH_NS) for at, (number, writer) in enumerate(zip(counted, writers, strict=True))
    )


def kept(findings: tuple[Finding, ...]) -> list[bool]:
    return [finding.kept for finding in findings]


def test_a_pod_that_writes_on_where_the_other_stopped_keeps_both_promises() -> None:
    assert kept(judge_lines(written("aaabb"), first="a", second="b")) == [True, True]


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (written("aabab"), "the first one writes again"),
        (written("aabb", [1, 2, 2, 3]), "the second one began before the first one had ended"),
        (written("aabb", [1, 2, 4, 5]), "a line was lost"),
        (written("aabb", [1, 2, 1, 2]), "the second one began without the data"),
        ((), "nothing was written"),
    ],
)
def test_two_writers_or_lost_lines_break_the_promise(lines: tuple[Line, ...], why: str) -> None:
    assert kept(judge_lines(lines, first="a", second="b"))[0] is False, why


def test_a_pod_that_has_not_written_yet_has_not_written_on() -> None:
    assert kept(judge_lines(written("aaa"), first="a", second="b")) == [True, False]
    assert kept(judge_lines(written("aaa"), first="a", second=None)) == [True, False]


@pytest.mark.parametrize(
    ("detached", "node_gone", "good"), [(4, 5, True), (5, 4, False), (None, 5, False), (4, None, False)]
)
def test_the_node_must_outlive_the_attachment(detached: int | None, node_gone: int | None, good: bool) -> None:
    assert judge_order(detached, node_gone).kept is good


def test_a_pause_is_the_longest_time_without_a_line() -> None:
    lines = (Line(1, "a", 0), Line(2, "a", TENTH_NS), Line(3, "b", 26 * TENTH_NS), Line(4, "b", 27 * TENTH_NS))
    assert silence_s(lines) == 2.5
    assert silence_s(lines[:1]) is None


def test_a_move_is_followed_from_machine_to_machine() -> None:
    moves = followed()
    moves.on_change(change(None, attachment("i-other", attached=False)))
    moves.on_change(gone(attachment("i-dead"), revision=7))
    moves.on_change(change(attachment("i-other", attached=False), attachment("i-other")))
    moves.on_change(change(attachment("i-third", volume="another"), attachment("i-third", volume="another")))
    moves.on_change(gone(VICTIM, revision=9))
    assert (moves.attached, moves.twice) == ({"i-other"}, [])
    assert (moves.detached, moves.node_gone) == (7, 9)
    assert set(moves.timeline.milestones) == {"detached", "attached_elsewhere"}


def test_a_volume_that_two_machines_have_is_found() -> None:
    moves = followed()
    moves.on_change(change(None, attachment("i-other")))
    assert moves.twice == ["i-other"]


def followed() -> Moves:
    timeline = Timeline(lambda _: None)
    timeline.begin(NOW)
    return Moves(timeline, Before(20, VICTIM.name, VICTIM.uid, frozenset()), attached={VICTIM.name})


def attachment(node: str, *, volume: str = VOLUME, attached: bool = True) -> SeenAttachment:
    return SeenAttachment(f"csi-{node}", volume, node, attached)


def change(before: SeenAttachment | None, after: SeenAttachment) -> Change:
    return Change(NOW, after, before, after)


def gone(before: SeenAttachment | SeenNode, *, revision: int) -> Change:
    return Change(NOW, before, before, None, revision)
