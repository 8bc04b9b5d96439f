"""The one container image of a world, as the OCI archive that `ctr images import` reads.

There is no registry: every image that static pods, sandboxes and workloads name is the same single layer
(the multi-call Kubernetes binary, its names as symlinks, the storage driver's programs, and pause) under another name.
The layer is not compressed, because a booting machine waits for it to be unpacked. It is read twice, for its digest
and for the archive, and never held in memory. The bytes depend on nothing but the contents.
"""

import hashlib
import json
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from infra.local.building.tools import run

FOLDER = "usr/local/bin"
KUBE_NAMES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd", "etcdctl", "etcdutl", "kubectl")
PROGRAMS = ("kube", "csi-attacher", "csi-driver", "pause")
ADDONS_NOT_RUN = ("/coredns/coredns:", "/kube-proxy:")
MACHINE = {"architecture": "amd64", "os": "linux"}
CHUNK_BYTES = 1 << 20


def image_names(kubeadm: Path, kubernetes_version: str) -> list[str]:
    """The images that kubeadm says it will ask for, without those of addons that a world leaves out."""
    command = [str(kubeadm), "config", "images", "list", "--kubernetes-version", kubernetes_version]
    listing = run(command, otherwise="kubeadm could not say which images it needs: this is a fault of the build.")
    return [name for name in listing.split() if not any(part in name for part in ADDONS_NOT_RUN)]


def write_image(archive: Path, programs: Path, names: Sequence[str]) -> None:
    """Write the archive, its layer of PROGRAMS from the directory `programs`, under `names`."""
    layer = _descriptor("layer.v1.tar", _layer(programs))
    config = _json(
        {
            **MACHINE,
            "config": {"Env": [f"PATH=/{FOLDER}"], "Cmd": ["pause"]},
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
        }
    )
    config_at = _descriptor("config.v1+json", [config])
    manifest = _json(_document("manifest.v1+json") | {"config": config_at, "layers": [layer]})
    manifest_at = _descriptor("manifest.v1+json", [manifest])
    index = _json(
        _document("index.v1+json")
        | {"manifests": [manifest_at | {"platform": MACHINE} | {"annotations": _annotations(name)} for name in names]}
    )
    with archive.open("wb") as out:
        out.writelines(_file("oci-layout", [_json({"imageLayoutVersion": "1.0.0"})]))
        out.writelines(_file("index.json", [index]))
        out.writelines(_file(_path_of(config_at), [config]))
        out.writelines(_file(_path_of(manifest_at), [manifest]))
        out.writelines(_file(_path_of(layer), _layer(programs), size_bytes=layer["size"]))
        out.write(_end())


def _layer(programs: Path) -> Iterator[bytes]:
    for folder in ("etc", "tmp", "usr", "usr/local", FOLDER):
        yield _header(folder, tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755)
    for name in PROGRAMS:
        yield from _program(programs / name)
    for name in KUBE_NAMES:
        yield _header(f"{FOLDER}/{name}", tarfile.SYMTYPE, 0o777, link="kube")
    yield _end()


def _contents(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def _program(path: Path) -> Iterator[bytes]:
    return _file(f"{FOLDER}/{path.name}", _contents(path), size_bytes=path.stat().st_size, mode=0o755)


def _file(name: str, chunks: Iterable[bytes], *, size_bytes: int | None = None, mode: int = 0o644) -> Iterator[bytes]:
    """A tar member. The size must be given unless the chunks are a list, as the header comes before them."""
    if size_bytes is None:
        chunks = list(chunks)
        size_bytes = sum(map(len, chunks))
    yield _header(name, tarfile.REGTYPE, mode, size_bytes=size_bytes)
    yield from chunks
    yield bytes(-size_bytes % tarfile.BLOCKSIZE)


def _header(name: str, kind: bytes, mode: int, *, size_bytes: int = 0, link: str = "") -> bytes:
    """One tar header, owned by root and of no date."""
    member = tarfile.TarInfo(name)
    member.type, member.mode, member.size, member.linkname = kind, mode, size_bytes, link
    return member.tobuf(tarfile.USTAR_FORMAT)


def _end() -> bytes:
    return bytes(2 * tarfile.BLOCKSIZE)


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True).encode()


def _document(media_type: str) -> dict[str, Any]:
    return {"schemaVersion": 2, "mediaType": f"application/vnd.oci.image.{media_type}"}


def _descriptor(media_type: str, chunks: Iterable[bytes]) -> dict[str, Any]:
    digest, size_bytes = hashlib.sha256(), 0
    for chunk in chunks:
        digest.update(chunk)
        size_bytes += len(chunk)
    return {
        "mediaType": f"application/vnd.oci.image.{media_type}",
        "digest": f"sha256:{digest.hexdigest()}",
        "size": size_bytes,
    }


def _path_of(descriptor: dict[str, Any]) -> str:
    return f"blobs/{descriptor['digest'].replace(':', '/')}"


def _annotations(name: str) -> dict[str, str]:
    return {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rpartition(":")[2]}
