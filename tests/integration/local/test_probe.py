"""The probe tries on the real host what a world will do, and leaves nothing of its tries behind."""

import subprocess
import sys
from pathlib import Path

import pytest

from infra.local.host.probe import CGROUPS, probe


def test_a_host_that_can_run_the_tests_passes_each_trial() -> None:
    facts = probe()
    assert facts.root
    assert (facts.namespaces_trial, facts.overlay_trial, facts.network_trial, facts.cgroup_trial) == ("",) * 4
    assert facts.missing_controllers == facts.missing_modules == facts.missing_tools == ()


def test_the_trials_leave_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGROW_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("REGROW_CACHE", str(tmp_path / "cache"))
    links = sorted(path.name for path in Path("/sys/class/net").iterdir())
    probe()
    assert list(tmp_path.iterdir()) == []
    assert sorted(path.name for path in Path("/sys/class/net").iterdir()) == links
    assert not list(CGROUPS.glob("**/regrow-try-*"))


def test_root_without_the_rights_of_root_is_refused_with_the_reason() -> None:
    confined = ["unshare", "--user", "--map-root-user", sys.executable, "-m", "infra.local.host.probe"]
    outcome = subprocess.run(confined, capture_output=True, text=True, timeout=60)
    assert outcome.returncode == 1
    assert "No overlay can be mounted" in outcome.stderr
    assert "Traceback" not in outcome.stderr
