"""What is in the cache is complete, whoever was killed and however many made it at once.

The other side is real: processes of their own, a Go compiler, the kernel's locks and kills.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from infra.local.building.cache import make_once
from infra.local.progress import Progress

# Compiles pause into the directory argv[1], and notes in the file argv[2] that it did.
MAKER = """
import sys
from pathlib import Path
from infra.local.building import build, toolchain
from infra.local.building.cache import make_once
from infra.local.building.compiling import Target, compile_target
from infra.local.progress import Progress

def make(partial):
    with open(sys.argv[2], "a") as made:
        made.write(partial.name + "\\n")
    (partial / "tmp").mkdir()
    progress = Progress()
    environment = toolchain.go_environment(toolchain.find_go(progress), partial / "tmp")
    compile_target(Target("pause"), build.SOURCES, partial, environment, progress)

print(make_once(Path(sys.argv[1]), make, Progress()))
"""

# Never finishes what it makes, but says that it has begun.
DAWDLER = """
import sys, time
from pathlib import Path
from infra.local.building.cache import make_once
from infra.local.progress import Progress

def make(partial):
    (partial / "half").write_text("half")
    print("begun", flush=True)
    time.sleep(600)

make_once(Path(sys.argv[1]), make, Progress())
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "programs" / "key"


def started(script: str, *arguments: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        env=os.environ | {"PYTHONPATH": str(Path.cwd())},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def begun(script: str, place: Path) -> subprocess.Popen[str]:
    process = started(script, place)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


def test_two_builds_at_once_build_once_and_both_have_the_result(place: Path, tmp_path: Path) -> None:
    made = tmp_path / "made"
    both = [started(MAKER, place, made) for _ in range(2)]
    answers = [process.communicate(timeout=120) for process in both]
    assert [output for output, _ in answers] == [f"{place}\n"] * 2
    assert len(made.read_text().splitlines()) == 1
    assert sum("Another process is making key; waiting" in said for _, said in answers) == 1
    assert os.access(place / "pause", os.X_OK)


def test_a_killed_build_is_not_taken_for_complete_and_leaves_nothing(place: Path, tmp_path: Path) -> None:
    killed = begun(DAWDLER, place)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not place.exists()
    output, _ = started(MAKER, place, tmp_path / "made").communicate(timeout=120)
    assert output == f"{place}\n"
    assert {path.name for path in place.parent.iterdir()} == {"key", ".key.lock"}
    assert not (place / "half").exists()


def test_a_waiting_build_takes_over_when_the_other_is_killed(place: Path, tmp_path: Path) -> None:
    killed = begun(DAWDLER, place)
    waiting = started(MAKER, place, tmp_path / "made")
    assert waiting.stderr is not None
    assert "waiting for it" in waiting.stderr.readline()
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    output, _ = waiting.communicate(timeout=120)
    assert output == f"{place}\n"


def test_a_failing_build_leaves_nothing_and_the_next_one_works(place: Path) -> None:
    def fail(partial: Path) -> None:
        (partial / "half").write_text("half")
        raise RuntimeError("no room")

    with pytest.raises(RuntimeError, match="no room"):
        make_once(place, fail, Progress())
    assert [path.name for path in place.parent.iterdir()] == [".key.lock"]
    make_once(place, lambda _partial: None, Progress())
    assert place.is_dir()


def test_what_is_there_is_returned_at_once_without_making(place: Path) -> None:
    def must_not_run(partial: Path) -> None:
        raise AssertionError(partial)

    place.mkdir(parents=True)
    begin = time.monotonic()
    assert make_once(place, must_not_run, Progress()) == place
    assert time.monotonic() - begin < 0.1


def test_a_command_does_not_outlive_the_build_that_was_killed(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    script = (
        "import sys; from infra.local.building.tools import run; "
        "run(['sh', '-c', 'echo $$ > \"$0\"; echo begun >&2; exec sleep 600', sys.argv[1]], otherwise='', "
        "is_progress=lambda line: print(line, flush=True) is None)"
    )
    killed = begun(script, pid_file)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid_file.read_text().strip()}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
