"""The zip: the same bytes from the same sources, and byte code that Python takes without looking at sources."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from infra.deploy import CHECKOUT
from infra.deployment.failure import DeploymentError
from infra.deployment.package import UNUSED, Package, build_package
from infra.deployment.project import Project, lay_out
from tests.integration.deploy.conftest import Site

UNCHECKED_HASH = 0b01


def built(site: Site, cache: Path, directory: Path) -> Package:
    project = Project(directory, "drill")
    lay_out(site.checkout, project)
    return build_package(project, cache, lambda _: None)


def test_the_same_sources_make_the_same_bytes_with_or_without_a_cache(site: Site, tmp_path: Path) -> None:
    first = built(site, tmp_path / "one", tmp_path / "a")
    from_cache = built(site, tmp_path / "one", tmp_path / "b")
    from_nothing = built(site, tmp_path / "two", tmp_path / "c")
    assert first.sha256 == from_cache.sha256 == from_nothing.sha256


def test_every_module_brings_byte_code_that_is_never_compared_with_its_source(site: Site, tmp_path: Path) -> None:
    package = built(site, tmp_path / "cache", tmp_path / "build")
    with zipfile.ZipFile(package.path) as content:
        names = set(content.namelist())
        sources = {name for name in names if name.endswith(".py")}
        assert {"app.py", "functions/__init__.py", "functions/answer.py", "chalice/app.py"} <= sources
        for source in sources:
            compiled = importlib.util.cache_from_source(source)
            assert content.read(compiled)[4:8] == UNCHECKED_HASH.to_bytes(4, "little"), source


def test_byte_code_lying_in_the_checkout_stays_out(site: Site, tmp_path: Path) -> None:
    clean = built(site, tmp_path / "one", tmp_path / "a")
    stray = site.checkout / "functions" / "__pycache__"
    stray.mkdir()
    (stray / "gone.cpython-311.pyc").write_bytes(b"old")
    assert built(site, tmp_path / "two", tmp_path / "b").sha256 == clean.sha256


def test_the_package_runs_without_anything_else(site: Site, tmp_path: Path) -> None:
    package = built(site, tmp_path / "cache", tmp_path / "build")
    with zipfile.ZipFile(package.path) as content:
        content.extractall(tmp_path / "task")
    for source in (tmp_path / "task").rglob("*.py"):
        source.write_text("raise SystemExit('the byte code was not used')\n")
    code = f"import sys; sys.path[0:0] = [{str(tmp_path / 'task')!r}]; import app; print(app.drill({{}}, None))"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={"REGROW_CLUSTER": "drill"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "1", done.stderr


def test_no_part_of_the_requirements_that_is_left_out_is_imported_by_a_function() -> None:
    code = (
        "import importlib, pkgutil, sys, app, functions, kubernetes.client, cryptography.x509\n"
        "for found in pkgutil.walk_packages(functions.__path__, 'functions.'): importlib.import_module(found.name)\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    imported = [Path(*name.split(".")) for name in done.stdout.split()]
    assert Path("aws_lambda_powertools/logging") in imported
    needed = [path for path in imported for part in (path, *path.parents) if any(part.match(one) for one in UNUSED)]
    assert not needed


def test_source_that_does_not_compile_is_refused(site: Site, tmp_path: Path) -> None:
    (site.checkout / "functions" / "answer.py").write_text("ANSWER = (\n")
    with pytest.raises(DeploymentError, match=r"does not compile.*answer\.py"):
        built(site, tmp_path / "cache", tmp_path / "build")


def test_an_interrupted_build_leaves_nothing_that_a_later_one_would_take(site: Site, tmp_path: Path) -> None:
    (site.checkout / "functions" / "answer.py").write_text("ANSWER = (\n")
    with pytest.raises(DeploymentError):
        built(site, tmp_path / "cache", tmp_path / "build")
    assert not list((tmp_path / "cache" / "packages").glob("*.zip"))


def test_plain_chalice_finds_the_functions_by_the_symlink(tmp_path: Path) -> None:
    link = CHECKOUT / "vendor" / "functions"
    assert link.is_symlink()
    assert link.resolve() == CHECKOUT / "functions"
    shutil.copytree(CHECKOUT / "vendor", tmp_path / "vendor", symlinks=True)
    assert (tmp_path / "vendor" / "functions").readlink() == Path("../functions")
