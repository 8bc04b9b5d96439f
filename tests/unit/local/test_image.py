"""The image archive is a valid OCI layout that holds the programs, and the same bytes each time."""

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from infra.local.building.image import PROGRAMS, write_image

NAMES = ("registry.k8s.io/pause:3.10.2", "registry.k8s.io/etcd:3.6.8-0")


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    directory = tmp_path / "bin"
    directory.mkdir()
    for name in PROGRAMS:
        (directory / name).write_bytes(name.encode())
    (directory / "kube").write_bytes(os.urandom(3_000_001))
    return directory


@pytest.fixture
def archive(tmp_path: Path, programs: Path) -> Path:
    path = tmp_path / "image.tar"
    write_image(path, programs, NAMES)
    return path


def read(archive: Path, name: str) -> bytes:
    with tarfile.open(archive) as tar:
        member = tar.extractfile(name)
        assert member is not None
        return member.read()


def blob(archive: Path, descriptor: dict[str, Any]) -> bytes:
    """The blob that a descriptor points to, which must be what the descriptor says."""
    content = read(archive, "blobs/" + descriptor["digest"].replace(":", "/"))
    assert descriptor["digest"] == f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert descriptor["size"] == len(content)
    return content


def test_every_name_leads_to_the_same_manifest_for_this_platform(archive: Path) -> None:
    assert json.loads(read(archive, "oci-layout")) == {"imageLayoutVersion": "1.0.0"}
    manifests = json.loads(read(archive, "index.json"))["manifests"]
    assert [entry["annotations"]["io.containerd.image.name"] for entry in manifests] == list(NAMES)
    assert len({entry["digest"] for entry in manifests}) == 1
    assert manifests[0]["platform"] == {"architecture": "amd64", "os": "linux"}


def test_manifest_configuration_and_layer_are_what_their_digests_say(archive: Path) -> None:
    manifest = json.loads(blob(archive, json.loads(read(archive, "index.json"))["manifests"][0]))
    (layer,) = manifest["layers"]
    config = json.loads(blob(archive, manifest["config"]))
    assert config["rootfs"]["diff_ids"] == [layer["digest"]]
    assert blob(archive, layer)


def test_the_layer_holds_the_programs_and_their_names(archive: Path, programs: Path) -> None:
    manifest = json.loads(blob(archive, json.loads(read(archive, "index.json"))["manifests"][0]))
    with tarfile.open(fileobj=io.BytesIO(blob(archive, manifest["layers"][0]))) as layer:
        kube = layer.extractfile("usr/local/bin/kube")
        assert kube is not None
        assert kube.read() == (programs / "kube").read_bytes()
        assert layer.getmember("usr/local/bin/pause").mode == 0o755
        assert layer.getmember("usr/local/bin/kube-apiserver").linkname == "kube"
        assert layer.getmember("tmp").mode == 0o1777


def test_the_same_programs_make_the_same_bytes_whenever_and_wherever(
    tmp_path: Path, archive: Path, programs: Path
) -> None:
    moved = programs.rename(tmp_path / "elsewhere")
    os.utime(moved / "kube", (0, 0))
    again = tmp_path / "again.tar"
    write_image(again, moved, NAMES)
    assert again.read_bytes() == archive.read_bytes()
