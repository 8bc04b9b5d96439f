"""Programs are built again exactly when something that they depend on has changed."""

import shutil
from pathlib import Path

import pytest

from infra.local.building.build import (
    ATTACHER_VERSION,
    CONTAINERD_VERSION,
    KUBERNETES_VERSION,
    SOURCES,
    TARGETS,
    programs_key,
)


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SOURCES, tmp_path / "programs"))


def test_the_same_sources_elsewhere_have_the_same_key(sources: Path) -> None:
    assert programs_key(sources) == programs_key()


@pytest.mark.parametrize("changed", ["kubernetes/go.mod", "containerd/go.sum", "pause/main.go", "csi/node.go"])
def test_a_changed_file_changes_the_key(sources: Path, changed: str) -> None:
    with (sources / changed).open("a") as file:
        file.write("\n")
    assert programs_key(sources) != programs_key()


def test_a_file_moved_to_another_program_changes_the_key(sources: Path) -> None:
    (sources / "pause" / "main.go").rename(sources / "cni" / "main.go")
    assert programs_key(sources) != programs_key()


def test_a_file_that_is_not_compiled_leaves_the_key(sources: Path) -> None:
    (sources / "kubernetes" / "NOTES.md").write_text("Why these versions.")
    assert programs_key(sources) == programs_key()


def test_the_versions_that_programs_report_are_those_their_modules_pin() -> None:
    assert f"k8s.io/kubernetes {KUBERNETES_VERSION}\n" in (SOURCES / "kubernetes" / "go.mod").read_text()
    assert f"containerd/v2 {CONTAINERD_VERSION} " in (SOURCES / "containerd" / "go.mod").read_text()
    assert f"external-attacher/v4 {ATTACHER_VERSION} " in (SOURCES / "csi" / "go.mod").read_text()


def test_every_module_is_built_and_pinned_by_checksums() -> None:
    folders = {folder.name for folder in SOURCES.iterdir()}
    assert folders == {target.folder for target in TARGETS}
    for folder in folders - {"pause"}:  # needs nothing but Go
        assert (SOURCES / folder / "go.sum").stat().st_size
