"""A snapshot of etcd: taken from this machine's own member, verified, stored encrypted, and never left behind here."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .aws import Api
from .failures import NodeError
from .machine import STATE_FOLDER, run
from .members import Etcd

SAVE_S = 60.0
VERIFY_S = 60.0
LARGEST_BYTES = 5 * 1024**3
"""What one PutObject takes (Amazon S3 user guide, "Uploading objects")."""


@dataclass(frozen=True)
class Snapshots:
    etcd: Etcd
    api: Api
    folder: Path = STATE_FOLDER

    def take(self, bucket: str, key: str) -> dict[str, Any]:
        """On disk and not in memory: a database may be larger than what is free."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        room = Path(tempfile.mkdtemp(prefix="snapshot-", dir=self.folder))  # for its owner alone
        try:
            file = room / "etcd.db"
            self.etcd.save(file, timeout_s=SAVE_S)
            found = verified(file)
            size_bytes = file.stat().st_size
            if size_bytes > LARGEST_BYTES:
                raise NodeError(f"the snapshot has {size_bytes} bytes, more than S3 takes at once")
            self.api.store(bucket, key, file)
        finally:
            shutil.rmtree(room)
        return {"bucket": bucket, "key": key, "bytes": size_bytes, **found}


def verified(file: Path) -> dict[str, Any]:
    """What etcdutl reads out of it: it goes through the whole database, and fails where that is damaged."""
    try:
        status = json.loads(run(["etcdutl", "snapshot", "status", str(file), "-w", "json"], timeout_s=VERIFY_S))
        keys, hash_of_all = int(status["totalKey"]), f"{status['hash']:x}"
        revision = int(status["revision"])
    except (ValueError, KeyError, TypeError) as problem:
        raise NodeError(f"etcdutl does not say what is in the snapshot ({problem!r})") from problem
    if hash_of_all == "0" or keys <= 0:
        raise NodeError(f"the snapshot is empty: {keys} keys, hash {hash_of_all}")
    return {"hash": hash_of_all, "revision": revision, "keys": keys}
