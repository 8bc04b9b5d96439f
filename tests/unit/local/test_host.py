"""A host that works is never refused; one that does not is refused with every reason and its remedy at once."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.local.host.requirements import GIB, Disk, HostFacts, problems

GOOD = HostFacts(
    system="Linux",
    architecture="x86_64",
    python=(3, 11),
    missing_modules=(),
    missing_tools=(),
    root=True,
    namespaces_trial="",
    overlay_trial="",
    network_trial="",
    missing_controllers=(),
    cgroup_trial="",
    disks=(Disk(Path("/state"), 1, 3 * GIB, 3 * GIB), Disk(Path("/cache"), 2, 9 * GIB, 9 * GIB)),
    memory_available_bytes=4 * GIB,
    inotify_free=60,
    inotify_needed=60,
)


def test_a_host_with_exactly_what_is_needed_is_accepted() -> None:
    assert problems(GOOD) == []


@pytest.mark.parametrize(
    ("change", "named", "remedy"),
    [
        ({"system": "Darwin"}, "Darwin", "use a Linux machine"),
        ({"architecture": "aarch64"}, "aarch64", "x86_64"),
        ({"python": (3, 10)}, "3.10", "use Python 3.11 to 3.14"),
        ({"python": (3, 15)}, "3.15", "use Python 3.11 to 3.14"),
        ({"missing_modules": ("venv",)}, "venv", "python3-venv"),
        ({"missing_tools": ("nsenter",)}, "nsenter", "util-linux"),
        ({"root": False}, "not root", "sudo"),
        ({"namespaces_trial": "Operation not permitted"}, "Operation not permitted", "--privileged"),
        ({"overlay_trial": "wrong fs type"}, "wrong fs type", "REGROW_STATE"),
        ({"network_trial": "Not supported"}, "Not supported", "bridge and veth"),
        ({"missing_controllers": ("freezer", "pids")}, "freezer, pids", "kernel's command line"),
        ({"cgroup_trial": "Read-only file system"}, "Read-only file system", "--privileged"),
        ({"memory_available_bytes": 3 * GIB}, "3.0 GiB", "end other programs"),
        ({"inotify_free": 59}, "59", "sysctl -w fs.inotify.max_user_instances=1024"),
    ],
)
def test_each_lack_is_named_in_one_sentence_with_its_remedy(change: dict[str, Any], named: str, remedy: str) -> None:
    (problem,) = problems(replace(GOOD, **change))
    assert named in problem
    assert remedy in problem.partition(": ")[2]
    assert "\n" not in problem


def test_all_lacks_are_told_at_once() -> None:
    assert len(problems(replace(GOOD, architecture="aarch64", root=False, inotify_free=0))) == 3


def test_a_refused_namespace_is_not_told_three_times() -> None:
    refused = "Operation not permitted"
    facts = replace(GOOD, namespaces_trial=refused, overlay_trial=refused, network_trial=refused)
    assert len(problems(facts)) == 1


def test_two_directories_on_one_disk_must_share_its_room() -> None:
    state, cache = GOOD.disks
    one_disk = (replace(state, device=1, free_bytes=11 * GIB), replace(cache, device=1, free_bytes=11 * GIB))
    (problem,) = problems(replace(GOOD, disks=one_disk))
    assert "11.0 GiB are free for /state and /cache, 12.0 are needed" in problem


def test_a_small_disk_is_named_when_the_other_is_large() -> None:
    state, cache = GOOD.disks
    (problem,) = problems(replace(GOOD, disks=(replace(state, free_bytes=900 * GIB), replace(cache, free_bytes=GIB))))
    assert "/cache" in problem
    assert "/state" not in problem
