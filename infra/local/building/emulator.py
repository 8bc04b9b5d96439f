"""AWS's own emulator of a Lambda environment, and the Python that functions run on under it.

The emulator (the runtime interface emulator, "rie") is one static program that Amazon ships inside the wheel
of its SAM command line. The Python is a virtual environment with what AWS's runtime has besides the
package: its interface client and boto3. Both lie in the cache under a key of their versions and of the
interpreter, to which the environment only links.
"""

import hashlib
import shutil
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from infra.local.building.cache import cache_root, make_once
from infra.local.building.tools import run
from infra.local.progress import Progress

SAM_WHEEL = "aws-sam-cli==1.170.0"
RIE_IN_WHEEL = "samcli/local/rapid/aws-lambda-rie-x86_64"
RUNTIME = (
    "awslambdaric==4.2.2",
    "boto3==1.44.5",
    "botocore==1.44.5",
    "jmespath==1.1.0",
    "python-dateutil==2.9.0.post0",
    "s3transfer==0.19.3",
    "simplejson==4.3.0",
    "six==1.17.0",
    "snapshot-restore-py==1.0.0",
    "urllib3==2.8.0",
)
PIP = (sys.executable, "-m", "pip")
REMEDY = "check the network and pip's settings, then run this again."


@dataclass(frozen=True)
class Emulator:
    """The two programs that make one Lambda environment: `rie … python -m awslambdaric app.handler`."""

    rie: Path
    python: Path


def ensure(progress: Progress | None = None) -> Emulator:
    """Return the emulator, fetching it first when it is not in the cache."""
    progress = progress or Progress()
    interpreter = Path(sys.executable).resolve()
    parts = (SAM_WHEEL, *RUNTIME, sys.version, str(interpreter))
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    directory = cache_root() / "emulator" / key
    make_once(directory, lambda partial: _make(partial, interpreter, progress), progress)
    return Emulator(rie=directory / "rie", python=directory / "venv" / "bin" / "python")


def _make(directory: Path, interpreter: Path, progress: Progress) -> None:
    progress.say("Fetching Lambda's emulator and runtime from PyPI.")
    with progress.watching(lambda: "emulator: downloading"):
        _fetch_rie(directory / "rie")
        _make_runtime(directory / "venv", interpreter)


def _fetch_rie(rie: Path) -> None:
    with tempfile.TemporaryDirectory(dir=rie.parent) as folder:
        run(
            [*PIP, "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", folder, SAM_WHEEL],
            otherwise=f"{SAM_WHEEL}, which holds Lambda's emulator, could not be downloaded: {REMEDY}",
            attempts=3,
        )
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive, archive.open(RIE_IN_WHEEL) as packed, rie.open("wb") as file:
            shutil.copyfileobj(packed, file)
    rie.chmod(0o755)


def _make_runtime(venv: Path, interpreter: Path) -> None:
    """A virtual environment without pip, whose scripts would hold the path of before the final rename."""
    run(
        [interpreter, "-m", "venv", "--without-pip", venv],
        otherwise="A virtual environment could not be made: install Python's venv module (python3-venv).",
    )
    run(
        [
            *PIP,
            "--python",
            venv / "bin" / "python",
            "install",
            "--quiet",
            "--no-deps",
            "--only-binary",
            ":all:",
            *RUNTIME,
        ],
        otherwise=f"Lambda's Python runtime could not be installed from PyPI: {REMEDY}",
        attempts=3,
    )
