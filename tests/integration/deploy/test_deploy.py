"""`python -m infra.deploy` against an account: what it leaves there, and that running it again is harmless."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from infra.deploy import CHECKOUT, stack_name
from infra.deployment.failure import DeploymentError
from tests.integration.deploy.conftest import Site

NAMES = ("intake", "remediate", "sweep", "drill", "mint", "approve")


def functions_of(site: Site, cluster: str) -> dict[str, Any]:
    found = site.client("lambda").list_functions()["Functions"]
    begin = f"regrow-{cluster}-"
    return {f["FunctionName"].removeprefix(begin): f for f in found if f["FunctionName"].startswith(begin)}


def mappings_of(site: Site, cluster: str) -> dict[str, str]:
    """Queue name -> mapping id; two mappings of one queue are an error."""
    found: dict[str, str] = {}
    for mapping in site.client("lambda").list_event_source_mappings()["EventSourceMappings"]:
        queue = mapping["EventSourceArn"].rpartition(":")[2]
        if queue.startswith(f"regrow-{cluster}-"):
            assert queue not in found, f"{queue} is read twice"
            found[queue] = mapping["UUID"]
    return found


def queues(cluster: str) -> set[str]:
    """Those from which functions are woken."""
    return {f"regrow-{cluster}-{name}" for name in ("inbox", "pass.fifo")}


def test_each_function_runs_under_a_role_of_its_own_and_is_woken_by_what_it_serves(site: Site) -> None:
    deployment = site.deploy("whole")
    found = functions_of(site, "whole")
    assert set(found) == set(NAMES)
    for name, function in found.items():
        assert function["Role"].endswith(f":role/regrow-whole-{name}")
        variables = function["Environment"]["Variables"]
        assert variables["REGROW_CLUSTER"] == "whole"
        assert variables["REGROW_PASS_QUEUE_URL"].endswith("/regrow-whole-pass.fifo")
        assert variables["REGROW_KUBECONFIG_PATH"] == "/regrow/whole/kubeconfig"
    assert set(mappings_of(site, "whole")) == queues("whole")
    woken_by = {f.name.removeprefix("regrow-whole-"): f.wakes for f in deployment.functions}
    assert woken_by == {
        "intake": ("queue regrow-whole-inbox",),
        "remediate": ("queue regrow-whole-pass.fifo",),
        "sweep": ("rate(1 minute)",),
        "drill": ("by hand",),
        "mint": ("by hand",),
        "approve": ("by hand",),
    }


def test_deploying_again_changes_nothing(site: Site) -> None:
    first = site.deploy("again")
    functions, mappings = functions_of(site, "again"), mappings_of(site, "again")
    second = site.deploy("again")
    assert functions_of(site, "again") == functions
    assert mappings_of(site, "again") == mappings
    assert second.package == first.package
    assert second.outputs == first.outputs


def test_a_changed_source_reaches_every_function(site: Site) -> None:
    before = site.deploy("edited").package
    (site.checkout / "functions" / "answer.py").write_text("ANSWER = 2\n")
    after = site.deploy("edited").package
    assert after.sha256 != before.sha256
    digests = {function["CodeSha256"] for function in functions_of(site, "edited").values()}
    assert len(digests) == 1
    assert set(mappings_of(site, "edited")) == queues("edited")


def test_a_setting_changed_by_hand_is_put_right(site: Site) -> None:
    site.deploy("drifted")
    site.client("lambda").update_function_configuration(FunctionName="regrow-drifted-remediate", Timeout=3)
    site.deploy("drifted")
    assert functions_of(site, "drifted")["remediate"]["Timeout"] == 30


def test_a_setting_holds_until_a_deployment_without_it(site: Site) -> None:
    site.deploy("tuned", {"REGROW_JOIN_DEADLINE_S": "60"})
    for function in functions_of(site, "tuned").values():
        assert function["Environment"]["Variables"]["REGROW_JOIN_DEADLINE_S"] == "60"
    site.deploy("tuned")
    for function in functions_of(site, "tuned").values():
        assert "REGROW_JOIN_DEADLINE_S" not in function["Environment"]["Variables"]


def test_without_memory_of_earlier_deployments_no_queue_is_read_twice(site: Site) -> None:
    site.deploy("forgetful")
    (site.build / "forgetful" / ".chalice" / "deployed" / "forgetful.json").unlink()
    site.deploy("forgetful")
    assert set(mappings_of(site, "forgetful")) == queues("forgetful")


def test_memory_of_an_account_that_is_gone_does_no_harm(site: Site) -> None:
    site.deploy("moved")
    memory = site.build / "moved" / ".chalice" / "deployed" / "moved.json"
    kept = memory.read_text()
    site.remove("moved")
    memory.write_text(kept)
    site.deploy("moved")
    assert set(functions_of(site, "moved")) == set(NAMES)


@pytest.mark.parametrize("remembers", [True, False])
def test_removing_leaves_nothing_and_spares_a_cluster_whose_name_begins_alike(site: Site, remembers: bool) -> None:
    cluster = f"gone-{remembers}".lower()
    neighbour = f"{cluster}-too"
    site.deploy(cluster)
    site.deploy(neighbour)
    if not remembers:
        (site.build / cluster / ".chalice" / "deployed" / f"{cluster}.json").unlink()
    site.remove(cluster)
    assert set(functions_of(site, cluster)) == {f"too-{name}" for name in NAMES}
    assert set(mappings_of(site, cluster)) == set(mappings_of(site, neighbour))
    rules = {rule["Name"] for rule in site.client("events").list_rules(NamePrefix=f"regrow-{cluster}-")["Rules"]}
    assert rules == {f"regrow-{neighbour}-events", f"regrow-{neighbour}-sweep-event"}
    stacks = {stack["StackName"] for stack in site.client("cloudformation").describe_stacks()["Stacks"]}
    assert stack_name(cluster) not in stacks
    assert stack_name(neighbour) in stacks


def test_a_rule_that_somebody_disabled_is_said_at_the_next_deployment(site: Site) -> None:
    site.deploy("deaf")
    site.client("events").disable_rule(Name="regrow-deaf-events")
    with pytest.raises(DeploymentError, match="rule regrow-deaf-events is DISABLED; enable it"):
        site.deploy("deaf")


def test_removing_what_was_never_there_is_no_error(site: Site) -> None:
    site.remove("never")


def test_an_app_without_an_entry_point_is_refused_and_says_which(site: Site) -> None:
    (site.checkout / "app.py").write_text("from chalice import Chalice\n\napp = Chalice(app_name='regrow')\n")
    with pytest.raises(DeploymentError, match="no function intake"):
        site.deploy("empty")


def test_an_app_that_does_not_import_is_refused_with_its_own_words(site: Site) -> None:
    (site.checkout / "functions" / "answer.py").write_text("ANSWERS = 1\n")
    with pytest.raises(DeploymentError, match="cannot import name 'ANSWER'"):
        site.deploy("broken")


def test_a_folder_that_is_no_checkout_is_refused(site: Site) -> None:
    (site.checkout / "app.py").unlink()
    with pytest.raises(DeploymentError, match="--project-dir"):
        site.deploy("nothing")


def test_the_command_prints_its_result_as_json(site: Site) -> None:
    command = [sys.executable, "-m", "infra.deploy", "--cluster", "spoken"]
    places = ["--project-dir", str(site.checkout), "--build-dir", str(site.build / "spoken")]
    done = subprocess.run(
        [*command, "--output", "json", "--setting", "REGROW_JOIN_DEADLINE_S=60", *places],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    )
    result = json.loads(done.stdout)
    assert result["outputs"]["TableName"] == "regrow-spoken"
    assert len(result["functions"]) == len(NAMES)
    assert "verified" in done.stderr
    variables = functions_of(site, "spoken")["approve"]["Environment"]["Variables"]
    assert variables["REGROW_JOIN_DEADLINE_S"] == "60"


@pytest.mark.usefixtures("site")
def test_a_bad_cluster_name_ends_the_command_with_one_sentence() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "infra.deploy", "--cluster", "No_Such"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("deploy: 'No_Such' is no cluster name")
    assert "Traceback" not in done.stderr
