"""containerd's store with the cluster's images already in it, made once and hard-linked into each machine's disk.

Importing the archive takes seconds and as much disk for every machine. Blobs and unpacked layers never change, so all
machines can share one copy of them, and its pages in memory; only containerd's databases are copied.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from infra.local.linux import namespaces
from infra.local.machines.files import containerd_settings
from infra.local.places import WorldPlace, take_lock

READY_WITHIN_S = 60.0
UNPACKED_WITHIN_S = 300.0


class ImageStoreError(Exception):
    """The images could not be unpacked; the text quotes the program that failed."""


def ensure(programs: Path, state: Path, progress: Callable[[str], None]) -> Path | None:
    """The store's directory; None when the programs come without containerd or images."""
    archive = programs / "image.tar"
    if not archive.exists() or not (programs / "containerd").exists():
        return None
    about = archive.stat()
    key = hashlib.sha256(f"{archive} {about.st_size} {about.st_mtime_ns}".encode()).hexdigest()[:16]
    stores = state / "image-stores"
    lock = take_lock(stores / "lock", within_s=UNPACKED_WITHIN_S)
    if lock is None:
        raise ImageStoreError(f"Somebody holds {stores / 'lock'} and does not finish: end that program.")
    try:
        store = stores / key
        if not store.is_dir():
            progress("unpacking the images")
            remove_unused(state)
            _make(programs, archive, stores / "new", store)
        return store
    finally:
        os.close(lock)


def copy(store: Path, target: Path) -> None:
    """Give a machine's disk the store, unless an earlier life has left its own there."""
    if target.exists() and any(target.iterdir()):
        return
    half_done = target.with_name(f"{target.name}.new")
    shutil.rmtree(half_done, ignore_errors=True)
    shutil.copytree(store, half_done, symlinks=True, copy_function=_link_or_copy)
    half_done.chmod(0o711)
    half_done.replace(target)


def _link_or_copy(source: str, target: str) -> str:
    if source.endswith(".db") or Path(source).is_symlink():
        shutil.copy2(source, target, follow_symlinks=False)
    else:
        os.link(source, target)
    return target


def _make(programs: Path, archive: Path, workplace: Path, store: Path) -> None:
    """containerd does it itself, in namespaces of its own: it may mount, and nothing of it can stay."""
    workplace.mkdir(parents=True)
    run = workplace / "run"
    (workplace / "config.toml").write_text(
        containerd_settings(may_raise_limits=True, root=str(workplace / "store"), run=str(run))
    )
    log = workplace / "containerd.log"
    alone = ["unshare", "--fork", "--kill-child", "--pid", "--mount", "--mount-proc", "--net", "--"]
    environment = {"PATH": f"{programs}:{os.environ.get('PATH', os.defpath)}"}
    with log.open("wb") as output:
        daemon = subprocess.Popen(
            [*alone, str(programs / "containerd"), "--config", str(workplace / "config.toml")],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, start_new_session=True,
        )  # fmt: skip
    try:
        _wait_for_socket(run / "containerd.sock", daemon, log)
        command = [str(programs / "ctr"), "--address", str(run / "containerd.sock"), "--namespace", "k8s.io"]
        imported = subprocess.run(
            [*command, "images", "import", "--snapshotter", "overlayfs", str(archive)],
            capture_output=True, text=True, env=environment, check=False,
        )  # fmt: skip
        if imported.returncode != 0:
            raise ImageStoreError(f"containerd does not take {archive}: {imported.stderr.strip()}")
        _end(daemon)
        (workplace / "store").rename(store)
    finally:
        daemon.kill()
        daemon.wait()
        shutil.rmtree(workplace, ignore_errors=True)


def _end(daemon: subprocess.Popen[bytes]) -> None:
    """In order, so that its databases are closed; `unshare` itself passes no signal on."""
    if pid := namespaces.first_child(daemon.pid):
        os.kill(pid, signal.SIGTERM)
    try:
        daemon.wait(READY_WITHIN_S)
    except subprocess.TimeoutExpired as error:
        raise ImageStoreError("containerd does not end after the import.") from error


def _wait_for_socket(socket: Path, daemon: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while not socket.exists():
        if daemon.poll() is not None or time.monotonic() > deadline:
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            raise ImageStoreError(f"containerd does not start: {' '.join(last)}")
        time.sleep(0.02)


def remove_unused(state: Path) -> None:
    """Of earlier versions, and what an interrupted unpacking left. A world that is up keeps its own."""
    used = set(_used_by_worlds(state))
    for entry in (state / "image-stores").iterdir():
        if entry.is_dir() and str(entry) not in used:
            shutil.rmtree(entry)


def _used_by_worlds(state: Path) -> Iterator[str]:
    for place in WorldPlace.every(state):
        if not place.settings.exists():
            continue
        lock = take_lock(place.lock)
        if lock is None:
            yield json.loads(place.settings.read_text())["image_store"]
        else:
            os.close(lock)
