"""The zip that every function runs: the app, its requirements, and byte code for all of it.

Chalice would make a zip without byte code, and each cold start would then compile what it imports (1.3 s instead of
0.25 s). It takes a zip that lies where it would put its own, so ours is put there. Byte code is of the kind that
is never compared with its source: a zip's times would make Python distrust any other.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import chalice
import chalice.app
from chalice.deploy.packager import (
    DependencyBuilder,
    LambdaDeploymentPackager,
    MissingDependencyError,
    NoSuchPackageError,
    PackageDownloadError,
)
from chalice.utils import UI, OSUtils

from infra.deployment.failure import DeploymentError
from infra.deployment.project import Project

Say = Callable[[str], None]
LAYOUT = "3"  # part of every cache key: change it when what goes into a package changes
SIZE_LIMIT_MB = 15.0
LEFT_OUT = {"tests", "test", "testing", "bin", "docs"}
UNUSED = (
    "aws_lambda_powertools/event_handler",  # chalice is that; we use Logger and Metrics
    "aws_lambda_powertools/utilities/[!_j]*",  # all but jmespath_utils, which Logger imports
    "cffi",  # what compiles bindings; cryptography needs only their runtime half, _cffi_backend
    "pycparser",
    "yaml/_yaml.*",  # a faster reader for files that no function reads
)
"""Parts of the requirements, some megabytes together, that nothing here imports."""
RUNTIME = f"python{sys.version_info[0]}.{sys.version_info[1]}"
EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Package:
    path: Path
    sha256: str
    size: int

    @property
    def size_mb(self) -> float:
        return self.size / 1e6


def build_package(project: Project, cache: Path, say: Say) -> Package:
    """Put the package where chalice will look for it. The cache only saves time."""
    requirements = project.directory / "requirements.txt"
    stored = cache / "packages" / f"{_tree_digest(project.directory, _requirements_key(requirements))}.zip"
    if stored.exists():
        say("package: as it was built before")
    else:
        _in_one_step(stored, lambda path: _write_zip(path, project, fetch_requirements(requirements, cache, say)))
    target = Path(_packager().deployment_package_filename(str(project.directory), RUNTIME))
    if target.parent.exists():
        shutil.rmtree(target.parent)
    target.parent.mkdir(parents=True)
    shutil.copyfile(stored, target)
    content = target.read_bytes()
    package = Package(target, hashlib.sha256(content).hexdigest(), len(content))
    if package.size_mb > SIZE_LIMIT_MB:
        raise DeploymentError(
            f"the package has {package.size_mb:.1f} MB, more than {SIZE_LIMIT_MB:.0f}; see what requirements.txt adds"
        )
    return package


def _packager() -> LambdaDeploymentPackager:
    return LambdaDeploymentPackager(OSUtils(), DependencyBuilder(OSUtils()), UI())


def _requirements_key(requirements: Path) -> str:
    return _digest(LAYOUT, RUNTIME, chalice.__version__, requirements.read_text())


def fetch_requirements(requirements: Path, cache: Path, say: Say) -> Path:
    """The requirements with all that they need, as Lambda's platform wants them, compiled; fetched and built once."""
    folder = cache / "packages" / f"requirements-{_requirements_key(requirements)}"
    if folder.exists():
        return folder
    say("package: fetching requirements (once for these requirements)")

    def build(path: Path) -> None:
        path.mkdir()
        abi = LambdaDeploymentPackager._RUNTIME_TO_ABI[RUNTIME]
        try:
            DependencyBuilder(OSUtils()).build_site_packages(abi, str(requirements), str(path))
        except MissingDependencyError as missing:
            names = ", ".join(sorted(package.identifier for package in missing.missing))
            raise DeploymentError(
                f"no build of {names} fits Lambda's {RUNTIME}; pin a version that has one"
            ) from missing
        except (NoSuchPackageError, PackageDownloadError) as failure:
            raise DeploymentError(f"the requirements could not be fetched from PyPI: {failure}") from failure
        for folder_left_out in [p for p in path.rglob("*") if p.is_dir() and p.name in LEFT_OUT]:
            shutil.rmtree(folder_left_out, ignore_errors=True)
        for unused in [found for pattern in UNUSED for found in path.glob(pattern)]:
            shutil.rmtree(unused) if unused.is_dir() else unused.unlink()
        shutil.rmtree(path / "chalice", ignore_errors=True)  # its runtime half is added with the app
        _compile(path)

    _in_one_step(folder, build)
    return folder


def _write_zip(path: Path, project: Project, dependencies: Path) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        own = Path(temporary)
        (own / "chalice").mkdir()
        shutil.copyfile(inspect.getfile(chalice), own / "chalice" / "__init__.py")
        shutil.copyfile(inspect.getfile(chalice.app), own / "chalice" / "app.py")
        shutil.copyfile(project.directory / "app.py", own / "app.py")
        shutil.copytree(project.directory / "vendor", own, dirs_exist_ok=True)
        _compile(own)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as package:
            for root in (own, dependencies):
                for file in _files(root):
                    entry = zipfile.ZipInfo(str(file.relative_to(root)), EPOCH)
                    entry.external_attr = 0o100644 << 16
                    entry.compress_type = zipfile.ZIP_DEFLATED
                    package.writestr(entry, file.read_bytes())


def _compile(folder: Path) -> None:
    """Byte code beside each source, the same in every run (hence the fixed hash seed), named as Lambda unpacks it."""
    command = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    done = subprocess.run(
        [*command, "-s", str(folder), "-p", "/var/task", str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise DeploymentError(f"the package holds Python that does not compile: {done.stdout.strip()[-500:]}")


def _in_one_step(target: Path, build: Callable[[Path], None]) -> None:
    """Build beside the target and rename: an interrupted build, or two at once, never leave half of one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".building-") as workplace:
        built = Path(workplace) / target.name
        build(built)
        try:
            built.rename(target)
        except OSError:
            if not target.exists():  # else another build was sooner, with the same content
                raise


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _tree_digest(directory: Path, key: str) -> str:
    parts: list[str | bytes] = [key]
    for path in [directory / "app.py", *_files(directory / "vendor")]:
        parts += [str(path.relative_to(directory)), path.read_bytes()]
    return _digest(*parts)


def _digest(*parts: str | bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        digest.update(len(content).to_bytes(8, "big") + content)
    return digest.hexdigest()[:40]
