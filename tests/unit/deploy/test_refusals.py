"""What a deployment refuses before it touches an account."""

from __future__ import annotations

from pathlib import Path

import boto3
import pytest

from functions.join.admit import BUSY
from functions.settings import Settings
from infra.deploy import alone, project_of, refuse_ended_runtime
from infra.deployment.failure import DeploymentError
from infra.deployment.project import ENVIRONMENT, FUNCTIONS, SETTINGS, Network, Project, configuration, read_settings

OUTPUTS = {
    **{output: f"value-of-{output}" for output in ENVIRONMENT.values()},
    **{function.role_output: f"arn:aws:iam::123456789012:role/{function.name}" for function in FUNCTIONS},
}


@pytest.fixture
def no_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)


@pytest.mark.usefixtures("no_endpoint")
def test_a_runtime_that_aws_has_ended_is_refused_with_the_remedy() -> None:
    with pytest.raises(DeploymentError, match=r"3\.12 or newer"):
        refuse_ended_runtime(boto3.Session(region_name="us-east-1"), (3, 11))


@pytest.mark.usefixtures("no_endpoint")
def test_a_living_runtime_is_taken() -> None:
    refuse_ended_runtime(boto3.Session(region_name="us-east-1"), (3, 12))


def test_an_ended_runtime_is_good_enough_for_another_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://10.77.0.2")
    refuse_ended_runtime(boto3.Session(region_name="us-east-1"), (3, 11))


@pytest.mark.parametrize("name", ["", "Drill", "1drill", "drill_1", "drill/..", "a" * 29])
def test_a_name_that_queues_and_roles_could_not_bear_is_refused(name: str) -> None:
    with pytest.raises(DeploymentError, match="is no cluster name"):
        project_of(name, None)


def test_subnets_without_security_groups_are_refused() -> None:
    with pytest.raises(DeploymentError, match="give both or neither"):
        Network(("subnet-1",), ())


def test_a_stack_of_another_version_is_refused_by_the_output_that_it_lacks() -> None:
    lacking = {name: value for name, value in OUTPUTS.items() if name != "TopicArn"}
    with pytest.raises(DeploymentError, match="no output TopicArn"):
        configuration("drill", lacking, Network(), {})


def test_only_functions_that_speak_to_kubernetes_stand_in_the_vpc() -> None:
    network = Network(("subnet-1",), ("sg-1",))
    functions = configuration("drill", OUTPUTS, network, {})["stages"]["drill"]["lambda_functions"]
    inside = {name for name, function in functions.items() if "subnet_ids" in function}
    assert inside == {"remediate", "sweep", "drill", "mint", "approve"}


def test_a_pass_ends_before_its_message_is_seen_again() -> None:
    timeouts = {function.name: function.timeout_s for function in FUNCTIONS}
    assert timeouts["remediate"] < 40
    assert timeouts["intake"] < 40


def test_a_minter_has_ended_before_another_one_may_think_so() -> None:
    timeouts = {function.name: function.timeout_s for function in FUNCTIONS}
    assert timeouts["mint"] < BUSY.total_seconds()
    assert timeouts["mint"] < timeouts["remediate"]  # which waits for it
    assert timeouts["approve"] < timeouts["remediate"]


def test_settings_are_read_as_they_are_given() -> None:
    given = ["REGROW_JOIN_DEADLINE_S=60", "REGROW_MAX_IN_FLIGHT=1"]
    assert read_settings(given) == {"REGROW_JOIN_DEADLINE_S": "60", "REGROW_MAX_IN_FLIGHT": "1"}
    assert read_settings([]) == {}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["REGROW_JOIN_DEADLINE=60"], "'REGROW_JOIN_DEADLINE' is no setting"),
        (["REGROW_TABLE=other"], "'REGROW_TABLE' is no setting"),
        (["PYTHONPATH=/tmp"], "'PYTHONPATH' is no setting"),
        (["REGROW_JOIN_DEADLINE_S"], "has no value"),
        (["REGROW_JOIN_DEADLINE_S="], "has no value"),
        (["REGROW_JOIN_DEADLINE_S=60", "REGROW_JOIN_DEADLINE_S=90"], "is set twice"),
    ],
)
def test_what_is_no_setting_is_refused_before_anything_is_deployed(given: list[str], said: str) -> None:
    with pytest.raises(DeploymentError, match=said):
        read_settings(given)


WORDS = {
    "REGROW_DRAIN_OVERDUE": "delete",
    "REGROW_DRAIN_UNMANAGED": "keep",
    "REGROW_DRAIN_LOCAL_DATA": "keep",
    "REGROW_DRAIN_EVICTION": "delete",
    "REGROW_DRAIN_SELECTOR": "app=web",
    "REGROW_DRAIN_BY_PRIORITY": "yes",
    "REGROW_REBALANCE": "drain",
    "REGROW_SNAPSHOT_EVERY_S": "777",
}


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_is_one_that_the_functions_read(name: str) -> None:
    required = dict.fromkeys(ENVIRONMENT, "arn:aws:sns:us-east-1:123456789012:x")
    queues = {name: "https://sqs.us-east-1.amazonaws.com/1/q" for name in required if name.endswith("_URL")}
    environment = {"REGROW_CLUSTER": "drill", **required, **queues}
    value = WORDS.get(name, "77")
    assert Settings.from_env({**environment, name: value}) != Settings.from_env(environment)


def test_two_runs_at_once_are_refused(tmp_path: Path) -> None:
    project = Project(tmp_path, "drill")
    with alone(project), pytest.raises(DeploymentError, match="another run"), alone(project):
        pass
