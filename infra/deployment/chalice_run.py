"""Chalice itself, and what it remembers: its memory is a file here, the truth is in the account."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError

from infra.deployment.failure import DeploymentError
from infra.deployment.project import APP_NAME, FUNCTIONS, Project

Say = Callable[[str], None]
CHALICE = [sys.executable, "-c", "import sys; from chalice.cli import main; sys.exit(main())"]


def deploy(project: Project, session: Any, say: Say) -> None:
    """Run `chalice deploy`. Where its memory and the account differ, the account is right."""
    reconcile_memory(project, session, say)
    _chalice(project, "deploy", "--stage", project.stage, say=say)


def remove(project: Project, session: Any, say: Say) -> None:
    """Delete all that chalice made for this stage, also where it remembers nothing."""
    if project.state_file.exists() and project.configuration_file.exists():
        _chalice(project, "delete", "--stage", project.stage, say=say)
        project.state_file.unlink(missing_ok=True)
    remove_by_name(project, session, say)


def remembered(project: Project) -> list[dict[str, Any]]:
    if not project.state_file.exists():
        return []
    resources: list[dict[str, Any]] = json.loads(project.state_file.read_text())["resources"]
    return resources


def reconcile_memory(project: Project, session: Any, say: Say) -> None:
    """Forget what is gone from the account, and take down queue mappings that are not remembered.

    Chalice finds functions and rules by name, but creates a mapping that it does not remember a second time, which
    AWS refuses. Messages wait in their queue for the seconds without one.
    """
    functions = session.client("lambda")
    if remembered(project) and not existing_functions(project, session):
        say("chalice remembers functions that this account does not have: starting afresh")
        project.state_file.unlink()
    known = {entry["event_uuid"] for entry in remembered(project) if entry["resource_type"] == "sqs_event"}
    for mapping in mappings(project, session):
        if mapping["UUID"] not in known:
            say(f"taking down the mapping of {mapping['EventSourceArn']}, which chalice will make again")
            functions.delete_event_source_mapping(UUID=mapping["UUID"])


def existing_functions(project: Project, session: Any) -> list[str]:
    """ARNs of this stage's functions that the account has. By exact name: another cluster's may begin the same."""
    functions = session.client("lambda")
    found: list[str] = []
    for function in FUNCTIONS:
        name = project.function_name(function.name)
        try:
            found.append(functions.get_function_configuration(FunctionName=name)["FunctionArn"])
        except functions.exceptions.ResourceNotFoundException:
            continue
    return found


def mappings(project: Project, session: Any) -> list[dict[str, Any]]:
    pages = session.client("lambda").get_paginator("list_event_source_mappings")
    return [
        mapping
        for arn in existing_functions(project, session)
        for page in pages.paginate(FunctionName=arn)
        for mapping in page["EventSourceMappings"]
        if mapping.get("State") != "Deleting"
    ]


def remove_by_name(project: Project, session: Any, say: Say) -> None:
    functions, events = session.client("lambda"), session.client("events")
    for mapping in mappings(project, session):
        functions.delete_event_source_mapping(UUID=mapping["UUID"])
    for arn in existing_functions(project, session):
        say(f"deleting {arn}")
        functions.delete_function(FunctionName=arn)
    for function in FUNCTIONS:
        rule = f"{APP_NAME}-{project.stage}-{function.name}-event"
        try:
            targets = events.list_targets_by_rule(Rule=rule)["Targets"]
        except ClientError as refusal:
            if refusal.response["Error"]["Code"] == "ResourceNotFoundException":
                continue
            raise
        if targets:
            events.remove_targets(Rule=rule, Ids=[target["Id"] for target in targets])
        events.delete_rule(Name=rule)


def _chalice(project: Project, *arguments: str, say: Say) -> None:
    environment = {
        **os.environ,
        "REGROW_CLUSTER": project.stage,  # the app names its queues by it
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",  # byte code in the project would change the package's name
    }
    lines: list[str] = []
    with subprocess.Popen(
        [*CHALICE, *arguments],
        cwd=project.directory,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as running:
        for line in filter(None, map(str.strip, running.stdout or ())):
            lines.append(line)
            if line.startswith(("Creating", "Updating", "Reusing", "Subscribing", "Deleting")):
                say(f"chalice: {line}")
    if running.returncode:
        raise DeploymentError(f"chalice {arguments[0]} ended with {running.returncode}: {' '.join(lines[-6:])}")
