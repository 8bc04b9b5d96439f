"""Directories that are either complete or not there, however often and by whom they are made.

A directory's name tells everything that its contents depend on, so being there is being right. It is made
beside its place and renamed at the end: a maker killed at any moment leaves only a partial directory,
which the next maker removes. A lock that the kernel drops with its holder lets one maker work at a time.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.local.progress import Progress


def cache_root() -> Path:
    """Where everything downloaded or built lives: $REGROW_CACHE, or ~/.cache/regrow."""
    return Path(os.environ.get("REGROW_CACHE") or Path.home() / ".cache" / "regrow").absolute()


def make_once(directory: Path, make: Callable[[Path], None], progress: Progress) -> Path:
    """Return `directory`; when it is missing, `make` fills one of another name, which becomes it."""
    if directory.is_dir():
        return directory
    directory.parent.mkdir(parents=True, exist_ok=True)
    with _locked(directory.with_name(f".{directory.name}.lock"), directory.name, progress):
        if directory.is_dir():
            return directory
        prefix = f".{directory.name}.partial-"
        for leftover in directory.parent.glob(f"{prefix}*"):
            _discard(leftover)
        partial = Path(tempfile.mkdtemp(prefix=prefix, dir=directory.parent))
        try:
            partial.chmod(0o755)
            make(partial)
            partial.rename(directory)
        except BaseException:
            _discard(partial)
            raise
    return directory


def _discard(partial: Path) -> None:
    """Remove what was not finished. A compiler whose maker was killed may for seconds still write there, so
    what resists is left to the next run."""
    shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def _locked(path: Path, name: str, progress: Progress) -> Iterator[None]:
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.say(f"Another process is making {name}; waiting for it.")
            with progress.watching(lambda: f"waiting for the other process to make {name}"):
                fcntl.flock(file, fcntl.LOCK_EX)
        yield
