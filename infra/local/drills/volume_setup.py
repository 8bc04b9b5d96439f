"""What the drill of a volume runs on a cluster: a storage driver, and a pod that writes into a volume all the time.

A volume is a directory of the world that every machine reaches; it is made here, as a person makes an EBS volume. The
driver lets it be attached to one machine at a time (`infra/local/programs/csi`).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.local.cluster import API_ADDRESS, Cluster, wait_for

DRIVER, WRITER = (Path(__file__).with_name(f"volume_{part}.yaml") for part in ("driver", "writer"))
DRIVER_NAME = "volumes.regrow.dev"
CONTROLLER = "deployment/regrow-volumes-controller"
APP = "ledger"
VOLUME = "ledger-0"
"""The volume, its PersistentVolume, and the pod that has it."""
_READY_WITHIN_S = 60
_PUT_BACK_WITHIN_S = 90.0


@dataclass(frozen=True)
class Line:
    """One line of the ledger: its number, the uid of the pod that wrote it, and when."""

    number: int
    writer: str
    at_ns: int


@dataclass(frozen=True)
class Ledger:
    """The volume as the storage has it, seen from outside the cluster."""

    directory: Path

    def lines(self) -> tuple[Line, ...]:
        """What was written so far. A line that is still being written is left out."""
        file = self.directory / "data" / "lines"
        whole, _, _ = file.read_text().rpartition("\n") if file.exists() else ("", "", "")
        return tuple(_line(text) for text in whole.splitlines())

    def attached_to(self) -> str | None:
        """The machine that has the volume, as the storage knows."""
        link = self.directory / "attached-to"
        return str(link.readlink()) if link.is_symlink() else None


@contextmanager
def storage_driver(cluster: Cluster) -> Iterator[None]:
    """The driver's controller beside the external-attacher, and its node part known to every worker's kubelet."""
    manifest = cluster.world.place.storage / DRIVER.name
    manifest.parent.mkdir(exist_ok=True)
    manifest.write_text(DRIVER.read_text().replace("API_ADDRESS", API_ADDRESS))
    cluster.kubectl("apply", "-f", str(manifest))
    try:
        for part in (CONTROLLER, "daemonset/regrow-volumes-node"):
            cluster.kubectl("rollout", "status", "-n", "kube-system", part, f"--timeout={_READY_WITHIN_S}s")
        wait_for("the driver, known on every worker", lambda: _known_everywhere(cluster), within_s=_READY_WITHIN_S)
        yield
    finally:
        cluster.kubectl("delete", "--ignore-not-found", f"--timeout={_READY_WITHIN_S}s", "-f", str(manifest))
        manifest.unlink()


@contextmanager
def ledger(cluster: Cluster) -> Iterator[Ledger]:
    """A volume, and the StatefulSet whose pod writes into it. Everything of it is gone at the end."""
    kept = Ledger(cluster.world.place.storage / VOLUME)
    (kept.directory / "data").mkdir(parents=True, exist_ok=True)  # a drill that was killed has left all of it
    cluster.kubectl("apply", "-f", str(WRITER))
    try:
        wait_for("the first lines in the volume", lambda: bool(kept.lines()), within_s=_READY_WITHIN_S)
        cluster.kubectl("wait", "--for=condition=Ready", f"pod/{VOLUME}", f"--timeout={_READY_WITHIN_S}s")
        yield kept
    finally:
        cluster.kubectl("delete", "--ignore-not-found", f"statefulset/{APP}")
        cluster.kubectl("wait", "--for=delete", f"pod/{VOLUME}", f"--timeout={_READY_WITHIN_S}s")
        cluster.kubectl("delete", "--ignore-not-found", f"pvc/data-{VOLUME}", f"pv/{VOLUME}")
        wait_for("the volume, let go", lambda: not _attachments(cluster), within_s=_PUT_BACK_WITHIN_S, every_s=0.5)
        shutil.rmtree(kept.directory)


def writer_of(cluster: Cluster) -> tuple[str, str]:
    """The pod's uid and the machine it is on."""
    seen = cluster.kubectl("get", f"pod/{VOLUME}", "-o", "jsonpath={.metadata.uid} {.spec.nodeName}")
    uid, machine = seen.split()
    return uid, machine


def _attachments(cluster: Cluster) -> list[str]:
    return cluster.kubectl("get", "volumeattachments", "-o", "name").split()


def _known_everywhere(cluster: Cluster) -> bool:
    template = "{range .items[*]}{.metadata.name} {.spec.drivers[*].name}{'\\n'}{end}"
    known = [line.split() for line in cluster.kubectl("get", "csinodes", "-o", f"jsonpath={template}").splitlines()]
    with_driver = {words[0] for words in known if DRIVER_NAME in words[1:]}
    return set(cluster.members()[0]) <= with_driver


def _line(text: str) -> Line:
    number, writer, at_ns = text.split()
    return Line(int(number), writer, int(at_ns))
