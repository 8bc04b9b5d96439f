"""The machine's own files: what it reads, what it writes, and with which rights."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest

from infra.node.failures import NodeError
from infra.node.join import FIRST_PAUSE_S, LONGEST_PAUSE_S, pauses
from infra.node.machine import (
    Image,
    name_in_hosts,
    read_image,
    run,
    run_loudly,
    say,
    wait_for_runtime,
    write_secret,
)


def test_a_stock_image_says_nothing_about_itself(tmp_path: Path) -> None:
    assert read_image(tmp_path / "image.json") == Image()


def test_an_image_says_what_it_needs(tmp_path: Path) -> None:
    path = tmp_path / "image.json"
    path.write_text('{"kubernetes_version": "v1.36.3", "skip_phases": ["addon/coredns"]}')
    assert read_image(path) == Image(kubernetes_version="v1.36.3", skip_phases=["addon/coredns"])


def test_a_misspelt_need_of_the_image_is_named(tmp_path: Path) -> None:
    path = tmp_path / "image.json"
    path.write_text('{"kubernetes_verison": "v1.36.3"}')
    with pytest.raises(NodeError, match="kubernetes_verison"):
        read_image(path)


def test_the_node_name_resolves_and_is_written_only_once(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost\n# i-0abc is not here yet")
    name_in_hosts("i-0abc", "10.77.1.5", hosts)
    name_in_hosts("i-0abc", "10.77.1.5", hosts)
    assert hosts.read_text().splitlines() == [
        "127.0.0.1 localhost",
        "# i-0abc is not here yet",
        "10.77.1.5 i-0abc",
    ]


def test_a_name_that_only_begins_alike_does_not_count(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("10.77.1.6 i-0abcdef\n")
    name_in_hosts("i-0abc", "10.77.1.5", hosts)
    assert hosts.read_text().endswith("10.77.1.5 i-0abc\n")


def test_a_secret_is_roots_alone_even_over_an_older_file(tmp_path: Path) -> None:
    (tmp_path / "join.json").write_text("old")
    (tmp_path / "join.json").chmod(0o644)
    written = write_secret("join.json", "new", tmp_path)
    assert written.read_text() == "new"
    assert stat.S_IMODE(written.stat().st_mode) == 0o600


def test_a_runtime_that_listens_is_waited_for_no_longer(tmp_path: Path) -> None:
    path = tmp_path / "containerd.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        wait_for_runtime(f"unix://{path}", wait_s=0)


def test_a_runtime_that_never_comes_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(NodeError, match=r"containerd\.sock"):
        wait_for_runtime(f"unix://{tmp_path}/containerd.sock", wait_s=0)


def test_a_failed_program_is_reported_with_its_last_words() -> None:
    with pytest.raises(NodeError, match="ended with 3: no disk"):
        run(["sh", "-c", "echo no disk >&2; exit 3"], timeout_s=10)


def test_a_missing_program_is_reported_as_missing() -> None:
    with pytest.raises(NodeError, match="is not in this image"):
        run(["no-such-program"], timeout_s=10)


def test_a_program_gets_what_it_is_given() -> None:
    assert run(["cat"], given="to the letter", timeout_s=10) == "to the letter"


def test_a_long_programs_words_are_told_as_ours_are(capfd: pytest.CaptureFixture[str]) -> None:
    run_loudly(["sh", "-c", "echo one; echo two >&2"], timeout_s=10)
    assert capfd.readouterr().out.splitlines() == ["one", "two"]


def test_a_long_program_that_fails_says_how_it_ended(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(NodeError, match="sh -c ended with 3"):
        run_loudly(["sh", "-c", "echo no disk; exit 3"], timeout_s=10)
    assert capfd.readouterr().out == "no disk\n"


def test_a_long_program_that_does_not_end_is_ended() -> None:
    with pytest.raises(NodeError, match="did not end within"):
        run_loudly(["sleep", "60"], timeout_s=0.1)


def test_a_long_program_that_is_missing_is_reported_as_missing() -> None:
    with pytest.raises(NodeError, match="is not in this image"):
        run_loudly(["no-such-program"], timeout_s=10)


def test_what_is_said_is_said_on_the_console_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    console = tmp_path / "console"
    console.touch()
    say("kubeadm join", console)
    assert console.read_text().splitlines() == ["kubeadm join"]
    assert capsys.readouterr().out == "kubeadm join\n"


def test_a_machine_without_a_console_says_it_all_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    say("kubeadm join", tmp_path / "none")
    assert capsys.readouterr().out == "kubeadm join\n"
    assert not (tmp_path / "none").exists()


def test_a_token_that_a_program_names_is_not_repeated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    console = tmp_path / "console"
    console.touch()
    say('the token "abcdef.0123456789abcdef" is not valid', console)
    for told in (console.read_text(), capsys.readouterr().out):
        assert "0123456789abcdef" not in told
        assert "is not valid" in told


def test_pauses_stay_short_while_an_answer_may_come_any_moment() -> None:
    waits = [pause for pause, _ in zip(pauses(lambda: 1.0, quick=5), range(8), strict=False)]
    assert waits[:6] == [FIRST_PAUSE_S] * 6
    assert waits[6] > FIRST_PAUSE_S


def test_pauses_grow_to_a_bound_and_spread() -> None:
    longest = [pause for pause, _ in zip(pauses(lambda: 1.0), range(12), strict=False)]
    shortest = [pause for pause, _ in zip(pauses(lambda: 0.0), range(12), strict=False)]
    assert longest == sorted(longest)
    assert longest[-1] == LONGEST_PAUSE_S
    assert all(short == long / 2 for short, long in zip(shortest, longest, strict=True))
