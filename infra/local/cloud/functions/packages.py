"""Unpacking what was deployed: each function runs the zip it was deployed with, checked, and nothing else."""

from __future__ import annotations

import base64
import hashlib
import io
import shutil
import stat
import threading
import zipfile
from pathlib import Path


class PackageRefusedError(Exception):
    """The code that a function would run is not the code that was deployed."""


class Packages:
    """The unpacked packages of a world, in `<root>/<sha256>/`, each unpacked once in this object's life.

    Functions with the same package share its files, which none of them can write.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._unpacked: dict[str, Path] = {}
        self._lock = threading.Lock()

    def unpacked(self, function: str, code: bytes, sha256: str) -> Path:
        """The directory with the contents of the zip `code`, whose digest must be `sha256` (base64, as CodeSha256 is).

        Left-overs of an earlier process are not trusted: they are unpacked anew.
        """
        digest = hashlib.sha256(code)
        if base64.b64encode(digest.digest()).decode() != sha256:
            raise PackageRefusedError(
                f"The package of {function} does not have the digest {sha256} it was deployed with: deploy it again."
            )
        key = digest.hexdigest()
        with self._lock:
            if key not in self._unpacked:
                self._unpacked[key] = _unpack(code, self._root / key)
            return self._unpacked[key]


def _unpack(code: bytes, target: Path) -> Path:
    if target.exists():
        _make_writable(target)
        shutil.rmtree(target)
    target.mkdir(parents=True)
    try:
        with zipfile.ZipFile(io.BytesIO(code)) as package:
            for entry in package.infolist():
                written = Path(package.extract(entry, target))
                if written.is_file():
                    # Lambda shows the code read-only; executables stay executable.
                    executable = (entry.external_attr >> 16) & 0o111
                    written.chmod(0o444 | executable)
    except zipfile.BadZipFile as error:
        raise PackageRefusedError(f"The package with the digest {target.name} is no zip file: {error}.") from error
    for directory in (target, *(path for path in target.rglob("*") if path.is_dir())):
        directory.chmod(0o555)
    return target


def _make_writable(target: Path) -> None:
    for directory in (target, *target.rglob("*")):
        if directory.is_dir():
            directory.chmod(stat.S_IRWXU)
