"""What may be asked of the machine's program, and that nothing else gets anywhere near a command line."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.node import actions
from infra.node.actions import ACTIONS, main, parse
from infra.node.failures import NodeError

PROGRAM = Path(actions.__file__).with_name("etcd.py")
MEMBER, PEER = "8211f1d0f64f3269", "https://10.77.1.5:2380"
ARN = "arn:aws:ec2:us-east-1:123456789012:instance/i-0123456789abcdef0"
CALLS = {
    "members": [],
    "remove": [MEMBER, PEER],
    "move-leader": [MEMBER],
    "snapshot": ["regrow-drill-123456789012-snapshots", "etcd/2026-01-02T03-04-05Z.db"],
    "upload-certificates": [ARN],
    "forget-certificates": [ARN],
}
HOSTILE = [
    "$(reboot)",
    "`reboot`",
    "a;b",
    "--endpoints=https://10.0.0.1:2379",
    "-w",
    "../../etc/shadow",
    "a/../b",
    "/etc/shadow",
    "a\nb",
    f"{MEMBER}\n",
    f" {MEMBER}",
    "\u0661\u0662",
    "a" * 257,
    "http://169.254.169.254/latest",
    "https://10.77.1.5:2380,https://10.77.1.6:2380",
    "https://10.77.1.5:2380/path",
    "https://user@10.77.1.5:2380",
    "arn:aws:ec2:us-east-1:123456789012:instance/*",
    "arn:aws:ec2:us-east-1:123456789012:instance/i-0123456789abcdef0/../x",
    "arn:aws:iam::123456789012:role/admin",
]
NO_IDS = [f"0x{MEMBER}", MEMBER.upper(), f"{MEMBER}0", "93725381793225898010", "i-0123456789abcdef0"]


def places() -> list[tuple[str, int]]:
    return [(name, place) for name, call in CALLS.items() for place in range(len(call))]


@pytest.mark.parametrize("name", ACTIONS)
@pytest.mark.parametrize("unused", [[], [""], ["", ""]])
def test_every_action_takes_what_the_documents_parameters_can_hold(name: str, unused: list[str]) -> None:
    action, arguments = parse([name, *CALLS[name], *unused[len(CALLS[name]) :]])
    assert action is ACTIONS[name]
    assert arguments == CALLS[name]


@pytest.mark.parametrize(("name", "place"), places())
@pytest.mark.parametrize("hostile", [*HOSTILE, ""])
def test_an_argument_of_another_form_is_refused(name: str, place: int, hostile: str) -> None:
    call = [*CALLS[name]]
    call[place] = hostile
    with pytest.raises(NodeError, match=f"^{name}"):
        parse([name, *call])


@pytest.mark.parametrize("text", NO_IDS)
def test_a_member_is_named_as_etcdctl_names_it(text: str) -> None:
    with pytest.raises(NodeError, match="that is no MEMBER_ID"):
        parse(["move-leader", text])


@pytest.mark.parametrize(
    "words", [[], [""], ["", "members"], ["snapshot save"], ["Members"], ["member"], ["--version"]]
)
def test_no_other_action_exists(words: list[str]) -> None:
    with pytest.raises(NodeError, match="no such action; there are members, remove"):
        parse(words)


@pytest.mark.parametrize("name", ACTIONS)
def test_no_action_takes_more_or_less_than_it_needs(name: str) -> None:
    with pytest.raises(NodeError, match=f"{name} takes"):
        parse([name, *CALLS[name], "more"])
    if CALLS[name]:
        with pytest.raises(NodeError, match=f"{name} takes"):
            parse([name, *CALLS[name][:-1]])


@given(st.sampled_from(places()), st.text())
def test_whatever_is_taken_is_harmless_to_a_shell_and_no_option(where: tuple[str, int], text: str) -> None:
    name, place = where
    call = [*CALLS[name]]
    call[place] = text
    try:
        _, arguments = parse([name, *call])
    except NodeError:
        return
    assert arguments[place].isascii()
    assert not set(arguments[place]) & set(" \t\n'\"\\$`;|&<>(){}*?!~#")
    assert not arguments[place].startswith("-")
    assert ".." not in arguments[place].split("/")


def test_a_refusal_is_one_object_and_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["remove", "$(reboot)", PEER]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert set(json.loads(line)) == {"error"}


@pytest.mark.parametrize("words", [["--help"], ["-h"]])
def test_it_explains_itself(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    explained = capsys.readouterr().out
    assert all(f"  {name}" in explained for name in ACTIONS)


def test_the_file_runs_as_it_lies_on_a_machine(tmp_path: Path) -> None:
    (tmp_path / "regrow").mkdir()
    (tmp_path / "regrow" / "node").symlink_to(PROGRAM.parent)
    command = [sys.executable, "-I", str(tmp_path / "regrow" / "node" / "etcd.py"), "members", "", ""]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": "/nowhere"})
    assert done.returncode == 1
    assert json.loads(done.stdout) == {"error": "etcdctl is not in this image"}
    assert done.stderr == ""


def test_machines_need_nothing_but_their_python() -> None:
    for file in PROGRAM.parent.glob("*.py"):
        tree = ast.parse(file.read_text(), feature_version=(3, 9))
        named = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
        outside = {alias.name for node in named if isinstance(node, ast.Import) for alias in node.names}
        outside |= {node.module or "" for node in named if isinstance(node, ast.ImportFrom) and not node.level}
        assert {name.partition(".")[0] for name in outside} <= set(sys.stdlib_module_names), file
