"""Unpacking what was deployed."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from pathlib import Path

import pytest

from infra.local.cloud.functions.packages import PackageRefusedError, Packages


def package(text: str) -> tuple[bytes, str]:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr("inner/app.py", text)
    code = file.getvalue()
    return code, base64.b64encode(hashlib.sha256(code).digest()).decode()


def test_the_package_is_unpacked_read_only_under_its_digest(tmp_path: Path) -> None:
    code, digest = package("one")
    unpacked = Packages(tmp_path).unpacked("fn", code, digest)
    assert unpacked == tmp_path / hashlib.sha256(code).hexdigest()
    file = unpacked / "inner" / "app.py"
    assert file.read_text() == "one"
    assert [path.stat().st_mode & 0o222 for path in (file, file.parent, unpacked)] == [0, 0, 0]


def test_another_digest_is_refused(tmp_path: Path) -> None:
    code, _ = package("one")
    _, other = package("two")
    with pytest.raises(PackageRefusedError, match="deploy it again"):
        Packages(tmp_path).unpacked("fn", code, other)


def test_what_an_earlier_process_left_is_unpacked_anew(tmp_path: Path) -> None:
    code, digest = package("one")
    left = Packages(tmp_path).unpacked("fn", code, digest) / "inner" / "app.py"
    left.chmod(0o600)
    left.write_text("changed")
    assert (Packages(tmp_path).unpacked("fn", code, digest) / "inner" / "app.py").read_text() == "one"


def test_what_is_no_zip_is_refused(tmp_path: Path) -> None:
    digest = base64.b64encode(hashlib.sha256(b"text").digest()).decode()
    with pytest.raises(PackageRefusedError, match="no zip"):
        Packages(tmp_path).unpacked("fn", b"text", digest)
