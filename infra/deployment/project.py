"""The chalice project of one cluster: what chalice shall deploy, laid out where it expects things.

It is a copy, so that a deployment holds what the checkout held at that moment, without byte code that a test run
left behind (chalice's own reuse of a package goes by the content of every file).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.deployment.failure import DeploymentError

APP_NAME = "regrow"
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", ".*_cache")


@dataclass(frozen=True)
class Function:
    """How one function runs. Only those that speak to Kubernetes stand in the VPC, where its API is."""

    name: str
    timeout_s: int
    memory_mib: int
    in_vpc: bool

    @property
    def role_output(self) -> str:
        return f"{self.name.capitalize()}RoleArn"


FUNCTIONS = (
    Function("intake", timeout_s=20, memory_mib=512, in_vpc=False),
    Function("remediate", timeout_s=30, memory_mib=1024, in_vpc=True),
    Function("sweep", timeout_s=55, memory_mib=1024, in_vpc=True),  # the next one comes in a minute
    Function("drill", timeout_s=30, memory_mib=1024, in_vpc=True),
    Function("mint", timeout_s=20, memory_mib=1024, in_vpc=True),  # its record keeps a second one off for 25 s
    Function("approve", timeout_s=20, memory_mib=1024, in_vpc=True),
)
ENVIRONMENT = {
    "REGROW_PASS_QUEUE_URL": "PassQueueUrl",
    "REGROW_INBOX_QUEUE_URL": "InboxQueueUrl",
    "REGROW_TABLE": "TableName",
    "REGROW_TOPIC_ARN": "TopicArn",
    "REGROW_KUBECONFIG_PATH": "KubeconfigPath",
    "REGROW_SNAPSHOT_BUCKET": "SnapshotBucket",
}
SETTINGS = (
    "REGROW_MAX_IN_FLIGHT",
    "REGROW_DETACH_DEADLINE_S",
    "REGROW_JOIN_DEADLINE_S",
    "REGROW_DRAIN_DEADLINE_S",
    "REGROW_DRAIN_OVERDUE",
    "REGROW_DRAIN_UNMANAGED",
    "REGROW_DRAIN_LOCAL_DATA",
    "REGROW_DRAIN_EVICTION",
    "REGROW_DRAIN_GRACE_S",
    "REGROW_DRAIN_SELECTOR",
    "REGROW_DRAIN_BY_PRIORITY",
    "REGROW_DRAIN_STUCK_S",
    "REGROW_REBALANCE",
    "REGROW_LAUNCH_SUSPENDED_S",
    "REGROW_SNAPSHOT_EVERY_S",
)
"""What the functions have a default for, and a deployment may set; they check the values themselves."""


@dataclass(frozen=True)
class Network:
    """Where functions that speak to Kubernetes stand; both empty: outside any VPC."""

    subnet_ids: tuple[str, ...] = ()
    security_group_ids: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if bool(self.subnet_ids) != bool(self.security_group_ids):
            raise DeploymentError("--subnet-ids and --security-group-ids belong together: give both or neither")


@dataclass(frozen=True)
class Project:
    """A staged chalice project. `stage` is the cluster's name."""

    directory: Path
    stage: str

    @property
    def state_file(self) -> Path:
        """What chalice remembers of its last deployment."""
        return self.directory / ".chalice" / "deployed" / f"{self.stage}.json"

    @property
    def packages(self) -> Path:
        return self.directory / ".chalice" / "deployments"

    @property
    def configuration_file(self) -> Path:
        return self.directory / ".chalice" / "config.json"

    def configured(self) -> dict[str, Any]:
        """What the stage's functions shall be like, as chalice reads it."""
        stage: dict[str, Any] = json.loads(self.configuration_file.read_text())["stages"][self.stage]
        return stage

    def function_name(self, function: str) -> str:
        return f"{APP_NAME}-{self.stage}-{function}"


def lay_out(source: Path, project: Project) -> None:
    """Copy the app, its requirements and its package. What chalice remembers in the directory stays."""
    for needed in ("app.py", "requirements.txt", "functions"):
        if not (source / needed).exists():
            raise DeploymentError(f"{source / needed} is missing; --project-dir must name Regrow's checkout")
    project.directory.mkdir(parents=True, exist_ok=True)
    for name in ("app.py", "requirements.txt"):
        shutil.copyfile(source / name, project.directory / name)
    vendor = project.directory / "vendor"
    if vendor.exists():
        shutil.rmtree(vendor)
    shutil.copytree(source / "functions", vendor / "functions", ignore=LEFT_OUT)


def read_settings(given: Iterable[str]) -> dict[str, str]:
    """`NAME=VALUE`, each of a setting that the functions know; they say whether the value is one."""
    settings: dict[str, str] = {}
    for text in given:
        name, _, value = text.partition("=")
        if name not in SETTINGS:
            raise DeploymentError(f"{name!r} is no setting; those that a deployment may change: {', '.join(SETTINGS)}")
        if not value:
            raise DeploymentError(f"{name} has no value; write {name}=VALUE")
        if name in settings:
            raise DeploymentError(f"{name} is set twice; say which one is meant")
        settings[name] = value
    return settings


def configure(
    project: Project, outputs: Mapping[str, str], network: Network, settings: Mapping[str, str] | None = None
) -> None:
    """Write chalice's configuration from the remediator stack's outputs, with those settings and no others."""
    project.configuration_file.parent.mkdir(exist_ok=True)
    content = configuration(project.stage, outputs, network, settings or {})
    project.configuration_file.write_text(json.dumps(content, indent=2))


def configuration(
    stage: str, outputs: Mapping[str, str], network: Network, settings: Mapping[str, str]
) -> dict[str, Any]:
    needed = {*ENVIRONMENT.values(), *(function.role_output for function in FUNCTIONS)}
    missing = sorted(needed - set(outputs))
    if missing:
        raise DeploymentError(f"the remediator stack has no output {', '.join(missing)}; deploy it from this checkout")
    return {
        "version": "2.0",
        "app_name": APP_NAME,
        "stages": {
            stage: {
                "autogen_policy": False,
                "environment_variables": {**environment(stage, outputs), **settings},
                "lambda_functions": {
                    function.name: _function_configuration(function, outputs, network) for function in FUNCTIONS
                },
            }
        },
    }


def environment(stage: str, outputs: Mapping[str, str]) -> dict[str, str]:
    variables = {variable: outputs[output] for variable, output in ENVIRONMENT.items()}
    return {"REGROW_CLUSTER": stage, **variables}


def _function_configuration(function: Function, outputs: Mapping[str, str], network: Network) -> dict[str, Any]:
    configured: dict[str, Any] = {
        "manage_iam_role": False,
        "iam_role_arn": outputs[function.role_output],
        "lambda_timeout": function.timeout_s,
        "lambda_memory_size": function.memory_mib,
    }
    if function.in_vpc and network.subnet_ids:
        configured["subnet_ids"] = list(network.subnet_ids)
        configured["security_group_ids"] = list(network.security_group_ids)
    return configured
