"""One `go build`: its modules fetched with patience, its packages counted while they compile."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.local.building.tools import run
from infra.local.progress import Progress

# Prints the packages whose compiled form is not in the cache.
STALE = "{{if .Stale}}{{.ImportPath}}{{end}}"


@dataclass(frozen=True)
class Target:
    """What one `go build` makes: packages of the module in `folder`, each into a program named like it."""

    folder: str
    packages: tuple[str, ...] = (".",)
    renamed: str = ""
    variables: tuple[str, ...] = ()
    cgo: bool = False

    @property
    def name(self) -> str:
        return self.renamed or self.folder

    def flags(self) -> list[str]:
        """Build flags that change the result, and so what the compile cache holds of it."""
        link = ["-s", "-w", *(f"-X {variable}" for variable in self.variables)]
        if self.cgo:
            link.append("-extldflags -static")
        tags = ["-tags=netgo,osusergo"] if self.cgo else []
        return ["-trimpath", "-buildvcs=false", *tags, f"-ldflags={' '.join(link)}"]


def compile_target(
    target: Target, sources: Path, binaries: Path, environment: Mapping[str, str], progress: Progress
) -> None:
    """Build the target's programs into `binaries`. Interrupted, it loses only the packages under way."""
    module = sources / target.folder
    env = {**environment, "CGO_ENABLED": "1" if target.cgo else "0"}
    with progress.watching(lambda: f"{target.name}: fetching modules"):
        listing = run(
            ["go", "list", *target.flags(), "-deps", "-f", STALE, *target.packages],
            otherwise=f"The Go modules of {target.name} could not be fetched: check the network, or set "
            "GOPROXY to a mirror within reach, then run this again.",
            cwd=module,
            env=env,
            attempts=3,
        )
    to_compile = set(listing.split())
    compiled: set[str] = set()

    def is_package(line: str) -> bool:
        compiled.update({line} & to_compile)
        return line in to_compile

    def describe() -> str:
        if compiled == to_compile:
            return f"{target.name}: all packages compiled, linking"
        share = 100 * len(compiled) // len(to_compile)
        return f"{target.name}: {len(compiled)} of {len(to_compile)} packages, {share} %"

    with progress.watching(describe):
        run(
            ["go", "build", "-v", *target.flags(), "-o", binaries / target.renamed, *target.packages],
            otherwise=f"{target.name} could not be compiled: make room if the disk or memory is full, then "
            "run this again; packages that are done are kept.",
            cwd=module,
            env=env,
            is_progress=is_package,
        )
