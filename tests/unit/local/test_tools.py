"""A failing program is told in our sentence and its own last words; what may be the network is tried again."""

from pathlib import Path

import pytest

from infra.local.building.tools import SetupError, run

FAILS_TWICE = 'echo x >> tries; echo "try $(wc -l < tries)" >&2; [ "$(wc -l < tries)" -ge 3 ] && echo worked'


def test_the_output_is_returned_and_messages_are_seen_as_lines() -> None:
    seen: list[str] = []

    def note(line: str) -> bool:
        seen.append(line)
        return True

    assert run(["sh", "-c", "echo result; echo one >&2; echo two >&2"], otherwise="", is_progress=note) == "result\n"
    assert seen == ["one", "two"]


def test_what_fails_at_first_is_tried_again(tmp_path: Path) -> None:
    output = run(["sh", "-c", FAILS_TWICE], otherwise="", cwd=tmp_path, attempts=3, pause_s=0.001)
    assert output == "worked\n"


def test_what_fails_too_often_is_an_error_with_the_last_words(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"^Could not: do that\.\n  try 2$"):
        run(["sh", "-c", FAILS_TWICE], otherwise="Could not: do that.", cwd=tmp_path, attempts=2, pause_s=0.001)


def test_progress_is_not_among_the_last_words() -> None:
    with pytest.raises(SetupError) as failure:
        run(
            ["sh", "-c", "echo some/package >&2; echo 'main.go:1: wrong' >&2; exit 1"],
            otherwise="Could not.",
            is_progress=lambda line: line == "some/package",
        )
    assert str(failure.value) == "Could not.\n  main.go:1: wrong"


def test_a_program_without_words_has_its_exit_code_told() -> None:
    with pytest.raises(SetupError, match="exit code 7"):
        run(["sh", "-c", "exit 7"], otherwise="Could not.")
