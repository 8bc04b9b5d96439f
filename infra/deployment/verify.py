"""Whether the account holds what was deployed: read back, nothing is invoked."""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from infra.deployment.chalice_run import remembered
from infra.deployment.failure import DeploymentError
from infra.deployment.package import Package
from infra.deployment.project import FUNCTIONS, Project

WAIT_S = 120.0


@dataclass(frozen=True)
class Deployed:
    """One function in the account. `wakes` says what invokes it."""

    name: str
    arn: str
    runtime: str
    memory_mib: int
    timeout_s: int
    wakes: tuple[str, ...]


def verify(project: Project, package: Package, session: Any) -> list[Deployed]:
    """Every function active and as configured, with this very package; every rule and mapping in place.

    Else a DeploymentError names what is not.
    """
    functions, events = session.client("lambda"), session.client("events")
    resources = remembered(project)
    wakes: dict[str, list[str]] = {}
    for resource in resources:
        if resource["resource_type"] == "sqs_event":
            wakes.setdefault(resource["lambda_arn"], []).append(_mapping(functions, resource))
        if resource["resource_type"] == "cloudwatch_event":
            function_arn = _function_arn(resources, resource["name"].removesuffix("-event"))
            wakes.setdefault(function_arn, []).append(_rule(events, resource, function_arn))
    _event_rule(events, project.stage)
    digest = base64.b64encode(bytes.fromhex(package.sha256)).decode()
    deployed = []
    for function in FUNCTIONS:
        arn = _function_arn(resources, function.name)
        found = _active(functions, arn)
        if found["CodeSha256"] != digest:
            raise DeploymentError(f"{arn} does not run the package that was built; deploy again")
        different = _differences(found, project.configured(), function.name)
        if different:
            raise DeploymentError(f"{arn} is not as configured ({', '.join(different)}); deploy again")
        deployed.append(
            Deployed(
                name=found["FunctionName"],
                arn=arn,
                runtime=found["Runtime"],
                memory_mib=found["MemorySize"],
                timeout_s=found["Timeout"],
                wakes=tuple(sorted(wakes.get(arn, ("by hand",)))),
            )
        )
    return deployed


def already_there(project: Project, package: Package, session: Any) -> list[Deployed] | None:
    """What verify would say, where a deployment would change nothing; else None."""
    try:
        return verify(project, package, session)
    except (DeploymentError, ClientError):
        return None


def _differences(found: Mapping[str, Any], stage: Mapping[str, Any], name: str) -> list[str]:
    wanted = stage["lambda_functions"][name]
    network = found.get("VpcConfig", {})
    pairs = {
        "role": (found["Role"], wanted["iam_role_arn"]),
        "memory": (found["MemorySize"], wanted["lambda_memory_size"]),
        "timeout": (found["Timeout"], wanted["lambda_timeout"]),
        "environment": (found.get("Environment", {}).get("Variables", {}), stage["environment_variables"]),
        "subnets": (sorted(network.get("SubnetIds", [])), sorted(wanted.get("subnet_ids", []))),
        "security groups": (sorted(network.get("SecurityGroupIds", [])), sorted(wanted.get("security_group_ids", []))),
    }
    return [what for what, (is_now, shall_be) in pairs.items() if is_now != shall_be]


def _function_arn(resources: list[dict[str, Any]], name: str) -> str:
    for resource in resources:
        if resource["resource_type"] == "lambda_function" and resource["name"] == name:
            arn: str = resource["lambda_arn"]
            return arn
    raise DeploymentError(f"chalice deployed no function {name}; does app.py declare it?")


def _active(functions: Any, arn: str) -> Mapping[str, Any]:
    deadline = time.monotonic() + WAIT_S
    while True:
        found: Mapping[str, Any] = functions.get_function_configuration(FunctionName=arn)
        state, update = found.get("State", "Active"), found.get("LastUpdateStatus", "Successful")
        if state == "Active" and update == "Successful":
            return found
        if state == "Failed" or update == "Failed" or time.monotonic() >= deadline:
            reason = found.get("LastUpdateStatusReason") or found.get("StateReason") or "no reason given"
            raise DeploymentError(f"{arn} is {state}, its update {update}: {reason}")
        time.sleep(1.0)


def _mapping(functions: Any, resource: Mapping[str, Any]) -> str:
    found = functions.get_event_source_mapping(UUID=resource["event_uuid"])
    if found["FunctionArn"] != resource["lambda_arn"] or found["EventSourceArn"] != resource["queue_arn"]:
        raise DeploymentError(f"the mapping of {resource['queue_arn']} leads elsewhere: {found['FunctionArn']}")
    if found.get("State") not in ("Enabled", "Creating", "Enabling", "Updating"):
        raise DeploymentError(f"the mapping of {resource['queue_arn']} is {found.get('State')}; enable it")
    return f"queue {resource['queue']}"


def _event_rule(events: Any, cluster: str) -> None:
    """The remediator's stack has made it; who has disabled it since then has made Regrow deaf."""
    name = f"regrow-{cluster}-events"
    try:
        rule = events.describe_rule(Name=name)
    except events.exceptions.ResourceNotFoundException as error:
        raise DeploymentError(f"there is no rule {name}; deploy the remediator's stack again") from error
    if rule["State"] != "ENABLED":
        raise DeploymentError(f"rule {name} is {rule['State']}; enable it, or only the sweep notices anything")


def _rule(events: Any, resource: Mapping[str, Any], function_arn: str) -> str:
    rule = events.describe_rule(Name=resource["rule_name"])
    if rule["State"] != "ENABLED":
        raise DeploymentError(f"rule {resource['rule_name']} is {rule['State']}; enable it, or nothing is noticed")
    targets = [target["Arn"] for target in events.list_targets_by_rule(Rule=resource["rule_name"])["Targets"]]
    if function_arn not in targets:
        raise DeploymentError(f"rule {resource['rule_name']} does not lead to {function_arn}")
    return rule.get("ScheduleExpression") or f"rule {resource['rule_name']}"
