"""By which rungs a doubtful machine is repaired: in order, each in its time, and only as tags that can be read say."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.cluster.doubt import (
    IMPAIRED_AFTER_TAG,
    LADDER_IMPAIRED_TAG,
    LADDER_SILENT_TAG,
    SILENT_AFTER_TAG,
    Doubt,
    Due,
    Repair,
    Rung,
    Sign,
    Trouble,
    Try,
    Wait,
    ladder_of,
    next_rung,
    repair_of,
)
from functions.cluster.machine import Group
from tests.unit.functions.builders import NOW, ONE, WORKERS, group

USUAL = Repair()
ORDER = list(Rung)
TAGS = (IMPAIRED_AFTER_TAG, SILENT_AFTER_TAG, LADDER_IMPAIRED_TAG, LADDER_SILENT_TAG)


def s(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def doubt(*tried: tuple[Rung, float]) -> Doubt:
    """Trouble that began at NOW; what was tried, each so many seconds later."""
    return Doubt(ONE, WORKERS, NOW, tuple(Try(rung, NOW + s(seconds)) for rung, seconds in tried))


def trouble(sign: Sign = Sign.SILENT) -> Trouble:
    return Trouble(sign, NOW, ("it says nothing",))


@pytest.mark.parametrize(
    ("sign", "tried", "rung", "after_s"),
    [
        (Sign.SILENT, [], Rung.RESTART, 180),
        (Sign.SILENT, [(Rung.RESTART, 180)], Rung.REBOOT, 270),
        (Sign.SILENT, [(Rung.RESTART, 180), (Rung.REBOOT, 270)], Rung.REPLACE, 450),
        (Sign.SILENT, [(Rung.RESTART, 180), (Rung.REBOOT, 270), (Rung.REPLACE, 450)], Rung.REPLACE, 750),
        (Sign.IMPAIRED, [], Rung.REPLACE, 120),
        (Sign.IMPAIRED, [(Rung.REPLACE, 120)], Rung.REPLACE, 420),
        (Sign.IMPAIRED, [(Rung.RESTART, 100)], Rung.REPLACE, 190),
        (Sign.IMPAIRED, [(Rung.RESTART, 100), (Rung.REBOOT, 190)], Rung.REPLACE, 370),
        (Sign.SILENT, [(Rung.REPLACE, 120)], Rung.REPLACE, 420),
        (Sign.SILENT, [(Rung.RESTART, -3600)], Rung.REBOOT, 180),
    ],
    ids=[
        "a silent kubelet is restarted after three minutes",
        "then its machine is rebooted",
        "then it is replaced",
        "a replacement that did not come is asked for again",
        "an impaired machine is replaced after two minutes",
        "and again",
        "what EC2 calls impaired waits for the restart that was begun",
        "and for the reboot that was begun",
        "a machine that is to be replaced is not restarted any more",
        "a restart an hour ago is not repeated, and trouble that is new has its whole time",
    ],
)
def test_the_usual_ladder(sign: Sign, tried: list[tuple[Rung, float]], rung: Rung, after_s: float) -> None:
    assert next_rung(trouble(sign), doubt(*tried), USUAL) == Due(rung, NOW + s(after_s))


def test_trouble_that_nobody_remembers_begins_at_the_first_rung() -> None:
    assert next_rung(trouble(), None, USUAL) == next_rung(trouble(), doubt(), USUAL)


@pytest.mark.parametrize("sign", Sign)
def test_with_no_rung_at_all_none_is_due(sign: Sign) -> None:
    nothing = Repair(impaired=(), silent=())
    assert next_rung(trouble(sign), None, nothing) == Due(None, NOW + nothing.after(sign))


def test_a_ladder_that_does_not_end_in_a_replacement_ends() -> None:
    only = Repair(silent=(Wait(Rung.RESTART, s(60)), Wait(Rung.REBOOT, s(90))))
    ended = next_rung(trouble(), doubt((Rung.RESTART, 180), (Rung.REBOOT, 240)), only)
    assert ended == Due(None, NOW + s(330))


WAITS = st.integers(5, 86_400).map(s)
LADDERS = st.lists(st.sampled_from(ORDER), unique=True, max_size=3).flatmap(
    lambda rungs: st.tuples(*(st.builds(Wait, st.just(rung), WAITS) for rung in sorted(rungs, key=ORDER.index)))
)
REPAIRS = st.builds(Repair, WAITS, WAITS, LADDERS, LADDERS)


@given(REPAIRS, st.lists(st.sampled_from(Sign), min_size=1, max_size=12))
def test_rungs_come_in_order_in_their_time_and_each_once_but_the_last(repair: Repair, signs: list[Sign]) -> None:
    """Whatever the machine is doubted for from one rung to the next."""
    at, known = NOW, doubt()
    for sign in signs:
        due = next_rung(trouble(sign), known, repair)
        assert due.at >= NOW + repair.after(sign)
        if due.rung is None:
            continue
        for one in known.tried:
            waits = {wait.rung: wait.wait for wait in repair.silent + repair.ladder(sign)}
            assert due.at >= one.at + waits.get(one.rung, timedelta(0))
        assert due.rung in [wait.rung for wait in repair.ladder(sign)] + [Rung.REPLACE] * bool(known.tried)
        at = max(at, due.at)
        known = known.with_try(due.rung, at)
    tried = [one.rung for one in known.tried]
    assert tried == sorted(tried, key=ORDER.index)
    assert all(tried.count(rung) <= 1 for rung in (Rung.RESTART, Rung.REBOOT))


@given(LADDERS)
def test_a_ladder_is_read_as_it_is_written(ladder: tuple[Wait, ...]) -> None:
    text = " ".join(f"{one.rung.value}={one.wait.total_seconds():.0f}" for one in ladder) or "none"
    assert ladder_of(text) == ladder


def test_a_rung_without_a_number_is_waited_for_five_minutes() -> None:
    assert ladder_of("restart  reboot=60\treplace") == (
        Wait(Rung.RESTART, s(300)),
        Wait(Rung.REBOOT, s(60)),
        Wait(Rung.REPLACE, s(300)),
    )


UNREADABLE_LADDERS = [
    "", " ", "nothing", "none none", "none restart", "reboot restart", "restart restart", "replace reboot",
    "restart=4", "restart=0", "restart=86401", "restart=999999", "restart=-90", "restart=9.5", "restart=90s",
    "restart=", "=90", "Restart", "restart,reboot", "restart=90=90", "restart = 90", "terminate",
    "restart=\N{SUPERSCRIPT TWO}0", "restart=\N{ARABIC-INDIC DIGIT NINE}0",
]  # fmt: skip
UNREADABLE_TIMES = ["", "4", "86401", "-180", "180s", "3 minutes", "1e3", "\N{ARABIC-INDIC DIGIT NINE}9", "9" * 5000]


@pytest.mark.parametrize("text", UNREADABLE_LADDERS)
def test_what_is_no_ladder_is_none(text: str) -> None:
    assert ladder_of(text) is None


@pytest.mark.parametrize(
    ("tag", "text"),
    [(tag, text) for tag in TAGS[2:] for text in UNREADABLE_LADDERS]
    + [(tag, text) for tag in TAGS[:2] for text in UNREADABLE_TIMES],
)
def test_with_a_tag_that_cannot_be_read_nothing_is_tried_and_it_is_said_which_and_what_it_must_be(
    tag: str, text: str
) -> None:
    found = repair_of(group(tags={tag: text}), USUAL)
    assert (found.impaired, found.silent) == ((), ())
    (wrong,) = found.wrong
    assert wrong.startswith(f"the tag {tag} is {text!r}; it must be ")


def test_everything_that_is_wrong_is_said_at_once() -> None:
    found = repair_of(group(tags=dict.fromkeys(TAGS, "?")), USUAL)
    assert [text.split()[2] for text in found.wrong] == list(TAGS)


@pytest.mark.parametrize("of", [None, group(), group(tags={"Name": "w", "regrow:cluster": "drill"})])
def test_a_group_that_says_nothing_is_repaired_as_all_are(of: Group | None) -> None:
    assert repair_of(of, USUAL) == USUAL


def test_a_groups_tags_win_one_by_one() -> None:
    tags = {SILENT_AFTER_TAG: "60", LADDER_SILENT_TAG: "reboot=30", LADDER_IMPAIRED_TAG: "none"}
    assert repair_of(group(tags=tags), USUAL) == Repair(
        impaired_after=USUAL.impaired_after, silent_after=s(60), impaired=(), silent=(Wait(Rung.REBOOT, s(30)),)
    )
